//! The other end of the socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{ANSWER_BYTES, Answer, Request, place};

/// Longer than the worker's own patience.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a running worker did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No worker listens.
    #[error("no worker runs over this state directory")]
    NotRunning,
    /// Its socket cannot be used.
    #[error(
        "cannot ask the worker at {}: run this as the worker's user or as root",
        path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It closed the connection, or took too long.
    #[error(
        "the worker at {} did not answer: it is busy with others who ask, or ends; try again",
        path.display()
    )]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What came back is no answer of a worker.
    #[error(
        "the answer of the worker at {} makes no sense: it may be of another version",
        path.display()
    )]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It does not do that.
    #[error("the worker refused: {reason}")]
    Refused {
        /// Its own words.
        reason: String,
    },
}

/// Asks the worker that runs over this state directory. Blocks for 15 seconds
/// at the most.
///
/// # Errors
///
/// See [`AskError`]; an [`Answer::Refused`] is one too.
pub fn ask(state_dir: &Path, request: &Request) -> Result<Answer, AskError> {
    let path = state_dir.join(place::NAME);
    let connected = place::reach(state_dir, place::NAME, |path| UnixStream::connect(path));
    let stream = connected.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning,
        _ => AskError::Unreachable {
            path: path.clone(),
            source,
        },
    })?;
    let answer = exchange(stream, request).map_err(|source| AskError::NoAnswer {
        path: path.clone(),
        source,
    })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Refused { reason }) => Err(AskError::Refused { reason }),
        Ok(answer) => Ok(answer),
        Err(source) => Err(AskError::Malformed { path, source }),
    }
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) if answer.ends_with(b"\n") => return Ok(answer),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) if answer.len() + bytes > ANSWER_BYTES => {
                return Err(io::Error::other("the answer has no end"));
            }
            Ok(bytes) => answer.extend_from_slice(&part[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
