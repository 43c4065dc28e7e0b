//! The real `aegisctl` against a controller played in this process.

#![allow(clippy::unwrap_used, missing_docs)]

mod aegisctl;
mod drain;
mod errors;
mod fake;
mod group;
mod nodes;
mod plugins;
mod push_config;
mod rollout;
mod run;
