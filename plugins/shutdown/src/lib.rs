//! `shutdown`: ends the worker, after a drain.

#![forbid(unsafe_code)]

use aegis_plugin_api::{host::NodeControl, host::ShutdownRequest, prelude::*};

/// Ends the worker: drains it, then deregisters the node and exits.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShutdownCommand {
    /// For the log and the controller.
    #[serde(default)]
    reason: String,
    /// Milliseconds that running commands are waited for; without it as long as
    /// the worker's config says.
    #[serde(default, alias = "drain_timeout_ms")]
    drain_timeout_ms: Option<u64>,
}

struct Shutdown;

// Never run twice: a worker that was started again is not to end again.
impl Handler for Shutdown {
    type Request = ShutdownCommand;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("shutdown")
        .summary("Drains the worker and ends it")
        .effect(Effect::AtMostOnce)
        .concurrency(1)
        .inline()
        .runs_while_draining();

    async fn handle(
        &self,
        request: ShutdownCommand,
        cx: &Context,
    ) -> Result<NoFields, HandlerError> {
        let ShutdownCommand {
            reason,
            drain_timeout_ms,
        } = request;
        let node: NodeControl = cx.interface()?;
        node.shutdown(&ShutdownRequest {
            reason,
            drain_timeout_ms,
        })?;
        Ok(NoFields {})
    }
}

export_plugin! {
    id: "shutdown",
    handlers: [Shutdown],
    requires: [NodeControl],
}
