//! The system's user database.

use std::{
    ffi::{CStr, CString},
    io, mem, ptr,
};

use crate::process::User;

/// Room for an entry, and how far it is grown.
const ROOM: usize = 1024;
const MOST_ROOM: usize = 1024 * 1024;
const MOST_GROUPS: usize = 65_536;

pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing, changes no memory, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

pub(crate) fn named(name: &str) -> io::Result<Option<User>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    let mut room = vec![0; ROOM];
    loop {
        // SAFETY: a `passwd` holds pointers and numbers, of which zero is one.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: all pointers outlive the call; the room has the length given.
        let error = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                room.as_mut_ptr(),
                room.len(),
                &raw mut found,
            )
        };
        match error {
            0 if found.is_null() => return Ok(None),
            0 => {
                return Ok(Some(User {
                    uid: entry.pw_uid,
                    gid: entry.pw_gid,
                    groups: groups(&name, entry.pw_gid)?,
                }));
            }
            libc::ERANGE if room.len() < MOST_ROOM => room.resize(room.len() * 2, 0),
            // What the systems say of a name that is not there.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn groups(name: &CStr, gid: u32) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the list has `count` places; a group number has 32 bits
        // whether the system calls it an `int` or a `gid_t`.
        let answer = unsafe {
            libc::getgrouplist(
                name.as_ptr(),
                gid as _,
                groups.as_mut_ptr().cast(),
                &raw mut count,
            )
        };
        if answer >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return Ok(groups);
        }
        if groups.len() >= MOST_GROUPS {
            return Err(io::Error::other("the user is in too many groups"));
        }
        groups.resize(groups.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nobody_by_a_name_that_cannot_be() {
        let root = named("root").expect("readable").expect("there");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(named("no:such:user").expect("readable"), None);
        assert_eq!(named("nul\0in it").expect("readable"), None);
    }
}
