//! The binary: its exit codes, its end, what it says.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a loaded machine; nothing waits for it where all is well.
const DEADLINE: Duration = Duration::from_secs(30);

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-controller"));
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Waits until the controller has announced itself.
fn start(dir: &Path) -> Child {
    let child = command(dir).spawn().expect("it runs");
    let begun = Instant::now();
    while !dir.join("endpoint").exists() {
        assert!(begun.elapsed() < DEADLINE, "it did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn end(mut child: Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(&child), signal).expect("it runs");
    child.wait().expect("it ends").code()
}

#[test]
fn either_signal_ends_it_cleanly_and_it_can_start_again() {
    let dir = tempfile::tempdir().expect("a directory");
    for signal in [Signal::TERM, Signal::INT] {
        let child = start(dir.path());
        let (code, told) = run(&mut command(dir.path()));
        assert_eq!(code, Some(1));
        assert!(
            told.contains("another controller uses the data directory"),
            "{told}"
        );
        assert_eq!(end(child, signal), Some(0));
        assert!(!dir.path().join("endpoint").exists());
    }
}

#[test]
fn nothing_of_the_data_directory_is_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let child = start(&data);
    for entry in std::fs::read_dir(&data).expect("a directory") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("there").permissions().mode();
        let public = entry.file_name() == "endpoint";
        assert!(
            public || mode & 0o077 == 0,
            "{:?} has mode {mode:o}",
            entry.file_name()
        );
    }
    assert_eq!(end(child, Signal::TERM), Some(0));
}

#[test]
fn a_faulty_config_is_told_in_full_and_exits_with_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("faulty.toml");
    std::fs::write(&file, "listn = 1\n[lifecycle]\ntoken_ttl = \"soon\"\n").expect("written");
    for subcommand in [&["check-config"][..], &[]] {
        let (code, told) = run(command(dir.path())
            .arg("--config")
            .arg(&file)
            .args(subcommand));
        assert_eq!(code, Some(2));
        assert!(
            told.contains("line 1: listn") && told.contains("line 3: lifecycle.token_ttl"),
            "{told}"
        );
    }
}

#[test]
fn plaintext_beyond_loopback_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = ["--listen", "0.0.0.0:0"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-controller"));
    let (code, told) = run(command.args(open).arg("--data-dir").arg(dir.path()));
    assert_eq!(code, Some(1));
    assert!(told.contains("--insecure"), "{told}");
    let (code, _) = run(command.arg("check-config"));
    assert_eq!(code, Some(2));
}

#[test]
fn a_database_that_it_does_not_know_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, told) = run(command(dir.path()).args(["--database", "postgres://localhost/aegis"]));
    assert_eq!(code, Some(1));
    assert!(told.contains("sqlite:///"), "{told}");
}
