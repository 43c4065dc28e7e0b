//! The operations of the link, made into futures.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::Driver;
use crate::{
    client::NodeClusterClient,
    config::Config,
    lifecycle::{
        chain,
        machine::{Action, Event},
        steps::{self, Operation, Step},
    },
    session,
};

impl Driver {
    /// The operations of the link.
    pub(super) fn begin(&mut self, action: &Action) -> Option<Operation> {
        let node = self.node.clone();
        if let Action::Connect { keepalive } = *action {
            let config = Arc::new(self.config.controller.clone());
            let old = self.client.clone();
            return Some(Box::pin(async move {
                let connected = match old {
                    Some(old) => old.reconnect(keepalive).await,
                    None => {
                        NodeClusterClient::connect(config, node.identity.clone(), keepalive).await
                    }
                };
                connected.map_or_else(Step::Failed, Step::Connected)
            }));
        }
        let client = self.client.clone()?;
        let config = self.config.clone();
        let operation: Operation = match *action {
            Action::Attest { offer_token } => Box::pin({
                let token = self.token_to_offer(offer_token);
                async move {
                    let profile = steps::profile(&config, &node.facts);
                    match client
                        .attest_and_challenge(&profile, token.as_deref())
                        .await
                    {
                        Ok(expires_at) => Step::Event(Event::Attested { expires_at }),
                        Err(error) => Step::Failed(error),
                    }
                }
            }),
            Action::Register => Box::pin(async move {
                match client.register(&steps::profile(&config, &node.facts)).await {
                    Ok(answer) => {
                        tracing::info!(cluster_id = answer.cluster_id, "registered");
                        Step::Event(Event::Registered)
                    }
                    Err(error) => Step::Failed(error),
                }
            }),
            Action::OpenSession => {
                let (sender, receiver) = mpsc::channel(8);
                self.session_events = Some(receiver);
                let interval = self.interval.subscribe();
                Box::pin(async move {
                    Step::SessionClosed(session::run(client, &node, interval, sender).await)
                })
            }
            Action::Heartbeat { deadline } => Box::pin(steps::heartbeat(client, node, deadline)),
            _ => return None,
        };
        Some(operation)
    }

    pub(super) fn renew(&self) -> Option<Operation> {
        let (client, config, node) = (self.client.clone()?, self.config.clone(), self.node.clone());
        Some(Box::pin(async move {
            let profile = steps::profile(&config, &node.facts);
            Step::Renewed(client.attest_and_challenge(&profile, None).await)
        }))
    }

    pub(super) fn deregister(&self) -> Option<Operation> {
        let (client, reason) = (self.client.clone()?, self.farewell.clone());
        Some(Box::pin(async move {
            match client.deregister(&reason).await {
                Ok(()) => tracing::info!("deregistered"),
                Err(error) => tracing::warn!(
                    error = chain(&error),
                    "could not deregister: the controller will notice by itself"
                ),
            }
            Step::Event(Event::Deregistered)
        }))
    }
}

impl Driver {
    /// The enrolment token, where it is to be offered: when the controller may
    /// want one, and when there is another one than it was offered last.
    fn token_to_offer(&mut self, wanted: bool) -> Option<String> {
        let digest = |token: &String| <[u8; 32]>::from(Sha256::digest(token));
        let last = self.offered_token;
        if !wanted && last.is_none() {
            return None;
        }
        let token = token(&self.config)?;
        if !wanted && last == Some(digest(&token)) {
            return None;
        }
        self.offered_token = Some(digest(&token));
        Some(token)
    }
}

/// Unreadable is as good as none: the controller's answer says what is missing.
fn token(config: &Config) -> Option<String> {
    let source = config.controller.enrolment_token.as_ref()?;
    match steps::enrolment_token(source) {
        Ok(token) => Some(token),
        Err(error) => {
            tracing::warn!(%error, "cannot read the enrolment token");
            None
        }
    }
}
