//! The life of a node: connect, attest, register, serve, renew, leave.
//!
//! What to do when is decided in `machine`, which does no I/O; `driver`
//! does it. [`WorkerLifecycle`] is what a program sees.

mod backoff;
mod builder;
mod driver;
mod error;
mod health;
mod local_outcomes;
mod machine;
mod probation;
mod pulse;
mod steps;

use std::{net::SocketAddr, sync::Arc};

use aegis_proto::NodeId;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

pub use builder::WorkerLifecycleBuilder;
pub(crate) use error::chain;
pub use error::{BuildError, LifecycleError};
pub use health::Health;
pub(crate) use machine::{LinkStage, SessionEnd};
pub(crate) use pulse::{Pulse, Vitals};

use crate::{
    catalog::Catalog,
    config::Config,
    drain::NodeState,
    identity::Identity,
    journal::{Journal, Recovered},
    local::Door,
    metrics::Listener,
    notify::ServiceManager,
    pushed_config::{PushedConfig, SyncRequest, WorkerSettings},
    session::Inventory,
};

/// A worker, ready to run.
///
/// ```no_run
/// # async fn daemon() -> Result<(), Box<dyn std::error::Error>> {
/// use aegis_core::{config::Loader, lifecycle::WorkerLifecycle};
/// use tokio::sync::watch;
///
/// let config = Loader::new().file("/etc/aegis-worker.toml").load()?;
/// let lifecycle = WorkerLifecycle::builder(config).build()?;
/// let (shutdown, ended) = watch::channel(false);
/// let worker = tokio::spawn(lifecycle.run(ended));
/// // The daemon does what it is for, and then:
/// shutdown.send(true)?;
/// worker.await??;
/// # Ok(())
/// # }
/// ```
pub struct WorkerLifecycle {
    config: Arc<Config>,
    identity: Arc<Identity>,
    worker_version: String,
    journal: Journal,
    /// What the last life of the worker left undone.
    recovered: Vec<Recovered>,
    state: Arc<NodeState>,
    catalog: Arc<Catalog>,
    inventory: watch::Sender<Arc<Inventory>>,
    pushed: Arc<PushedConfig>,
    sync_requests: mpsc::Receiver<SyncRequest>,
    service_manager: ServiceManager,
    health: watch::Sender<Health>,
    metrics: Option<Listener>,
    door: Option<Door>,
    /// Dropped last.
    end: CloseAtEnd,
}

impl WorkerLifecycle {
    /// Begins to make one.
    pub fn builder(config: Config) -> WorkerLifecycleBuilder {
        WorkerLifecycleBuilder::new(config)
    }

    /// Lives until `shutdown` says true, a Shutdown command comes, or the
    /// controller bars the node. Then it drains, hands over what waits in the
    /// outbox, deregisters and returns. Dropping the future ends it at once.
    ///
    /// Where the sender of `shutdown` is dropped, only a command ends it.
    ///
    /// # Errors
    ///
    /// The controller banned the node or never admitted it. Whatever else goes
    /// wrong is tried again for ever.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn run(self, shutdown: watch::Receiver<bool>) -> Result<(), LifecycleError> {
        driver::Driver::new(self)?.run(shutdown).await
    }

    /// The node's id.
    pub fn node_id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// Whether the node has its place in the cluster. It turns unhealthy
    /// before its token expires, not after.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Where metrics and health are served, with the port that port 0 came to.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Listener::address)
    }

    /// What a pushed config sets of the worker itself, as its log level.
    pub fn settings(&self) -> watch::Receiver<WorkerSettings> {
        self.pushed.settings()
    }

    /// A key of the pushed config that is neither the worker's nor a plugin's.
    pub fn subscribe(&self, key: &str) -> watch::Receiver<Option<Value>> {
        self.pushed.subscribe(key)
    }

    /// The plugins and handlers that were found.
    pub fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }
}

/// Closes the journal when the worker is dropped: no plugin is to blame for
/// that, and one that runs on must not keep the file from the next worker.
struct CloseAtEnd(Journal);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // It may have ended, and been closed, in an orderly way.
            let _ = self.0.close();
        }
    }
}

impl std::fmt::Debug for WorkerLifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerLifecycle")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
