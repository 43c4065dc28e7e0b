//! A network between two programs that can fail without a word.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Forwards every connection to one address. Dropping it ends them all.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    /// Connections accepted so far.
    accepted: AtomicUsize,
    /// Connections below this number are black holes.
    frozen: watch::Sender<usize>,
}

impl Proxy {
    /// Listens on a free port for `http://HOST:PORT`.
    pub async fn start(endpoint: &str) -> Self {
        let target = endpoint
            .trim_start_matches("http://")
            .parse()
            .expect("host and port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target,
            accepted: AtomicUsize::new(0),
            frozen: watch::Sender::new(0),
        });
        let accept = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accept,
        }
    }

    /// As `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the open connections carry nothing, and neither side hears
    /// of it. New ones work.
    pub fn black_hole(&self) {
        self.shared
            .frozen
            .send_replace(self.shared.accepted.load(Ordering::SeqCst));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, which aborts every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(far) = TcpStream::connect(shared.target).await else {
            continue;
        };
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let frozen = || shared.frozen.subscribe();
        connections.spawn(copy(near_read, far_write, number, frozen()));
        connections.spawn(copy(far_read, near_write, number, frozen()));
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    mut frozen: watch::Receiver<usize>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            () = freeze(&mut frozen, number) => None,
            read = from.read(&mut buffer) => Some(read),
        };
        let Some(read) = read else {
            // Both sockets stay open and silent until the proxy ends.
            return std::future::pending().await;
        };
        match read {
            Ok(length) if length > 0 => {
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn freeze(frozen: &mut watch::Receiver<usize>, number: usize) {
    let _ = frozen.wait_for(|below| number < *below).await;
}
