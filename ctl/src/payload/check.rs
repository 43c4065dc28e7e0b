//! The payload against a request schema.

use jsonschema::PatternOptions;
use serde_json::Value;

use crate::{
    failure::Failure,
    offer::Offer,
    render::{clean, fields, short},
    schema::Schema,
};

/// Refuses a payload that the handler would refuse, and says all that is wrong
/// with it at once. A schema that can't be used refuses nothing: the worker
/// has the last word anyway.
pub fn check(payload: &Value, offer: &Offer) -> Result<(), Failure> {
    let Some(schema) = offer.request_schema() else {
        return Ok(());
    };
    let faults = faults(payload, &schema);
    if faults.is_empty() {
        return Ok(());
    }
    let name = clean(&offer.spec.name);
    let takes = match schema.fields() {
        fields if fields.is_empty() => String::new(),
        fields_of => format!("`{name}` takes:\n{}\n", fields(&fields_of)),
    };
    Err(Failure::usage(format!(
        "the payload is not what `{name}` takes on {}:\n{}",
        short(&offer.node_id),
        faults.join("\n")
    ))
    .next(format!(
        "{takes}Nothing was sent. `aegisctl describe {name}` shows more."
    )))
}

/// One line for each fault: where it is, then what it is.
fn faults(payload: &Value, schema: &Schema) -> Vec<String> {
    // Schemas come from nodes: patterns must match in linear time.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    let Ok(validator) = options.build(schema.document()) else {
        return Vec::new();
    };
    let mut faults: Vec<String> = validator
        .iter_errors(payload)
        .map(|error| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() {
                "(whole)".to_owned()
            } else {
                path
            };
            format!("  {}: {}", clean(&path), clean(&error.to_string()))
        })
        .collect();
    faults.sort_unstable();
    faults
}

#[cfg(test)]
mod tests {
    use aegis_proto::worker::v1::HandlerSpec;
    use serde_json::json;

    use super::*;

    fn offer(schema: &str) -> Offer {
        Offer {
            node_id: "0192f0c1-7a3e-4b7e-8a51-3f1f6f0e2d11".into(),
            spec: HandlerSpec {
                name: "hello".into(),
                request_schema: schema.into(),
                ..Default::default()
            },
        }
    }

    const SCHEMA: &str = r#"{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
        "name": {"type": "string", "description": "Who is greeted."},
        "times": {"type": "integer", "minimum": 1}
    }}"#;

    #[test]
    fn a_payload_that_fits_passes() {
        assert!(check(&json!({"name": "x", "times": 2}), &offer(SCHEMA)).is_ok());
    }

    #[test]
    fn every_fault_is_shown_with_its_path_and_what_the_command_takes() {
        let refused = check(&json!({"nam": "x", "times": 0}), &offer(SCHEMA)).unwrap_err();
        insta::assert_snapshot!("faults", refused.to_string());
        assert_eq!(refused.exit(), crate::failure::Exit::Usage);
    }

    #[test]
    fn a_schema_that_cannot_be_used_refuses_nothing() {
        for schema in [
            "",
            "no json",
            r#"{"type": 7}"#,
            r#"{"$ref": "http://127.0.0.1:1/x"}"#,
            r#"{"$ref": "file:///etc/passwd"}"#,
        ] {
            assert!(check(&json!({}), &offer(schema)).is_ok(), "{schema}");
        }
    }
}
