//! The controller over a real loopback socket, tried by generated clients.

mod abandoned_calls;
mod admission;
mod allowed_plugins;
mod commands;
mod config;
mod delivery;
mod fixed_contract;
mod operators;
mod peer;
mod receipts;
mod reconcile;
mod restart;
mod retention;
mod rollouts;
mod routing;
mod session;
mod status_codes;
mod tls;
