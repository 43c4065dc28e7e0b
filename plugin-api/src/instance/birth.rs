//! How an instance is made.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Engine, Instance, LINK_CLOSES_WITHIN};
use crate::{
    HandlerError, Host, Node, Plugin,
    erased::ErasedHandler,
    export::Exported,
    host::{Shared, not_granted},
    log,
    panic::guard,
    port::{HostPort, Link},
    runtime::LazyRuntime,
};

/// How many threads of a plugin block at once, at the most.
const MAX_BLOCKING_THREADS: usize = 64;
/// Blocking threads beside those of the blocking handlers, for what async
/// handlers hand to `tokio::task::spawn_blocking` and for host interfaces that
/// block.
const SPARE_BLOCKING_THREADS: usize = 4;

/// What an instance is made of.
pub(crate) struct Birth<'a> {
    pub(crate) port: Box<dyn HostPort>,
    pub(crate) config: &'a [u8],
    pub(crate) node: Node,
    pub(crate) state_dir: PathBuf,
}

/// Makes an instance of an exported plugin.
pub(crate) fn create<E: Exported>(birth: Birth<'_>) -> Result<Arc<dyn Engine>, HandlerError> {
    let host = Host(Arc::new(Shared {
        plugin: E::ID,
        link: Link::new(birth.port),
        runtime: LazyRuntime::new(E::ID, blocking_threads(E::HANDLERS)),
        node: birth.node,
        state_dir: birth.state_dir,
    }));
    log::forward_to(&host);
    let made = start_plugin::<E>(&host, birth.config);
    match made {
        Ok(plugin) => Ok(Arc::new(Instance::new(plugin, host, E::HANDLERS))),
        Err(error) => {
            // The plugin may have left threads behind that know the host.
            host.0.link.close(LINK_CLOSES_WITHIN);
            host.0.runtime.shut_down(Duration::ZERO);
            Err(error)
        }
    }
}

fn blocking_threads<P: Plugin>(handlers: &[&dyn ErasedHandler<P>]) -> usize {
    let blocking = handlers
        .iter()
        .filter(|handler| handler.blocks())
        .map(|handler| handler.spec().concurrency as usize)
        .sum::<usize>();
    (blocking + SPARE_BLOCKING_THREADS).min(MAX_BLOCKING_THREADS)
}

fn start_plugin<E: Exported>(host: &Host, config: &[u8]) -> Result<E::Plugin, HandlerError> {
    for requirement in E::REQUIRES {
        if !host.grants(requirement.id) {
            return Err(not_granted(E::ID, requirement.id, requirement.grant));
        }
    }
    guard(|| E::Plugin::start(parse_config(E::ID, config)?, host))
        .unwrap_or_else(|panic| Err(panic.into_error()))
}

/// Reads a plugin's section of the config.
pub(super) fn parse_config<C: serde::de::DeserializeOwned>(
    plugin: &str,
    config: &[u8],
) -> Result<C, HandlerError> {
    let config = if config.is_empty() { b"{}" } else { config };
    serde_json::from_slice(config).map_err(|error| {
        HandlerError::new(
            "invalid-config",
            format!("config of plugin {plugin}: {error}"),
        )
        .help(format!(
            "see [plugins.{plugin}.config] in the worker's config"
        ))
    })
}
