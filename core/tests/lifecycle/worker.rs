//! A worker under test.

use std::{net::SocketAddr, time::Duration};

use aegis_core::{
    config::{Config, Loader},
    identity::Identity,
    lifecycle::{LifecycleError, WorkerLifecycle},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use crate::plugin;

/// Far beyond what anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Worker {
    pub node_id: String,
    pub public_key: [u8; 32],
    pub metrics: Option<SocketAddr>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), LifecycleError>>,
}

/// Where a worker keeps itself between two lives.
pub fn state_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub fn config(endpoint: &str, state_dir: &TempDir, more: &str) -> Config {
    Loader::new()
        .text(more)
        .flag("--controller", "controller.endpoint", [endpoint])
        .flag(
            "--state-dir",
            "node.state_dir",
            [state_dir.path().display().to_string()],
        )
        .flag(
            "--enrolment-token",
            "controller.enrolment_token",
            ["token-1"],
        )
        .flag(
            "--heartbeat-interval",
            "lifecycle.heartbeat_interval",
            ["50ms"],
        )
        .load()
        .expect("a good config")
}

impl Worker {
    pub fn start(endpoint: &str, state_dir: &TempDir) -> Self {
        Self::start_with(config(endpoint, state_dir, ""))
    }

    pub fn start_with(config: Config) -> Self {
        let identity = Identity::open(&config.node.state_dir, None).expect("an identity");
        let public_key = identity.public_key();
        drop(identity);
        let lifecycle = WorkerLifecycle::builder(config)
            .expect_built_ins(&[plugin::PLUGIN])
            .built_in_grants(plugin::PLUGIN, ["node-control"])
            .build()
            .expect("a worker");
        let (shutdown, ended) = watch::channel(false);
        Self {
            node_id: lifecycle.node_id().to_string(),
            public_key,
            metrics: lifecycle.metrics_address(),
            shutdown,
            task: tokio::spawn(lifecycle.run(ended)),
        }
    }

    /// Drops its future, as a program does that has no time for an orderly end.
    pub async fn drop_future(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    /// Tells it to stop and waits for its end.
    pub async fn stop(self) -> Result<(), LifecycleError> {
        self.shutdown.send_replace(true);
        self.ended().await
    }

    /// Waits for the end that it finds itself.
    pub async fn ended(self) -> Result<(), LifecycleError> {
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("no end in time")
            .expect("no panic")
    }
}
