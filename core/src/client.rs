//! The worker's end of `aegis.cluster.v1`: one method for each RPC, each with
//! a deadline.
//!
//! It keeps the security token and seals what has to be sealed. It decides
//! nothing: what to call when, and what to do about a failure, is the
//! lifecycle's.

mod channel;
mod credentials;
mod error;

use std::{future::Future, sync::Arc, time::Duration};

use aegis_proto::{
    cluster::v1::{
        AttestNodeRequest, ChallengeNodeRequest, DeregisterNodeInner, DeregisterNodeRequest,
        NodeCapabilities, NodeHeartbeatInner, NodeHeartbeatRequest, NodeHeartbeatResponse,
        NodeRole, RegisterNodeInner, RegisterNodeRequest, RegisterNodeResponse, SealNodeEnvelope,
        SyncConfigInner, SyncConfigRequest, SyncConfigResponse,
        challenge_node_request::BootstrapProof,
        node_cluster_service_client::NodeClusterServiceClient,
    },
    limits::{MAX_MESSAGE_BYTES, NONCE_BYTES},
};
use prost::Message;
use tonic::{Request, Response, Status, transport::Channel};

use crate::{clock::BootInstant, config::model::ControllerConfig, identity::Identity};

use credentials::Credentials;
pub use error::{ClientError, EnrolmentRefusal, Failure, FailureKind};

/// How long any RPC may take, unless the caller has less time.
pub const RPC_DEADLINE: Duration = Duration::from_secs(10);

/// What a node says of itself when it attests and registers.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeProfile {
    /// What it is in the cluster.
    pub role: NodeRole,
    /// What it can run.
    pub capabilities: NodeCapabilities,
    /// `host:port` that others reach it at; may be empty.
    pub grpc_address: String,
}

/// A connection to a controller. Clones share connection and token.
#[derive(Debug, Clone)]
pub struct NodeClusterClient {
    config: Arc<ControllerConfig>,
    identity: Arc<Identity>,
    credentials: Arc<Credentials>,
    channel: Channel,
}

impl NodeClusterClient {
    /// Connects. A connection on which nothing comes back is given up after
    /// two and a half times `keepalive`.
    ///
    /// # Errors
    ///
    /// The controller cannot be reached, a TLS file cannot be read, or the
    /// config would have it speak plaintext to another machine.
    pub async fn connect(
        config: Arc<ControllerConfig>,
        identity: Arc<Identity>,
        keepalive: Duration,
    ) -> Result<Self, ClientError> {
        let channel = channel::open(&config, keepalive).await?;
        Ok(Self {
            config,
            identity,
            credentials: Arc::default(),
            channel,
        })
    }

    /// One that keeps the token, seals, and is connected to nothing: for a
    /// simulation.
    pub(crate) fn unconnected(identity: Arc<Identity>) -> Self {
        Self {
            config: Arc::new(ControllerConfig {
                endpoint: String::new(),
                enrolment_token: None,
                ca_cert: None,
                client_cert: None,
                client_key: None,
                insecure: false,
            }),
            identity,
            credentials: Arc::default(),
            channel: tonic::transport::Endpoint::from_static("http://[::1]:1").connect_lazy(),
        }
    }

    /// Connects anew and keeps the token.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn reconnect(&self, keepalive: Duration) -> Result<Self, ClientError> {
        let channel = channel::open(&self.config, keepalive).await?;
        Ok(Self {
            channel,
            ..self.clone()
        })
    }

    /// Proves who this node is and receives a token, which replaces the one
    /// before. Answers when it expires.
    ///
    /// The enrolment token is needed where the controller has no key of this
    /// node yet. The contract has a place for it in both requests; controllers
    /// differ in which they read.
    ///
    /// # Errors
    ///
    /// The controller refuses, or its challenge is not one to be signed.
    pub async fn attest_and_challenge(
        &self,
        profile: &NodeProfile,
        enrolment_token: Option<&str>,
    ) -> Result<BootInstant, ClientError> {
        let node_id = self.identity.node_id().to_string();
        let request = AttestNodeRequest {
            node_id: node_id.clone(),
            role: profile.role.into(),
            public_key: self.identity.public_key().to_vec(),
            capabilities: Some(profile.capabilities.clone()),
            grpc_address: profile.grpc_address.clone(),
            enrolment_token: enrolment_token.unwrap_or_default().to_owned(),
        };
        let mut grpc = self.grpc();
        let attested = call("AttestNode", RPC_DEADLINE, request, |r| grpc.attest_node(r)).await?;
        // Whatever else is signed by this key begins with other bytes; a nonce
        // of another length could be one of those.
        if attested.challenge_nonce.len() != NONCE_BYTES {
            return Err(ClientError::malformed(
                "AttestNode",
                format!(
                    "a challenge of {} bytes instead of {NONCE_BYTES}",
                    attested.challenge_nonce.len()
                ),
            ));
        }
        let request = ChallengeNodeRequest {
            challenge_id: attested.challenge_id,
            node_id,
            challenge_signature: self.identity.sign(&attested.challenge_nonce).to_vec(),
            bootstrap_proof: enrolment_token
                .map(|token| BootstrapProof::EnrollmentToken(token.to_owned())),
        };
        let mut grpc = self.grpc();
        let answer = call("ChallengeNode", RPC_DEADLINE, request, |r| {
            grpc.challenge_node(r)
        })
        .await?;
        if answer.node_security_token.is_empty() {
            return Err(ClientError::malformed("ChallengeNode", "an empty token"));
        }
        Ok(self.renew_token(answer.node_security_token, answer.expires_at))
    }

    /// Makes the node known.
    ///
    /// # Errors
    ///
    /// The controller refuses, be it by a status or in its answer.
    pub async fn register(
        &self,
        profile: &NodeProfile,
    ) -> Result<RegisterNodeResponse, ClientError> {
        let envelope = self.seal(
            "RegisterNode",
            &RegisterNodeInner {
                node_id: self.identity.node_id().to_string(),
                capabilities: Some(profile.capabilities.clone()),
                grpc_address: profile.grpc_address.clone(),
            },
        )?;
        let request = RegisterNodeRequest {
            envelope: Some(envelope),
        };
        let mut grpc = self.grpc();
        let answer = call("RegisterNode", RPC_DEADLINE, request, |r| {
            grpc.register_node(r)
        })
        .await?;
        if answer.accepted {
            Ok(answer)
        } else {
            Err(ClientError::declined("RegisterNode", answer.message))
        }
    }

    /// Says how the node is and hears what the controller wants. `node_id` is
    /// filled in here.
    ///
    /// # Errors
    ///
    /// The controller refuses or does not answer within `deadline`.
    pub async fn heartbeat(
        &self,
        heartbeat: NodeHeartbeatInner,
        deadline: Duration,
    ) -> Result<NodeHeartbeatResponse, ClientError> {
        let node_id = self.identity.node_id().to_string();
        let envelope = self.seal(
            "Heartbeat",
            &NodeHeartbeatInner {
                node_id,
                ..heartbeat
            },
        )?;
        let request = NodeHeartbeatRequest {
            envelope: Some(envelope),
        };
        let mut grpc = self.grpc();
        call("Heartbeat", deadline.min(RPC_DEADLINE), request, |r| {
            grpc.heartbeat(r)
        })
        .await
    }

    /// Takes leave.
    ///
    /// # Errors
    ///
    /// The controller refuses or does not answer.
    pub async fn deregister(&self, reason: &str) -> Result<(), ClientError> {
        let envelope = self.seal(
            "DeregisterNode",
            &DeregisterNodeInner {
                node_id: self.identity.node_id().to_string(),
                reason: reason.to_owned(),
            },
        )?;
        let request = DeregisterNodeRequest {
            envelope: Some(envelope),
        };
        let mut grpc = self.grpc();
        let answer = call("DeregisterNode", RPC_DEADLINE, request, |r| {
            grpc.deregister_node(r)
        })
        .await?;
        if answer.accepted {
            Ok(())
        } else {
            Err(ClientError::declined("DeregisterNode", String::new()))
        }
    }

    /// Tells which config is in force, empty for none, and hears of a newer.
    ///
    /// # Errors
    ///
    /// The controller refuses or does not answer.
    pub async fn sync_config(
        &self,
        current_version: &str,
    ) -> Result<SyncConfigResponse, ClientError> {
        let envelope = self.seal(
            "SyncConfig",
            &SyncConfigInner {
                node_id: self.identity.node_id().to_string(),
                current_config_version: current_version.to_owned(),
                tenant_id: None,
            },
        )?;
        let request = SyncConfigRequest {
            envelope: Some(envelope),
        };
        let mut grpc = self.grpc();
        call("SyncConfig", RPC_DEADLINE, request, |r| grpc.sync_config(r)).await
    }

    /// When the token expires; `None` without one.
    pub fn token_expires_at(&self) -> Option<BootInstant> {
        self.credentials.expires_at()
    }

    /// Takes a token that came by another way than an attestation, and answers
    /// when it expires.
    pub fn renew_token(
        &self,
        token: String,
        expires_at: Option<prost_types::Timestamp>,
    ) -> BootInstant {
        self.credentials.replace(token, expires_at)
    }

    /// A message in its envelope.
    ///
    /// # Errors
    ///
    /// There is no token yet.
    pub fn seal(
        &self,
        rpc: &'static str,
        inner: &impl Message,
    ) -> Result<SealNodeEnvelope, ClientError> {
        let token = self
            .credentials
            .token()
            .ok_or_else(|| ClientError::no_token(rpc))?;
        let payload = inner.encode_to_vec();
        Ok(SealNodeEnvelope {
            node_security_token: token,
            signature: self.identity.sign(&payload).to_vec(),
            payload,
        })
    }

    /// What the session is opened on.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn grpc(&self) -> NodeClusterServiceClient<Channel> {
        NodeClusterServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Awaits an RPC for so long, and has the server know how long that is.
async fn call<Q, A, F>(
    rpc: &'static str,
    deadline: Duration,
    request: Q,
    send: impl FnOnce(Request<Q>) -> F,
) -> Result<A, ClientError>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut request = Request::new(request);
    request.set_timeout(deadline);
    match tokio::time::timeout(deadline, send(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(ClientError::from_status(rpc, status)),
        Err(_) => Err(ClientError::timed_out(rpc, deadline)),
    }
}
