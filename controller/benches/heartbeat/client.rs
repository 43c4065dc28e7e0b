//! The client process: many nodes, one connection each.

use std::{io::Write, path::Path, time::Duration};

use aegis_proto::{
    HELLO_PURPOSE, NodeId,
    cluster::v1::{
        AttestNodeRequest, ChallengeNodeRequest, NodeCapabilities, NodeHeartbeatInner,
        NodeHeartbeatRequest, NodeRole, NodeStatus, RegisterNodeInner, RegisterNodeRequest,
        SealNodeEnvelope, node_cluster_service_client::NodeClusterServiceClient,
    },
    worker::v1::{
        Heartbeat, Hello, WorkerMessage, controller_message, worker_message::Message,
        worker_session_client::WorkerSessionClient,
    },
};
use anyhow::Context;
use ed25519_dalek::{Signer, SigningKey};
use tokio::{sync::mpsc, task::JoinSet, time::interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::from_env;

/// Between two heartbeats on one session.
const PACE: Duration = Duration::from_millis(100);

struct Node {
    id: String,
    key: SigningKey,
    token: String,
    channel: Channel,
}

pub async fn dial(port: u16, cert: &Path) -> anyhow::Result<Channel> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(std::fs::read(cert)?))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?.tls_config(tls)?;
    Ok(endpoint.connect().await?)
}

pub async fn run(load: &str) -> anyhow::Result<()> {
    let port = std::env::var("AEGIS_BENCH_PORT")?.parse()?;
    let cert = std::env::var("AEGIS_BENCH_CERT")?;
    let connections = from_env("AEGIS_BENCH_CONNECTIONS", 200);
    let beats = from_env("AEGIS_BENCH_BEATS", 40);
    let mut tokens = Vec::new();
    for line in std::io::stdin().lines() {
        match line? {
            line if line.is_empty() => break,
            token => tokens.push(token),
        }
    }

    let mut nodes = Vec::new();
    for at in 0..connections {
        let mut node = Node::new(dial(port, Path::new(&cert)).await?)?;
        if let Some(token) = tokens.get(at) {
            node.enrol(token).await?;
        }
        nodes.push(node);
    }
    let greet = !tokens.is_empty();
    let mut running = JoinSet::new();
    let (go, _) = tokio::sync::broadcast::channel::<()>(1);
    let (ready, mut readied) = mpsc::channel(connections);
    for node in nodes {
        let (mut go, ready) = (go.subscribe(), ready.clone());
        let session = load == "session";
        running.spawn(async move {
            if session {
                node.beat_on_session(beats, greet, ready, &mut go)
                    .await
                    .map(Some)
            } else {
                ready.send(()).await?;
                go.recv().await?;
                node.beat(beats).await?;
                anyhow::Ok(None)
            }
        });
    }
    for _ in 0..connections {
        readied.recv().await.context("a node failed")?;
    }
    say("ready")?;
    wait_for_parent().await?;
    go.send(())?;
    let mut open = Vec::new();
    while let Some(ended) = running.join_next().await {
        open.push(ended??);
    }
    // The last heartbeats are on their way; what ends a session is not measured.
    tokio::time::sleep(Duration::from_millis(200)).await;
    say(&format!("done {}", connections * beats))?;
    wait_for_parent().await
}

/// A line, or the end of the pipe.
async fn wait_for_parent() -> anyhow::Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

impl Node {
    fn new(channel: Channel) -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let id = NodeId::from_uuid(uuid::Uuid::new_v4()).to_string();
        Ok(Self {
            id,
            key: SigningKey::from_bytes(&seed),
            token: String::new(),
            channel,
        })
    }

    fn seal(&self, inner: &impl prost::Message) -> Option<SealNodeEnvelope> {
        let payload = inner.encode_to_vec();
        Some(SealNodeEnvelope {
            node_security_token: self.token.clone(),
            signature: self.key.sign(&payload).to_bytes().to_vec(),
            payload,
        })
    }

    async fn enrol(&mut self, token: &str) -> anyhow::Result<()> {
        let mut cluster = NodeClusterServiceClient::new(self.channel.clone());
        let attestation = AttestNodeRequest {
            node_id: self.id.clone(),
            role: NodeRole::Worker.into(),
            public_key: self.key.verifying_key().as_bytes().to_vec(),
            capabilities: Some(NodeCapabilities::default()),
            grpc_address: String::new(),
            enrolment_token: token.into(),
        };
        let challenge = cluster.attest_node(attestation).await?.into_inner();
        let answer = ChallengeNodeRequest {
            challenge_id: challenge.challenge_id,
            node_id: self.id.clone(),
            challenge_signature: self
                .key
                .sign(&challenge.challenge_nonce)
                .to_bytes()
                .to_vec(),
            bootstrap_proof: None,
        };
        self.token = cluster
            .challenge_node(answer)
            .await?
            .into_inner()
            .node_security_token;
        let inner = RegisterNodeInner {
            node_id: self.id.clone(),
            capabilities: Some(NodeCapabilities::default()),
            grpc_address: String::new(),
        };
        let request = RegisterNodeRequest {
            envelope: self.seal(&inner),
        };
        cluster.register_node(request).await?;
        Ok(())
    }

    async fn beat(&self, beats: usize) -> anyhow::Result<()> {
        let mut cluster = NodeClusterServiceClient::new(self.channel.clone());
        for _ in 0..beats {
            let inner = NodeHeartbeatInner {
                node_id: self.id.clone(),
                status: NodeStatus::Active.into(),
                available_memory_gb: 8,
                ..Default::default()
            };
            cluster
                .heartbeat(NodeHeartbeatRequest {
                    envelope: self.seal(&inner),
                })
                .await?;
        }
        Ok(())
    }

    async fn beat_on_session(
        &self,
        beats: usize,
        greet: bool,
        ready: mpsc::Sender<()>,
        go: &mut tokio::sync::broadcast::Receiver<()>,
    ) -> anyhow::Result<mpsc::Sender<WorkerMessage>> {
        let (out, messages) = mpsc::channel(4);
        let mut inbound = WorkerSessionClient::new(self.channel.clone())
            .connect(ReceiverStream::new(messages))
            .await?
            .into_inner();
        if greet {
            let first = inbound.message().await?.and_then(|message| message.message);
            let Some(controller_message::Message::Challenge(challenge)) = first else {
                anyhow::bail!("no challenge came");
            };
            let hello = Hello {
                purpose: HELLO_PURPOSE.into(),
                node_id: self.id.clone(),
                challenge: challenge.nonce,
                ..Hello::default()
            };
            let envelope = self.seal(&hello).context("sealed")?;
            out.send(WorkerMessage {
                message: Some(Message::Hello(envelope)),
            })
            .await?;
            inbound.message().await?.context("no welcome came")?;
        }
        tokio::spawn(async move { while let Ok(Some(_)) = inbound.message().await {} });
        ready.send(()).await?;
        go.recv().await?;
        let mut pace = interval(PACE);
        for sequence in 0..beats as u64 {
            pace.tick().await;
            let heartbeat = Heartbeat {
                sequence,
                status: NodeStatus::Active.into(),
                available_memory_gb: 8,
                ..Heartbeat::default()
            };
            let message = Some(Message::Heartbeat(heartbeat));
            out.send(WorkerMessage { message }).await?;
        }
        Ok(out)
    }
}
