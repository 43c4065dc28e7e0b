//! From paths to rules of the kernel.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{DEVICES, InForce, LandlockError, PathRules, READABLE};

/// The newest of which the rights were considered. Of an older kernel those
/// that it knows are enforced.
const CONSIDERED: ABI = ABI::V6;

/// Threads that there are already stay without the rules.
pub(super) fn on_this_thread(
    rules: &PathRules,
    library: Option<BorrowedFd<'_>>,
) -> Result<InForce, LandlockError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(CONSIDERED))?
        .scope(Scope::from_all(CONSIDERED))?
        .create()?;
    let mut writer = Writer {
        ruleset,
        withheld: canonical(&rules.withheld)?.unwrap_or_else(|| rules.withheld.clone()),
        absent: Vec::new(),
    };
    for path in READABLE {
        writer.defaults(path, AccessFs::from_read(CONSIDERED))?;
    }
    for path in DEVICES {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        writer.defaults(path, access)?;
    }
    for path in &rules.read {
        writer.named(path, AccessFs::from_read(CONSIDERED))?;
    }
    for path in &rules.write {
        writer.named(path, writing())?;
    }
    writer.allow(&rules.state_dir, writing())?;
    if let Some(library) = library {
        // Only a file with a name can be ruled, and another needs no rule.
        let rule = PathBeneath::new(library, AccessFs::ReadFile | AccessFs::Execute);
        let _ = (&mut writer.ruleset).add_rule(rule);
    }
    let status = writer.ruleset.restrict_self()?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _)
        | (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => {
            Ok(InForce::Unavailable)
        }
        (
            _,
            LandlockStatus::Available {
                effective_abi,
                kernel_abi,
            },
        ) => Ok(InForce::Rules {
            abi: kernel_abi.unwrap_or(effective_abi as i32),
            absent: writer.absent,
        }),
    }
}

/// Everything but running what was written, and devices.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(CONSIDERED)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

struct Writer {
    ruleset: RulesetCreated,
    withheld: PathBuf,
    absent: Vec<PathBuf>,
}

impl Writer {
    /// No machine has all of these.
    fn defaults(&mut self, path: &str, access: BitFlags<AccessFs>) -> Result<(), LandlockError> {
        match canonical(Path::new(path))? {
            Some(path) => self.beneath(&path, access),
            None => Ok(()),
        }
    }

    fn named(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), LandlockError> {
        match canonical(path)? {
            Some(path) => self.beneath(&path, access),
            None => {
                self.absent.push(path.to_owned());
                Ok(())
            }
        }
    }

    /// Allows `path`, or, where what is withheld lies beneath it, each of its
    /// entries that does not lead there.
    fn beneath(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), LandlockError> {
        if path.starts_with(&self.withheld) {
            return Ok(());
        }
        if !self.withheld.starts_with(path) {
            return self.allow(path, access);
        }
        let failed = |source| LandlockError::Path {
            path: path.to_owned(),
            source,
        };
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What a link leads to is ruled where it is.
            if entry.file_type().map_err(failed)?.is_symlink() {
                continue;
            }
            match self.beneath(&entry.path(), access) {
                Err(LandlockError::Path { source, .. }) if is_gone(&source) => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), LandlockError> {
        let failed = |source| LandlockError::Path {
            path: path.to_owned(),
            source,
        };
        let handle = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::PATH.bits().cast_signed())
            .open(path);
        let handle = handle.map_err(failed)?;
        let access = if handle.metadata().map_err(failed)?.is_dir() {
            access
        } else {
            access & AccessFs::from_file(CONSIDERED)
        };
        (&mut self.ruleset).add_rule(PathBeneath::new(handle.as_fd(), access))?;
        Ok(())
    }
}

/// `None`: it is not there, or this user could not reach it anyway.
fn canonical(path: &Path) -> Result<Option<PathBuf>, LandlockError> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(LandlockError::Path {
            path: path.to_owned(),
            source,
        }),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker's state directory with a key and a plugin's own directory in
    /// it, and a directory of an operator's beside it.
    struct Machine {
        root: tempfile::TempDir,
        rules: PathRules,
    }

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a directory");
            let state = root.path().join("state");
            let own = state.join("plugins/hello");
            fs::create_dir_all(&own).expect("made");
            fs::write(state.join("identity.pem"), "key").expect("written");
            fs::create_dir(root.path().join("data")).expect("made");
            fs::write(root.path().join("data/file"), "data").expect("written");
            std::os::unix::fs::symlink(&state, root.path().join("link")).expect("linked");
            let rules = PathRules::new(&state, &own);
            Self { root, rules }
        }

        /// What `act` says on a thread under the rules; `None` where the kernel
        /// knows none.
        fn confined<T: Send>(&self, act: impl FnOnce(&Path) -> T + Send) -> Option<T> {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| match on_this_thread(&self.rules, None) {
                    Ok(InForce::Unavailable) => {
                        eprintln!("skipped: {}", InForce::Unavailable);
                        None
                    }
                    result => {
                        result.expect("enforced");
                        Some(act(self.root.path()))
                    }
                });
                thread.join().expect("no panic")
            })
        }
    }

    fn denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_plugin_writes_beneath_its_own_directory_and_nowhere_else() {
        let machine = Machine::new();
        machine.confined(|root| {
            let own = root.join("state/plugins/hello");
            fs::create_dir(own.join("sub")).expect("its own");
            fs::write(own.join("sub/file"), "1").expect("its own");
            fs::rename(own.join("sub/file"), own.join("moved")).expect("its own");
            fs::remove_dir(own.join("sub")).expect("its own");
            fs::write("/dev/null", "nothing").expect("leads nowhere");
            assert!(denied(fs::write(root.join("state/plugins/file"), "1")));
            assert!(denied(fs::write(root.join("data/file"), "1")));
            assert!(denied(fs::write("/usr/aegis-was-here", "1")));
            assert!(denied(fs::remove_file(root.join("data/file"))));
        });
    }

    #[test]
    fn the_system_is_read_and_other_files_are_not() {
        let machine = Machine::new();
        machine.confined(|root| {
            fs::read("/etc/passwd").expect("who is who");
            fs::read_dir("/usr").expect("the system's");
            fs::read_to_string("/proc/self/status").expect("of itself");
            assert!(denied(fs::read(root.join("state/identity.pem"))));
            assert!(denied(fs::read_dir(root.join("state"))));
            assert!(denied(fs::read(root.join("data/file"))));
            assert!(denied(fs::read_dir("/etc")));
            assert!(denied(fs::read_dir("/dev")));
        });
    }

    #[test]
    fn what_it_writes_it_cannot_run() {
        use std::os::unix::fs::PermissionsExt;

        let machine = Machine::new();
        machine.confined(|root| {
            let program = root.join("state/plugins/hello/program");
            fs::write(&program, fs::read("/bin/true").expect("readable")).expect("its own");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("its own");
            assert!(denied(std::process::Command::new(program).status()));
            std::process::Command::new("/bin/true")
                .status()
                .expect("the system's");
        });
    }

    #[test]
    fn named_paths_are_open_but_for_the_state_directory_beneath_them() {
        let mut machine = Machine::new();
        let root = machine.root.path().to_owned();
        machine.rules.write = vec![root.clone(), root.join("nothing")];
        machine.confined(|root| {
            fs::write(root.join("data/file"), "1").expect("named");
            assert!(denied(fs::read(root.join("state/identity.pem"))));
            assert!(denied(fs::read(root.join("link/identity.pem"))));
            fs::write(root.join("state/plugins/hello/file"), "1").expect("its own");
        });
        machine.rules.write.clear();
        machine.rules.read = vec![root.join("data"), root.join("state")];
        machine.confined(|root| {
            fs::read(root.join("data/file")).expect("named");
            assert!(denied(fs::write(root.join("data/file"), "1")));
            assert!(denied(fs::read(root.join("state/identity.pem"))));
        });
    }

    #[test]
    fn a_named_path_that_is_not_there_is_said() {
        let mut machine = Machine::new();
        let nothing = machine.root.path().join("nothing");
        machine.rules.read = vec![nothing.clone()];
        let in_force = std::thread::scope(|scope| {
            let thread = scope.spawn(|| on_this_thread(&machine.rules, None));
            thread.join().expect("no panic").expect("enforced")
        });
        match &in_force {
            InForce::Rules { absent, .. } => assert_eq!(absent, &[nothing]),
            InForce::Unavailable => eprintln!("skipped: {in_force}"),
        }
    }

    #[test]
    fn the_worker_cannot_be_signalled() {
        let machine = Machine::new();
        let abi = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let in_force = on_this_thread(&machine.rules, None).expect("enforced");
                let mut command = std::process::Command::new("/bin/sh");
                let worker = std::process::id().to_string();
                let status = command
                    .args(["-c", "kill -0 \"$1\"", "sh", &worker])
                    .status();
                (in_force, status.expect("it runs").success())
            });
            thread.join().expect("no panic")
        });
        match abi {
            (InForce::Rules { abi: 6.., .. }, reached) => assert!(!reached),
            (older, _) => eprintln!("skipped, as signals are ruled from ABI 6: {older}"),
        }
    }

    #[test]
    fn a_process_with_other_threads_is_refused() {
        let machine = Machine::new();
        let file = File::open("/dev/null").expect("there");
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| machine.rules.enforce(file.as_fd()));
            let refused = refused.join().expect("no panic");
            assert!(
                matches!(refused, Err(LandlockError::Threads(2..))),
                "{refused:?}"
            );
        });
    }
}
