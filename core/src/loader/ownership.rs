//! Who can change a file or a directory.

use rustix::fs::{FileType, Mode, Stat};

use super::{Check, Refusal};

/// Refuses what anyone but root and the worker's own user could have written
/// or can still write.
pub(super) fn check(check: Check, stat: &Stat) -> Result<(), Refusal> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != user {
        return Err(Refusal::new(
            check,
            format!(
                "it belongs to user {}, not to root or to user {user}, which the worker runs as",
                stat.st_uid
            ),
            "chown it to root or to the worker's user",
        ));
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    for (bit, who, remedy) in [
        (Mode::WGRP, "its group", "chmod g-w it"),
        (Mode::WOTH, "everyone", "chmod o-w it"),
    ] {
        if mode.contains(bit) {
            return Err(Refusal::new(
                check,
                format!(
                    "it is writable by {who} (mode {:04o})",
                    stat.st_mode & 0o7777
                ),
                remedy,
            ));
        }
    }
    Ok(())
}

/// What a file is, if it is no regular one.
pub(super) fn irregular(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Symlink => Some("a symbolic link"),
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("of an unknown kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(uid: u32, mode: rustix::fs::RawMode) -> Stat {
        let directory = tempfile::tempdir().expect("a directory");
        let mut stat = rustix::fs::stat(directory.path()).expect("its stat");
        stat.st_uid = uid;
        stat.st_mode = mode;
        stat
    }

    #[test]
    fn root_and_the_worker_own_plugins_and_nobody_else() {
        let worker = rustix::process::geteuid().as_raw();
        for owner in [0, worker] {
            check(Check::File, &stat(owner, 0o100_755)).expect("trusted");
        }
        let stranger = worker.wrapping_add(4242);
        let refusal = check(Check::File, &stat(stranger, 0o100_755)).expect_err("a stranger's");
        assert!(
            refusal.reason.contains(&format!("user {stranger}")),
            "{refusal}"
        );
    }

    #[test]
    fn only_the_owner_may_write() {
        for (mode, who) in [(0o100_775, "its group"), (0o100_757, "everyone")] {
            let refusal = check(Check::Directory, &stat(0, mode)).expect_err(who);
            assert!(refusal.reason.contains(who), "{refusal}");
        }
    }
}
