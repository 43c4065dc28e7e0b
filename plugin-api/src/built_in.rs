//! How a linked plugin makes itself known to the program it is linked into.

use crate::abi::AegisPluginDescriptor;

/// A plugin that is linked into this program, registered through `inventory`.
/// The host treats its descriptor as it does that of a loaded file.
#[derive(Debug)]
pub struct BuiltIn {
    /// What the plugin would export as a library.
    pub descriptor: &'static AegisPluginDescriptor,
}

inventory::collect!(BuiltIn);
