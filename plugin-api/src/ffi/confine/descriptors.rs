//! Descriptors that a program is given under numbers of their own.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use super::check;

/// Numbers that were ever asked for, kept taken in this process. `Command` has
/// a pipe of its own by which a child says why it could not start: would that
/// lie under such a number in the child, it would be overwritten there.
static TAKEN: Mutex<BTreeMap<RawFd, OwnedFd>> = Mutex::new(BTreeMap::new());

pub(super) struct Descriptors {
    /// In no order.
    each: Vec<Each>,
    /// Greater than each of the numbers.
    above: RawFd,
}

struct Each {
    source: RawFd,
    number: RawFd,
    /// What lies under the number in the worker, where it is somebody else's.
    found: Option<Identity>,
    /// In the child, a copy of `source` that is out of the way.
    aside: RawFd,
}

/// Of an open file: its device and number there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Descriptors {
    /// In the worker, before the fork.
    pub(super) fn prepare(wanted: &[(Arc<OwnedFd>, RawFd)]) -> Self {
        let each = wanted.iter().map(|(source, number)| Each {
            source: source.as_raw_fd(),
            number: *number,
            found: take(*number),
            aside: -1,
        });
        let numbers = wanted.iter().map(|(_, number)| *number);
        Self {
            each: each.collect(),
            above: numbers.max().unwrap_or(2) + 1,
        }
    }

    /// In the child: copies each to where none of the numbers is, so that one
    /// descriptor may be given under another's number.
    pub(super) fn set_aside(&mut self) -> io::Result<()> {
        for each in &mut self.each {
            each.undisturbed()?;
            // SAFETY: plain numbers.
            each.aside = unsafe { libc::fcntl(each.source, libc::F_DUPFD_CLOEXEC, self.above) };
            check(each.aside)?;
        }
        Ok(())
    }

    /// In the child: puts each under its number, where it outlives the start.
    pub(super) fn give(&self) -> io::Result<()> {
        for each in &self.each {
            // SAFETY: plain numbers. They differ, so the copy is not closed on
            // exec.
            check(unsafe { libc::dup2(each.aside, each.number) })?;
        }
        Ok(())
    }
}

impl Each {
    /// Fails where a pipe came under the number after it was looked at, for
    /// that may be the one by which this very failure is told.
    fn undisturbed(&self) -> io::Result<()> {
        let Some(found) = self.found else {
            return Ok(());
        };
        match identify(self.number) {
            Some((identity, true)) if identity != found => {
                Err(io::Error::from_raw_os_error(libc::EBUSY))
            }
            _ => Ok(()),
        }
    }
}

/// Keeps `number` taken, with an end of a pipe that leads nowhere. Answers what
/// lies there if that is not ours.
fn take(number: RawFd) -> Option<Identity> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains_key(&number) {
        return None;
    }
    let (reader, writer) = io::pipe().ok()?;
    // SAFETY: plain numbers.
    let copy = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    // SAFETY: if it is one, it was just opened and nobody else knows of it.
    let copy = (copy != -1).then(|| unsafe { OwnedFd::from_raw_fd(copy) });
    let ends = [Some(reader.into()), Some(writer.into()), copy];
    let there = |end: &OwnedFd| end.as_raw_fd() == number;
    match ends.into_iter().flatten().find(there) {
        Some(end) => {
            taken.insert(number, end);
            None
        }
        None => identify(number).map(|(identity, _)| identity),
    }
}

/// What lies under a number, and whether it is a pipe.
fn identify(number: RawFd) -> Option<(Identity, bool)> {
    // SAFETY: a `stat` holds numbers, of which zero is one.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` outlives the call.
    if unsafe { libc::fstat(number, &raw mut stat) } == -1 {
        return None;
    }
    let pipe = stat.st_mode & libc::S_IFMT == libc::S_IFIFO;
    Some((Identity(stat.st_dev as u64, stat.st_ino as u64), pipe))
}
