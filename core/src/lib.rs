//! The lifecycle engine of a node agent: identity, client, lifecycle, dispatch,
//! journal, catalog, plugin host, config. It knows how to live in a cluster; it
//! knows no command.

#![deny(unsafe_code)]

pub mod catalog;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod dispatch;
pub mod drain;
pub mod explain;
pub mod facts;
pub mod identity;
pub mod journal;
pub mod landlock;
pub mod lifecycle;
pub mod loader;
pub mod local;
pub mod log_tail;
pub mod manifest;
mod metrics;
pub mod notes;
pub mod notify;
pub mod placement;
pub mod plugin;
pub mod plugin_host;
pub mod policy;
pub mod pushed_config;
pub mod session;
#[doc(hidden)]
pub mod simulation;
pub mod trust;

mod database;
mod id_map;
mod key_pem;
mod key_values;
mod kill_point;
mod plugin_metrics;
mod unpoisoned;
mod whole_file;
