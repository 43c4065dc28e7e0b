use std::{path::Path, time::Duration};

use aegis_proto::cluster::v1::NodeRole;
use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::prelude::*;

use super::{model::*, *};
use crate::{loader::Digest, plugin::Placement};

fn load(text: &str) -> Result<Config, ConfigError> {
    Loader::new().text(text).load()
}

fn faults(text: &str) -> Vec<String> {
    load(text)
        .expect_err("faults")
        .faults()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("").expect("defaults");
    assert_eq!(config.node.role, NodeRole::Worker);
    assert_eq!(config.controller.endpoint, "http://127.0.0.1:50056");
    assert_eq!(config.lifecycle.heartbeat_interval, Duration::from_secs(30));
    assert_eq!(
        config.lifecycle.token_refresh_margin,
        Duration::from_secs(120)
    );
    assert_eq!(config.plugins.trust, Trust::Owner);
    assert!(config.handlers.default_enabled);
    assert_eq!(config.telemetry.log_level, "info");
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let digest = "ab".repeat(32);
    let config = load(&format!(
        r#"
        [node]
        id = "0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11"
        role = "hybrid"
        tags = ["gpu", "rack-7"]
        runtimes = ["wasm"]
        state_dir = "/srv/aegis"
        advertise_address = "node-7.example:50057"
        [controller]
        endpoint = "https://controller.example:50056"
        enrolment_token = {{ file = "/run/token" }}
        ca_cert = "/etc/ca.pem"
        client_cert = "/etc/cert.pem"
        client_key = "/etc/key.pem"
        [lifecycle]
        heartbeat_interval = "10s"
        min_heartbeat_interval = "5s"
        max_heartbeat_interval = "1m"
        max_backoff = "10s"
        token_refresh_margin = "1m"
        drain_timeout = "2m"
        config_probation = "5m"
        [plugins]
        dirs = ["/usr/lib/aegis"]
        trust = "pinned"
        default_placement = "process"
        [plugins.hello]
        enabled = false
        required = true
        placement = "in-process"
        sha256 = "{digest}"
        grants = ["node-control"]
        [plugins.other]
        user = "deploy"
        limits = {{ memory = "512MiB", cpu_time = "1m", processes = 64, open_files = 256, file_size = 4096 }}
        paths = {{ read = ["/srv/data"], write = ["/srv/spool", "/srv/out"] }}
        [plugins.hello.config]
        words = ["hello", "hi"]
        limit = 3
        nested.deep = true
        [handlers]
        default = "disabled"
        [handlers.hello]
        enabled = true
        plugin = "hello"
        timeout = "5s"
        concurrency = 2
        issuers = ["ops"]
        [telemetry]
        log_format = "json"
        log_level = "debug"
        metrics = "[::1]:9464"
        "#
    ))
    .expect("a good config");
    assert_eq!(config.node.role, NodeRole::Hybrid);
    assert_eq!(config.node.tags, ["gpu", "rack-7"]);
    assert_eq!(
        config.controller.enrolment_token,
        Some(EnrolmentTokenSource::File("/run/token".into()))
    );
    assert_eq!(config.lifecycle.max_backoff, Duration::from_secs(10));
    assert_eq!(
        config.lifecycle.max_heartbeat_interval,
        Duration::from_secs(60)
    );
    let hello = &config.plugins.by_name["hello"];
    assert_eq!((hello.enabled, hello.required), (Some(false), true));
    assert_eq!(hello.placement, Some(Placement::InProcess));
    assert!(hello.process.is_empty());
    assert_eq!(config.plugins.default_placement, Some(Placement::Process));
    assert_eq!(
        config.plugins.by_name["other"].process,
        ProcessConfig {
            limits: LimitsConfig {
                memory: Some(512 << 20),
                cpu_time: Some(Duration::from_secs(60)),
                processes: Some(64),
                open_files: Some(256),
                file_size: Some(4096),
            },
            user: Some("deploy".to_owned()),
            read: vec!["/srv/data".into()],
            write: vec!["/srv/spool".into(), "/srv/out".into()],
        }
    );
    assert_eq!(hello.sha256, [[0xab; 32]]);
    assert_eq!(hello.config["words"][1], "hi");
    assert_eq!(hello.config["nested"]["deep"], true);
    let handler = &config.handlers.by_name["hello"];
    assert_eq!(handler.concurrency, Some(2));
    assert_eq!(
        handler.issuers.as_deref(),
        Some(["ops".to_owned()].as_slice())
    );
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(
        config.telemetry.metrics,
        Some("[::1]:9464".parse().expect("an address"))
    );
}

#[test]
fn metrics_are_served_at_an_address_and_nowhere_unless_said() {
    assert_eq!(load("").expect("a good config").telemetry.metrics, None);
    for text in ["", "9464", "localhost:9464", "127.0.0.1", "127.0.0.1:65536"] {
        let faults = faults(&format!("[telemetry]\nmetrics = {text:?}\n"));
        assert!(
            faults[0].starts_with("line 2: telemetry.metrics: ")
                && faults[0].contains("127.0.0.1:9464"),
            "{faults:?}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let text = r#"
[node]
rolle = "worker"
role = "workr"
[controller]
endpoint = "http://10.1.2.3:50056"
[lifecycle]
heartbeat_interval = 30
drain_timeout = "soon"
[plugins]
trust = "signed"
[plugins.hello]
placement = "procss"
sha256 = ["123"]
grants = ["node-controll"]
[handlers.hello]
concurrency = 0
[telemetri]
"#;
    let faults = faults(text);
    let expected = [
        ("line 3: node.rolle: ", "did you mean `role`?"),
        ("line 4: node.role: ", "did you mean \"worker\"?"),
        ("line 6: controller.endpoint: ", "--insecure"),
        ("line 8: lifecycle.heartbeat_interval: ", "write \"30s\""),
        (
            "line 9: lifecycle.drain_timeout: ",
            "\"soon\" is no duration",
        ),
        ("line 11: plugins.trust: ", "needs plugins.keys"),
        (
            "line 13: plugins.hello.placement: ",
            "did you mean \"process\"?",
        ),
        ("line 14: plugins.hello.sha256: ", "is no SHA-256"),
        (
            "line 15: plugins.hello.grants: ",
            "did you mean \"node-control\"?",
        ),
        ("line 17: handlers.hello.concurrency: ", "from 1 to 1024"),
        ("line 18: telemetri: ", "did you mean [telemetry]?"),
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (start, part)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start) && fault.contains(part), "{fault}");
    }
}

#[test]
fn each_key_that_cannot_be_trusted_is_told_with_its_own_line() {
    let good = format!("ed25519:{}", BASE64_STANDARD.encode(PUBLIC_KEY));
    let text = format!(
        r#"[plugins]
trust = "signed"
keys = [
    "{good}",
    "release.pub",
    "/nowhere/release.pub",
    "{good}",
    "ed25519:AAAA",
]
revoked = "123"
"#
    );
    let faults = faults(&text);
    let expected = [
        ("line 5: plugins.keys: ", "absolute path"),
        ("line 6: plugins.keys: ", "/nowhere/release.pub"),
        ("line 7: plugins.keys: ", "listed already"),
        ("line 8: plugins.keys: ", "base64 of 32 bytes"),
        ("line 10: plugins.revoked: ", "is no SHA-256"),
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (start, part)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(start) && fault.contains(part), "{fault}");
    }
}

#[test]
fn what_holds_in_a_process_of_its_own_is_refused_elsewhere() {
    let faults = faults(
        r#"
[node]
state_dir = "/srv/aegis"
[plugins]
default_placement = "in-process"
[plugins.one]
user = "deploy"
limits = { memory = "1MiB", cpu_time = "500ms", open_file = 3 }
[plugins.two]
placement = "process"
paths.write = ["/srv/aegis/plugins/one"]
[plugins.two.limits]
file_size = "1MB"
processes = 0
[plugins.three]
paths = ["/srv"]
placement = "built-in"
"#,
    );
    let expected = [
        (
            "line 7: plugins.one.user: ",
            "plugins.default_placement = \"in-process\"",
        ),
        (
            "line 8: plugins.one.limits: ",
            "write placement = \"process\"",
        ),
        ("line 8: plugins.one.limits.cpu_time: ", "whole seconds"),
        ("line 8: plugins.one.limits.memory: ", "32MiB"),
        (
            "line 8: plugins.one.limits.open_file: ",
            "did you mean `open_files`?",
        ),
        (
            "line 11: plugins.two.paths.write: ",
            "lies in node.state_dir",
        ),
        ("line 13: plugins.two.limits.file_size: ", "is no size"),
        ("line 14: plugins.two.limits.processes: ", "from 1 to"),
        ("line 16: plugins.three.paths: ", "this has to be a table"),
        ("line 16: plugins.three.paths: ", "placement = \"built-in\""),
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (start, part) in expected {
        let told = |fault: &String| fault.starts_with(start) && fault.contains(part);
        assert!(faults.iter().any(told), "{start}{part} in {faults:#?}");
    }
}

#[test]
fn signed_with_a_key_is_a_policy() {
    let text = format!(
        "[plugins]\ntrust = \"signed\"\nkeys = [\"ed25519:{}\"]\n",
        BASE64_STANDARD.encode(PUBLIC_KEY)
    );
    let config = Loader::new().text(&text).load().expect("sound").plugins;
    assert_eq!(config.trust, Trust::Signed);
    assert_eq!(config.keys[0].fingerprint(), &Digest::of(&PUBLIC_KEY));
}

/// Of the first test vector of RFC 8032.
const PUBLIC_KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line_beside_other_faults() {
    let error = Loader::new()
        .text("[node]\nid = \n")
        .flag("--log-format", "telemetry.log_format", ["xml"])
        .load()
        .expect_err("faults");
    let faults: Vec<String> = error.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("line 2: "), "{faults:?}");
    assert!(
        faults[1].starts_with("--log-format: telemetry.log_format: "),
        "{faults:?}"
    );
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let file = "[lifecycle]\nheartbeat_interval = \"3s\"\n[node]\ntags = [\"file\"]\n";
    let variables = [
        ("AEGIS_HEARTBEAT_INTERVAL", "2s".to_owned()),
        ("AEGIS_NODE_TAGS", "one, two".to_owned()),
        ("AEGIS_UNRELATED", "ignored".to_owned()),
    ];
    let config = Loader::new()
        .text(file)
        .environment(variables.clone())
        .load()
        .expect("a config");
    assert_eq!(config.lifecycle.heartbeat_interval, Duration::from_secs(2));
    assert_eq!(config.node.tags, ["one", "two"]);
    let config = Loader::new()
        .text(file)
        .environment(variables)
        .flag(
            "--heartbeat-interval",
            "lifecycle.heartbeat_interval",
            ["1s"],
        )
        .load()
        .expect("a config");
    assert_eq!(config.lifecycle.heartbeat_interval, Duration::from_secs(1));
}

#[test]
fn an_interval_set_here_bounds_what_a_controller_may_ask_for() {
    let config = load("[lifecycle]\nheartbeat_interval = \"2s\"").expect("a config");
    assert_eq!(
        config.lifecycle.max_heartbeat_interval,
        Duration::from_secs(2)
    );
    let config = load("[lifecycle]\nheartbeat_interval = \"200ms\"").expect("a config");
    assert_eq!(
        config.lifecycle.min_heartbeat_interval,
        Duration::from_millis(200)
    );
    assert_eq!(
        load("").expect("a config").lifecycle.max_heartbeat_interval,
        Duration::from_secs(300)
    );
}

#[test]
fn plaintext_to_another_machine_takes_a_flag() {
    let file = "[controller]\nendpoint = \"http://10.1.2.3:50056\"\n";
    assert_eq!(faults(file).len(), 1);
    let config = Loader::new()
        .text(file)
        .flag("--insecure", "controller.insecure", ["true"])
        .load();
    assert!(config.expect("accepted").controller.insecure);
    let in_file = faults(&format!("{file}insecure = true\n"));
    assert!(
        in_file
            .iter()
            .any(|fault| fault.contains("cannot be set in the file")),
        "{in_file:?}"
    );
}

#[test]
fn https_needs_an_authority_and_a_client_certificate_needs_its_key() {
    let faults = faults("[controller]\nendpoint = \"https://c\"\nclient_cert = \"cert.pem\"");
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("controller.ca_cert")),
        "{faults:?}"
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("controller.client_key")),
        "{faults:?}"
    );
}

#[test]
fn a_token_is_not_written_into_the_file() {
    let faults = faults("[controller]\nenrolment_token = \"secret\"");
    assert!(faults[0].contains("{ file ="), "{faults:?}");
    assert!(!faults[0].contains("secret"), "{faults:?}");
}

#[test]
fn enabling_by_flag_goes_before_the_file_and_contradictions_are_refused() {
    let file = "[handlers.greet]\nenabled = false\n[handlers.other]\nenabled = true\n";
    let config = Loader::new()
        .text(file)
        .flag("--enable", "handlers.enable", ["greet"])
        .environment([("AEGIS_DISABLE", "greet,other".to_owned())])
        .load()
        .expect("a config");
    assert_eq!(config.handlers.by_name["greet"].enabled, Some(true));
    assert_eq!(config.handlers.by_name["other"].enabled, Some(false));
    Loader::new()
        .flag("--enable", "handlers.enable", ["greet"])
        .flag("--disable", "handlers.disable", ["greet"])
        .load()
        .expect_err("a contradiction");
}

#[test]
fn relative_paths_in_a_file_are_relative_to_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("worker.toml");
    std::fs::write(
        &path,
        "[node]\nstate_dir = \"state\"\n[plugins]\ndirs = [\"plugins\"]\n",
    )
    .expect("written");
    let config = Loader::new().file(&path).load().expect("a config");
    assert_eq!(config.node.state_dir, dir.path().join("state"));
    assert_eq!(config.plugins.dirs, [dir.path().join("plugins")]);
    let config = Loader::new()
        .file(&path)
        .flag("--state-dir", "node.state_dir", ["state"])
        .load();
    assert_eq!(config.expect("a config").node.state_dir, Path::new("state"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Loader::new()
        .file("/nowhere/worker.toml")
        .load()
        .expect_err("no such file");
    assert!(error.to_string().contains("/nowhere/worker.toml"));
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "(\\[(node|plugins|handlers)(\\.[a-z]{1,3})?\\]|[a-z_]{1,12} = (\"[a-z0-9]{0,4}\"|[0-9]{1,3}|\\[\\]|\\{\\}|true)|\n){0,12}") {
        let _ = load(&text);
    }
}
