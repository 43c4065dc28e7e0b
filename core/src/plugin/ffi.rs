//! The host's side of the C ABI, and all unsafe code of this crate.
//!
//! What crosses the boundary is checked here, once: sizes of tables before a
//! field is read, lengths before a slice is made, numbers before they become
//! enumerations. What leaves this module is safe to hold and to call from any
//! thread. Two things are taken on trust, for code in the same address space
//! cannot be kept from breaking them: that pointers handed over by a plugin
//! are what the ABI says, and that it hands back the host context that it was
//! given.

mod buffer;
mod bytes;
mod checkpoint;
mod descriptor;
mod host;
mod inherited;
mod instance;
mod library;
#[cfg(test)]
mod sizes;
mod table;
mod tables;

pub(crate) use descriptor::Descriptor;
pub(super) use host::{HostContext, PluginSide, set_log_level};
pub(crate) use host::{log_level, set_log_number};
pub(crate) use inherited::inherited;
pub(crate) use instance::cancel_number;
pub(super) use instance::{Begun, Instance, Request, Seed};
pub(crate) use library::{executable_copy, map, map_copy};
