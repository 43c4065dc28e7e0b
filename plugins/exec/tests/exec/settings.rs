//! What the node's own config says, and what no other can.

use aegis_plugin_api::{
    process::User,
    serde_json::json,
    testing::{CallOptions, Completion, Setup, each_way},
};

use crate::world::{programs, run, script, succeeded};

#[test]
fn a_node_that_lists_nothing_runs_nothing() {
    each_way("exec", |setup| {
        let plugin = setup.start().expect("it starts");
        let refused = run(&plugin, "sh").expect_err("refused");
        assert!(refused.message.contains("these are: none"), "{refused}");
    });
}

#[test]
fn every_fault_is_reported_at_once_with_its_key() {
    let config = json!({
        "programs": {
            "Bad Name": { "path": "/bin/echo" },
            "relative": { "path": "bin/echo", "umask": "899", "nice": 20, "grace": "10s" },
            "missing": { "path": "/no/such/program", "timeout": "5 parsecs", "pth": 1 },
            "nothing": {},
            "both": { "path": "/bin/echo", "shell": "/bin/sh", "script": "true" },
            "half": { "shell": "/bin/sh" },
            "shellless": { "script": "true" },
            "odd": { "path": 3, "args": "one", "stdin": "yes", "env": { "A=B": "c" },
                     "limits": { "memory": "lots", "cpu": "1s" }, "concurrency": 0,
                     "user": "no such user", "working_dir": "/no/such/dir",
                     "success_codes": [], "args_patterns": {} },
            "scalar": 7,
        },
        "disabled": ["nobody"],
    });
    let error = Setup::new("exec")
        .config(&config)
        .start()
        .expect_err("it does not start");
    assert_eq!(error.code, "invalid-config");
    let faults: Vec<String> =
        aegis_plugin_exec::config_faults(config.as_object().expect("a table"))
            .iter()
            .map(ToString::to_string)
            .collect();
    assert_eq!(error.message, faults.join("; "));
    for expected in [
        "programs.Bad Name: ",
        "programs.relative.path: \"bin/echo\" is not absolute",
        "programs.relative.umask: ",
        "programs.relative.nice: ",
        "programs.relative.grace: ",
        "programs.missing.path: /no cannot be used",
        "programs.missing.timeout: ",
        "programs.missing.pth: there is no such key",
        "programs.nothing.path: it is missing",
        "programs.both.path: give either",
        "programs.half.script: it is missing",
        "programs.shellless.shell: it is missing",
        "programs.odd.path: ",
        "programs.odd.args: ",
        "programs.odd.stdin: ",
        "programs.odd.env: ",
        "programs.odd.limits.memory: ",
        "programs.odd.limits.cpu: there is no such key",
        "programs.odd.concurrency: ",
        "programs.odd.user: ",
        "programs.odd.working_dir: ",
        "programs.odd.success_codes: ",
        "programs.odd.args_patterns: there is no such key",
        "programs.scalar: this has to be a table",
        "disabled: no program \"nobody\"",
    ] {
        let found = faults
            .iter()
            .filter(|fault| fault.starts_with(expected))
            .count();
        assert_eq!(found, 1, "{expected}\n{faults:#?}");
    }
    assert_eq!(faults.len(), 25, "{faults:#?}");
}

#[test]
fn a_config_that_comes_later_can_turn_off_but_never_add_or_change() {
    each_way("exec", |setup| {
        let own = json!({ "echo": { "path": "/bin/echo", "args": ["hi"] } });
        let plugin = programs(setup, own.clone());
        let mut more = own.clone();
        more["sh"] = json!({ "path": "/bin/sh" });
        let mut wider = own.clone();
        wider["echo"]["stdin"] = json!(true);
        for programs in [more, wider, json!({})] {
            let refused = plugin.reconfigure(json!({ "programs": programs }));
            assert_eq!(refused.expect_err("refused").code, "local-config-only");
        }
        run(&plugin, "echo").expect("it is as it was");

        let off = json!({ "programs": own, "disabled": ["echo", "not-on-this-node"] });
        plugin.reconfigure(off).expect("that narrows");
        let disabled = run(&plugin, "echo").expect_err("it is off");
        assert_eq!(disabled.code, "program-disabled");
        plugin
            .reconfigure(json!({ "programs": own }))
            .expect("back");
        run(&plugin, "echo").expect("it is on again");
    });
}

#[test]
fn only_the_issuers_that_a_program_names_may_run_it() {
    each_way("exec", |setup| {
        let plugin = programs(
            setup,
            json!({
                "ours": { "path": "/bin/echo", "issuers": ["ops"] },
            }),
        );
        let call = |issuer: &str| {
            let options = CallOptions {
                issuer: issuer.to_owned(),
                ..CallOptions::default()
            };
            plugin.begin_with("exec", json!({ "program": "ours" }), options)
        };
        succeeded(&call("ops"));
        for other in ["", "op", "ops2"] {
            match call(other).wait() {
                Completion::Failed(error) => assert_eq!(error.code, "not-permitted"),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// Root can run programs as others; everyone else is told so at once.
#[test]
fn a_program_runs_as_the_user_that_the_config_names() {
    each_way("exec", |setup| {
        let table = json!({ "user": "nobody" });
        if !User::can_be_assumed() {
            let config =
                json!({ "programs": { "it": { "path": "/usr/bin/id", "user": "nobody" } } });
            let error = setup.config(config).start().expect_err("it does not start");
            assert!(
                error.message.contains("only a worker that runs as root"),
                "{error}"
            );
            return;
        }
        let nobody = User::named("nobody").expect("readable").expect("there");
        let plugin = script(setup, "id -u; id -G; id -un", table);
        let call = plugin.begin("exec", json!({ "program": "it" }));
        succeeded(&call);
        let output = call.output();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!(
            (lines[0], lines[2]),
            (nobody.uid().to_string().as_str(), "nobody")
        );
        assert!(!lines[1].split(' ').any(|group| group == "0"), "{output}");
    });
}

#[test]
fn the_schemas_describe_request_and_response() {
    let plugin = Setup::new("exec").start().expect("it starts");
    let schemas = plugin.schemas("exec").expect("schemas");
    assert_eq!(schemas["request"]["required"], json!(["program"]));
    assert_eq!(schemas["request"]["additionalProperties"], json!(false));
    assert!(
        schemas["response"]["properties"]["exitCode"].is_object(),
        "{schemas}"
    );
}
