//! `hello.wait`: something long to watch, cancel and drain.

use std::{io::Write, time::Duration};

use aegis_plugin_api::prelude::*;

/// Waits, with a sign of life at every step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitRequest {
    /// How long in all.
    #[schemars(range(min = 0.0, max = 86400.0))]
    seconds: f64,
    /// In how many steps.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    steps: u32,
}

fn ten() -> u32 {
    10
}

#[derive(Serialize, JsonSchema)]
pub struct Waited {
    /// The steps that were taken.
    steps: u32,
}

pub struct Wait;

impl Handler for Wait {
    type Request = WaitRequest;
    type Response = Waited;
    const SPEC: HandlerSpec = HandlerSpec::new("hello.wait")
        .summary("Waits in steps; progress and output at each")
        .effect(Effect::Read)
        .timeout(Duration::from_secs(24 * 60 * 60));

    async fn handle(&self, request: WaitRequest, cx: &Context) -> Result<Waited, HandlerError> {
        let steps = request.steps;
        if !(1..=1000).contains(&steps) || !(0.0..=86400.0).contains(&request.seconds) {
            return Err(HandlerError::new(
                HandlerError::INVALID_PAYLOAD,
                "seconds is 0 to 86400 and steps is 1 to 1000",
            ));
        }
        let pause = Duration::from_secs_f64(request.seconds / f64::from(steps));
        for step in 1..=steps {
            cx.sleep(pause).await?;
            let note = format!("step {step} of {steps}");
            // At most 1000, as `step` is at most `steps`.
            cx.progress((u64::from(step) * 1000 / u64::from(steps)) as u16, &note);
            writeln!(cx.output(), "{note}").map_err(|error| {
                HandlerError::new("output-failed", format!("writing the output: {error}"))
            })?;
            tracing::debug!(step, "waited");
        }
        Ok(Waited { steps })
    }
}
