//! What the author of an aegis-worker plugin sees.

pub mod abi;
mod built_in;
mod error;
pub mod manifest;
mod spec;

pub use built_in::BuiltIn;
pub use error::HandlerError;
pub use spec::{Effect, HandlerSpec};
