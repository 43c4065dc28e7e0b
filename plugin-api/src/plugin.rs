//! A plugin's state and hooks.

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{HandlerError, Host};

/// What the handlers of a plugin share. A plugin without state or config needs
/// none: its handlers are written for `()`.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use aegis_plugin_api::prelude::*;
///
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     first: u64,
/// }
///
/// struct Counter {
///     next: AtomicU64,
/// }
///
/// impl Plugin for Counter {
///     type Config = Config;
///
///     fn start(config: Config, _host: &Host) -> Result<Self, HandlerError> {
///         Ok(Self { next: AtomicU64::new(config.first) })
///     }
/// }
///
/// struct Next;
///
/// impl Handler<Counter> for Next {
///     type Request = NoFields;
///     type Response = u64;
///     const SPEC: HandlerSpec = HandlerSpec::new("counter.next").inline();
///
///     async fn handle(&self, _: NoFields, cx: &Context<Counter>) -> Result<u64, HandlerError> {
///         Ok(cx.plugin().next.fetch_add(1, Ordering::Relaxed))
///     }
/// }
///
/// export_plugin! {
///     id: "counter",
///     plugin: Counter,
///     handlers: [Next],
/// }
/// # fn main() {}
/// ```
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The plugin's section of the config, `[plugins.NAME.config]`.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the plugin. Runs on a thread of the host where it may block for a
    /// bounded time; there is no tokio runtime here.
    ///
    /// # Errors
    ///
    /// Why it cannot run; the host tells the operator.
    fn start(config: Self::Config, host: &Host) -> Result<Self, HandlerError>;

    /// Takes a new config while calls run. On an error the old one stays in
    /// force. By default a new config needs a restart.
    ///
    /// # Errors
    ///
    /// Why it does not take this config.
    fn reconfigure(&self, config: Self::Config) -> Result<(), HandlerError> {
        drop(config);
        Err(HandlerError::new(
            "restart-needed",
            "this plugin does not take a new config while it runs",
        )
        .help("put it in the worker's own config and restart the worker"))
    }

    /// The last call has returned and no other comes. The host can still be
    /// asked. By default nothing is left to do.
    fn stop(&self) {}
}

/// A request, response or config without fields: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

impl Plugin for () {
    type Config = NoFields;

    fn start(_: NoFields, _: &Host) -> Result<Self, HandlerError> {
        Ok(())
    }

    fn reconfigure(&self, _: NoFields) -> Result<(), HandlerError> {
        Ok(())
    }
}
