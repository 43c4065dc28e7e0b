//! The socket and who is let in.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use super::{connections::Connections, response::Pages};

/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound socket that nobody is served at yet.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds. Needs no runtime.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// With the port that port 0 came to.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as it is awaited. Every connection ends with it.
    pub(crate) async fn serve(self, pages: impl Pages) {
        let socket = match tokio::net::TcpListener::from_std(self.socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "metrics and health cannot be served");
                return;
            }
        };
        let mut connections = Connections::new(Arc::new(pages));
        let mut refused = false;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = connections.reap() => continue,
            };
            match accepted {
                Ok((stream, _)) => {
                    refused = false;
                    connections.take(stream);
                }
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "cannot accept who asks for metrics or health");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::metrics::response::{Response, Status};

    struct Page;

    impl Pages for Page {
        fn page(&self, path: &str) -> Response {
            Response::line(Status::Ok, path)
        }
    }

    #[tokio::test]
    async fn a_socket_is_served_until_the_task_ends() {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = listener.address();
        assert_ne!(address.port(), 0);
        let served = tokio::spawn(listener.serve(Page));
        // One that says nothing is no obstacle.
        let mut silent = TcpStream::connect(address).await.expect("it listens");
        let mut client = TcpStream::connect(address).await.expect("it listens");
        client
            .write_all(b"GET /a HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("/a\n"), "{answer}");

        served.abort();
        assert!(served.await.expect_err("it was ended").is_cancelled());
        let mut byte = [0];
        assert_eq!(silent.read(&mut byte).await.unwrap_or(0), 0);
        TcpStream::connect(address)
            .await
            .expect_err("nobody listens");
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        let first = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let error = Listener::bind(first.address()).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
