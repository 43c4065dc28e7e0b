//! The exec command over real programs.

#![cfg(unix)]

#[path = "exec/settings.rs"]
mod settings;
#[path = "exec/stopping.rs"]
mod stopping;
#[path = "exec/world.rs"]
mod world;

use std::fs;

use aegis_plugin_api::{
    HandlerError,
    serde_json::{Value, json},
    testing::each_way,
};
use world::{programs, run, script};

fn error(result: Result<Value, HandlerError>) -> HandlerError {
    result.expect_err("it fails")
}

#[test]
fn a_program_is_run_and_its_end_is_the_result() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "greet": {
                    "path": "/bin/echo",
                    "args": ["hello", "{name}"],
                    "parameters": { "name": "[A-Za-z]+" },
                },
            }),
        );
        let call = plugin.begin(
            "exec",
            json!({ "program": "greet", "args": { "name": "Ada" } }),
        );
        let result = world::succeeded(&call);
        assert_eq!(call.output(), "hello Ada\n");
        assert_eq!(
            (
                &result["exitCode"],
                &result["outputBytes"],
                &result["outputTruncated"],
                &result["leftRunning"]
            ),
            (&json!(0), &json!(10), &json!(false), &json!(false))
        );
    });
}

#[test]
fn output_and_errors_come_in_the_order_in_which_they_were_written() {
    each_way("exec", |setup| {
        let plugin = script(
            setup,
            "echo one; echo two >&2; echo three; echo four >&2",
            json!({}),
        );
        let call = plugin.begin("exec", json!({ "program": "it" }));
        world::succeeded(&call);
        assert_eq!(call.output(), "one\ntwo\nthree\nfour\n");
    });
}

#[test]
fn an_exit_status_other_than_success_fails() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "three": { "shell": "/bin/sh", "script": "echo why; exit 3" },
                "taken": { "shell": "/bin/sh", "script": "exit 3", "success_codes": [0, 3] },
                "killed": { "shell": "/bin/sh", "script": "kill -SEGV $$" },
            }),
        );
        let failed = error(run(&plugin, "three"));
        assert_eq!(failed.code, "exit-status");
        assert!(
            failed.message.contains("three ended with exit status 3"),
            "{failed}"
        );
        assert_eq!(run(&plugin, "taken").expect("a success")["exitCode"], 3);
        let killed = error(run(&plugin, "killed"));
        assert_eq!(killed.code, "killed-by-signal");
        assert!(killed.message.contains("SIGSEGV"), "{killed}");
    });
}

#[test]
fn nothing_of_the_workers_own_reaches_the_program() {
    // A descriptor that every child would inherit.
    let leak = fs::File::open("/dev/null").expect("it is there");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("set");
    let number = std::os::fd::AsRawFd::as_raw_fd(&leak);
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "env": { "path": "/usr/bin/env", "env": { "LANG": "C", "GREETING": "hello there" } },
                "descriptor": {
                    "shell": "/bin/sh",
                    "script": "[ -e /dev/fd/$1 ] && echo leaked; [ -e /dev/fd/1 ] && echo kept",
                    "args": ["{n}"],
                    "parameters": { "n": "[0-9]+" },
                },
                "rest": {
                    "shell": "/bin/sh",
                    "script": "pwd; umask; ulimit -c; cat; ps -o pid=,pgid=,sess= -p $$ | tr -s ' '; echo $$",
                    "working_dir": "/usr",
                    "umask": "027",
                    "env": { "PATH": "/usr/bin:/bin" },
                },
            }),
        );
        let env = plugin.begin("exec", json!({ "program": "env" }));
        world::succeeded(&env);
        assert_eq!(env.output(), "GREETING=hello there\nLANG=C\n");

        let call = plugin.begin(
            "exec",
            json!({ "program": "descriptor", "args": { "n": number } }),
        );
        world::succeeded(&call);
        assert_eq!(call.output(), "kept\n");

        let call = plugin.begin("exec", json!({ "program": "rest" }));
        world::succeeded(&call);
        let output = call.output();
        let lines: Vec<&str> = output.lines().map(str::trim).collect();
        assert_eq!(lines[..3], ["/usr", "0027", "0"], "{output}");
        // It leads its own group and session.
        let pid = lines.last().expect("a line");
        assert_eq!(lines[3], format!("{pid} {pid} {pid}"), "{output}");
    });
    drop(leak);
}

#[test]
fn arguments_of_a_script_are_never_part_of_it() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "show": {
                    "shell": "/bin/sh",
                    "script": "printf '%s|' \"$0\" \"$#\" \"$1\" \"$2\"",
                    "args": ["{a}", "x={b}"],
                    "parameters": { "a": ".*", "b": ".*" },
                },
            }),
        );
        for hostile in [
            "$(echo gone)",
            "`id`",
            "'; exit 9; '",
            "\" && false",
            "a b",
            "*",
            "{b}",
            "\u{202e}é",
        ] {
            let args = json!({ "a": hostile, "b": hostile });
            let call = plugin.begin("exec", json!({ "program": "show", "args": args }));
            world::succeeded(&call);
            assert_eq!(call.output(), format!("show|2|{hostile}|x={hostile}|"));
        }
    });
}

#[test]
fn a_command_that_does_not_fit_is_refused_before_anything_runs() {
    each_way("exec", |setup| {
        let folder = tempfile::tempdir().expect("a directory");
        let trace = folder.path().join("ran");
        let plugin = programs(
            setup,
            json!({
                "touch": {
                    "path": "/usr/bin/touch",
                    "args": [trace, "{mode}"],
                    "parameters": { "mode": ".*" },
                },
            }),
        );
        for payload in [
            json!({ "program": "touch" }),
            json!({ "program": "touch", "args": { "mode": "--help" } }),
            json!({ "program": "touch", "args": { "mode": "a\nb" } }),
            json!({ "program": "touch", "args": { "mode": "a\u{0}b" } }),
            json!({ "program": "touch", "args": { "mode": "x".repeat(1 << 20) } }),
            json!({ "program": "touch", "args": { "mode": ["a"] } }),
            json!({ "program": "touch", "args": { "mode": "a", "path": "/bin/sh" } }),
            json!({ "program": "touch", "args": { "mode": "a" }, "stdin": "text" }),
            json!({ "program": "touch", "args": { "mode": "a" }, "env": { "LD_PRELOAD": "x" } }),
            json!({ "program": "/bin/sh", "args": {} }),
            json!({ "program": "../touch" }),
            json!({ "program": "" }),
            json!({}),
        ] {
            let refused = error(plugin.call("exec", &payload));
            assert_eq!(refused.code, HandlerError::INVALID_PAYLOAD, "{payload}");
        }
        assert!(!trace.exists());
        let unknown = error(run(&plugin, "toch"));
        assert!(unknown.message.contains("these are: touch"), "{unknown}");
    });
}

#[test]
fn standard_input_is_given_where_the_config_allows_it_and_is_empty_otherwise() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "cat": { "path": "/bin/cat", "stdin": true },
                "deaf": { "shell": "/bin/sh", "script": "echo done", "stdin": true },
                "closed": { "path": "/bin/cat" },
            }),
        );
        let text = "é".repeat(32 * 1024);
        let call = plugin.begin("exec", json!({ "program": "cat", "stdin": text }));
        world::succeeded(&call);
        assert_eq!(call.output(), text);
        // Neither one that does not read nor one that would read for ever hangs.
        let call = plugin.begin("exec", json!({ "program": "deaf", "stdin": text }));
        world::succeeded(&call);
        for name in ["cat", "closed"] {
            assert_eq!(
                run(&plugin, name).expect("it ends")["outputBytes"],
                0,
                "{name}"
            );
        }
        let long = json!({ "program": "cat", "stdin": "x".repeat(64 * 1024 + 1) });
        let refused = error(plugin.call("exec", long));
        assert_eq!(refused.code, HandlerError::INVALID_PAYLOAD);
    });
}

#[test]
fn a_flood_is_counted_and_passed_on_up_to_the_limit() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "flood": {
                    "path": "/usr/bin/head",
                    "args": ["-c", "8000000", "/dev/zero"],
                    "output_limit": "64KiB",
                },
            }),
        );
        let call = plugin.begin("exec", json!({ "program": "flood" }));
        let result = world::succeeded(&call);
        assert_eq!(call.output().len(), 64 * 1024);
        assert_eq!(
            (&result["outputBytes"], &result["outputTruncated"]),
            (&json!(8_000_000), &json!(true))
        );
    });
}

#[test]
fn each_way_of_not_starting_has_its_own_code() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("dir");
    let lost = folder.path().join("lost");
    fs::write(&lost, "#!/no/such/interpreter\n").expect("written");
    world::chmod(&lost, 0o755);
    each_way("exec", |setup| {
        fs::create_dir(&dir).expect("made");
        let plugin = programs(
            setup,
            json!({
                "no-dir": { "path": "/bin/echo", "working_dir": dir },
                "lost": { "path": lost },
                "long": { "path": "/bin/echo", "args": ["x".repeat(256 * 1024)] },
            }),
        );
        fs::remove_dir(&dir).expect("it is empty");
        for (name, code) in [
            ("no-dir", "no-working-dir"),
            ("lost", "program-not-found"),
            ("long", "arguments-too-long"),
        ] {
            let failed = error(run(&plugin, name));
            assert_eq!(failed.code, code, "{failed}");
        }
    });
}

#[test]
fn a_program_that_somebody_could_have_replaced_is_not_run() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("bin");
    fs::create_dir(&dir).expect("made");
    let link = dir.join("it");
    std::os::unix::fs::symlink("/bin/echo", &link).expect("linked");
    each_way("exec", |setup| {
        world::chmod(&dir, 0o755);
        let plugin = programs(setup, json!({ "it": { "path": link } }));
        run(&plugin, "it").expect("it is as it was");
        world::chmod(&dir, 0o777);
        let refused = error(run(&plugin, "it"));
        assert_eq!(refused.code, "program-not-trusted");
        assert!(
            refused.message.contains("bin can be written by others"),
            "{refused}"
        );
    });
}

#[test]
fn limits_hold_and_are_named_where_they_end_a_program() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "files": {
                    "shell": "/bin/sh",
                    "script": "ulimit -n; ulimit -v; ulimit -f",
                    "limits": { "open_files": 32, "memory": "256MiB", "file_size": "1MiB" },
                },
                "busy": {
                    "shell": "/bin/sh",
                    "script": "while :; do :; done",
                    "limits": { "cpu_time": "1s" },
                    "nice": 10,
                },
            }),
        );
        let call = plugin.begin("exec", json!({ "program": "files" }));
        world::succeeded(&call);
        // In units of 1 KiB and of 512 bytes.
        assert_eq!(call.output(), "32\n262144\n2048\n");
        let ended = error(run(&plugin, "busy"));
        assert!(ended.message.contains("SIGXCPU"), "{ended}");
        assert!(ended.help.expect("a help").contains("cpu_time"));
    });
}
