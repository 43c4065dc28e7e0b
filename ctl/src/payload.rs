//! The payload of a command: from JSON or from `--arg k=v`, and checked
//! against what the nodes say they take before anything is sent.

mod argument;
mod check;

use std::{fs, io::Read as _};

use aegis_proto::limits::MAX_PAYLOAD_BYTES;
use serde_json::{Map, Value};

pub use self::{argument::Argument, check::check};
use crate::{failure::Failure, schema::Schema};

/// The payload as it was written on the command line.
#[derive(Debug, PartialEq)]
pub enum Source {
    /// Nothing: an empty object, or `null` for a handler that takes nothing.
    Nothing,
    /// A whole document.
    Json(Value),
    /// One `--arg` per field; their types wait for the schema.
    Arguments(Vec<Argument>),
}

impl Source {
    /// Reads `[JSON | --arg k=v …]`. JSON may be `@FILE`, or `-` for standard
    /// input.
    pub fn read(json: Option<&str>, arguments: Vec<Argument>) -> Result<Self, Failure> {
        match json {
            None if arguments.is_empty() => Ok(Self::Nothing),
            None => Ok(Self::Arguments(arguments)),
            Some(_) if !arguments.is_empty() => {
                Err(Failure::usage("both a JSON payload and --arg are given")
                    .next("Use one of them."))
            }
            Some(json) => document(json).map(Self::Json),
        }
    }

    /// The payload for handlers of this schema.
    pub fn payload(&self, schema: Option<&Schema>) -> Result<Value, Failure> {
        match self {
            Self::Nothing if schema.is_some_and(Schema::is_null) => Ok(Value::Null),
            Self::Nothing => Ok(Value::Object(Map::new())),
            Self::Json(value) => Ok(value.clone()),
            Self::Arguments(arguments) => argument::object(arguments, schema),
        }
    }
}

/// A JSON document from an argument, a file or standard input.
fn document(text: &str) -> Result<Value, Failure> {
    let (name, text) = match text.strip_prefix('@') {
        Some(path) => (path.to_owned(), fs::read_to_string(path)),
        None if text == "-" => {
            let mut input = String::new();
            let limit = MAX_PAYLOAD_BYTES as u64 + 1;
            let read = std::io::stdin()
                .lock()
                .take(limit)
                .read_to_string(&mut input);
            ("standard input".to_owned(), read.map(|_| input))
        }
        None => ("the payload".to_owned(), Ok(text.to_owned())),
    };
    let text = text
        .map_err(|error| Failure::usage(format!("can't read the payload from {name}: {error}")))?;
    parse(&name, &text)
}

/// Parses a JSON document that came from `name`.
pub fn parse(name: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("{name} is not JSON: {error}"))
            .next(r#"Write it as '{"key": "value"}' in single quotes, as @FILE, as - for standard input, or field by field with --arg key=value."#)
    })
}

/// The payload in bytes, where it is not too large to be sent.
pub fn encode(payload: &Value) -> Result<Vec<u8>, Failure> {
    let bytes = payload.to_string().into_bytes();
    if bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(Failure::usage(format!(
            "the payload has {} bytes and may have {MAX_PAYLOAD_BYTES} at the most",
            bytes.len()
        ))
        .next("Put large data where the node can fetch it, and send its address."));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_an_empty_object_or_null_where_null_is_taken() {
        let null = Schema::parse(r#"{"type":"null"}"#).unwrap();
        assert_eq!(Source::Nothing.payload(None).unwrap(), json!({}));
        assert_eq!(Source::Nothing.payload(Some(&null)).unwrap(), json!(null));
    }

    #[test]
    fn json_may_come_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"a": [1]}"#).unwrap();
        let source =
            Source::read(Some(&format!("@{}", file.path().display())), Vec::new()).unwrap();
        assert_eq!(source, Source::Json(json!({"a": [1]})));
    }

    #[test]
    fn unreadable_payloads_are_refused_with_their_place() {
        let broken = Source::read(Some("{name: 1}"), Vec::new())
            .unwrap_err()
            .to_string();
        assert!(broken.contains("line 1 column 2"), "{broken}");
        let both = Source::read(Some("{}"), vec!["a=b".parse().unwrap()]).unwrap_err();
        assert!(both.to_string().contains("both"), "{both}");
        assert!(Source::read(Some("@/no/such/file"), Vec::new()).is_err());
    }

    #[test]
    fn a_payload_over_the_limit_is_not_sent() {
        assert!(encode(&json!("x".repeat(MAX_PAYLOAD_BYTES - 2))).is_ok());
        assert!(encode(&json!("x".repeat(MAX_PAYLOAD_BYTES - 1))).is_err());
    }
}
