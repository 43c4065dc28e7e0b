//! What a handler is given beside its request.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    CancelReason, Cancellation, HandlerError, Host, Node, Output, Plugin,
    abi::AEGIS_PROGRESS_UNKNOWN, host::HostInterface, instance::Instance,
};

/// One call: the command, its cancellation and deadline, the way to whoever
/// watches, the node, and the plugin's state.
pub struct Context<P: Plugin = ()> {
    pub(crate) instance: Arc<Instance<P>>,
    pub(crate) cancellation: Cancellation,
}

impl<P: Plugin> Context<P> {
    /// The command's id, a UUID; the same on every attempt.
    pub fn command_id(&self) -> &str {
        self.cancellation.facts().command_id()
    }

    /// Who gave the command, as the controller knows them; may be empty.
    pub fn issuer(&self) -> &str {
        self.cancellation.facts().issuer()
    }

    /// The W3C trace context that the command came with; may be empty.
    pub fn traceparent(&self) -> &str {
        self.cancellation.facts().traceparent()
    }

    /// 1 for the first attempt at this command.
    pub fn attempt(&self) -> u32 {
        self.cancellation.facts().attempt
    }

    /// When the call is cancelled; `None`: never by time.
    pub fn deadline(&self) -> Option<Instant> {
        self.cancellation.facts().deadline()
    }

    /// How long until the deadline; `None`: no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the call is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Why the call is to end; `None` while it may go on.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancellation.reason()
    }

    /// Waits until the call is to end.
    pub async fn cancelled(&self) {
        self.cancellation.cancelled().await;
    }

    /// The cancellation, to hand to what the handler starts.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// For loops without an await: ends the handler with `?` once the call is
    /// to end.
    ///
    /// # Errors
    ///
    /// [`HandlerError::CANCELLED`].
    pub fn check_cancelled(&self) -> Result<(), HandlerError> {
        match self.cancellation.reason() {
            None => Ok(()),
            Some(reason) => Err(HandlerError::cancelled(match reason {
                CancelReason::Requested => "ended because it was cancelled",
                CancelReason::Deadline => "ended because its timeout passed",
                CancelReason::Shutdown => "ended because the worker shuts down",
            })),
        }
    }

    /// Sleeps, unless the call is to end first. Not for inline handlers.
    ///
    /// # Errors
    ///
    /// [`HandlerError::CANCELLED`].
    pub async fn sleep(&self, duration: Duration) -> Result<(), HandlerError> {
        tokio::select! {
            biased;
            () = self.cancelled() => self.check_cancelled(),
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }

    /// Sleeps, unless the call is to end first. For blocking handlers only.
    ///
    /// # Errors
    ///
    /// [`HandlerError::CANCELLED`].
    ///
    /// # Panics
    ///
    /// Outside of the plugin's blocking threads.
    pub fn sleep_blocking(&self, duration: Duration) -> Result<(), HandlerError> {
        tokio::runtime::Handle::current().block_on(self.sleep(duration))
    }

    /// Says how far the call is, 0 to 1000, and what it does. Whoever watches
    /// sees the newest only. Never blocks.
    pub fn progress(&self, permille: u16, note: &str) {
        self.send_progress(u32::from(permille.min(1000)), note);
    }

    /// Says what the call does where it cannot tell how far it is.
    pub fn progress_note(&self, note: &str) {
        self.send_progress(AEGIS_PROGRESS_UNKNOWN, note);
    }

    /// The command's output: `writeln!(cx.output(), "...")?`.
    pub fn output(&self) -> Output {
        Output {
            host: self.instance.host.clone(),
            call: self.cancellation.facts().id,
        }
    }

    /// The plugin's state.
    pub fn plugin(&self) -> &P {
        &self.instance.plugin
    }

    /// The worker.
    pub fn host(&self) -> &Host {
        &self.instance.host
    }

    /// The node it runs on.
    pub fn node(&self) -> &Node {
        self.instance.host.node()
    }

    /// A directory that is this plugin's alone and survives restarts.
    pub fn state_dir(&self) -> &Path {
        self.instance.host.state_dir()
    }

    /// An interface that the operator granted.
    ///
    /// # Errors
    ///
    /// See [`Host::interface`].
    pub fn interface<I: HostInterface>(&self) -> Result<I, HandlerError> {
        self.instance.host.interface()
    }

    fn send_progress(&self, permille: u32, note: &str) {
        let _ = self
            .instance
            .host
            .0
            .link
            .with(|port| port.progress(self.cancellation.facts().id, permille, note));
    }
}

impl<P: Plugin> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("command_id", &self.command_id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
