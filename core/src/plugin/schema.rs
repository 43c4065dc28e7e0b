//! Checks requests against the schemas in a plugin's manifest.

use std::{fmt, sync::OnceLock};

use aegis_plugin_api::HandlerError;
use aegis_proto::error_code::INVALID_PAYLOAD;
use jsonschema::Validator;
use serde_json::Value;

/// As many faults of one payload are listed.
const MAX_FAULTS: usize = 5;

/// The request schema of one handler, compiled when it is first needed.
pub(super) struct RequestSchema {
    schema: Value,
    compiled: OnceLock<Result<Validator, String>>,
}

impl RequestSchema {
    pub(super) fn new(schema: Value) -> Self {
        Self {
            schema,
            compiled: OnceLock::new(),
        }
    }

    /// Refuses a payload that the handler does not take.
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), HandlerError> {
        let refuse = |reason: String| {
            Err(HandlerError::new(INVALID_PAYLOAD, reason)
                .help("`aegisctl describe COMMAND` shows what it takes"))
        };
        let compiled = self.compiled.get_or_init(|| {
            jsonschema::validator_for(&self.schema).map_err(|error| error.to_string())
        });
        let validator = match compiled {
            Ok(validator) => validator,
            // What the schema would have said is not known, so nothing is let in.
            Err(error) => {
                return Err(super::answer::fault(format!(
                    "its request schema is unsound: {error}"
                )));
            }
        };
        let payload: Value = match serde_json::from_slice(payload) {
            Ok(payload) => payload,
            Err(error) => return refuse(format!("the payload is not JSON: {error}")),
        };
        let mut faults = validator.iter_errors(&payload).map(|error| {
            let path = error.instance_path().to_string();
            if path.is_empty() {
                error.to_string()
            } else {
                format!("{path}: {error}")
            }
        });
        let listed: Vec<String> = faults.by_ref().take(MAX_FAULTS).collect();
        if listed.is_empty() {
            return Ok(());
        }
        let more = if faults.next().is_some() {
            "; and more"
        } else {
            ""
        };
        refuse(format!(
            "the payload does not fit the schema: {}{more}",
            listed.join("; ")
        ))
    }
}

impl fmt::Debug for RequestSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSchema")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_that_does_not_fit_is_refused_with_every_fault() {
        let schema = RequestSchema::new(json!({
            "type": "object",
            "properties": { "name": { "type": "string" }, "count": { "type": "integer" } },
            "required": ["name"],
        }));
        schema.check(br#"{"name":"node"}"#).expect("it fits");
        let error = schema
            .check(br#"{"count":"many"}"#)
            .expect_err("two faults");
        assert_eq!(error.code, INVALID_PAYLOAD);
        assert!(
            error.message.contains("name") && error.message.contains("/count"),
            "{error}"
        );
        let error = schema.check(b"{").expect_err("no JSON");
        assert_eq!(error.code, INVALID_PAYLOAD);
    }

    #[test]
    fn an_unsound_schema_is_the_plugins_fault_and_lets_nothing_in() {
        let schema = RequestSchema::new(json!({ "type": 7 }));
        let error = schema.check(b"{}").expect_err("unsound");
        assert_eq!(error.code, aegis_proto::error_code::PLUGIN_FAULT);
    }
}
