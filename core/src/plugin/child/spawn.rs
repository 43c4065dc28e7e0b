//! The program that hosts a plugin, and how it is started.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use aegis_plugin_api::process::Confinement;

use crate::plugin::frame::{LIBRARY, SOCKET};

/// What is run to host one plugin in a process of its own: a program that does
/// nothing but call [`plugin_host::serve`](crate::plugin_host::serve), given
/// these arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginHostProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// A process that was just started, and our ends of what leads to it.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) process: Child,
    /// It does not block.
    pub(super) socket: UnixStream,
    /// Its standard output and error. It does not block.
    pub(super) said: File,
}

impl PluginHostProgram {
    /// A program at an absolute path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
        }
    }

    /// The program that runs now, even if its file was replaced since it was
    /// started.
    ///
    /// # Errors
    ///
    /// The system does not tell where it is. Linux always does.
    pub fn this() -> io::Result<Self> {
        let path = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self::new(path))
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it. It is killed when the calling thread ends.
    pub(super) fn spawn(
        &self,
        confinement: &Confinement,
        library: &File,
        directory: &Path,
    ) -> io::Result<Spawned> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let (said, says) = io::pipe()?;
        let said = File::from(OwnedFd::from(said));
        let flags = rustix::fs::fcntl_getfl(&said)?;
        rustix::fs::fcntl_setfl(&said, flags | rustix::fs::OFlags::NONBLOCK)?;
        let confinement = confinement
            .clone()
            .descriptor(theirs.into(), SOCKET)
            .descriptor(library.try_clone()?.into(), LIBRARY);
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(says.try_clone()?)
            .stderr(says);
        // The command holds the other ends and goes with this function, so that
        // the end of the process is the end of both streams.
        let process = confinement.apply(&mut command).spawn()?;
        Ok(Spawned {
            process,
            socket,
            said,
        })
    }
}
