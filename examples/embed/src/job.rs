//! The daemon's own command, linked in: nothing about it differs from a plugin
//! that is loaded from a directory.

use aegis_plugin_api::prelude::*;

/// As in the config's `[plugins.NAME]`.
pub const PLUGIN: &str = "aegis-embed-example";

#[derive(Deserialize, JsonSchema)]
struct JobRequest {
    /// Steps to take.
    size: u32,
}

#[derive(Serialize, JsonSchema)]
struct JobDone {
    steps: u32,
}

struct Job;

impl Handler for Job {
    type Request = JobRequest;
    type Response = JobDone;
    const SPEC: HandlerSpec = HandlerSpec::new("job")
        .summary("Does some of the daemon's work")
        .effect(Effect::Idempotent);

    async fn handle(&self, request: JobRequest, cx: &Context) -> Result<JobDone, HandlerError> {
        for step in 1..=request.size {
            let permille = u64::from(step) * 1000 / u64::from(request.size);
            let permille = u16::try_from(permille).unwrap_or(1000);
            cx.progress(permille, &format!("step {step}"));
        }
        Ok(JobDone {
            steps: request.size,
        })
    }
}

export_plugin! { Job }
