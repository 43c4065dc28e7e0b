//! Turns what a plugin answered into what dispatch understands.

use aegis_plugin_api::{
    HandlerError,
    abi::{AEGIS_STATUS_CANCELLED, AEGIS_STATUS_ERROR, AEGIS_STATUS_OK, AEGIS_STATUS_PANICKED},
};
use aegis_proto::{
    error_code::{PANICKED, PLUGIN_FAULT},
    limits::MAX_PAYLOAD_BYTES,
};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Completion;

const MAX_MESSAGE_BYTES: usize = 8 * 1024;
const MAX_CODE_BYTES: usize = 64;
/// What `serde_json` reads, and so everyone behind us.
const MAX_DEPTH: usize = 127;

/// The end of a call. `None`: the plugin gave a length that cannot be true.
pub(super) fn completion(status: u32, document: Option<&[u8]>) -> Completion {
    match status {
        AEGIS_STATUS_OK => match response(document) {
            Ok(response) => Completion::Succeeded(response),
            Err(error) => Completion::Failed(error),
        },
        AEGIS_STATUS_ERROR => Completion::Failed(error_document(document, "failed")),
        AEGIS_STATUS_CANCELLED if document.is_some_and(<[u8]>::is_empty) => {
            Completion::Cancelled(None)
        }
        AEGIS_STATUS_CANCELLED => {
            Completion::Cancelled(Some(error_document(document, "cancelled")))
        }
        AEGIS_STATUS_PANICKED => Completion::Panicked(error_document(document, PANICKED)),
        other => Completion::Failed(fault(format!(
            "it completed with status {other}, which means nothing"
        ))),
    }
}

fn response(document: Option<&[u8]>) -> Result<Bytes, HandlerError> {
    let document =
        document.ok_or_else(|| fault("its response has a length that cannot be true".into()))?;
    if document.len() > MAX_PAYLOAD_BYTES {
        return Err(fault(format!(
            "its response has {} bytes, more than {MAX_PAYLOAD_BYTES}",
            document.len()
        ))
        .help("large results belong into the output stream"));
    }
    let text = std::str::from_utf8(document).map_err(|error| {
        fault(format!(
            "its response is not UTF-8 at byte {}",
            error.valid_up_to()
        ))
    })?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| fault(format!("its response is not JSON: {error}")))?;
    if depth(document) > MAX_DEPTH {
        return Err(fault(format!(
            "its response is nested more than {MAX_DEPTH} deep, which JSON readers refuse"
        )));
    }
    Ok(Bytes::copy_from_slice(document))
}

/// How deep a JSON document is nested.
fn depth(document: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An error document, read so that something remains of the worst: a text that
/// is no document becomes the message, a code that is none becomes `code`.
pub(super) fn error_document(document: Option<&[u8]>, code: &'static str) -> HandlerError {
    let Some(document) = document else {
        return fault("its error has a length that cannot be true".into());
    };
    let Ok(Value::Object(fields)) = serde_json::from_slice(document) else {
        let text = String::from_utf8_lossy(&document[..document.len().min(MAX_MESSAGE_BYTES)]);
        let text = text.trim();
        let message = if text.is_empty() {
            "the plugin gave no reason"
        } else {
            text
        };
        return HandlerError::new(code, message);
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(clipped);
    let message = text("message").filter(|message| !message.is_empty());
    let mut error = HandlerError::new(
        code,
        message.unwrap_or_else(|| "the plugin gave no reason".into()),
    );
    if let Some(own) = text("code").filter(|own| is_code(own)) {
        error.code = own.into();
    }
    error.help = text("help").filter(|help| !help.is_empty());
    error.retry_after_ms = fields.get("retry_after_ms").and_then(Value::as_u64);
    error.retryable = fields
        .get("retryable")
        .and_then(Value::as_bool)
        .unwrap_or(error.retry_after_ms.is_some());
    error
}

/// The plugin broke its contract.
pub(super) fn fault(reason: String) -> HandlerError {
    HandlerError::new(
        PLUGIN_FAULT,
        format!("the plugin broke its contract: {reason}"),
    )
    .help("report it to the plugin's author")
}

fn is_code(text: &str) -> bool {
    (1..=MAX_CODE_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn clipped(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_MESSAGE_BYTES);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(completion: Completion) -> String {
        match completion {
            Completion::Failed(error) if error.code == PLUGIN_FAULT => error.message,
            other => panic!("not a fault: {other:?}"),
        }
    }

    #[test]
    fn a_response_is_json_in_utf_8_of_bounded_size() {
        assert_eq!(
            completion(AEGIS_STATUS_OK, Some(br#"{"text":"hello"}"#)),
            Completion::Succeeded(Bytes::from_static(br#"{"text":"hello"}"#))
        );
        let huge = vec![b' '; MAX_PAYLOAD_BYTES + 1];
        for (document, says) in [
            (Some(&b"{"[..]), "not JSON"),
            (Some(b""), "not JSON"),
            (Some(b"\"\xff\""), "not UTF-8"),
            (Some(&huge), "more than"),
            (None, "length"),
        ] {
            let message = fault_of(completion(AEGIS_STATUS_OK, document));
            assert!(message.contains(says), "{message}");
        }
        assert!(fault_of(completion(77, Some(b"{}"))).contains("77"));
    }

    #[test]
    fn a_response_is_nested_no_deeper_than_anyone_reads() {
        for brackets in [MAX_DEPTH, MAX_DEPTH + 1] {
            let document = format!("{}{}", "[".repeat(brackets), "]".repeat(brackets));
            let readable = serde_json::from_str::<Value>(&document).is_ok();
            let taken = matches!(
                completion(AEGIS_STATUS_OK, Some(document.as_bytes())),
                Completion::Succeeded(_)
            );
            assert_eq!((readable, taken), (brackets == MAX_DEPTH, readable));
        }
        let text = format!("{:?}", "[\\\"{".repeat(MAX_DEPTH));
        assert!(serde_json::from_str::<Value>(&text).is_ok());
        assert_eq!(depth(text.as_bytes()), 0);
    }

    #[test]
    fn an_error_document_loses_nothing_that_can_be_read() {
        let full =
            br#"{"code":"disk-full","message":"no space","help":"free some","retry_after_ms":5}"#;
        let error = error_document(Some(full), "failed");
        assert_eq!(error.code, "disk-full");
        assert_eq!(error.help.as_deref(), Some("free some"));
        assert_eq!((error.retryable, error.retry_after_ms), (true, Some(5)));

        let error = error_document(Some(br#"{"code":"No Code!","message":7}"#), "failed");
        assert_eq!(
            (&*error.code, &*error.message),
            ("failed", "the plugin gave no reason")
        );
        let error = error_document(Some(b"segment\xff missing\n"), "failed");
        assert_eq!(error.message, "segment\u{fffd} missing");
        assert_eq!(error_document(Some(b""), "panicked").code, "panicked");
    }
}
