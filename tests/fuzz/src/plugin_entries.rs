//! The entries that the SDK exports, driven through the C tables: a call of any
//! handler with any payload, a new config, an end.

use aegis_plugin_api::{
    prelude::*,
    serde_json::{self, Value, value::RawValue},
    testing::{CallOptions, Completion, Setup},
};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tree {
    name: String,
    #[serde(default)]
    weight: f64,
    #[serde(default)]
    branches: Vec<Tree>,
}

struct Whole;

impl Handler for Whole {
    type Request = Tree;
    type Response = Tree;
    const SPEC: HandlerSpec = HandlerSpec::new("fuzz.whole").effect(Effect::Read).inline();

    async fn handle(&self, request: Tree, _: &Context) -> Result<Tree, HandlerError> {
        Ok(request)
    }
}

struct Throws;

impl Handler for Throws {
    type Request = Value;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("fuzz.fails").effect(Effect::Read).inline();

    async fn handle(&self, request: Value, _: &Context) -> Result<(), HandlerError> {
        Err(HandlerError::new("fuzz", request.to_string()))
    }
}

export_plugin! { id: "fuzz", handlers: [Whole, Throws] }

/// The first byte chooses the handler, the rest is the payload.
pub fn plugin_entries(bytes: &[u8]) {
    let Some((handler, payload)) = bytes.split_first() else {
        return;
    };
    let plugin = Setup::new("fuzz").start().expect("it starts");
    let handler = u32::from(*handler) % 4;
    let call = plugin.begin_raw(handler, payload, CallOptions::default());
    let completion = call.wait();
    match &completion {
        Completion::Succeeded(response) => {
            assert_eq!(handler, 0, "the one that can succeed");
            let _: Value = serde_json::from_slice(response).expect("a response is JSON");
        }
        Completion::Failed(error) => {
            assert!(handler > 1 || !error.code.is_empty());
            assert!(
                handler < 2 || error.code == "no-such-handler",
                "{handler}: {error:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    if let Ok(config) = serde_json::from_slice::<&RawValue>(payload) {
        let _ = plugin.reconfigure(config);
    }
    plugin.stop();
}
