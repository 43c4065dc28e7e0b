//! Handlers whose effect can be counted: each run appends the command's id to
//! a file. They differ in nothing but the effect that they declare.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use aegis_plugin_api::prelude::*;

use crate::PACE;

/// What the handlers here take.
#[derive(Deserialize, JsonSchema)]
pub struct Mark {
    /// The file that gets one line for each run.
    file: PathBuf,
    /// A file that the handler waits for after the line is written.
    #[serde(default)]
    until: Option<PathBuf>,
}

/// May run once at the most.
pub struct Once;

impl Handler for Once {
    type Request = Mark;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("effect.once").effect(Effect::AtMostOnce);

    async fn handle(&self, request: Mark, cx: &Context) -> Result<NoFields, HandlerError> {
        run(request, cx).await
    }
}

/// May run again.
pub struct Again;

impl Handler for Again {
    type Request = Mark;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("effect.again").effect(Effect::Idempotent);

    async fn handle(&self, request: Mark, cx: &Context) -> Result<NoFields, HandlerError> {
        run(request, cx).await
    }
}

async fn run(request: Mark, cx: &Context) -> Result<NoFields, HandlerError> {
    // One write of a whole line: runs at once do not mix.
    let line = format!("{}\n", cx.command_id());
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&request.file)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| HandlerError::new("effect", error.to_string()))?;
    if let Some(until) = request.until {
        while !until.exists() {
            cx.sleep(PACE).await?;
        }
    }
    Ok(NoFields {})
}
