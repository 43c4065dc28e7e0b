//! What the author of an aegis-worker plugin sees.

pub mod abi;
mod error;
pub mod manifest;
mod spec;

pub use error::HandlerError;
pub use spec::{Effect, HandlerSpec};
