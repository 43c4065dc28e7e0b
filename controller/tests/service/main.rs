//! The controller over a real loopback socket, tried by generated clients.

mod peer;
mod session;
