//! The C ABI on the plugin's side, and what only the operating system's C
//! functions can do. All `unsafe` code of the SDK is here (the
//! layouts in [`crate::abi`] apart): the rest of the crate speaks to an
//! [`Engine`](crate::instance::Engine) and a [`HostPort`](crate::port::HostPort).

mod buffer;
#[cfg(unix)]
pub(crate) mod confine;
mod entry;
pub(crate) mod loopback;
mod port;
mod read;
#[cfg(unix)]
pub(crate) mod user;

pub use entry::descriptor;
