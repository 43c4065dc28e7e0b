//! A plugin whose handlers do what handlers should not: panic, overrun their
//! timeout, ignore their cancellation, flood their output. Those that take long
//! wait for a file, so that a test and not a clock decides how long.

#![forbid(unsafe_code)]

mod effect;
mod say;

use std::{io::Write, path::PathBuf, time::Duration};

use aegis_plugin_api::prelude::*;

const PACE: Duration = Duration::from_millis(10);

/// What the waiting handlers take.
#[derive(Deserialize, JsonSchema)]
struct Until {
    /// The file that ends the wait.
    file: PathBuf,
}

/// Waits, and ends when it is asked to.
struct Wait;

impl Handler for Wait {
    type Request = Until;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.wait")
        .effect(Effect::Read)
        .concurrency(2);

    async fn handle(&self, request: Until, cx: &Context) -> Result<NoFields, HandlerError> {
        cx.progress(500, "waiting");
        while !request.file.exists() {
            cx.sleep(PACE).await?;
        }
        Ok(NoFields {})
    }
}

/// Waits in an await and does not look at its cancellation.
struct Ignore;

impl Handler for Ignore {
    type Request = Until;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.ignore").concurrency(1);

    async fn handle(&self, request: Until, _cx: &Context) -> Result<NoFields, HandlerError> {
        while !request.file.exists() {
            tokio::time::sleep(PACE).await;
        }
        Ok(NoFields {})
    }
}

/// Waits on a thread and does not look at its cancellation: nothing can end it.
struct Block;

impl BlockingHandler for Block {
    type Request = Until;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.block").concurrency(1);

    fn handle(&self, request: Until, _cx: &Context) -> Result<NoFields, HandlerError> {
        while !request.file.exists() {
            std::thread::sleep(PACE);
        }
        Ok(NoFields {})
    }
}

/// Says that it never blocks, and blocks.
struct Lie;

impl Handler for Lie {
    type Request = Until;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.lie").concurrency(1).inline();

    async fn handle(&self, request: Until, _cx: &Context) -> Result<NoFields, HandlerError> {
        while !request.file.exists() {
            std::thread::sleep(PACE);
        }
        Ok(NoFields {})
    }
}

/// What [`Panic`] takes.
#[derive(Deserialize, JsonSchema)]
struct Words {
    message: String,
}

/// Panics.
struct Panic;

impl Handler for Panic {
    type Request = Words;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.panic").effect(Effect::Read);

    async fn handle(&self, request: Words, _cx: &Context) -> Result<NoFields, HandlerError> {
        panic!("{}", request.message)
    }
}

/// What [`Flood`] takes.
#[derive(Deserialize, JsonSchema)]
struct Amount {
    /// Of output.
    kib: u32,
}

/// Writes more output than anyone keeps.
struct Flood;

impl Handler for Flood {
    type Request = Amount;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.flood").effect(Effect::Read);

    async fn handle(&self, request: Amount, cx: &Context) -> Result<NoFields, HandlerError> {
        let mut output = cx.output();
        for number in 0..request.kib {
            let line = format!("{number:01023}\n");
            output
                .write_all(line.as_bytes())
                .map_err(|error| HandlerError::new("output", error.to_string()))?;
        }
        Ok(NoFields {})
    }
}

/// Answers with more than an answer may hold.
struct Bloat;

impl Handler for Bloat {
    type Request = Amount;
    type Response = String;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.bloat").effect(Effect::Read);

    async fn handle(&self, request: Amount, _cx: &Context) -> Result<String, HandlerError> {
        let kib = usize::try_from(request.kib).unwrap_or(usize::MAX);
        Ok("x".repeat(kib.saturating_mul(1024)))
    }
}

export_plugin! {
    id: "unruly",
    handlers: [Wait, Ignore, Lie, Panic, Flood, Bloat, effect::Once, effect::Again, say::Say],
    blocking: [Block],
}
