//! Programs that a plugin starts: what they are given and what they are denied.
//!
//! A program that a plugin starts with [`Command`] alone inherits whatever file
//! descriptors the worker has open without close-on-exec, its limits and its
//! umask, and outlives it. [`Confinement`] ends that.

use std::{io, os::fd::OwnedFd, process::Command, sync::Arc};

use crate::ffi::{confine, user};

/// How a program is set apart from the worker that starts it. In every case the
/// program
///
/// * leads a session and a process group of its own, so that its process id
///   names the group that it and what it starts belong to;
/// * inherits no file descriptor but standard input, output and error, and
///   those that [`descriptor`](Self::descriptor) gives it;
/// * leaves no core dump;
/// * is killed, on Linux, when the **thread** that started it ends, as it does
///   when the worker is killed. So start it on a thread that waits for it. What
///   the program itself started is not reached by that, nor is a program that
///   changes its user by its set-user-id bit.
///
/// ```
/// use std::process::Command;
///
/// use aegis_plugin_api::process::{Confinement, Resource};
///
/// let confinement = Confinement::new().umask(0o077).limit(Resource::OpenFiles, 64);
/// let mut command = Command::new("/bin/sh");
/// command.args(["-c", "umask; ulimit -n"]).env_clear();
/// let output = confinement.apply(&mut command).output()?;
/// assert_eq!(output.stdout, b"0077\n64\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    pub(crate) user: Option<User>,
    pub(crate) limits: Vec<(Resource, u64)>,
    pub(crate) nice: u8,
    pub(crate) umask: Option<u32>,
    pub(crate) descriptors: Vec<(Arc<OwnedFd>, i32)>,
    pub(crate) privileges: Privileges,
}

/// What a program may become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Privileges {
    /// As any other.
    #[default]
    Kept,
    /// No more than it is.
    NoNew,
    /// Nothing that its user alone would not be.
    None,
}

/// What of a machine a process can be limited in. The limits are those of
/// `setrlimit(2)`: they hold for each process of a program, not for their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Address space, in bytes.
    Memory,
    /// Processor time, in seconds.
    CpuTime,
    /// Processes of the user that the program runs as, whoever started them. It
    /// does not bind root.
    Processes,
    /// Open file descriptors.
    OpenFiles,
    /// The size of a file that is written, in bytes.
    FileSize,
}

/// Someone to run a program as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Confinement {
    /// What is the case for every program.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs it as another user, with that user's groups. Needs
    /// [`User::can_be_assumed`].
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Limits it. A limit that the worker itself is under stays in force where
    /// it is lower.
    #[must_use]
    pub fn limit(mut self, resource: Resource, value: u64) -> Self {
        self.limits.push((resource, value));
        self
    }

    /// Lowers its priority, 0 to 19.
    #[must_use]
    pub fn nice(mut self, nice: u8) -> Self {
        self.nice = nice.min(19);
        self
    }

    /// Sets its umask; without it, that of the worker.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask & 0o777);
        self
    }

    /// Gives it `descriptor` under this number, 3 to 255. It stays open as long
    /// as this confinement and every command that it was applied to. The first
    /// use of a number keeps it taken in the worker for good, so that nothing
    /// else comes to lie there when a program is started.
    ///
    /// # Panics
    ///
    /// If the number is none of those.
    #[must_use]
    pub fn descriptor(mut self, descriptor: OwnedFd, number: i32) -> Self {
        assert!(
            (3..=255).contains(&number),
            "a descriptor is given the number {number}, which is not within 3 to 255"
        );
        self.descriptors.retain(|(_, taken)| *taken != number);
        self.descriptors.push((Arc::new(descriptor), number));
        self
    }

    /// Neither it nor what it starts gains anything by set-user-id programs or
    /// file capabilities. Linux alone knows this; elsewhere nothing changes.
    #[must_use]
    pub fn no_new_privileges(mut self) -> Self {
        if self.privileges == Privileges::Kept {
            self.privileges = Privileges::NoNew;
        }
        self
    }

    /// Takes all capabilities from it, besides
    /// [`no_new_privileges`](Self::no_new_privileges): run as root it still owns
    /// root's files and can do nothing else that another user cannot. Linux
    /// alone knows this; elsewhere nothing changes.
    #[must_use]
    pub fn no_capabilities(mut self) -> Self {
        self.privileges = Privileges::None;
        self
    }

    /// Has `command` start its programs so. What cannot be done fails the start
    /// with the error of the system.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        confine::apply(self.clone(), command)
    }
}

impl User {
    /// The user of that name, with their groups; `None`: there is none. Asks the
    /// system's user database, which may block.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        user::named(name)
    }

    /// Whether this process may run programs as another user: it is root's.
    pub fn can_be_assumed() -> bool {
        user::is_root()
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}
