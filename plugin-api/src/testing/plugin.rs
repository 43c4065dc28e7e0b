//! A plugin that runs under the fake host.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;

use super::{CallOptions, LogLine, PATIENCE, TestCall, book::Book, setup::StateDir};
use crate::{
    Effect, HandlerError, abi::AegisPluginDescriptor, completion::Completion, ffi::loopback,
    instance::Engine, manifest::Manifest,
};

/// A running plugin. Dropping it stops it and checks that it kept the contract.
pub struct TestPlugin {
    /// Dropped before the book that it writes to.
    engine: Option<Arc<dyn Engine>>,
    book: Arc<Book>,
    manifest: Manifest,
    descriptor: &'static AegisPluginDescriptor,
    state_dir: StateDir,
}

impl TestPlugin {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        book: Arc<Book>,
        manifest: Manifest,
        descriptor: &'static AegisPluginDescriptor,
        state_dir: StateDir,
    ) -> Self {
        Self {
            engine: Some(engine),
            book,
            manifest,
            descriptor,
            state_dir,
        }
    }

    /// Runs a command to its end and gives its response.
    ///
    /// # Errors
    ///
    /// The handler's error; a panic and a cancellation are errors too.
    pub fn call(&self, command: &str, payload: impl Serialize) -> Result<Value, HandlerError> {
        match self.begin(command, payload).wait() {
            Completion::Succeeded(response) => {
                Ok(serde_json::from_slice(&response).expect("a response is JSON"))
            }
            Completion::Failed(error)
            | Completion::Cancelled(error)
            | Completion::Panicked(error) => Err(error),
        }
    }

    /// Begins a command.
    pub fn begin(&self, command: &str, payload: impl Serialize) -> TestCall {
        self.begin_with(command, payload, CallOptions::default())
    }

    /// Begins a command that brings more than a payload.
    ///
    /// # Panics
    ///
    /// If the plugin has no handler for `command`, or `payload` has no JSON form.
    pub fn begin_with(
        &self,
        command: &str,
        payload: impl Serialize,
        options: CallOptions,
    ) -> TestCall {
        let handler = self
            .manifest
            .handlers
            .iter()
            .position(|handler| handler.name == command)
            .unwrap_or_else(|| panic!("the plugin has no handler for `{command}`"));
        let payload = serde_json::to_vec(&payload).expect("a payload has a JSON form");
        self.begin_raw(
            u32::try_from(handler).unwrap_or(u32::MAX),
            &payload,
            options,
        )
    }

    /// Begins a call with any bytes for a payload, of any handler by its index.
    pub fn begin_raw(&self, handler: u32, payload: &[u8], options: CallOptions) -> TestCall {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let id = CALLS.fetch_add(1, Ordering::Relaxed);
        let declared = self.manifest.handlers.get(handler as usize);
        let resumable = declared.is_some_and(|handler| handler.effect == Effect::Resumable);
        TestCall::start(
            self.engine(),
            &self.book,
            id,
            handler,
            resumable,
            payload,
            options,
        )
    }

    /// Gives the plugin another config.
    ///
    /// # Errors
    ///
    /// Why it does not take it.
    pub fn reconfigure(&self, config: impl Serialize) -> Result<(), HandlerError> {
        let config = serde_json::to_vec(&config).expect("a config has a JSON form");
        self.engine().reconfigure(&config)
    }

    /// What was logged so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.book.log_lines()
    }

    /// What the plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The JSON Schemas of a command: `request` and `response`.
    pub fn schemas(&self, command: &str) -> Option<Value> {
        let index = self
            .manifest
            .handlers
            .iter()
            .position(|handler| handler.name == command)?;
        loopback::schemas(self.descriptor, u32::try_from(index).ok()?)
    }

    /// The directory that is the plugin's alone.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir.0
    }

    /// Stops the plugin, as a worker does: waits for the running calls.
    ///
    /// # Panics
    ///
    /// If a call does not end, or the plugin completed a call more than once.
    pub fn stop(mut self) {
        self.end();
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        self.engine
            .as_ref()
            .expect("it is taken only where the plugin ends")
    }

    fn end(&mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        let quiesced = engine.quiesce(PATIENCE);
        if !quiesced {
            // Its threads still know the host: never freed.
            std::mem::forget(engine);
        }
        let stray = self.book.stray_completions();
        if !std::thread::panicking() {
            assert!(
                quiesced,
                "calls still run {PATIENCE:?} after the plugin was told to stop"
            );
            assert_eq!(
                stray, 0,
                "completions of calls that were over or never made"
            );
        }
    }
}

impl Drop for TestPlugin {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for TestPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin")
            .field("id", &self.manifest.id)
            .finish_non_exhaustive()
    }
}
