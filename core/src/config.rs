//! The configuration of a worker: the model, and the loader that makes it from
//! flags, `AEGIS_*` variables and a TOML file.
//!
//! Whatever is wrong is said at once, each fault with its place. Nothing here
//! opens a key, a certificate or a plugin.

pub mod model;

mod controller;
mod duration;
mod endpoint;
mod fault;
mod handlers;
mod lifecycle;
mod loader;
mod log_filter;
mod node;
mod places;
mod plugins;
mod process;
mod section;
mod size;
mod sources;
mod suggest;
mod telemetry;

pub use duration::{MalformedDuration, parse_duration};
pub use endpoint::is_loopback;
pub(crate) use endpoint::is_plaintext;
pub use fault::{ConfigError, Fault, Origin};
pub(crate) use handlers::is_name;
pub use loader::Loader;
pub use log_filter::{MalformedLogFilter, parse_log_filter};
pub use model::Config;
pub use places::Places;
pub use sources::ENVIRONMENT;

#[cfg(test)]
mod tests;
