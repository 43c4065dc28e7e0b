//! Handlers of different types behind one.

use std::{future::Future, pin::Pin};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};

use crate::{BlockingHandler, Context, Handler, HandlerError, HandlerSpec, Plugin};

/// What a handler answers: its response document or its error.
pub(crate) type Answer = Result<Vec<u8>, HandlerError>;
/// A call under way.
pub(crate) type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A handler of the plugin `P`.
pub trait ErasedHandler<P: Plugin>: Send + Sync {
    #[doc(hidden)]
    fn spec(&self) -> HandlerSpec;
    /// Whether it runs on a thread where it may block.
    #[doc(hidden)]
    fn blocks(&self) -> bool;
    /// Reads the payload at once and makes the call.
    #[doc(hidden)]
    fn call(&'static self, payload: &[u8], cx: Context<P>) -> Result<Call, HandlerError>;
    /// Makes the call; it reads the payload when it first runs.
    #[doc(hidden)]
    fn call_later(&'static self, payload: Vec<u8>, cx: Context<P>) -> Call;
    #[doc(hidden)]
    fn schemas(&self) -> Schemas;
}

/// A call that is ready to run.
pub enum Call {
    /// To be polled.
    Future(Running),
    /// To be run on a thread where it may block.
    Blocking(Box<dyn FnOnce() -> Answer + Send>),
}

/// The JSON Schemas of a handler.
#[derive(Debug, Serialize)]
pub struct Schemas {
    /// Of its requests.
    pub request: Schema,
    /// Of its responses.
    pub response: Schema,
}

/// A [`Handler`].
pub struct Async<H>(pub H);

/// A [`BlockingHandler`].
pub struct Blocking<H>(pub H);

impl<P: Plugin, H: Handler<P>> ErasedHandler<P> for Async<H> {
    fn spec(&self) -> HandlerSpec {
        H::SPEC
    }

    fn blocks(&self) -> bool {
        false
    }

    fn call(&'static self, payload: &[u8], cx: Context<P>) -> Result<Call, HandlerError> {
        let request = parse(payload)?;
        Ok(Call::Future(Box::pin(async move {
            serialize(&self.0.handle(request, &cx).await?)
        })))
    }

    fn call_later(&'static self, payload: Vec<u8>, cx: Context<P>) -> Call {
        Call::Future(Box::pin(async move {
            let request = parse(&payload)?;
            drop(payload);
            serialize(&self.0.handle(request, &cx).await?)
        }))
    }

    fn schemas(&self) -> Schemas {
        Schemas {
            request: request_schema::<H::Request>(),
            response: response_schema::<H::Response>(),
        }
    }
}

impl<P: Plugin, H: BlockingHandler<P>> ErasedHandler<P> for Blocking<H> {
    fn spec(&self) -> HandlerSpec {
        H::SPEC
    }

    fn blocks(&self) -> bool {
        true
    }

    fn call(&'static self, payload: &[u8], cx: Context<P>) -> Result<Call, HandlerError> {
        Ok(self.call_later(payload.to_vec(), cx))
    }

    fn call_later(&'static self, payload: Vec<u8>, cx: Context<P>) -> Call {
        Call::Blocking(Box::new(move || {
            let request = parse(&payload)?;
            drop(payload);
            serialize(&self.0.handle(request, &cx)?)
        }))
    }

    fn schemas(&self) -> Schemas {
        Schemas {
            request: request_schema::<H::Request>(),
            response: response_schema::<H::Response>(),
        }
    }
}

/// The schema of what is read.
pub(crate) fn request_schema<T: JsonSchema>() -> Schema {
    SchemaGenerator::new(SchemaSettings::draft2020_12().for_deserialize())
        .into_root_schema_for::<T>()
}

fn response_schema<T: JsonSchema>() -> Schema {
    SchemaGenerator::new(SchemaSettings::draft2020_12().for_serialize()).into_root_schema_for::<T>()
}

fn parse<T: DeserializeOwned + JsonSchema>(payload: &[u8]) -> Result<T, HandlerError> {
    // A command without a payload is one without fields.
    let payload = if payload.is_empty() { b"{}" } else { payload };
    // serde reads a struct from an array too, field by field.
    let is_object = payload.trim_ascii_start().starts_with(b"{");
    if !is_object && wants_object::<T>() {
        return Err(HandlerError::new(
            HandlerError::INVALID_PAYLOAD,
            "the payload has to be a JSON object",
        )
        .help("`aegisctl describe COMMAND` shows what the command takes"));
    }
    serde_json::from_slice(payload).map_err(|error| {
        HandlerError::new(HandlerError::INVALID_PAYLOAD, error.to_string())
            .help("`aegisctl describe COMMAND` shows what the command takes")
    })
}

fn wants_object<T: JsonSchema>() -> bool {
    let schema = request_schema::<T>();
    schema.get("type").and_then(serde_json::Value::as_str) == Some("object")
}

fn serialize<T: Serialize>(response: &T) -> Answer {
    let mut document = Vec::with_capacity(128);
    serde_json::to_writer(&mut document, response).map_err(|error| {
        HandlerError::new(
            "invalid-response",
            format!("the response has no JSON form: {error}"),
        )
    })?;
    Ok(document)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Person {
        name: String,
    }

    #[test]
    fn an_array_is_no_struct_and_what_is_none_is_read_as_it_is() {
        for payload in ["[\"Ada\"]", " [\"Ada\"]", "\"Ada\"", "null"] {
            let refused = parse::<Person>(payload.as_bytes()).expect_err("no object");
            assert_eq!(refused.code, HandlerError::INVALID_PAYLOAD);
            assert!(refused.message.contains("JSON object"), "{refused}");
        }
        let person: Person = parse(b"\n {\"name\": \"Ada\"}").expect("an object");
        assert_eq!(person.name, "Ada");
        assert_eq!(parse::<Vec<u32>>(b"[1, 2]").expect("a list"), [1, 2]);
        assert_eq!(parse::<u32>(b"7").expect("a number"), 7);
    }
}
