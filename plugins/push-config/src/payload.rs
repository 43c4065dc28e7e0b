//! The command's payload and the document in it.

use aegis_plugin_api::{
    prelude::*,
    serde_json::{self, Map, Value},
};
use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A config and its version.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PushConfigCommand {
    /// By which the config is known, together with its content. What was
    /// rejected is not tried again until one of the two changes.
    #[serde(alias = "config_version")]
    #[schemars(length(min = 1))]
    pub config_version: String,
    /// A JSON object in UTF-8, in base64.
    #[serde(alias = "config_payload")]
    #[schemars(extend("contentEncoding" = "base64"))]
    pub config_payload: String,
}

const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The document. As the JSON mapping of protobuf wants it, both alphabets of
/// base64 are read, padded or not.
pub fn decode(payload: &str) -> Result<Map<String, Value>, HandlerError> {
    let alphabet = if payload.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    let document = GeneralPurpose::new(&alphabet, EITHER_PADDING)
        .decode(payload)
        .map_err(|error| malformed(format!("configPayload is not base64: {error}")))?;
    serde_json::from_slice(&document)
        .map_err(|error| malformed(format!("the config is not a JSON object: {error}")))
}

fn malformed(message: String) -> HandlerError {
    HandlerError::new("malformed-config", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_padded_or_not() {
        // `{"k":"??>"}` has a `/` and a `+` at home, a `_` and a `-` abroad.
        for text in [
            "eyJrIjoiPz8+In0=",
            "eyJrIjoiPz8+In0",
            "eyJrIjoiPz8-In0=",
            "eyJrIjoiPz8-In0",
        ] {
            let document = decode(text).expect(text);
            assert_eq!(document["k"], "??>", "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_reason() {
        for (text, reason) in [
            ("***", "not base64"),
            ("", "not a JSON object"),
            ("WzFd", "expected a map"),
            ("/w==", "not a JSON object"),
        ] {
            let error = decode(text).expect_err(text);
            assert!(error.message.contains(reason), "{text}: {error}");
        }
    }
}
