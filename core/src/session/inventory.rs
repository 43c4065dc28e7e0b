//! What plugins and handlers the node has.

use crate::plugin::{HandlerInfo, PluginInfo};

/// The catalog as a controller is told of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inventory {
    /// Loaded or not.
    pub plugins: Vec<PluginInfo>,
    /// Enabled or not.
    pub handlers: Vec<HandlerInfo>,
}
