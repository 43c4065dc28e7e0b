//! What the worker does besides running.

mod check_config;
mod explain;
mod identity;
mod journal;
mod new;
mod plugins;
mod printing;
mod release;
mod signing;

pub use check_config::check_config;
pub use explain::explain;
pub use identity::identity_show;
pub use journal::journal_list;
pub use new::plugins_new;
pub use plugins::{plugins_inspect, plugins_list};
pub use release::plugins_release;
pub use signing::{plugins_keygen, plugins_sign};
