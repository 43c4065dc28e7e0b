//! The last step of a pushed config: telling the controller.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use crate::command::HandlerError;

/// Asks the lifecycle for a SyncConfig call.
#[derive(Debug)]
pub struct SyncRequest {
    /// Which version is in force now.
    pub version: String,
    /// Whether the controller heard of it.
    pub reply: oneshot::Sender<Result<(), HandlerError>>,
}

/// Sends a request and blocks until it is answered.
pub(super) fn wait(
    sync: &mpsc::Sender<SyncRequest>,
    version: &str,
    timeout: Duration,
) -> Result<(), HandlerError> {
    let (reply, answer) = oneshot::channel();
    let request = SyncRequest {
        version: version.to_owned(),
        reply,
    };
    if sync.try_send(request).is_err() {
        return Err(unheard("the worker is not connected, or ends"));
    }
    match block_on(answer, timeout) {
        Some(Ok(answer)) => answer,
        Some(Err(_)) => Err(unheard("the connection went")),
        None => Err(unheard(&format!("it did not answer within {timeout:?}"))),
    }
}

fn unheard(why: &str) -> HandlerError {
    HandlerError::new(
        "not-acknowledged",
        format!("the config is in force, but the controller has not heard of it: {why}"),
    )
    .help("the worker says so again when it next registers")
    .retryable()
}

/// Waits on the calling thread, whatever runtime that may belong to: the caller
/// is a plugin's handler, and tokio refuses to block its own threads.
fn block_on<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    let deadline = Instant::now() + timeout;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
