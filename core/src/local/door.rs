//! The worker's end of the socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::JoinSet,
};

use super::{Answer, REQUEST_BYTES, Request, place};
use crate::{
    identity::Identity,
    journal::{Journal, JournalError},
    lifecycle::chain,
};

/// Connections at once; whoever comes beyond them is turned away.
const CONNECTIONS: usize = 4;

/// From the first byte of a request to the last of its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Ends the quarantine of a plugin that crashed in a process of its own. False:
/// it is in none.
pub(crate) type Release = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The bound socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct Door {
    socket: UnixListener,
    path: PathBuf,
    pub(super) patience: Duration,
    /// Whose lock on the state directory makes the socket's file ours.
    _identity: Arc<Identity>,
}

impl Door {
    /// Binds, in the place of what an earlier process left. Needs no runtime.
    pub(crate) fn open(identity: Arc<Identity>) -> io::Result<Self> {
        let dir = identity.state().path();
        let path = dir.join(place::NAME);
        // Nobody finds it before it has its mode.
        let fresh = format!(".{}.new", place::NAME);
        match fs::remove_file(dir.join(&fresh)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = place::reach(dir, &fresh, |path| UnixListener::bind(path))?;
        fs::set_permissions(dir.join(&fresh), Permissions::from_mode(0o600))?;
        fs::rename(dir.join(&fresh), &path)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path,
            patience: PATIENCE,
            _identity: identity,
        })
    }

    /// Answers for as long as it is awaited. Every connection ends with it.
    pub(crate) async fn serve(self, journal: Journal, release: Release) {
        let socket = self.socket.try_clone();
        let socket = match socket.and_then(tokio::net::UnixListener::from_std) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "nothing can be asked of this worker locally");
                return;
            }
        };
        let mut connections = JoinSet::new();
        let mut refused = false;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS && is_owner(&stream) => {
                    refused = false;
                    let (journal, release) = (journal.clone(), Arc::clone(&release));
                    let patience = self.patience;
                    connections.spawn(async move {
                        let answered =
                            tokio::time::timeout(patience, attend(stream, journal, release));
                        if let Ok(Err(error)) = answered.await {
                            tracing::debug!(%error, "whoever asked is gone");
                        }
                    });
                }
                Ok(_) => tracing::debug!("turned away somebody at the worker's socket"),
                Err(error) => {
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "cannot accept who asks at the worker's socket");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The next worker would remove it.
        let _ = fs::remove_file(&self.path);
    }
}

/// The mode of the file says so already, but not on every system, and not to
/// who was handed a descriptor.
fn is_owner(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// One request and its answer.
async fn attend(stream: UnixStream, journal: Journal, release: Release) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let most = u64::try_from(REQUEST_BYTES).unwrap_or(u64::MAX);
    BufReader::new(read.take(most))
        .read_until(b'\n', &mut line)
        .await?;
    // A long journal takes a while to be put into words.
    let answer = tokio::task::spawn_blocking(move || {
        let mut text = serde_json::to_vec(&answer(&line, &journal, &*release))?;
        text.push(b'\n');
        io::Result::Ok(text)
    });
    write
        .write_all(&answer.await.map_err(io::Error::other)??)
        .await?;
    write.shutdown().await
}

fn told(answer: Result<Answer, JournalError>) -> Answer {
    answer.unwrap_or_else(|error| Answer::Refused {
        reason: chain(&error),
    })
}

fn answer(line: &[u8], journal: &Journal, release: &dyn Fn(&str) -> bool) -> Answer {
    if !line.ends_with(b"\n") {
        let reason = format!("a request is one line of {REQUEST_BYTES} bytes at the most");
        return Answer::Refused { reason };
    }
    match serde_json::from_slice(line) {
        Ok(Request::Journal { filter, most }) => Answer::Journal(journal.list(filter, most)),
        Ok(Request::Crashes) => told(journal.crashes().map(Answer::Crashes)),
        Ok(Request::Release { plugin }) => {
            let forgiven = journal.forgive(&plugin);
            if release(&plugin) {
                Answer::RunsAgain
            } else {
                told(forgiven.map(Answer::Released))
            }
        }
        Err(error) => Answer::Refused {
            reason: format!("this worker does not understand the request: {error}"),
        },
    }
}
