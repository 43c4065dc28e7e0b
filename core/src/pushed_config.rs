//! The config that a controller pushed: validated, stored beside the last good
//! one, applied live, acknowledged, or rejected and remembered.

mod settings;

pub use settings::{HandlerSettings, WorkerSettings};
