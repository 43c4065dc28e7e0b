//! What the SDK asks of a host, whatever stands behind it: the C tables of a
//! worker, or the test harness.

use std::fmt;

use crate::{HandlerError, completion::Completion, gate::Gate};

/// A host. No method unwinds.
pub(crate) trait HostPort: Send + Sync + 'static {
    /// The most talkative `AEGIS_LOG_…` that is still taken.
    fn log_level(&self) -> u32;
    /// Ends a call.
    fn complete(&self, call: u64, completion: Completion);
    /// See [`crate::abi::AegisHostVtable::progress`].
    fn progress(&self, call: u64, permille: u32, note: &str);
    /// See [`crate::abi::AegisHostVtable::output`].
    fn output(&self, call: u64, data: &[u8]);
    /// See [`crate::abi::AegisCheckpointV1::save`]. Blocks.
    fn save_checkpoint(&self, call: u64, data: &[u8]) -> Result<(), HandlerError>;
    /// See [`crate::abi::AegisCheckpointV1::load`].
    fn load_checkpoint(&self, call: u64) -> Option<Vec<u8>>;
    /// 0, or the `AEGIS_CANCEL_…` that was asked for.
    fn cancelled(&self, call: u64) -> u32;
    /// See [`crate::abi::AegisHostVtable::log`]. `fields` is empty or a JSON object.
    fn log(&self, call: u64, level: u32, target: &str, message: &str, fields: &str);
    /// Whether the interface is there and granted.
    fn grants(&self, interface: &str) -> bool;
    /// Calls a function of an interface, by its place in the table.
    fn call(
        &self,
        interface: &'static str,
        function: usize,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError>;
}

/// The way to the host, until the plugin has quiesced. What a plugin's own
/// threads ask of it afterwards does not reach the host.
pub(crate) struct Link {
    gate: Gate,
    port: Box<dyn HostPort>,
}

impl Link {
    pub(crate) fn new(port: Box<dyn HostPort>) -> Self {
        Self {
            gate: Gate::default(),
            port,
        }
    }

    /// Asks the host, or answers `None` once the link is closed.
    pub(crate) fn with<R>(&self, ask: impl FnOnce(&dyn HostPort) -> R) -> Option<R> {
        struct Inside<'a>(&'a Gate);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                self.0.leave();
            }
        }
        if !self.gate.enter() {
            return None;
        }
        let _inside = Inside(&self.gate);
        Some(ask(&*self.port))
    }

    /// Closes the link and waits for the questions under way; false if one
    /// still is after `timeout`.
    pub(crate) fn close(&self, timeout: std::time::Duration) -> bool {
        self.gate.close();
        self.gate.wait_empty(timeout)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
