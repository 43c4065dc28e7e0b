//! Which plugin files may be sent commands.

use super::{NewAudit, StoreError};
use crate::time::Millis;

/// One file of a plugin that may be sent commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPlugin {
    /// The plugin's name.
    pub plugin: String,
    /// Of the file.
    pub sha256: [u8; 32],
    /// The operator's.
    pub note: String,
    /// Who allowed it.
    pub operator: String,
    /// When, or when its note was last changed.
    pub allowed_at: Millis,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedPluginList {
    /// Grows with each change.
    pub revision: i64,
    /// By name and digest.
    pub plugins: Vec<AllowedPlugin>,
}

/// The list of plugin files that may be sent commands.
#[tonic::async_trait]
pub trait AllowedPlugins: Send + Sync + 'static {
    /// All of it.
    async fn allowed_plugins(&self) -> Result<AllowedPluginList, StoreError>;
    /// Adds a file, or replaces what was said of it. Returns the list after it.
    async fn allow_plugin(
        &self,
        allowed: &AllowedPlugin,
        audit: &NewAudit,
    ) -> Result<AllowedPluginList, StoreError>;
    /// Takes a file off. Returns the list after it; `None` where it was not
    /// there, and then nothing is written.
    async fn disallow_plugin(
        &self,
        plugin: &str,
        sha256: &[u8; 32],
        audit: &NewAudit,
    ) -> Result<Option<AllowedPluginList>, StoreError>;
}
