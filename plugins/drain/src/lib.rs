//! `drain`: takes the node out of work, and back.
//!
//! The command answers with the drain as it then is, as soon as that is written
//! down. The drain itself belongs to the node and is seen in its heartbeats
//! until it is finished.

#![forbid(unsafe_code)]

mod status;

use aegis_plugin_api::{host::DrainRequest, host::NodeControl, prelude::*};

use status::DrainStatus;

/// Begins, changes or undoes a drain.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DrainCommand {
    /// True: take no new work. False: take work again.
    drain: bool,
    /// Milliseconds from now after which running commands are cancelled; without
    /// it they are waited for as long as they take. 0: they are cancelled at once.
    #[serde(default, alias = "deadline_ms")]
    deadline_ms: Option<u64>,
    /// For the operators.
    #[serde(default)]
    reason: String,
}

struct Drain;

impl BlockingHandler for Drain {
    type Request = DrainCommand;
    type Response = DrainStatus;
    const SPEC: HandlerSpec = HandlerSpec::new("drain")
        .summary("Takes the node out of work, or back into it")
        .effect(Effect::Idempotent)
        .concurrency(1)
        .runs_while_draining();

    fn handle(&self, request: DrainCommand, cx: &Context) -> Result<DrainStatus, HandlerError> {
        let DrainCommand {
            drain,
            deadline_ms,
            reason,
        } = request;
        if !drain && deadline_ms.is_some() {
            return Err(HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                "deadlineMs has no meaning where a drain is undone",
            ));
        }
        let node: NodeControl = cx.interface()?;
        node.drain(&DrainRequest {
            drain,
            deadline_ms,
            reason,
        })
        .map(DrainStatus::from)
    }
}

export_plugin! {
    id: "drain",
    blocking: [Drain],
    requires: [NodeControl],
}
