//! Opening sealed requests: token, then node, then signature, and only then
//! the payload.

use std::sync::Arc;

use aegis_proto::{
    NodeId,
    cluster::v1::{
        DeregisterNodeInner, NodeCapabilities, NodeHeartbeatInner, RegisterNodeInner,
        SealNodeEnvelope, SyncConfigInner,
    },
    error_info::{NODE_BANNED, NODE_UNKNOWN, SIGNATURE_INVALID, TOKEN_EXPIRED, TOKEN_INVALID},
    worker::v1::Hello,
};
use ed25519_dalek::{Signature, Verifier};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    auth::{TokenError, VerifiedToken},
    controller::Controller,
    directory::Node,
    status::refuse,
    time,
};

/// Bytes of capabilities or an address that a node may register.
const MAX_CAPABILITIES_BYTES: usize = 16 * 1024;
const MAX_ADDRESS_BYTES: usize = 256;

/// An inner message that names the node it comes from.
pub(crate) trait FromNode: Message + Default {
    /// The id as it was sent.
    fn node_id(&self) -> &str;
}

macro_rules! from_node {
    ($($message:ty),*) => {
        $(impl FromNode for $message {
            fn node_id(&self) -> &str {
                &self.node_id
            }
        })*
    };
}

from_node!(
    RegisterNodeInner,
    NodeHeartbeatInner,
    DeregisterNodeInner,
    SyncConfigInner,
    Hello
);

/// An opened envelope.
#[derive(Debug)]
pub(crate) struct Opened<M> {
    /// Who sealed it.
    pub node: Arc<Node>,
    /// The token that came with it.
    pub token: VerifiedToken,
    /// What was in it.
    pub inner: M,
}

impl Controller {
    /// Opens an envelope whose payload names its node.
    pub(crate) fn open<M: FromNode>(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<Opened<M>, Status> {
        let opened = self.open_any::<M>(envelope)?;
        let named: NodeId = opened
            .inner
            .node_id()
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        if named != opened.node.id {
            return Err(refuse(
                Code::Unauthenticated,
                TOKEN_INVALID,
                format!(
                    "the payload names node {named}, but the token is of node {}",
                    opened.node.id
                ),
            ));
        }
        Ok(opened)
    }

    /// Opens an envelope whose payload does not name its node.
    pub(crate) fn open_any<M: Message + Default>(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<Opened<M>, Status> {
        let envelope = envelope
            .ok_or_else(|| Status::unauthenticated("the request has no envelope; seal it"))?;
        let token = self
            .tokens
            .verify(&envelope.node_security_token, time::now())
            .map_err(|error| refuse_token(&error))?;
        let node = self
            .directory
            .find(token.node)
            .ok_or_else(|| unknown_node(token.node))?;
        let record = node.record();
        if let Some(reason) = &record.banned {
            return Err(banned(node.id, reason));
        }
        let signature = Signature::from_slice(&envelope.signature).ok();
        let good = signature.is_some_and(|signature| {
            // The key was found not to be weak when it was pinned.
            record
                .public_key
                .verify(&envelope.payload, &signature)
                .is_ok()
        });
        if !good {
            return Err(refuse(
                Code::Unauthenticated,
                SIGNATURE_INVALID,
                format!(
                    "the envelope's signature is not that of node {}'s pinned key",
                    node.id
                ),
            ));
        }
        let inner = M::decode(&envelope.payload[..]).map_err(|error| {
            Status::invalid_argument(format!("the payload can't be decoded: {error}"))
        })?;
        Ok(Opened { node, token, inner })
    }

    /// As [`Controller::open`], from a node that has registered.
    pub(crate) fn open_registered<M: FromNode>(
        &self,
        envelope: Option<SealNodeEnvelope>,
    ) -> Result<Opened<M>, Status> {
        let opened = self.open(envelope)?;
        if !opened.node.record().is_registered() {
            return Err(refuse(
                Code::Unauthenticated,
                NODE_UNKNOWN,
                format!(
                    "node {} is not registered; attest and register first",
                    opened.node.id
                ),
            ));
        }
        Ok(opened)
    }
}

/// A banned node's answer to everything.
pub(crate) fn banned(node: NodeId, reason: &str) -> Status {
    let why = if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    };
    refuse(
        Code::PermissionDenied,
        NODE_BANNED,
        format!("node {node} is banned{why}; an operator can lift it with aegisctl unban"),
    )
}

/// Sizes that a node may register.
pub(crate) fn check_capabilities(
    capabilities: Option<NodeCapabilities>,
    grpc_address: &str,
) -> Result<NodeCapabilities, Status> {
    let capabilities =
        capabilities.ok_or_else(|| Status::invalid_argument("the capabilities are missing"))?;
    if capabilities.encoded_len() > MAX_CAPABILITIES_BYTES {
        return Err(Status::invalid_argument(format!(
            "the capabilities take more than {MAX_CAPABILITIES_BYTES} bytes; send fewer tags and runtimes"
        )));
    }
    if grpc_address.len() > MAX_ADDRESS_BYTES {
        return Err(Status::invalid_argument(format!(
            "the gRPC address is longer than {MAX_ADDRESS_BYTES} bytes"
        )));
    }
    Ok(capabilities)
}

fn unknown_node(node: NodeId) -> Status {
    refuse(
        Code::Unauthenticated,
        NODE_UNKNOWN,
        format!("node {node} is not known here; attest and register again"),
    )
}

fn refuse_token(error: &TokenError) -> Status {
    let (reason, next) = match error {
        TokenError::Expired => (TOKEN_EXPIRED, "attest again"),
        TokenError::Foreign => (NODE_UNKNOWN, "attest and register again"),
        TokenError::Invalid | TokenError::Sign => (TOKEN_INVALID, "attest again"),
    };
    refuse(Code::Unauthenticated, reason, format!("{error}; {next}"))
}
