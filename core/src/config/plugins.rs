//! `[plugins]` and `[plugins.NAME]`

use std::path::Path;

use serde_json::{Map, Value as Json};
use toml_edit::{Item, TableLike, Value};

use super::{
    handlers::is_name,
    model::{PluginConfig, PluginsConfig, Trust},
    process,
    section::{Section, no_names, one_of},
    sources::Sources,
};
use crate::{plugin::Placement, trust::PublicKey};

/// The host interfaces that an operator can grant.
const GRANTS: &[(&str, ())] = &[
    ("node-control", ()),
    ("config", ()),
    ("kv", ()),
    ("metrics", ()),
];

pub(super) fn read(sources: &Sources) -> PluginsConfig {
    let section = Section::root(sources, "plugins");
    let trust = section.parsed(
        "trust",
        one_of(&[
            ("owner", Trust::Owner),
            ("pinned", Trust::Pinned),
            ("signed", Trust::Signed),
        ]),
    );
    let default_placement = section.parsed("default_placement", |text| {
        placement(text).and_then(|placement| match placement {
            Placement::BuiltIn => {
                Err("a file cannot be built in: write \"process\" or \"in-process\"".to_owned())
            }
            placement => Ok(placement),
        })
    });
    let trust = trust.map(|found| found.value).unwrap_or_default();
    let (given, keys) = keys(&section);
    if trust == Trust::Signed && given == 0 {
        section.fault(
            "trust",
            "\"signed\" needs plugins.keys: list the keys whose signatures count, or write \
             \"pinned\"",
        );
    }
    let config = PluginsConfig {
        dirs: section.paths("dirs").unwrap_or_default(),
        trust,
        keys,
        revoked: digests(&section, "revoked"),
        default_placement: default_placement.as_ref().map(|found| found.value),
        quarantine_after: section
            .integer("quarantine_after", 0..=100)
            .unwrap_or(PluginsConfig::default().quarantine_after),
        off_by_default: Vec::new(),
        by_name: section
            .tables()
            .into_iter()
            .filter(|name| {
                ![
                    "dirs",
                    "trust",
                    "keys",
                    "revoked",
                    "default_placement",
                    "quarantine_after",
                ]
                .contains(name)
            })
            .map(|name| {
                let default = default_placement.as_ref().map(|found| found.value);
                (name.to_owned(), plugin(&section, name, default))
            })
            .collect(),
    };
    section.finish(|_, item| item.is_table_like());
    config
}

/// Notes what is wrong only beside the other sections.
pub(super) fn check(sources: &Sources, config: &PluginsConfig, state_dir: &Path) {
    for (name, plugin) in &config.by_name {
        process::check_paths(sources, name, &plugin.process, state_dir);
    }
}

fn plugin(plugins: &Section<'_>, name: &str, default: Option<Placement>) -> PluginConfig {
    if !is_name(name) {
        plugins.fault(
            name,
            "no plugin can have this name: 1 to 64 of a-z 0-9 - . _, beginning with a letter",
        );
    }
    let section = plugins.child(name);
    let config = PluginConfig {
        enabled: section.boolean("enabled"),
        required: section.boolean("required").unwrap_or(false),
        placement: section
            .parsed("placement", placement)
            .map(|found| found.value),
        process: process::read(&section),
        sha256: digests(&section, "sha256"),
        grants: section.texts("grants").unwrap_or_default(),
        config: section
            .item("config")
            .and_then(Item::as_table_like)
            .map(json_table)
            .unwrap_or_default(),
    };
    if section
        .item("config")
        .is_some_and(|item| !item.is_table_like())
    {
        section.fault(
            "config",
            format!("this has to be a table: write [plugins.{name}.config]"),
        );
    }
    for grant in &config.grants {
        if let Err(message) = one_of(GRANTS)(grant) {
            section.fault("grants", message);
        }
    }
    check_process(&section, &config, default);
    section.finish(no_names);
    config
}

fn placement(text: &str) -> Result<Placement, String> {
    one_of(&[
        ("process", Placement::Process),
        ("in-process", Placement::InProcess),
        ("built-in", Placement::BuiltIn),
    ])(text)
}

/// Limits in a process that is shared would be the worker's own.
fn check_process(section: &Section<'_>, config: &PluginConfig, default: Option<Placement>) {
    let (key, placement) = match (config.placement, default) {
        (Some(placement), _) => ("placement", placement),
        (None, Some(placement)) => ("plugins.default_placement", placement),
        (None, None) => return,
    };
    if placement == Placement::Process {
        return;
    }
    for given in process::given(section) {
        section.fault(
            given,
            format!(
                "this holds for a plugin in a process of its own, and {key} = {:?}: write \
                 placement = \"process\", or leave it out",
                placement.as_str()
            ),
        );
    }
}

/// How many were given, and those of them that are sound.
fn keys(section: &Section<'_>) -> (usize, Vec<PublicKey>) {
    let given = section.placed_texts("keys");
    let mut keys: Vec<PublicKey> = Vec::new();
    for text in &given {
        match PublicKey::configured(&text.value) {
            Ok(key) if keys.contains(&key) => section.fault_at(
                text.origin.clone(),
                "keys",
                format!(
                    "{:?} is a key that is listed already: leave it out",
                    text.value
                ),
            ),
            Ok(key) => keys.push(key),
            Err(error) => section.fault_at(text.origin.clone(), "keys", error.to_string()),
        }
    }
    (given.len(), keys)
}

/// One digest as a text, or several as a list.
fn digests(section: &Section<'_>, key: &'static str) -> Vec<[u8; 32]> {
    let texts = match section.item(key).and_then(Item::as_str) {
        Some(text) => vec![text.to_owned()],
        None => section.texts(key).unwrap_or_default(),
    };
    let parsed: Vec<_> = texts.iter().map(|text| digest(text)).collect();
    for (text, _) in texts
        .iter()
        .zip(&parsed)
        .filter(|(_, digest)| digest.is_none())
    {
        section.fault(
            key,
            format!("{text:?} is no SHA-256: write 64 hexadecimal digits, as sha256sum does"),
        );
    }
    parsed.into_iter().flatten().collect()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}

fn json_table(table: &dyn TableLike) -> Map<String, Json> {
    table
        .iter()
        .map(|(key, item)| (key.to_owned(), json_item(item)))
        .collect()
}

fn json_item(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => json_value(value),
        Item::Table(table) => Json::Object(json_table(table)),
        Item::ArrayOfTables(tables) => Json::Array(
            tables
                .iter()
                .map(|table| Json::Object(json_table(table)))
                .collect(),
        ),
    }
}

/// A date becomes its text, and a float that JSON cannot hold becomes null.
fn json_value(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::String(text.value().clone()),
        Value::Integer(number) => Json::from(*number.value()),
        Value::Float(number) => Json::from(*number.value()),
        Value::Boolean(value) => Json::Bool(*value.value()),
        Value::Datetime(date) => Json::String(date.value().to_string()),
        Value::Array(array) => Json::Array(array.iter().map(json_value).collect()),
        Value::InlineTable(table) => Json::Object(json_table(table)),
    }
}
