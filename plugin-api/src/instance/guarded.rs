//! A handler's code under way, with what surrounds it.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
};

use tracing::Span;

use crate::{
    HandlerError, Host,
    current::Current,
    erased::{Answer, Running},
    panic::guard,
};

/// What an abandoned call ends with.
pub(super) fn abandoned() -> HandlerError {
    HandlerError::cancelled("dropped because it did not end in time after it was cancelled")
}

/// What surrounds a handler's code: the guard, the current call, its span.
pub(super) struct Stage {
    pub(super) host: Host,
    pub(super) call: u64,
    pub(super) span: Span,
}

impl Stage {
    pub(super) fn run<R>(&self, body: impl FnOnce() -> R) -> Result<R, HandlerError> {
        guard(|| {
            let _current = Current::enter(&self.host, self.call);
            let _span = self.span.enter();
            body()
        })
        .map_err(|panic| panic.into_error())
    }
}

/// A handler's future; a panic becomes its error.
pub(super) struct Guarded {
    pub(super) running: Option<Running>,
    pub(super) stage: Stage,
}

impl Guarded {
    /// Drops the handler where it stands.
    pub(super) fn discard(&mut self) -> Result<(), HandlerError> {
        discard(&mut self.running, &self.stage)
    }
}

impl Future for Guarded {
    type Output = Result<Answer, HandlerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Self { running, stage } = self.get_mut();
        let polled = stage.run(|| {
            let polled = running.as_mut().map(|running| running.as_mut().poll(cx));
            if matches!(polled, Some(Poll::Ready(_))) {
                // What it still holds is dropped here, where a panic is caught.
                *running = None;
            }
            polled
        });
        match polled {
            Ok(Some(Poll::Ready(answer))) => Poll::Ready(Ok(answer)),
            Ok(Some(Poll::Pending)) => Poll::Pending,
            // Polled after its end, which `drive` does not do.
            Ok(None) => Poll::Ready(Ok(Err(abandoned()))),
            Err(error) => {
                // What a panicking drop leaves of it is dropped in its own guard.
                let _ = discard(running, stage);
                Poll::Ready(Err(error))
            }
        }
    }
}

fn discard(running: &mut Option<Running>, stage: &Stage) -> Result<(), HandlerError> {
    let running = running.take();
    stage.run(|| drop(running))
}
