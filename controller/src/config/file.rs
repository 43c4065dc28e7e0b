//! The keys of the config file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Config, LogFormat, TOKEN_TTL, Tls,
    reader::{Fault, Reader, Section},
};
use crate::{Retention, auth::role_name};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    let mut config = Config::default();
    let mut reader = Reader::new(text)?;
    reader.section("", |section| root(section, &mut config));
    reader.section("tls", |section| config.tls = tls(section));
    reader.section("lifecycle", |section| lifecycle(section, &mut config));
    reader.section("admission", |section| {
        let per_minute = &mut config.settings.attestations_per_minute;
        section.set("attestations_per_minute", per_minute, |value| {
            match value.integer()? {
                n @ 1..=1_000_000 => u32::try_from(n).map_err(|error| error.to_string()),
                n => Err(format!("{n} is not from 1 to 1000000")),
            }
        });
    });
    reader.section("config", |section| {
        section.set(
            "push_roles",
            &mut config.settings.config_push_roles,
            |value| value.strings()?.into_iter().map(known_role).collect(),
        );
    });
    reader.section("plugins", |section| {
        let require = &mut config.settings.require_allowed_plugins;
        section.set("require_allowed", require, |value| value.boolean());
    });
    reader.section("retention", |section| {
        retention(section, &mut config.settings.retention);
    });
    reader.section("log", |section| {
        section.set("level", &mut config.log_level, |value| value.string());
        section.set("format", &mut config.log_format, |value| {
            match value.string()?.as_str() {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                other => Err(format!("{other:?} is neither \"text\" nor \"json\"")),
            }
        });
    });
    reader.finish()?;
    Ok(config)
}

fn root(section: &mut Section<'_, '_>, config: &mut Config) {
    section.set("listen", &mut config.listen, |value| {
        let text = value.string()?;
        text.parse::<SocketAddr>()
            .map_err(|_| format!("{text:?} is no address: expected one such as 127.0.0.1:50056"))
    });
    section.set("data_dir", &mut config.data_dir, |value| {
        value.string().map(PathBuf::from)
    });
    section.set("database", &mut config.database, |value| {
        let url = value.string()?;
        if url.starts_with("sqlite:") {
            Ok(Some(url))
        } else {
            Err(format!(
                "{url:?} is no database of this controller: expected sqlite:///path/to/file"
            ))
        }
    });
    section.set("insecure", &mut config.insecure, |value| value.boolean());
}

fn tls(section: &mut Section<'_, '_>) -> Option<Tls> {
    let mut cert = None;
    let mut key = None;
    let mut client_ca = None;
    let path = |value: &super::reader::Value<'_, '_>| value.string().map(PathBuf::from).map(Some);
    section.set("cert", &mut cert, path);
    section.set("key", &mut key, path);
    section.set("client_ca", &mut client_ca, path);
    section.require("cert", cert.is_some());
    section.require("key", key.is_some());
    Some(Tls {
        cert: cert?,
        key: key?,
        client_ca,
    })
}

fn lifecycle(section: &mut Section<'_, '_>, config: &mut Config) {
    let settings = &mut config.settings;
    let between = |low: Duration, high: Duration| {
        move |value: &super::reader::Value<'_, '_>| value.duration(low, high)
    };
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    section.set(
        "heartbeat_interval",
        &mut settings.heartbeat_interval,
        between(ms(100), s(3600)),
    );
    section.set(
        "stale_after",
        &mut settings.stale_after,
        between(ms(200), DAY),
    );
    section.set(
        "sweep_interval",
        &mut settings.sweep_interval,
        between(ms(50), s(3600)),
    );
    section.set(
        "token_ttl",
        &mut settings.token_ttl,
        between(*TOKEN_TTL.start(), *TOKEN_TTL.end()),
    );
    section.set(
        "challenge_ttl",
        &mut settings.challenge_ttl,
        between(s(1), s(600)),
    );
    if settings.stale_after < settings.heartbeat_interval {
        section.fault(
            "stale_after",
            "is shorter than heartbeat_interval: every node would be unhealthy",
        );
    }
}

fn retention(section: &mut Section<'_, '_>, retention: &mut Retention) {
    type Read<'v, 't> = super::reader::Value<'v, 't>;
    // Long enough for whoever asks what became of a command.
    let age = |value: &Read<'_, '_>| value.duration(Duration::from_secs(60), 3650 * DAY);
    let count = |low: i64| {
        move |value: &Read<'_, '_>| match value.integer()? {
            n if (low..=100_000_000).contains(&n) => {
                u32::try_from(n).map_err(|error| error.to_string())
            }
            n => Err(format!("{n} is not from {low} to 100000000")),
        }
    };
    section.set("commands_for", &mut retention.commands_for, age);
    section.set("commands", &mut retention.commands, count(100));
    section.set("database_mib", &mut retention.database_mib, count(16));
    section.set("events_for", &mut retention.events_for, age);
    section.set("events", &mut retention.events, count(100));
    section.set("audit_for", &mut retention.audit_for, age);
    section.set("audit", &mut retention.audit, count(100));
}

fn known_role(name: String) -> Result<String, String> {
    use aegis_proto::cluster::v1::NodeRole;
    let roles = [
        NodeRole::Controller,
        NodeRole::Worker,
        NodeRole::Hybrid,
        NodeRole::Edge,
        NodeRole::RelayCoordinator,
    ]
    .map(role_name);
    if roles.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(format!(
            "{name:?} is no role: expected one of {}",
            roles.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = parse("").expect("valid");
        assert_eq!(config.listen.port(), 50056);
        assert_eq!(config.settings.stale_after, Duration::from_secs(90));
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_lines() {
        let faults = parse(
            "listn = \"127.0.0.1:1\"\ninsecure = \"yes\"\n\n[lifecycle]\ntoken_ttl = \"soon\"\n\n[tls]\ncert = \"a.pem\"\n\n[extra]\n",
        )
        .expect_err("faulty");
        let told: Vec<_> = faults
            .iter()
            .map(|fault| (fault.line, fault.key.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (1, "listn"),
                (2, "insecure"),
                (5, "lifecycle.token_ttl"),
                (7, "tls.key"),
                (10, "extra")
            ]
        );
        assert!(
            faults[0].message.contains("listen"),
            "{}",
            faults[0].message
        );
    }

    #[test]
    fn plugins_are_open_unless_the_config_closes_them() {
        assert!(!parse("").expect("valid").settings.require_allowed_plugins);
        let config = parse("[plugins]\nrequire_allowed = true\n").expect("valid");
        assert!(config.settings.require_allowed_plugins);
    }

    #[test]
    fn what_is_kept_has_a_lower_bound() {
        let config = parse("[retention]\ncommands_for = \"7d\"\naudit = 100\n").expect("valid");
        assert_eq!(config.settings.retention.commands_for, 7 * DAY);
        assert_eq!(config.settings.retention.audit, 100);
        let faults = parse("[retention]\ncommands_for = \"1s\"\ncommands = 0\nevents = -1\n")
            .expect_err("faulty");
        assert_eq!(faults.len(), 3);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let faults = parse("insecure = true\nlisten = \n").expect_err("no TOML");
        assert_eq!(faults[0].line, 2);
    }

    #[test]
    fn a_push_role_has_to_be_one() {
        parse("[config]\npush_roles = [\"controller\"]\n").expect("valid");
        parse("[config]\npush_roles = [\"king\"]\n").expect_err("no role");
    }
}
