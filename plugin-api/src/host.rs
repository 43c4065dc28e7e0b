//! The host as a plugin's code sees it, and the interfaces it can grant.

mod config_control;
mod key_value;
mod metrics;
mod node_control;

use std::{fmt, path::Path, path::PathBuf, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

pub use config_control::{ConfigControl, CurrentConfig, RejectedConfig};
pub use key_value::{BlockingKeyValue, Entry, KeyPage, KeyValue, ListedKey};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use node_control::{DrainRequest, DrainStatus, InFlight, NodeControl, ShutdownRequest};

use crate::{HandlerError, node::Node, port::Link, runtime::LazyRuntime};

/// The worker that a plugin runs in. Cheap to clone; a clone kept beyond the
/// plugin's end reaches nothing any more.
#[derive(Debug, Clone)]
pub struct Host(pub(crate) Arc<Shared>);

/// What all calls of an instance share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plugin: &'static str,
    pub(crate) link: Link,
    pub(crate) runtime: LazyRuntime,
    pub(crate) node: Node,
    pub(crate) state_dir: PathBuf,
}

/// An interface of the host that an operator grants.
pub trait HostInterface: Sized {
    /// Its revisioned id.
    const ID: &'static str;
    /// Its name in the config's `grants`.
    const GRANT: &'static str;
    /// The names of its functions, in the order of its table.
    const FUNCTIONS: &'static [&'static str];

    /// Made by [`Host::interface`].
    #[doc(hidden)]
    fn over(interface: Interface) -> Self;
}

/// One granted interface: a table of functions from JSON to JSON.
#[derive(Debug, Clone)]
pub struct Interface {
    host: Host,
    id: &'static str,
}

impl Host {
    /// The node it runs on.
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// A directory that is this plugin's alone and survives restarts.
    pub fn state_dir(&self) -> &Path {
        &self.0.state_dir
    }

    /// An interface that the operator granted.
    ///
    /// # Errors
    ///
    /// `not-granted` where the host does not know it or the operator did not
    /// grant it. A plugin that names it under `requires` is not started at all
    /// in that case.
    pub fn interface<I: HostInterface>(&self) -> Result<I, HandlerError> {
        if self.grants(I::ID) {
            Ok(I::over(Interface {
                host: self.clone(),
                id: I::ID,
            }))
        } else {
            Err(not_granted(self.0.plugin, I::ID, I::GRANT))
        }
    }

    /// Runs what blocks on a thread of the plugin's own, whoever polls this: an
    /// inline handler's thread is the host's.
    pub(crate) async fn off_thread<R: Send + 'static>(
        &self,
        run: impl FnOnce() -> Result<R, HandlerError> + Send + 'static,
    ) -> Result<R, HandlerError> {
        let handle = self.0.runtime.handle().map_err(|error| {
            HandlerError::new("no-threads", format!("no thread to wait on: {error}")).retryable()
        })?;
        let ran = handle.spawn_blocking(run);
        ran.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(crate) fn grants(&self, id: &str) -> bool {
        self.0.link.with(|port| port.grants(id)).unwrap_or(false)
    }
}

impl Interface {
    /// Calls the function at `function` of the table.
    pub(crate) fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        function: usize,
        request: &Q,
    ) -> Result<A, HandlerError> {
        let request = serde_json::to_vec(request).map_err(|error| {
            HandlerError::new("malformed-request", format!("{} request: {error}", self.id))
        })?;
        let answer = self
            .host
            .0
            .link
            .with(|port| port.call(self.id, function, &request))
            .unwrap_or_else(|| Err(stopped()))?;
        serde_json::from_slice(&answer).map_err(|error| {
            HandlerError::new("malformed-answer", format!("{} answer: {error}", self.id))
        })
    }
}

pub(crate) fn stopped() -> HandlerError {
    HandlerError::new("plugin-stopped", "the plugin has already been stopped")
}

/// What is said where a grant is missing.
pub(crate) fn not_granted(plugin: &str, id: &str, grant: &str) -> HandlerError {
    HandlerError::new(
        "not-granted",
        format!("plugin {plugin} needs the host interface {id}, which it was not granted"),
    )
    .help(format!(
        "add \"{grant}\" to `grants` of [plugins.{plugin}] in the worker's config"
    ))
}

/// An interface without which a plugin does not start.
#[derive(Clone, Copy)]
pub struct Requirement {
    /// Its id.
    pub id: &'static str,
    /// Its name in `grants`.
    pub grant: &'static str,
}

impl Requirement {
    /// Of an interface.
    pub const fn of<I: HostInterface>() -> Self {
        Self {
            id: I::ID,
            grant: I::GRANT,
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}
