//! The controller: node registry, command queue, config layers, enrolment and
//! the operator API of an aegis cluster.
//!
//! [`Server::start`] runs all of it on one port. What lasts is in a
//! [`store::Store`]; liveness is in memory. The wire is `aegis-proto`'s.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod allow_list;
pub mod auth;
mod cluster;
pub mod command;
pub mod config;
mod config_status;
mod controller;
mod directory;
mod kill_point;
mod layers;
mod operator;
mod outcome;
mod queue;
mod retention;
mod rollout;
mod server;
mod session;
#[doc(hidden)]
pub mod simulation;
mod status;
mod storage;
pub mod store;
mod sweeper;
pub mod time;
mod watch;

pub use config::Config;
pub use controller::Settings;
pub use retention::Retention;
pub use server::{Server, StartError};
