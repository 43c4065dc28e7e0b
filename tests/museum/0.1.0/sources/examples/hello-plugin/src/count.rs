//! `hello.count`: long work that a crash does not send back to its beginning.

use std::{io::Write, time::Duration};

use aegis_plugin_api::prelude::*;

/// Counts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRequest {
    /// The last number.
    #[schemars(range(min = 1, max = 100_000))]
    to: u32,
    /// How long each number takes.
    #[serde(default)]
    #[schemars(range(max = 60_000))]
    pause_ms: u64,
}

#[derive(Serialize, JsonSchema)]
pub struct Counted {
    /// The last number.
    counted_to: u32,
    /// Where this attempt went on from; 0 where there was none before.
    resumed_from: u32,
}

pub struct Count;

impl Handler for Count {
    type Request = CountRequest;
    type Response = Counted;
    const SPEC: HandlerSpec = HandlerSpec::new("hello.count")
        .summary("Counts, and goes on from where it was after a crash")
        .effect(Effect::Resumable)
        .timeout(Duration::from_secs(24 * 60 * 60));

    async fn handle(&self, request: CountRequest, cx: &Context) -> Result<Counted, HandlerError> {
        let CountRequest { to, pause_ms } = request;
        if !(1..=100_000).contains(&to) || pause_ms > 60_000 {
            return Err(HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                "to is 1 to 100000 and pause_ms is at most 60000",
            ));
        }
        let resumed_from = cx.resumed()?.unwrap_or(0);
        for number in resumed_from + 1..=to {
            cx.sleep(Duration::from_millis(pause_ms)).await?;
            writeln!(cx.output(), "{number}").map_err(|error| {
                HandlerError::new("output-failed", format!("writing the output: {error}"))
            })?;
            // At most 1000, as `number` is at most `to`.
            cx.progress(
                (u64::from(number) * 1000 / u64::from(to)) as u16,
                "counting",
            );
            // After the act: a crash in between repeats this number, and none
            // is left out.
            cx.checkpoint(&number).await?;
        }
        Ok(Counted {
            counted_to: to,
            resumed_from,
        })
    }
}
