//! What a program that a plugin starts is given, and what it is denied.

#![cfg(target_os = "linux")]

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::Command,
    time::Duration,
};

use aegis_plugin_api::process::Confinement;

#[test]
fn descriptors_come_under_their_number_and_no_others() {
    let (first, second) = (file("first"), file("second"));
    let (one, other) = (first.as_raw_fd(), second.as_raw_fd());
    // Each under the number of the other, and a third under a new one.
    let confinement = Confinement::new()
        .descriptor(first, other)
        .descriptor(second, one)
        .descriptor(file("third"), 200);
    let _inheritable = without_close_on_exec();
    let output = confinement
        .apply(Command::new("/bin/sh").args([
            "-c",
            &format!(
                "cat /proc/self/fd/{one} /proc/self/fd/{other} /proc/self/fd/200; \
                 i=0; while [ $i -lt 256 ]; do \
                 [ -e /proc/$$/fd/$i ] && printf ' %d' $i; i=$((i+1)); done"
            ),
        ]))
        .output()
        .expect("started");
    let text = String::from_utf8(output.stdout).expect("text");
    let (low, high) = (one.min(other), one.max(other));
    assert_eq!(text, format!("secondfirstthird 0 1 2 {low} {high} 200"));
}

#[test]
fn a_start_that_fails_says_so_whatever_numbers_are_given() {
    for number in 3..40 {
        let confinement = Confinement::new().descriptor(file("given"), number);
        let started = confinement
            .apply(&mut Command::new("/there/is/no/such/program"))
            .spawn();
        let error = started.expect_err("there is no such program");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "with {number}");
    }
}

#[test]
fn the_other_end_of_a_given_socket_sees_its_end_once_the_command_is_gone() {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let confinement = Confinement::new().descriptor(theirs.into(), 100);
    let mut command = Command::new("/bin/true");
    let mut child = confinement.apply(&mut command).spawn().expect("started");
    drop((confinement, command));
    child.wait().expect("it ends");
    let read = ours.read(&mut [0]).expect("the end, not the timeout");
    assert_eq!(read, 0);
}

#[test]
fn privileges_are_kept_unless_they_are_taken() {
    let all = |confinement: Confinement| {
        let mut command = Command::new("/bin/cat");
        let output = confinement
            .apply(command.arg("/proc/self/status"))
            .output()
            .expect("started");
        let status = String::from_utf8(output.stdout).expect("text");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1))
                .expect("a field")
                .to_owned()
        };
        (field("NoNewPrivs:"), field("CapPrm:"), field("CapEff:"))
    };
    let (no_new, permitted, effective) = all(Confinement::new());
    assert_eq!(no_new, "0");
    let kept = all(Confinement::new().no_new_privileges());
    assert_eq!(kept, ("1".into(), permitted, effective));
    let none = "0".repeat(16);
    let taken = all(Confinement::new().no_capabilities().no_new_privileges());
    assert_eq!(taken, ("1".into(), none.clone(), none));
}

#[test]
#[should_panic(expected = "not within 3 to 255")]
fn standard_output_is_no_number_to_give() {
    let _ = Confinement::new().descriptor(file("given"), 1);
}

fn file(content: &str) -> OwnedFd {
    let mut file: File = tempfile::tempfile().expect("a file");
    file.write_all(content.as_bytes()).expect("written");
    file.rewind().expect("rewound");
    file.into()
}

/// As a library might leave one open.
fn without_close_on_exec() -> File {
    let file: File = file("leaked").into();
    // SAFETY: plain numbers, of a descriptor that is open.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
    assert_eq!(answer, 0);
    file
}
