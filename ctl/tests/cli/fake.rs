//! A controller of the operator API that says what a test tells it to say.

mod service;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aegis_proto::{
    cluster::v1::{NodeCapabilities, NodeInfo, NodeStatus},
    operator::v1::{
        CommandEvent, CommandView, ConfigRevision, Group, ListPluginsResponse, NodeView,
        SetConfigRequest, ShowConfigResponse, ShowRolloutResponse, SteerRolloutRequest,
        SubmitCommandRequest, command_event::Event, operator_service_server::OperatorServiceServer,
    },
    worker::v1::{CommandState, Effect, HandlerSpec, OutputChunk, Plugin, Progress},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, transport::Server};

pub const TOKEN: &str = "good-token";
pub const ALPHA: &str = "0192f0c1-7a3e-4b7e-8a51-3f1f6f0e2d11";
pub const BETA: &str = "7d3c0000-0000-4000-8000-000000000001";

/// The state of the fake: what it answers, and what it was asked.
#[derive(Default)]
pub struct Script {
    pub nodes: Vec<NodeView>,
    pub handlers: Vec<HandlerSpec>,
    /// One for each time that WatchCommands is called. Without one left the
    /// stream stays open and silent.
    pub streams: VecDeque<Vec<Result<CommandEvent, Status>>>,
    /// What WatchNodes sends.
    pub node_changes: Vec<NodeView>,
    pub config: ShowConfigResponse,
    pub revisions: Vec<ConfigRevision>,
    /// One for each time that ShowRollout is called; the last one stays.
    pub rollouts: VecDeque<ShowRolloutResponse>,
    pub steered: Vec<SteerRolloutRequest>,
    pub group: Option<Group>,
    /// What ListCommands and ShowCommand know.
    pub commands: Vec<CommandView>,
    pub kept_output: Vec<u8>,
    pub plugins: ListPluginsResponse,
    pub submitted: Vec<SubmitCommandRequest>,
    pub configs: Vec<SetConfigRequest>,
}

/// A running fake.
#[derive(Clone)]
pub struct Fake {
    script: Arc<Mutex<Script>>,
    endpoint: String,
}

impl Fake {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            script: Arc::new(Mutex::new(script)),
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
        };
        let service = OperatorServiceServer::new(fake.clone());
        // Ends with the test's runtime.
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        fake
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn submitted(&self) -> Vec<SubmitCommandRequest> {
        self.script.lock().unwrap().submitted.clone()
    }

    pub fn steered(&self) -> Vec<SteerRolloutRequest> {
        self.script.lock().unwrap().steered.clone()
    }

    pub fn configs(&self) -> Vec<SetConfigRequest> {
        self.script.lock().unwrap().configs.clone()
    }
}

pub fn node(id: &str, hostname: &str) -> NodeView {
    NodeView {
        info: Some(NodeInfo {
            node_id: id.into(),
            role: 2,
            status: NodeStatus::Active.into(),
            capabilities: Some(NodeCapabilities {
                cpu_cores: 8,
                available_memory_gb: 32,
                tags: vec!["gpu".into()],
                ..Default::default()
            }),
            ..Default::default()
        }),
        connected: true,
        transport: "session".into(),
        hostname: hostname.into(),
        platform: "linux/x86_64".into(),
        worker_version: "0.1.0".into(),
        available_memory_gb: 20,
        cpu_utilization_percent: 12.5,
        ..Default::default()
    }
}

pub fn hello() -> HandlerSpec {
    HandlerSpec {
        name: "hello".into(),
        plugin: "hello-plugin".into(),
        effect: Effect::Read.into(),
        timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        concurrency: 4,
        enabled: true,
        summary: "Greets.".into(),
        request_schema: r#"{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
            "name": {"type": "string", "description": "Who is greeted."},
            "times": {"type": "integer", "minimum": 1}}}"#
            .into(),
        response_schema: r#"{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}"#.into(),
        ..Default::default()
    }
}

pub fn plugin() -> Plugin {
    Plugin {
        name: "hello-plugin".into(),
        version: "0.1.0".into(),
        placement: "in-process".into(),
        sha256: vec![0xab; 32],
        state: "active".into(),
        trust: "signed".into(),
        ..Default::default()
    }
}

/// Two nodes that have `hello`.
pub fn two_nodes() -> Script {
    Script {
        nodes: vec![node(ALPHA, "alpha"), node(BETA, "beta")],
        handlers: vec![hello()],
        ..Default::default()
    }
}

/// The id of the command that a node gets from [`Fake`].
pub fn command_id(node: &str) -> String {
    format!("0199aaaa-0000-7000-8000-{}", &node[24..])
}

pub fn command(node: &str, state: CommandState) -> CommandView {
    CommandView {
        command_id: command_id(node),
        group_id: "0199aaaa-0000-7000-8000-00000000ffff".into(),
        node_id: node.into(),
        name: "hello".into(),
        state: state.into(),
        ..Default::default()
    }
}

pub fn state(view: CommandView) -> Result<CommandEvent, Status> {
    Ok(CommandEvent {
        command_id: view.command_id.clone(),
        event: Some(Event::Command(view)),
        attempt: 0,
    })
}

pub fn succeeded(node: &str, response: &str) -> Result<CommandEvent, Status> {
    state(CommandView {
        response: response.into(),
        ..command(node, CommandState::Succeeded)
    })
}

pub fn output(node: &str, offset: u64, text: &str) -> Result<CommandEvent, Status> {
    Ok(CommandEvent {
        command_id: command_id(node),
        event: Some(Event::Output(OutputChunk {
            offset,
            data: text.into(),
        })),
        attempt: 1,
    })
}

pub fn progress(node: &str, permille: u32, note: &str) -> Result<CommandEvent, Status> {
    Ok(CommandEvent {
        command_id: command_id(node),
        event: Some(Event::Progress(Progress {
            permille,
            note: note.into(),
        })),
        attempt: 0,
    })
}
