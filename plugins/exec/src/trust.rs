//! Who could replace a program.
//!
//! A program is started by its path. That is as safe as the path: if nobody but
//! root and the worker's own user can change what it leads to, then what was
//! checked is what is run. So every directory and symbolic link on the way is
//! checked too, when the config is read and again before each start.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// As many as Linux follows.
const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Refuses what cannot be run, and what somebody else could replace.
///
/// # Errors
///
/// The reason, with the path it is about.
pub fn check(path: &Path) -> Result<(), String> {
    let (file, metadata) = follow(path)?;
    let at = file.display();
    if !metadata.is_file() {
        return Err(format!("{at} is no regular file"));
    }
    if metadata.mode() & 0o111 == 0 {
        return Err(format!("{at} is not executable"));
    }
    let mut beginning = [0; 4];
    let read = File::open(&file)
        .and_then(|mut file| file.read(&mut beginning))
        .map_err(|error| format!("{at} cannot be read: {error}"))?;
    if is_program(&beginning[..read]) {
        Ok(())
    } else {
        Err(format!(
            "{at} is neither a program nor a script that begins with #!; it would be given to a shell"
        ))
    }
}

/// Where a path leads, through links that can be trusted.
fn follow(path: &Path) -> Result<(PathBuf, Metadata), String> {
    let mut pending = steps(path);
    let mut at = PathBuf::from("/");
    let mut metadata = look(&at)?;
    let mut links = 0;
    while let Some(step) = pending.pop() {
        if step == ".." {
            at.pop();
            metadata = look(&at)?;
            continue;
        }
        if !metadata.is_dir() {
            return Err(format!("{} is no directory", at.display()));
        }
        let next = at.join(step);
        metadata = look(&next)?;
        if !metadata.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(format!("{} leads through too many links", path.display()));
        }
        let target = fs::read_link(&next)
            .map_err(|error| format!("{} cannot be read: {error}", next.display()))?;
        pending.extend(steps(&target));
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        metadata = look(&at)?;
    }
    Ok((at, metadata))
}

/// The names in a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

/// What is there, if nobody else can change it. Of a directory with the sticky
/// bit others cannot change what is not theirs.
fn look(path: &Path) -> Result<Metadata, String> {
    let at = path.display();
    let metadata =
        fs::symlink_metadata(path).map_err(|error| format!("{at} cannot be used: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(format!(
            "{at} belongs to user {}, who could replace it; root or user {own}, which the worker \
             runs as, has to own it",
            metadata.uid()
        ));
    }
    let mode = metadata.mode();
    let sticky = metadata.is_dir() && mode & STICKY != 0;
    if !metadata.is_symlink() && mode & WRITABLE_BY_OTHERS != 0 && !sticky {
        return Err(format!(
            "{at} can be written by others (mode {:04o}): chmod go-w it",
            mode & 0o7777
        ));
    }
    Ok(metadata)
}

/// Whether the system runs it by itself. What it does not know, the C library
/// would hand to a shell.
fn is_program(beginning: &[u8]) -> bool {
    const MACH_O: [[u8; 4]; 2] = [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]];
    beginning.starts_with(b"#!")
        || beginning == b"\x7fELF"
        || cfg!(target_os = "macos") && MACH_O.iter().any(|magic| beginning == magic)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn script(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "#!/bin/sh\n").expect("written");
        chmod(&path, 0o755);
        path
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn refusal(path: &Path) -> String {
        check(path).expect_err("refused")
    }

    #[test]
    fn a_program_of_ones_own_can_be_run() {
        let folder = tempfile::tempdir().expect("a directory");
        check(&script(folder.path(), "run")).expect("trusted");
        check(Path::new("/bin/sh")).expect("a program, through links");
    }

    #[test]
    fn what_others_can_write_is_refused_wherever_it_is_on_the_way() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = script(folder.path(), "run");
        chmod(&path, 0o775);
        assert!(refusal(&path).contains("chmod go-w"));
        chmod(&path, 0o755);

        let open = folder.path().join("open");
        fs::create_dir(&open).expect("made");
        let inside = script(&open, "run");
        let link = folder.path().join("link");
        symlink(&inside, &link).expect("linked");
        let relative = folder.path().join("relative");
        symlink("open/../open/run", &relative).expect("linked");
        let all = [&inside, &link, &relative];
        all.iter().for_each(|path| check(path).expect("trusted"));
        chmod(&open, 0o777);
        assert!(
            all.iter()
                .all(|path| refusal(path).contains("/open can be written"))
        );
        // In a directory as /tmp nobody can replace what is another's.
        chmod(&open, 0o1777);
        all.iter().for_each(|path| check(path).expect("trusted"));
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a directory");
        let at = |name: &str| folder.path().join(name);
        assert!(refusal(folder.path()).contains("no regular file"));
        assert!(refusal(&at("missing")).contains("missing cannot be used"));
        let path = script(folder.path(), "run");
        assert!(refusal(&path.join("below")).contains("no directory"));
        chmod(&path, 0o644);
        assert!(refusal(&path).contains("not executable"));
        fs::write(&path, "echo no shebang\n").expect("written");
        chmod(&path, 0o755);
        assert!(refusal(&path).contains("given to a shell"));
        symlink(at("loop"), at("loop")).expect("linked");
        assert!(refusal(&at("loop")).contains("too many links"));
    }
}
