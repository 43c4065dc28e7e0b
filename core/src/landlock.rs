//! Which files a process may reach, enforced by the kernel where it has
//! Landlock. The rules are an allow-list: what is not named is denied, whatever
//! the user of the process may do, and nothing takes a rule back.
//!
//! Only files and directories are ruled, besides signals and abstract sockets
//! that lead out of the process: the network is open.

mod allowed;
#[cfg(target_os = "linux")]
mod enforce;

use std::{
    fmt, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

pub use allowed::{DEVICES, READABLE};

/// What a plugin's process may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRules {
    /// Beneath these it may read and run programs.
    pub read: Vec<PathBuf>,
    /// Beneath these it may also write, but run nothing.
    pub write: Vec<PathBuf>,
    /// Stays closed even where it lies beneath one of those.
    pub withheld: PathBuf,
    /// The plugin's own, to write, although it lies beneath `withheld`.
    pub state_dir: PathBuf,
}

/// What came of enforcing rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InForce {
    /// The rules hold, for good.
    Rules {
        /// What the kernel knows of Landlock, by its number.
        abi: i32,
        /// Named paths that are not there; they would stay closed if they came.
        absent: Vec<PathBuf>,
    },
    /// The kernel has no Landlock, or it is turned off: nothing is denied but
    /// by the process's user.
    Unavailable,
}

/// Why rules that the kernel could enforce are not in force.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// Other threads of the process would stay without them.
    #[error("the process has {0} threads, and rules bind only the one that sets them")]
    Threads(usize),
    /// A path cannot be looked at.
    #[error("{} cannot be opened to rule it", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel says no.
    #[error("the kernel does not take the Landlock rules")]
    #[cfg(target_os = "linux")]
    Kernel(#[from] ::landlock::RulesetError),
}

impl PathRules {
    /// For a plugin with its own `state_dir`, below the worker's.
    pub fn new(worker_state_dir: &Path, state_dir: &Path) -> Self {
        Self {
            read: Vec::new(),
            write: Vec::new(),
            withheld: worker_state_dir.to_owned(),
            state_dir: state_dir.to_owned(),
        }
    }

    /// Enforces these and the [default](READABLE) rules on this process and all
    /// that it will start. `library` may be read as well, wherever it lies.
    /// Call it before the process has a second thread.
    ///
    /// # Errors
    ///
    /// [`LandlockError`]; then no more is in force than before.
    #[cfg(target_os = "linux")]
    pub fn enforce(&self, library: BorrowedFd<'_>) -> Result<InForce, LandlockError> {
        let tasks = std::fs::read_dir("/proc/self/task").map_err(|source| LandlockError::Path {
            path: "/proc/self/task".into(),
            source,
        })?;
        match tasks.count() {
            1 => enforce::on_this_thread(self, Some(library)),
            threads => Err(LandlockError::Threads(threads)),
        }
    }

    /// Landlock is Linux's.
    ///
    /// # Errors
    ///
    /// None.
    #[cfg(not(target_os = "linux"))]
    pub fn enforce(&self, _library: BorrowedFd<'_>) -> Result<InForce, LandlockError> {
        Ok(InForce::Unavailable)
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules { abi, absent } => {
                write!(f, "Landlock ABI {abi}")?;
                for (index, path) in absent.iter().enumerate() {
                    f.write_str(if index == 0 { "; not there: " } else { ", " })?;
                    write!(f, "{}", path.display())?;
                }
                Ok(())
            }
            Self::Unavailable => f.write_str(
                "Landlock is not available on this kernel: files are protected by their modes alone",
            ),
        }
    }
}
