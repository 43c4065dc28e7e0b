//! Handlers, and commands as the fleet offers them.

use aegis_proto::worker::v1;
use serde::Serialize;
use serde_json::Value;

use super::{milliseconds, some, word};
use crate::schema::{Field, Schema};

/// A handler as its node reports it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Handler {
    pub name: String,
    pub plugin: String,
    pub summary: Option<String>,
    /// "read", "idempotent", "at-most-once" or "resumable".
    pub effect: String,
    pub timeout_ms: Option<u64>,
    pub concurrency: u32,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
    pub runs_while_draining: bool,
    /// JSON Schemas, as documents.
    pub request_schema: Option<Value>,
    pub response_schema: Option<Value>,
}

/// One line of `describe` without a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub name: String,
    pub plugin: String,
    pub summary: Option<String>,
    pub effect: String,
    /// Nodes that run it.
    pub enabled_on: usize,
    /// Nodes that have it, disabled.
    pub disabled_on: usize,
}

/// `describe COMMAND`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// As the first node that has it reports it.
    #[serde(flatten)]
    pub handler: Handler,
    /// The fields of its request.
    pub fields: Vec<Field>,
    /// The fields of its response.
    pub response_fields: Vec<Field>,
    pub nodes: Vec<HandlerOn>,
    /// Whether the nodes report different schemas, effects or timeouts.
    pub differs: bool,
}

/// The handler on one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HandlerOn {
    pub node_id: String,
    pub enabled: bool,
    pub disabled_reason: Option<String>,
}

impl From<v1::HandlerSpec> for Handler {
    fn from(spec: v1::HandlerSpec) -> Self {
        let schema = |text: &str| Schema::parse(text).map(|schema| schema.document().clone());
        Self {
            effect: word(spec.effect().as_str_name(), "EFFECT_"),
            timeout_ms: milliseconds(spec.timeout.as_ref()),
            request_schema: schema(&spec.request_schema),
            response_schema: schema(&spec.response_schema),
            name: spec.name,
            plugin: spec.plugin,
            summary: some(spec.summary),
            concurrency: spec.concurrency,
            enabled: spec.enabled,
            disabled_reason: some(spec.disabled_reason),
            runs_while_draining: spec.runs_while_draining,
        }
    }
}
