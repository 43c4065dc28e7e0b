//! A handler that says something, waits, and says something else.

use std::{io::Write, path::PathBuf};

use aegis_plugin_api::prelude::*;

use crate::PACE;

/// What [`Say`] takes.
#[derive(Deserialize, JsonSchema)]
pub struct Words {
    before: String,
    after: String,
    /// The file that it waits for in between.
    until: PathBuf,
}

/// Writes a line, waits for a file, writes another line.
pub struct Say;

impl Handler for Say {
    type Request = Words;
    type Response = NoFields;
    const SPEC: HandlerSpec = HandlerSpec::new("unruly.say").effect(Effect::Read);

    async fn handle(&self, request: Words, cx: &Context) -> Result<NoFields, HandlerError> {
        let mut output = cx.output();
        let failed = |error: std::io::Error| HandlerError::new("output", error.to_string());
        writeln!(output, "{}", request.before).map_err(failed)?;
        while !request.until.exists() {
            cx.sleep(PACE).await?;
        }
        writeln!(output, "{}", request.after).map_err(failed)?;
        Ok(NoFields {})
    }
}
