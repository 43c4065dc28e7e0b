//! The C ABI on the plugin's side. All `unsafe` code of the SDK is here (the
//! layouts in [`crate::abi`] apart): the rest of the crate speaks to an
//! [`Engine`](crate::instance::Engine) and a [`HostPort`](crate::port::HostPort).

mod buffer;
mod entry;
pub(crate) mod loopback;
mod port;
mod read;

pub use entry::descriptor;
