//! A daemon of your own that is a node of the cluster as well: the lifecycle is
//! one of its tasks, `job` one of its commands, its settings can be pushed, and
//! its own end ends both.
//!
//! ```sh
//! AEGIS_CONTROLLER=http://127.0.0.1:50056 AEGIS_STATE_DIR=/tmp/embed \
//! AEGIS_ENROLMENT_TOKEN_FILE=token cargo run -p aegis-embed-example
//! aegisctl run --all job '{"size": 3}'
//! aegisctl push-config --all settings.json    # {"daemon": {"greeting": "hello"}}
//! ```

#![forbid(unsafe_code)]

mod job;

use std::env;

use aegis_core::{
    config::Loader,
    lifecycle::{Health, WorkerLifecycle},
};
// Naming it links it: without a `use` the linker drops the crate.
use aegis_plugin_push_config as _;
use anyhow::Context;
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    // TLS needs a provider; a daemon that has one already keeps it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let config = Loader::new().environment(env::vars()).load()?;
    let lifecycle = WorkerLifecycle::builder(config)
        .expect_built_ins(&[job::PLUGIN, "push-config"])
        .built_in_grants("push-config", ["config"])
        .build()?;
    let mut health = lifecycle.health();
    // Every key of a pushed config but `worker` and `plugins` is the daemon's.
    let mut settings = lifecycle.subscribe("daemon");

    let (shutdown, ended) = watch::channel(false);
    let mut worker = tokio::spawn(lifecycle.run(ended));
    loop {
        tokio::select! {
            // Banned, not admitted, or told to stop by a controller.
            result = &mut worker => return Ok(result.context("the worker panicked")??),
            Ok(()) = health.changed() => {
                let health: Health = *health.borrow_and_update();
                tracing::info!(?health, "the daemon hears how its node is");
            }
            Ok(()) = settings.changed() => {
                let settings = settings.borrow_and_update().clone();
                tracing::info!(?settings, "the daemon hears its pushed settings");
            }
            // Whatever ends the daemon ends the worker first, in order.
            result = tokio::signal::ctrl_c() => {
                result?;
                shutdown.send_replace(true);
                return Ok(worker.await.context("the worker panicked")??);
            }
        }
    }
}
