//! `[handlers]` and `[handlers.NAME]`, with `--enable` and `--disable`.

use std::time::Duration;

use aegis_proto::limits::MAX_NAME_BYTES;

use super::{
    Origin,
    model::{HandlerConfig, HandlersConfig},
    section::{Section, no_names, non_empty, one_of},
    sources::Sources,
};

pub(super) fn read(sources: &Sources) -> HandlersConfig {
    let section = Section::root(sources, "handlers");
    let default = section.parsed("default", one_of(&[("enabled", true), ("disabled", false)]));
    let mut config = HandlersConfig {
        default_enabled: default.is_none_or(|found| found.value),
        by_name: section
            .tables()
            .into_iter()
            .filter(|name| *name != "default")
            .map(|name| (name.to_owned(), handler(&section, name)))
            .collect(),
    };
    section.finish(|_, item| item.is_table_like());
    // Variables before flags, so that a flag has the last word.
    for flags in [false, true] {
        for (key, enabled) in [("handlers.enable", true), ("handlers.disable", false)] {
            switch(sources, &mut config, key, enabled, flags);
        }
    }
    config
}

fn switch(sources: &Sources, config: &mut HandlersConfig, key: &str, enabled: bool, flags: bool) {
    let of_rank = |key: &str| {
        let settings = sources
            .settings
            .iter()
            .filter(move |setting| setting.name.starts_with("--") == flags);
        settings
            .filter(|setting| setting.key == key)
            .cloned()
            .collect::<Vec<_>>()
    };
    for setting in of_rank(key) {
        for name in &setting.values {
            let fault = |message: String| {
                sources.fault(
                    Origin::Setting(setting.name.clone()),
                    String::new(),
                    message,
                );
            };
            if !is_name(name) {
                fault(format!(
                    "{name:?} is no command name: 1 to 64 of a-z 0-9 - . _, beginning with a letter"
                ));
            } else if !enabled
                && of_rank("handlers.enable")
                    .iter()
                    .any(|other| other.values.contains(name))
            {
                fault(format!(
                    "{name:?} is enabled and disabled at once: leave one out"
                ));
            } else {
                config.by_name.entry(name.clone()).or_default().enabled = Some(enabled);
            }
        }
    }
}

fn handler(handlers: &Section<'_>, name: &str) -> HandlerConfig {
    if !is_name(name) {
        handlers.fault(
            name,
            "no command can have this name: 1 to 64 of a-z 0-9 - . _, beginning with a letter",
        );
    }
    let section = handlers.child(name);
    let timeout = section.duration("timeout").map(|found| found.value);
    if timeout == Some(Duration::ZERO) {
        section.fault(
            "timeout",
            "with no time at all no command would ever succeed",
        );
    }
    let config = HandlerConfig {
        enabled: section.boolean("enabled"),
        plugin: section.parsed("plugin", non_empty).map(|found| found.value),
        timeout,
        concurrency: section.integer("concurrency", 1..=1024),
        issuers: section.texts("issuers"),
    };
    section.finish(no_names);
    config
}

/// Whether a command or a plugin can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
}
