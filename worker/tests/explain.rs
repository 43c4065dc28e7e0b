//! `aegis-worker explain`, as a script uses it.

use std::process::Command;

/// The exit code, and what was written on either output.
fn explain(arguments: &[&str]) -> (Option<i32>, String) {
    let state_dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_aegis-worker"))
        .arg("explain")
        .args(arguments)
        .arg("--state-dir")
        .arg(state_dir.path())
        .env_clear()
        .output()
        .expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn the_exit_code_says_whether_it_would_run() {
    for (arguments, code, says) in [
        (["drain"].as_slice(), 0, "drain would run"),
        (&["drain", "--disable", "drain"], 1, "--disable"),
        (&["exec"], 1, "it is off by default"),
        (&["drian"], 1, "did you mean drain?"),
        (&["No Command"], 2, "is no command name"),
        (
            &["drain", "--heartbeat-interval", "soon"],
            2,
            "is no duration",
        ),
        (&[], 2, "<COMMAND>"),
        (&["drain", "-o", "json"], 0, "\"runs\": true"),
    ] {
        let (exit, text) = explain(arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}
