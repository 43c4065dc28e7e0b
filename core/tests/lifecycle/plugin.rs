//! A plugin linked into these tests: work that takes as long as it is let, and
//! the node's drain and end through the host interface that it is granted.

use aegis_plugin_api::{
    host::{DrainRequest, NodeControl, ShutdownRequest},
    prelude::*,
};

/// As in the config's `[plugins.NAME]`.
pub const PLUGIN: &str = "lifecycle-tests";

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Done {}

/// Until it is cancelled.
struct Hold;

impl Handler for Hold {
    type Request = Nothing;
    type Response = Done;
    const SPEC: HandlerSpec = HandlerSpec::new("hold").effect(Effect::Read);

    async fn handle(&self, _: Nothing, cx: &Context) -> Result<Done, HandlerError> {
        cx.progress(1, "holding");
        cx.cancelled().await;
        Err(HandlerError::new("cancelled", "told to let go"))
    }
}

#[derive(Deserialize, JsonSchema)]
struct DrainCommand {
    drain: bool,
}

struct Drain;

impl Handler for Drain {
    type Request = DrainCommand;
    type Response = Done;
    const SPEC: HandlerSpec = HandlerSpec::new("drain")
        .effect(Effect::Idempotent)
        .runs_while_draining();

    async fn handle(&self, request: DrainCommand, cx: &Context) -> Result<Done, HandlerError> {
        let node: NodeControl = cx.interface()?;
        node.drain(&DrainRequest {
            drain: request.drain,
            deadline_ms: None,
            reason: String::new(),
        })?;
        Ok(Done {})
    }
}

#[derive(Deserialize, JsonSchema)]
struct ShutdownCommand {
    reason: String,
}

struct Shutdown;

impl Handler for Shutdown {
    type Request = ShutdownCommand;
    type Response = Done;
    const SPEC: HandlerSpec = HandlerSpec::new("shutdown").runs_while_draining();

    async fn handle(&self, request: ShutdownCommand, cx: &Context) -> Result<Done, HandlerError> {
        let node: NodeControl = cx.interface()?;
        node.shutdown(&ShutdownRequest {
            reason: request.reason,
            drain_timeout_ms: Some(0),
        })?;
        Ok(Done {})
    }
}

export_plugin! {
    id: "lifecycle-tests",
    handlers: [Hold, Drain, Shutdown],
    requires: [NodeControl],
}
