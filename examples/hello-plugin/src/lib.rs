//! The smallest plugin, and a command that takes its time.

#![forbid(unsafe_code)]

use aegis_plugin_api::prelude::*;

mod wait;

use wait::Wait;

#[derive(Deserialize, JsonSchema)]
struct Greet {
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    text: String,
}

struct Hello;

impl Handler for Hello {
    type Request = Greet;
    type Response = Greeting;
    const SPEC: HandlerSpec = HandlerSpec::new("hello")
        .summary("Greets whom you name")
        .effect(Effect::Read)
        .inline();

    async fn handle(&self, request: Greet, _cx: &Context) -> Result<Greeting, HandlerError> {
        Ok(Greeting {
            text: format!("hello, {}", request.name),
        })
    }
}

export_plugin! { Hello, Wait }
