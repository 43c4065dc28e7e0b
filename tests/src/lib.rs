//! Fakes and the harness of the whole-system tests.
//!
//! [`FixedController`] and [`FixedClient`] are the two ends of
//! `aegis.cluster.v1` and of nothing else, made from the `.proto` files and a
//! crypto crate alone. [`Cluster`] and its parts run the real programs.
//! Everything here panics where it cannot go on: its callers are tests.

#![forbid(unsafe_code)]

mod binaries;
mod cluster;
mod controller;
mod ctl;
mod disk;
mod fixed_client;
mod fixed_controller;
mod jwt;
mod operator;
mod plugin_dir;
mod port;
mod program;
mod proxy;
mod refusal;
mod rounds;
mod worker;

pub use binaries::folder as programs;
pub use cluster::Cluster;
pub use controller::Controller;
pub use ctl::{Answer, Ctl};
pub use disk::Disk;
pub use fixed_client::FixedClient;
pub use fixed_controller::{Commands, FixedController, Rpc, Script, Seen};
pub use jwt::claims as token_claims;
pub use operator::Operator;
pub use plugin_dir::PluginDir;
pub use port::free_address;
pub use program::{Program, eventually};
pub use proxy::Proxy;
pub use refusal::{reason, refused, retry_delay};
pub use rounds::Rounds;
pub use worker::Worker;

/// How long a test waits for an event that must come. No test measures time;
/// this is only how a hang becomes a failure.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The README's code.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
