//! The few connections that are open at once: one request, one response, the
//! end.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::{AbortHandle, JoinSet},
    time::timeout,
};

use super::{
    request::{self, MAX_HEAD_BYTES, Request},
    response::{Pages, Response, Status},
};

/// Open at once. Beyond it the oldest has to go: those that watch a node are
/// done in a moment, so it is the slow and the silent that go first.
pub(super) const MAX_CONNECTIONS: usize = 16;

/// How much is still read from a client that was answered, so that it gets to
/// read why: closing a socket with unread data resets it.
const LINGER_BYTES: usize = 64 * 1024;

/// How long clients may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the whole request to be there.
    request: Duration,
    /// For the whole response to be taken.
    response: Duration,
    /// For the client to leave.
    linger: Duration,
}

pub(super) struct Connections<P> {
    pages: Arc<P>,
    patience: Patience,
    tasks: JoinSet<()>,
    /// The oldest first.
    handles: VecDeque<AbortHandle>,
}

impl<P: Pages> Connections<P> {
    pub(super) fn new(pages: Arc<P>) -> Self {
        Self {
            pages,
            patience: Patience::default(),
            tasks: JoinSet::new(),
            handles: VecDeque::with_capacity(MAX_CONNECTIONS),
        }
    }

    /// Serves one more, at the expense of the oldest if there are too many.
    pub(super) fn take(&mut self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.handles.retain(|handle| !handle.is_finished());
        if self.handles.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.handles.pop_front()
        {
            oldest.abort();
        }
        let pages = Arc::clone(&self.pages);
        let handle = self.tasks.spawn(serve(stream, pages, self.patience));
        self.handles.push_back(handle);
    }

    /// Waits for the end of one of them.
    pub(super) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            pending().await
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(5),
            response: Duration::from_secs(5),
            linger: Duration::from_secs(1),
        }
    }
}

/// One client, to its end. Whatever goes wrong is the client's affair.
async fn serve<S>(mut stream: S, pages: Arc<impl Pages>, patience: Patience)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = match timeout(patience.request, read(&mut stream)).await {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(_) => Request::Refused(Status::RequestTimeout),
    };
    let (response, with_body) = match request {
        Request::Get { path, with_body } => (pages.page(&path), with_body),
        Request::Refused(status) => (Response::refusal(status), true),
    };
    let bytes = response.encode(with_body);
    let written = timeout(patience.response, async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await;
    if matches!(written, Ok(Ok(()))) {
        let _ = timeout(patience.linger, drain(&mut stream)).await;
    }
}

/// `None`: the client left before its request was there.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::with_capacity(1024);
    loop {
        // One byte beyond the limit tells that there is more.
        let room = (MAX_HEAD_BYTES + 1 - head.len()) as u64;
        let read = (&mut *stream).take(room).read_buf(&mut head).await.ok()?;
        if let Some(request) = request::parse(&head) {
            return Some(request);
        }
        if read == 0 {
            return None;
        }
    }
}

async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut scrap = [0; 1024];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut scrap).await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}

#[cfg(test)]
mod tests;
