//! The smallest plugin, a command that takes its time, and one that goes on
//! after a crash.

#![forbid(unsafe_code)]

use aegis_plugin_api::prelude::*;

mod count;
mod wait;

use count::Count;
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

export_plugin! { Hello, Wait, Count }
