//! A controller without its network, for a simulation of both ends of a
//! session; everything else is what a controller runs.

use std::sync::Arc;

use aegis_proto::{
    GroupId, NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    operator::v1 as api,
    worker::v1::{ControllerMessage, WorkerMessage},
};
use ed25519_dalek::VerifyingKey;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    Settings,
    controller::{Controller, ControllerError},
    operator::OperatorApi,
    session::SessionApi,
    store::{GroupRecord, NewAudit, NodeRecord, SharedStore, StoreError, TokenRecord},
    sweeper, time,
};

pub use crate::time::simulate as set_clock;

const OPERATOR: &str = "operator";

/// One life of a controller's process.
pub struct Life {
    controller: Arc<Controller>,
    operators: OperatorApi,
    sessions: SessionApi,
}

/// Both ends of what a node says, and what is said to it.
pub struct Ends {
    pub to: mpsc::Sender<Result<WorkerMessage, Status>>,
    pub from: mpsc::Receiver<Result<ControllerMessage, Status>>,
}

impl Life {
    pub async fn begin(store: SharedStore, settings: Settings) -> Result<Self, ControllerError> {
        let controller = Controller::new(store, settings).await?;
        Ok(Self {
            operators: OperatorApi::new(Arc::clone(&controller)),
            sessions: SessionApi::new(Arc::clone(&controller)),
            controller,
        })
    }

    /// Pins a node's key and registers it.
    pub async fn admit(&self, id: NodeId, public_key: VerifyingKey) -> Result<(), StoreError> {
        let (store, now) = (&self.controller.store, time::now());
        let record = NodeRecord {
            id,
            role: NodeRole::Worker,
            public_key,
            capabilities: NodeCapabilities::default(),
            grpc_address: String::new(),
            enrolled_at: now,
            registered_at: Some(now),
            deregistered: false,
            banned: None,
            facts: None,
            config_status: None,
        };
        let token = TokenRecord {
            id: time::new_id().to_string(),
            node: Some(id),
            created_at: now,
            expires_at: now + 1000,
            revoked_at: None,
            spent_by: None,
            note: String::new(),
        };
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(time::new_id().as_bytes());
        store.create_token(&token, &hash, &audit()).await?;
        if store.enrol(&hash, &record, now).await?.is_err() {
            return Err(StoreError::Malformed { what: "token" });
        }
        store.register(id, &record.capabilities, "", now).await?;
        self.controller.directory.add(record);
        Ok(())
    }

    /// What a node is told to do before it opens a session: it registers,
    /// unless it is registered.
    pub async fn register(&self, node: NodeId) -> Result<(), Status> {
        let node = self.controller.directory.find(node);
        let node = node.ok_or_else(|| Status::not_found("no such node"))?;
        if node.record().is_registered() {
            return Ok(());
        }
        let capabilities = NodeCapabilities::default();
        self.controller.join(&node, &capabilities, "").await
    }

    /// A node says goodbye.
    pub async fn deregister(&self, node: NodeId) -> Result<(), Status> {
        let node = self.controller.directory.find(node);
        let node = node.ok_or_else(|| Status::not_found("no such node"))?;
        self.controller.leave(&node, "").await
    }

    /// A security token, as a node gets for the answer to a challenge.
    pub fn token(&self, node: NodeId) -> Result<String, Status> {
        let record = self.controller.directory.find(node);
        let record = record
            .ok_or_else(|| Status::not_found("no such node"))?
            .record();
        let tokens = &self.controller.tokens;
        let (token, _) = tokens.issue(node, record.role, &record.capabilities, time::now())?;
        Ok(token)
    }

    /// A connection with room for so many messages of the node.
    pub fn connect(&self, room: usize) -> Result<Ends, Status> {
        let (to, inbound) = mpsc::channel(room);
        let from = self.sessions.serve(ReceiverStream::new(inbound))?;
        Ok(Ends { to, from })
    }

    pub async fn submit(
        &self,
        request: api::SubmitCommandRequest,
    ) -> Result<api::SubmitCommandResponse, Status> {
        let api = self.operators.clone();
        self.controller
            .to_the_end(async move { api.submit(OPERATOR, request).await })
            .await
    }

    pub async fn cancel(
        &self,
        request: api::CancelCommandRequest,
    ) -> Result<api::CancelCommandResponse, Status> {
        let api = self.operators.clone();
        self.controller
            .to_the_end(async move { api.cancel(OPERATOR, request).await })
            .await
    }

    /// What the sweeper does now and then.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        sweeper::sweep(&self.controller).await
    }

    /// Has the node's session look for what has come due.
    pub fn wake(&self, node: NodeId) {
        if let Some(node) = self.controller.directory.find(node) {
            node.wake();
        }
    }

    /// Begins an orderly end.
    pub fn stop(&self) {
        self.controller.stopping.cancel();
    }

    /// What became of a submission as a whole.
    pub async fn group(&self, id: GroupId) -> Result<Option<GroupRecord>, StoreError> {
        self.controller.store.group_counts(id).await
    }
}

fn audit() -> NewAudit {
    NewAudit {
        at: time::now(),
        operator: OPERATOR.into(),
        action: "CreateEnrolmentToken",
        detail: "{}".into(),
        result: "ok",
    }
}
