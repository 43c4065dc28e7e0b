use std::collections::BTreeMap;

use aegis_plugin_api::Effect;
use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::{command::CommandId, config::model::HandlerConfig, pushed_config::HandlerSettings};

fn command() -> Command {
    Command {
        id: CommandId::from_uuid(Uuid::nil()),
        name: "greet".to_owned(),
        payload: Bytes::from_static(b"{}"),
        not_before: None,
        start_by: None,
        timeout: None,
        issuer: "alice".to_owned(),
        traceparent: String::new(),
        delivery: 0,
    }
}

fn handler() -> HandlerInfo {
    HandlerInfo {
        name: "greet".to_owned(),
        plugin: "hello".to_owned(),
        summary: String::new(),
        effect: Effect::Read,
        timeout: secs(60),
        concurrency: 4,
        inline: false,
        runs_while_draining: false,
        request_schema: None,
        response_schema: None,
        disabled: None,
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn policy(local: HandlerConfig, pushed: HandlerSettings) -> Policy {
    let local = HandlersConfig {
        default_enabled: true,
        by_name: BTreeMap::from([("greet".to_owned(), local)]),
    };
    let settings = WorkerSettings {
        handlers: BTreeMap::from([("greet".to_owned(), pushed)]),
        ..WorkerSettings::default()
    };
    Policy::new(local, watch::Sender::new(settings).subscribe())
}

fn code(policy: &Policy, command: &Command) -> String {
    policy
        .decide(command, &handler())
        .expect_err("refused")
        .code
        .into_owned()
}

#[test]
fn without_rules_the_handlers_own_declaration_holds() {
    let policy = Policy::local(HandlersConfig::default());
    let permit = policy.decide(&command(), &handler()).expect("permitted");
    assert_eq!(
        permit,
        Permit {
            timeout: secs(60),
            concurrency: 4
        }
    );
    let longer = Command {
        timeout: Some(secs(90)),
        ..command()
    };
    assert_eq!(
        policy
            .decide(&longer, &handler())
            .expect("permitted")
            .timeout,
        secs(90)
    );
    let endless = Command {
        timeout: Some(Duration::MAX),
        ..command()
    };
    assert_eq!(
        policy
            .decide(&endless, &handler())
            .expect("permitted")
            .timeout,
        LONGEST_TIMEOUT
    );
}

#[test]
fn the_local_timeout_overrules_the_handlers_and_bounds_the_commands() {
    let local = HandlerConfig {
        timeout: Some(secs(300)),
        ..HandlerConfig::default()
    };
    let policy = policy(local, HandlerSettings::default());
    let timeout = |asked| {
        let command = Command {
            timeout: asked,
            ..command()
        };
        policy
            .decide(&command, &handler())
            .expect("permitted")
            .timeout
    };
    assert_eq!(timeout(None), secs(300));
    assert_eq!(timeout(Some(secs(5))), secs(5));
    assert_eq!(timeout(Some(secs(900))), secs(300));
}

#[test]
fn a_pushed_config_narrows_and_never_widens() {
    let local = HandlerConfig {
        timeout: Some(secs(30)),
        concurrency: Some(2),
        issuers: Some(vec!["alice".to_owned()]),
        ..HandlerConfig::default()
    };
    let wider = HandlerSettings {
        enabled: Some(true),
        timeout: Some(secs(600)),
        concurrency: Some(50),
        issuers: Some(vec!["alice".to_owned(), "mallory".to_owned()]),
    };
    let policy_of = |pushed| policy(local.clone(), pushed);
    let permit = policy_of(wider.clone())
        .decide(&command(), &handler())
        .expect("permitted");
    assert_eq!(
        permit,
        Permit {
            timeout: secs(30),
            concurrency: 2
        }
    );
    let mallory = Command {
        issuer: "mallory".to_owned(),
        ..command()
    };
    assert_eq!(code(&policy_of(wider), &mallory), error_code::NOT_PERMITTED);

    let narrower = HandlerSettings {
        timeout: Some(secs(3)),
        concurrency: Some(1),
        ..HandlerSettings::default()
    };
    let permit = policy_of(narrower)
        .decide(&command(), &handler())
        .expect("permitted");
    assert_eq!(
        permit,
        Permit {
            timeout: secs(3),
            concurrency: 1
        }
    );
    let nobody = HandlerSettings {
        issuers: Some(vec![]),
        ..HandlerSettings::default()
    };
    assert_eq!(
        code(&policy_of(nobody), &command()),
        error_code::NOT_PERMITTED
    );
    let off = HandlerSettings {
        enabled: Some(false),
        ..HandlerSettings::default()
    };
    assert_eq!(code(&policy_of(off), &command()), error_code::DISABLED);
}

#[test]
fn a_payload_is_json_of_a_bounded_size() {
    let policy = Policy::local(HandlersConfig::default());
    let with = |payload: Vec<u8>| Command {
        payload: payload.into(),
        ..command()
    };
    for bad in ["{", "nul", "{} {}", "\"\u{7}"] {
        assert_eq!(
            code(&policy, &with(bad.into())),
            error_code::INVALID_PAYLOAD,
            "{bad}"
        );
    }
    assert_eq!(
        code(&policy, &with(vec![0xff, 0xfe])),
        error_code::INVALID_PAYLOAD
    );
    assert_eq!(
        code(&policy, &with("[".repeat(100_000).into())),
        error_code::INVALID_PAYLOAD
    );
    let large = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES));
    assert_eq!(
        code(&policy, &with(large.into())),
        error_code::INVALID_PAYLOAD
    );
    policy
        .decide(&with(vec![]), &handler())
        .expect("stands for an empty object");
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest_one() {
    assert_eq!(
        unknown("gret", Some("greet")).help.as_deref(),
        Some("did you mean \"greet\"?")
    );
    assert!(unknown(&"x".repeat(1000), None).message.len() < 200);
}
