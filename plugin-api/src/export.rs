//! What `export_plugin!` says of a plugin.

use crate::{Plugin, erased::ErasedHandler, host::Requirement};

/// Implemented by `export_plugin!`.
pub trait Exported: 'static {
    /// Its state.
    type Plugin: Plugin;
    /// Its name.
    const ID: &'static str;
    /// Its own version.
    const VERSION: &'static str;
    /// In the order of the manifest.
    const HANDLERS: &'static [&'static dyn ErasedHandler<Self::Plugin>];
    /// Without these it does not start.
    const REQUIRES: &'static [Requirement];
}
