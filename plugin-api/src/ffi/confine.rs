//! What a child does between its fork and its program.

mod descriptors;

use std::{io, os::unix::process::CommandExt, process::Command};

use self::descriptors::Descriptors;
use crate::process::{Confinement, Privileges, Resource};

/// Between the limit at which a program is told and that at which it is killed.
const CPU_GRACE_SECONDS: u64 = 5;
/// How far descriptors are looked for where the system cannot name them all.
const MOST_DESCRIPTORS: u64 = 65_536;

pub(crate) fn apply(confinement: Confinement, command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    let mut descriptors = Descriptors::prepare(&confinement.descriptors);
    // SAFETY: the closure runs in the child, where of all threads only this one
    // goes on. It takes no lock and allocates nothing: `enter` makes system
    // calls over memory that was allocated before the fork, and builds errors
    // from numbers.
    unsafe { command.pre_exec(move || enter(&confinement, &mut descriptors, parent)) }
}

fn enter(confinement: &Confinement, descriptors: &mut Descriptors, parent: u32) -> io::Result<()> {
    // SAFETY: takes nothing, changes no memory.
    check(unsafe { libc::setsid() })?;
    // Before the limits, of which one may leave no room for copies.
    descriptors.set_aside()?;
    close_on_exec()?;
    descriptors.give()?;
    limit(libc::RLIMIT_CORE, 0, 0)?;
    for &(resource, value) in &confinement.limits {
        match resource {
            Resource::Memory => limit(libc::RLIMIT_AS, value, value)?,
            Resource::CpuTime => limit(
                libc::RLIMIT_CPU,
                value,
                value.saturating_add(CPU_GRACE_SECONDS),
            )?,
            Resource::Processes => limit(libc::RLIMIT_NPROC, value, value)?,
            Resource::OpenFiles => limit(libc::RLIMIT_NOFILE, value, value)?,
            Resource::FileSize => limit(libc::RLIMIT_FSIZE, value, value)?,
        }
    }
    if confinement.nice > 0 {
        // SAFETY: plain numbers; 0 is this process.
        check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, i32::from(confinement.nice)) })?;
    }
    if let Some(mask) = confinement.umask {
        // SAFETY: plain numbers; it cannot fail. The mask has nine bits, which
        // fit every `mode_t`.
        unsafe { libc::umask(mask as libc::mode_t) };
    }
    if let Some(user) = &confinement.user {
        // SAFETY: the pointer and the count describe one vector.
        check(unsafe { libc::setgroups(user.groups.len() as _, user.groups.as_ptr()) })?;
        // The group first: afterwards it would not be allowed any more.
        // SAFETY: plain numbers.
        check(unsafe { libc::setgid(user.gid) })?;
        // SAFETY: plain numbers.
        check(unsafe { libc::setuid(user.uid) })?;
    }
    // After the change of user, which would undo it.
    privileges(confinement.privileges)?;
    die_with(parent)
}

#[cfg(target_os = "linux")]
fn privileges(privileges: Privileges) -> io::Result<()> {
    if privileges == Privileges::Kept {
        return Ok(());
    }
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) })?;
    if privileges == Privileges::NoNew {
        return Ok(());
    }
    /// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`, of which the two
    /// structures below are.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let sets = [const {
        Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        }
    }; 2];
    // What is given up so does not come back with the program, root's or not:
    // no new privileges were forbidden before.
    // SAFETY: both outlive the call, and this version of it reads two sets.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn privileges(_: Privileges) -> io::Result<()> {
    Ok(())
}

/// Has the system kill this process when the thread that forked it ends.
#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: takes nothing, changes no memory.
    if unsafe { libc::getppid() }.cast_unsigned() != parent {
        // It was gone before it could be watched.
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_: u32) -> io::Result<()> {
    Ok(())
}

/// Leaves the program standard input, output and error.
fn close_on_exec() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        /// `CLOSE_RANGE_CLOEXEC` of `linux/close_range.h`.
        const CLOEXEC: libc::c_uint = 4;
        // SAFETY: plain numbers; descriptors stay open until the program starts.
        if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOEXEC) } == 0 {
            return Ok(());
        }
    }
    // A kernel before 5.11, or one that filters the call.
    let mut open = unlimited();
    // SAFETY: `open` outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut open) })?;
    for descriptor in 3..open.rlim_cur.min(MOST_DESCRIPTORS) {
        // SAFETY: plain numbers. One that is not open is no error.
        unsafe { libc::fcntl(descriptor as libc::c_int, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// The number of a resource has one type with glibc and another elsewhere.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
type ResourceNumber = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type ResourceNumber = libc::c_int;

fn limit(resource: ResourceNumber, soft: u64, hard: u64) -> io::Result<()> {
    let mut now = unlimited();
    // SAFETY: `now` outlives the call.
    check(unsafe { libc::getrlimit(resource, &raw mut now) })?;
    now.rlim_max = now.rlim_max.min(hard as libc::rlim_t);
    now.rlim_cur = now.rlim_max.min(soft as libc::rlim_t);
    // SAFETY: `now` outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const now) })
}

const fn unlimited() -> libc::rlimit {
    libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
