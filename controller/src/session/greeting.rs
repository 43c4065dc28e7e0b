//! Challenge, hello, welcome.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use aegis_proto::{
    CommandId, HELLO_PURPOSE,
    limits::NONCE_BYTES,
    worker::v1::{
        Bye, Challenge, ControllerMessage, Hello, Welcome, bye, controller_message,
        worker_message::Message,
    },
};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::Status;

use super::{Inbound, SEND_TIMEOUT, Seat, Session};
use crate::{
    config_status::bounded,
    controller::Controller,
    status::internal,
    time::{self, proto_duration, timestamp},
};

/// From the challenge to the hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What is left to do once a node has its seat.
pub(super) struct Greeting {
    hello: Hello,
    /// What the node says that it holds.
    held: HashSet<CommandId>,
    /// Protocol features that the node offers.
    features: Vec<String>,
    /// Whose place was taken.
    older: Option<Arc<Seat>>,
}

/// Protocol features beyond the first version: none so far.
const FEATURES: [&str; 0] = [];

type Out = mpsc::Sender<Result<ControllerMessage, Status>>;

impl Controller {
    /// Finds out who is there and seats it.
    pub(super) async fn greet(
        self: &Arc<Self>,
        inbound: &mut impl Inbound,
        out: &Out,
    ) -> Result<(Session, Greeting), Status> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| internal(&error))?;
        say(
            out,
            controller_message::Message::Challenge(Challenge {
                nonce: nonce.to_vec(),
            }),
        )
        .await?;

        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_TIMEOUT, inbound.next()) => first
                .map_err(|_| Status::deadline_exceeded("no hello came"))?
                .transpose()?,
            () = self.stopping.cancelled() => {
                return Err(Status::unavailable("the controller is stopping; try again"));
            }
        };
        let Some(Message::Hello(envelope)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument(
                "the first message has to be a hello",
            ));
        };
        let opened = self.open_registered::<Hello>(Some(envelope))?;
        let (node, mut hello) = (opened.node, opened.inner);
        if hello.purpose != HELLO_PURPOSE {
            return Err(Status::unauthenticated("the sealed message is no hello"));
        }
        if !bool::from(hello.challenge.ct_eq(&nonce)) {
            return Err(Status::unauthenticated(
                "the hello answers another challenge",
            ));
        }

        let ousted = {
            let live = node.live();
            live.session
                .as_ref()
                .is_some_and(|seat| seat.ousted(&hello.boot_id))
        };
        if ousted {
            let bye = Bye {
                reason: bye::Reason::Superseded.into(),
                message: "a newer session of this node has taken its place and lives".into(),
                retry_after: None,
            };
            say(out, controller_message::Message::Bye(bye)).await?;
            return Err(Status::already_exists(format!(
                "another worker with the id of node {} started later and is connected; stop one \
                 of the two",
                node.id
            )));
        }

        let held: HashSet<CommandId> = std::mem::take(&mut hello.held_command_ids)
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect();
        let features = std::mem::take(&mut hello.features);
        hello.challenge.clear();
        let config = bounded(hello.config.take().unwrap_or_default());
        // Written only where they are news: a fleet that comes back all at once,
        // or to a disk without room, has little to write.
        let known = node.record();
        let lost_before = known.facts.as_ref().and_then(|facts| facts.journal_lost_at);
        if hello.journal_lost_at.is_some() && hello.journal_lost_at != lost_before {
            let message = "its journal was damaged or missing: commands that it was sent before \
                           and that it does not know any more end as unknown, and a drain of \
                           then is forgotten; drain it again if it is to be drained";
            self.event("journal-lost", Some(node.id), None, message.to_owned())
                .await;
        }
        if known.facts.as_ref() != Some(&hello) {
            self.store.set_facts(node.id, &hello).await?;
        }
        if known.config_status.as_ref() != Some(&config) {
            self.store.set_config_status(node.id, &config).await?;
        }
        node.amend(|record| {
            record.facts = Some(hello.clone());
            record.config_status = Some(config.clone());
        });

        let (seat, older) = {
            let mut live = node.live();
            let mut pulse = live.pulse.clone();
            pulse.unary = false;
            live.hear(pulse, Instant::now(), time::now());
            let older = live.session.take();
            let seat = Arc::new(Seat::taken(&hello.boot_id, older.as_deref()));
            live.session = Some(Arc::clone(&seat));
            (seat, older)
        };
        if let Some(older) = &older {
            older.end(
                bye::Reason::Superseded,
                "a newer session of this node has taken its place",
                None,
            );
        }
        // Whoever bans or evicts a node ends the session that it has then: this
        // one may have come a moment later.
        let evicted = self
            .directory
            .find(node.id)
            .is_none_or(|known| !Arc::ptr_eq(&known, &node));
        if evicted {
            seat.end(bye::Reason::Evicted, "the node was evicted", None);
        } else if let Some(reason) = &node.record().banned {
            seat.end(bye::Reason::Banned, reason, None);
        }
        self.directory.tell(node.id);
        let half_life = u64::try_from(opened.token.expires - time::now() / 1000).unwrap_or(0) / 2;
        let session = Session {
            controller: Arc::clone(self),
            node,
            seat,
            out: out.clone(),
            mine: HashSet::new(),
            cancels: HashSet::new(),
            offered: None,
            renew_at: tokio::time::Instant::now() + Duration::from_secs(half_life),
            wanted: false,
            held_back: false,
            made_room: 0,
            next_due: None,
            complaints: 0,
            unknown: 0,
        };
        let greeting = Greeting {
            hello,
            held,
            features,
            older,
        };
        Ok((session, greeting))
    }
}

impl Session {
    pub(super) async fn welcome(&mut self, greeting: Greeting) -> Result<(), Status> {
        let controller = Arc::clone(&self.controller);
        let (hello, node) = (&greeting.hello, Some(self.node.id));
        if let Some(older) = &greeting.older {
            // Until it has left, it could still take commands off the queue.
            older.left().await;
            let message = "a newer session took the place of an older one; are two workers running \
                           with this node id?";
            controller
                .event("session-superseded", node, None, message)
                .await;
        }
        let message = format!("worker {} on {}", hello.worker_version, hello.platform);
        controller
            .event("session-opened", node, None, message)
            .await;
        let welcome = Welcome {
            session_id: self.seat.id.to_string(),
            heartbeat_interval: Some(proto_duration(controller.settings.heartbeat_interval)),
            server_time: Some(timestamp(time::now())),
            features: FEATURES
                .iter()
                .filter(|ours| greeting.features.iter().any(|one| one == *ours))
                .map(ToString::to_string)
                .collect(),
            cluster_id: controller.cluster_id.clone(),
        };
        self.send(controller_message::Message::Welcome(welcome))
            .await?;
        self.reconcile(&greeting.held, hello).await
    }
}

async fn say(out: &Out, message: controller_message::Message) -> Result<(), Status> {
    out.send_timeout(
        Ok(ControllerMessage {
            message: Some(message),
        }),
        SEND_TIMEOUT,
    )
    .await
    .map_err(|_| Status::aborted("the node is gone"))
}
