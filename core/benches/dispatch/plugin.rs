//! The plugin that the benchmark runs, both linked into it and as a library of
//! its own. Ids and names carry the crate's name, so that the two don't meet.

use aegis_plugin_api::prelude::*;

/// The request of every body that is compared.
#[derive(Deserialize, JsonSchema)]
pub struct Greet {
    name: String,
}

/// And its response.
#[derive(Serialize, JsonSchema)]
pub struct Greeting {
    text: String,
}

/// The body.
pub fn greet(request: Greet) -> Greeting {
    Greeting {
        text: format!("hello, {}", request.name),
    }
}

struct Inline;

impl Handler for Inline {
    type Request = Greet;
    type Response = Greeting;
    const SPEC: HandlerSpec = HandlerSpec::new(concat!(env!("CARGO_CRATE_NAME"), ".inline"))
        .effect(Effect::Read)
        .inline();

    async fn handle(&self, request: Greet, _cx: &Context) -> Result<Greeting, HandlerError> {
        Ok(greet(request))
    }
}

struct Async;

impl Handler for Async {
    type Request = Greet;
    type Response = Greeting;
    const SPEC: HandlerSpec =
        HandlerSpec::new(concat!(env!("CARGO_CRATE_NAME"), ".async")).effect(Effect::Read);

    async fn handle(&self, request: Greet, _cx: &Context) -> Result<Greeting, HandlerError> {
        Ok(greet(request))
    }
}

export_plugin! {
    id: env!("CARGO_CRATE_NAME"),
    handlers: [Inline, Async],
}
