//! The annotated reference is a config that loads, and it says what is true.

use std::path::Path;

use aegis_core::config::{Config, Loader};

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/aegis-worker.toml");
    std::fs::read_to_string(path).expect("the reference")
}

fn load(text: &str) -> Config {
    Loader::new()
        .text(text)
        .load()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_reference_loads() {
    let config = load(&reference());
    assert!(config.plugins.by_name.contains_key("hello"));
    assert!(config.handlers.by_name.contains_key("hello"));
}

#[test]
fn what_it_gives_as_defaults_are_the_defaults() {
    let (reference, default) = (load(&reference()), load(""));
    assert_eq!(reference.node.role, default.node.role);
    assert_eq!(reference.controller.endpoint, default.controller.endpoint);
    assert_eq!(reference.plugins.trust, default.plugins.trust);
    assert_eq!(
        reference.handlers.default_enabled,
        default.handlers.default_enabled
    );
    assert_eq!(reference.telemetry.log_level, default.telemetry.log_level);
    assert_eq!(reference.telemetry.metrics, default.telemetry.metrics);
    assert_eq!(reference.telemetry.log_format, default.telemetry.log_format);
    for (reference, default) in [
        (
            reference.lifecycle.heartbeat_interval,
            default.lifecycle.heartbeat_interval,
        ),
        (
            reference.lifecycle.min_heartbeat_interval,
            default.lifecycle.min_heartbeat_interval,
        ),
        (
            reference.lifecycle.max_heartbeat_interval,
            default.lifecycle.max_heartbeat_interval,
        ),
        (
            reference.lifecycle.max_backoff,
            default.lifecycle.max_backoff,
        ),
        (
            reference.lifecycle.token_refresh_margin,
            default.lifecycle.token_refresh_margin,
        ),
        (
            reference.lifecycle.drain_timeout,
            default.lifecycle.drain_timeout,
        ),
        (
            reference.lifecycle.config_probation,
            default.lifecycle.config_probation,
        ),
    ] {
        assert_eq!(reference, default);
    }
}

#[test]
fn every_line_that_is_commented_out_would_load_too() {
    // A key that was given already, and a second way to give the token.
    let mut seen = std::collections::BTreeSet::new();
    let mut section = String::new();
    let mut text = String::new();
    for line in reference().lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        let bare = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
            })
        });
        match bare {
            Some(bare) => {
                let key = bare.split_once(" = ").expect("a key").0;
                if seen.insert((section.clone(), key.to_owned())) {
                    text.push_str(bare);
                    text.push('\n');
                }
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let config = load(&text);
    assert!(config.node.id.is_some() && config.controller.client_key.is_some());
    assert_eq!(config.handlers.by_name["hello"].concurrency, Some(4));
}

/// It is off, so nothing else reads it.
#[test]
fn the_program_that_it_lists_is_one_that_exec_takes() {
    let config = load(&reference());
    let exec = &config.plugins.by_name["exec"];
    assert_eq!(exec.enabled, Some(false));
    let faults = aegis_plugin_exec::config_faults(&exec.config);
    // Whether the program is there is this machine's affair.
    let own: Vec<_> = faults
        .iter()
        .filter(|it| !it.key.ends_with(".path"))
        .collect();
    assert!(own.is_empty(), "{own:#?}");
    assert!(exec.config["programs"]["restart-unit"].is_object());
}
