//! Runs a plugin in its author's tests.
//!
//! The host here is a fake: it grants what the test says and remembers what the
//! plugin tells it. A test runs twice, once over the plugin's Rust code alone
//! and once through the C ABI, as in a worker:
//!
//! ```
//! # use aegis_plugin_api::prelude::*;
//! # struct Double;
//! # impl Handler for Double {
//! #     type Request = u32;
//! #     type Response = u32;
//! #     const SPEC: HandlerSpec = HandlerSpec::new("double").inline();
//! #     async fn handle(&self, n: u32, _: &Context) -> Result<u32, HandlerError> { Ok(2 * n) }
//! # }
//! # export_plugin! { id: "doubler", handlers: [Double] }
//! use aegis_plugin_api::testing::each_way;
//!
//! # fn main() {
//! each_way("doubler", |setup| {
//!     let plugin = setup.start().expect("it starts");
//!     assert_eq!(plugin.call("double", 21), Ok(42.into()));
//! });
//! # }
//! ```
//!
//! In a test outside of the plugin's crate, link it by name first:
//! `use the_plugin as _;`.
//!
//! Everything here panics where a plugin breaks the contract or does not do in
//! 30 s what a test waits for.

mod book;
mod call;
mod figures;
mod key_values;
mod plugin;
mod setup;

use std::time::Duration;

pub use book::{LogLine, Progress};
pub use call::{CallOptions, TestCall};
pub use figures::Figures;
pub use key_values::KeyValues;
pub use plugin::TestPlugin;
pub use setup::{Setup, Through};

pub use crate::completion::Completion;

/// How long the harness waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` through the plugin's Rust code and again through the C ABI.
///
/// # Panics
///
/// If no plugin named `id` is linked into this program.
pub fn each_way(id: &str, test: impl Fn(Setup)) {
    for through in [Through::Rust, Through::Abi] {
        test(Setup::new(id).through(through));
    }
}
