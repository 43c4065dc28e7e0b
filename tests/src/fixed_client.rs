//! A node that speaks `aegis.cluster.v1` and nothing else.

use aegis_proto::cluster::v1::{node_cluster_service_client::NodeClusterServiceClient, *};
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// A node with its key and, once it answered a challenge, its token.
pub struct FixedClient {
    /// The plain client, for calls that no well-behaved node makes.
    pub rpc: NodeClusterServiceClient<Channel>,
    /// A UUID.
    pub node_id: String,
    /// Its identity.
    pub key: SigningKey,
    /// Empty before [`challenge`](Self::challenge).
    pub token: String,
    /// What it tells of itself.
    pub capabilities: NodeCapabilities,
    /// `host:port`.
    pub grpc_address: String,
}

impl FixedClient {
    /// A fresh node that has made no call yet.
    pub fn new(endpoint: &str) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system gives random bytes");
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .expect("an endpoint")
            .connect_lazy();
        Self {
            rpc: NodeClusterServiceClient::new(channel),
            node_id: uuid::Uuid::new_v4().to_string(),
            key: SigningKey::from_bytes(&seed),
            token: String::new(),
            capabilities: NodeCapabilities {
                cpu_cores: 4,
                available_memory_gb: 8,
                supported_runtimes: vec!["wasm".to_owned()],
                tags: vec!["fixed".to_owned()],
                ..NodeCapabilities::default()
            },
            grpc_address: "127.0.0.1:50057".to_owned(),
        }
    }

    /// Attests, answers the challenge and registers.
    pub async fn join(&mut self, enrolment_token: &str) -> Result<RegisterNodeResponse, Status> {
        self.attest_and_challenge(enrolment_token).await?;
        self.register().await
    }

    /// Attests and answers the challenge; keeps the token. An empty
    /// `enrolment_token` is left out.
    pub async fn attest_and_challenge(
        &mut self,
        enrolment_token: &str,
    ) -> Result<ChallengeNodeResponse, Status> {
        let challenge = self.attest(enrolment_token).await?;
        self.challenge(&challenge, enrolment_token).await
    }

    /// The request of [`attest`](Self::attest).
    pub fn attestation(&self, enrolment_token: &str) -> AttestNodeRequest {
        AttestNodeRequest {
            node_id: self.node_id.clone(),
            role: NodeRole::Worker.into(),
            public_key: self.key.verifying_key().to_bytes().to_vec(),
            capabilities: Some(self.capabilities.clone()),
            grpc_address: self.grpc_address.clone(),
            enrolment_token: enrolment_token.to_owned(),
        }
    }

    /// Asks for a challenge.
    pub async fn attest(&mut self, enrolment_token: &str) -> Result<AttestNodeResponse, Status> {
        let request = self.attestation(enrolment_token);
        Ok(self.rpc.attest_node(request).await?.into_inner())
    }

    /// Answers a challenge; keeps the token.
    pub async fn challenge(
        &mut self,
        challenge: &AttestNodeResponse,
        enrolment_token: &str,
    ) -> Result<ChallengeNodeResponse, Status> {
        let proof =
            challenge_node_request::BootstrapProof::EnrollmentToken(enrolment_token.to_owned());
        let request = ChallengeNodeRequest {
            challenge_id: challenge.challenge_id.clone(),
            node_id: self.node_id.clone(),
            challenge_signature: self.key.sign(&challenge.challenge_nonce).to_vec(),
            bootstrap_proof: (!enrolment_token.is_empty()).then_some(proof),
        };
        let answer = self.rpc.challenge_node(request).await?.into_inner();
        self.token.clone_from(&answer.node_security_token);
        Ok(answer)
    }

    /// Seals an inner message with its token and key.
    pub fn seal(&self, inner: &impl Message) -> SealNodeEnvelope {
        let payload = inner.encode_to_vec();
        SealNodeEnvelope {
            node_security_token: self.token.clone(),
            signature: self.key.sign(&payload).to_vec(),
            payload,
        }
    }

    /// Registers what the node can do.
    pub async fn register(&mut self) -> Result<RegisterNodeResponse, Status> {
        let inner = RegisterNodeInner {
            node_id: self.node_id.clone(),
            capabilities: Some(self.capabilities.clone()),
            grpc_address: self.grpc_address.clone(),
        };
        let request = RegisterNodeRequest {
            envelope: Some(self.seal(&inner)),
        };
        Ok(self.rpc.register_node(request).await?.into_inner())
    }

    /// The inner message of [`heartbeat`](Self::heartbeat).
    pub fn beat(&self, status: NodeStatus) -> NodeHeartbeatInner {
        NodeHeartbeatInner {
            node_id: self.node_id.clone(),
            status: status.into(),
            active_executions: 1,
            available_memory_gb: 8,
            cpu_utilization_percent: 12.5,
        }
    }

    /// Sends a heartbeat; answers with the pending commands.
    pub async fn heartbeat(
        &mut self,
        status: NodeStatus,
    ) -> Result<Vec<node_command::Command>, Status> {
        let request = NodeHeartbeatRequest {
            envelope: Some(self.seal(&self.beat(status))),
        };
        let answer = self.rpc.heartbeat(request).await?.into_inner();
        Ok(answer
            .pending_commands
            .into_iter()
            .filter_map(|it| it.command)
            .collect())
    }

    /// Says which config is in force, and hears of a newer one.
    pub async fn sync_config(&mut self, version: &str) -> Result<SyncConfigResponse, Status> {
        let inner = SyncConfigInner {
            node_id: self.node_id.clone(),
            current_config_version: version.to_owned(),
            tenant_id: None,
        };
        let request = SyncConfigRequest {
            envelope: Some(self.seal(&inner)),
        };
        Ok(self.rpc.sync_config(request).await?.into_inner())
    }

    /// The nodes of the cluster; empty filters let all through.
    pub async fn list_peers(
        &mut self,
        status: &[NodeStatus],
        role: &[NodeRole],
    ) -> Result<ListPeersResponse, Status> {
        let inner = ListPeersInner {
            filter_status: status.iter().map(|it| (*it).into()).collect(),
            filter_role: role.iter().map(|it| (*it).into()).collect(),
        };
        let request = ListPeersRequest {
            envelope: Some(self.seal(&inner)),
        };
        Ok(self.rpc.list_peers(request).await?.into_inner())
    }

    /// Asks which node should run something.
    pub async fn route(
        &mut self,
        required: NodeCapabilities,
        preferred_tags: &[&str],
    ) -> Result<RouteExecutionResponse, Status> {
        let inner = RouteExecutionInner {
            execution_id: uuid::Uuid::new_v4().to_string(),
            agent_id: uuid::Uuid::new_v4().to_string(),
            required_capabilities: Some(required),
            preferred_tags: preferred_tags.iter().map(|it| (*it).to_owned()).collect(),
            tenant_id: String::new(),
        };
        let request = RouteExecutionRequest {
            envelope: Some(self.seal(&inner)),
        };
        Ok(self.rpc.route_execution(request).await?.into_inner())
    }

    /// Leaves the cluster.
    pub async fn deregister(&mut self, reason: &str) -> Result<DeregisterNodeResponse, Status> {
        let inner = DeregisterNodeInner {
            node_id: self.node_id.clone(),
            reason: reason.to_owned(),
        };
        let request = DeregisterNodeRequest {
            envelope: Some(self.seal(&inner)),
        };
        Ok(self.rpc.deregister_node(request).await?.into_inner())
    }
}
