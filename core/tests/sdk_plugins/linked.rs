//! A plugin that is linked into the test, as built-in ones are into a worker.

use aegis_plugin_api::{
    host::{DrainRequest, NodeControl},
    prelude::*,
};

#[derive(Deserialize, Serialize, JsonSchema)]
struct Text {
    text: String,
}

struct Echo;

impl Handler for Echo {
    type Request = Text;
    type Response = Text;
    const SPEC: HandlerSpec = HandlerSpec::new("linked.echo")
        .effect(Effect::Read)
        .inline();

    async fn handle(&self, request: Text, _: &Context) -> Result<Text, HandlerError> {
        Ok(request)
    }
}

struct Later;

impl Handler for Later {
    type Request = Text;
    type Response = Text;
    const SPEC: HandlerSpec = HandlerSpec::new("linked.later").effect(Effect::Read);

    async fn handle(&self, request: Text, _: &Context) -> Result<Text, HandlerError> {
        Ok(request)
    }
}

struct Wait;

impl Handler for Wait {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("linked.wait");

    async fn handle(&self, _: NoFields, cx: &Context) -> Result<(), HandlerError> {
        cx.progress(1, "waiting");
        cx.cancelled().await;
        Err(HandlerError::new("cancelled", "as it was asked to"))
    }
}

struct Stubborn;

impl Handler for Stubborn {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("linked.stubborn");

    async fn handle(&self, _: NoFields, _: &Context) -> Result<(), HandlerError> {
        std::future::pending().await
    }
}

struct Panics;

impl Handler for Panics {
    type Request = NoFields;
    type Response = ();
    const SPEC: HandlerSpec = HandlerSpec::new("linked.panics");

    async fn handle(&self, _: NoFields, _: &Context) -> Result<(), HandlerError> {
        panic!("on purpose")
    }
}

struct Drain;

impl Handler for Drain {
    type Request = NoFields;
    type Response = bool;
    const SPEC: HandlerSpec = HandlerSpec::new("linked.drain");

    async fn handle(&self, _: NoFields, cx: &Context) -> Result<bool, HandlerError> {
        let control: NodeControl = cx.interface()?;
        let request = DrainRequest {
            drain: true,
            deadline_ms: None,
            reason: "test".into(),
        };
        Ok(control.drain(&request)?.draining)
    }
}

export_plugin! {
    id: "linked",
    handlers: [Echo, Later, Wait, Stubborn, Panics, Drain],
    requires: [NodeControl],
}
