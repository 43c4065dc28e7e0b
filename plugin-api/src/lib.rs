//! Write a plugin for aegis-worker.
//!
//! A plugin is a crate with one or more [`Handler`]s and one [`export_plugin!`].
//! With `crate-type = ["rlib", "cdylib"]` the same crate can be linked into a
//! worker or loaded by one:
//!
//! ```
//! use aegis_plugin_api::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Greet {
//!     name: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! struct Hello;
//!
//! impl Handler for Hello {
//!     type Request = Greet;
//!     type Response = Greeting;
//!     const SPEC: HandlerSpec = HandlerSpec::new("hello").effect(Effect::Read);
//!
//!     async fn handle(&self, request: Greet, _cx: &Context) -> Result<Greeting, HandlerError> {
//!         Ok(Greeting { text: format!("hello, {}", request.name) })
//!     }
//! }
//!
//! export_plugin! { Hello }
//! # fn main() {}
//! ```
//!
//! The derives are those of `serde` and `schemars`, which the plugin's
//! `Cargo.toml` names beside this crate. A plugin with state or config
//! implements [`Plugin`]. Plugins in other languages are written against
//! `include/aegis_plugin.h`, which mirrors [`abi`].

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[allow(unsafe_code)]
pub mod abi;
mod built_in;
mod call_facts;
mod cancel;
mod checkpoint;
mod completion;
mod context;
mod current;
mod erased;
mod error;
mod export;
#[allow(unsafe_code)]
mod ffi;
mod gate;
mod handler;
pub mod host;
mod instance;
mod log;
mod macros;
pub mod manifest;
mod node;
mod output;
mod panic;
mod plugin;
mod port;
#[cfg(unix)]
pub mod process;
mod runtime;
mod spec;
pub mod testing;

pub use built_in::{BuiltIn, built_ins};
pub use cancel::{CancelReason, Cancellation};
pub use context::Context;
pub use error::HandlerError;
pub use handler::{BlockingHandler, Handler};
pub use host::{ConfigControl, Host, HostInterface, KeyValue, Metrics, NodeControl};
pub use node::Node;
pub use output::Output;
pub use plugin::{NoFields, Plugin};
pub use spec::{Effect, HandlerSpec};
pub use {schemars, serde, serde_json, tracing};

/// What a plugin's source begins with.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        BlockingHandler, CancelReason, Cancellation, Context, Effect, Handler, HandlerError,
        HandlerSpec, Host, NoFields, Output, Plugin, export_plugin,
    };
}

/// What `export_plugin!` expands to. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use inventory::submit;

    pub use crate::{
        __first as first, __first_type as first_type,
        abi::AegisPluginDescriptor,
        built_in::BuiltIn,
        erased::{Async, Blocking, ErasedHandler},
        export::Exported,
        ffi::descriptor,
        handler::{BlockingHandler, Handler},
        host::Requirement,
        manifest::build::{Parts, bytes, length},
    };
}
