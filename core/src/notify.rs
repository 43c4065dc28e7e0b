//! Word to the service manager, as systemd's `sd_notify` has it: one datagram
//! to the socket that `NOTIFY_SOCKET` names. Without one, nothing happens.

use std::{env, os::unix::net::UnixDatagram, time::Duration};

/// The way to the service manager, or nowhere.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The manager that started this process.
    pub fn from_env() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = match connect(address.as_encoded_bytes()) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "cannot reach the service manager at NOTIFY_SOCKET");
                None
            }
        };
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0);
        Self {
            socket,
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// How often it wants to hear [`alive`](Self::alive), with room to spare.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|interval| interval / 2)
    }

    /// The worker is registered.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The worker is not stuck.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The worker ends itself and may take so long.
    pub fn stopping(&self, within: Duration) {
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
            within.as_micros()
        ));
    }

    /// One line for people.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not listen is no reason to stop working.
            if let Err(error) = socket.send(message.as_bytes()) {
                tracing::debug!(%error, "the service manager did not take {message:?}");
            }
        }
    }
}

fn connect(address: &[u8]) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match address.split_first() {
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        _ => {
            use std::os::unix::ffi::OsStrExt;
            socket.connect(std::ffi::OsStr::from_bytes(address))?;
        }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_in_one_datagram() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let socket = connect(path.as_os_str().as_encoded_bytes()).expect("connected");
        let worker = ServiceManager {
            socket: Some(socket),
            watchdog: None,
        };
        worker.stopping(Duration::from_secs(45));
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a datagram");
        assert_eq!(
            &buffer[..length],
            b"STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000"
        );
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        ServiceManager::default().ready();
    }
}
