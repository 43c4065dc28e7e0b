//! From what was given to a [`Config`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml_edit::Document;

use super::{
    Config, ConfigError, Fault, Origin, Places, controller, handlers, lifecycle, node, plugins,
    sources::{ENVIRONMENT, Setting, Sources, line_of},
    suggest::nearest,
    telemetry,
};

const SECTIONS: &[&str] = &[
    "node",
    "controller",
    "lifecycle",
    "plugins",
    "handlers",
    "telemetry",
];

/// Collects flags, variables and the file, then makes a [`Config`] of them.
///
/// A flag goes before a variable, a variable before the file, and the file
/// before the default.
///
/// ```
/// let config = aegis_core::config::Loader::new()
///     .text("[lifecycle]\nheartbeat_interval = \"10s\"\n")
///     .flag("--controller", "controller.endpoint", ["http://127.0.0.1:50056"])
///     .load()?;
/// assert_eq!(config.lifecycle.heartbeat_interval.as_secs(), 10);
/// # Ok::<(), aegis_core::config::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct Loader {
    file: Option<PathBuf>,
    text: Option<String>,
    flags: Vec<Setting>,
    variables: Vec<Setting>,
}

impl Loader {
    /// With nothing given yet: every key has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads this file. Relative paths in it are relative to its directory.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Takes this text in the place of a file.
    #[must_use]
    pub fn text(mut self, toml: impl Into<String>) -> Self {
        self.text = Some(toml.into());
        self
    }

    /// Takes a flag for `key`, as `controller.endpoint`. Without values it
    /// was not given.
    #[must_use]
    pub fn flag<V: Into<String>>(
        mut self,
        name: &str,
        key: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.flags.push(Setting {
                name: name.to_owned(),
                key: key.to_owned(),
                values,
            });
        }
        self
    }

    /// Takes those of [`ENVIRONMENT`] among these variables. Lists are
    /// separated by commas, directories by colons.
    #[must_use]
    pub fn environment<K: AsRef<str>>(
        mut self,
        variables: impl IntoIterator<Item = (K, String)>,
    ) -> Self {
        for (name, value) in variables {
            let name = name.as_ref();
            let Some((_, key)) = ENVIRONMENT.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let values = match *key {
                "plugins.dirs" => split(&value, ':'),
                "node.tags" | "handlers.enable" | "handlers.disable" => split(&value, ','),
                _ => vec![value],
            };
            self.variables.push(Setting {
                name: name.to_owned(),
                key: (*key).to_owned(),
                values,
            });
        }
        self
    }

    /// Makes the config.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or everything that is wrong with it, with the
    /// flags and with the variables.
    pub fn load(self) -> Result<Config, ConfigError> {
        self.load_with_places().map(|(config, _)| config)
    }

    /// The same, and where each key comes from.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with_places(self) -> Result<(Config, Places), ConfigError> {
        let source_name = self.file.as_ref().map(|path| path.display().to_string());
        let text = match (&self.file, self.text) {
            (Some(path), None) => {
                Some(
                    fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                        path: path.clone(),
                        source,
                    })?,
                )
            }
            (_, text) => text,
        };
        let mut sources = Sources {
            settings: self.flags.into_iter().chain(self.variables).collect(),
            base: self
                .file
                .as_deref()
                .and_then(Path::parent)
                .map(Path::to_owned),
            ..Sources::default()
        };
        if let Some(text) = text {
            match Document::parse(text.clone()) {
                Ok(document) => sources.document = Some(document),
                Err(error) => {
                    let line = error.span().map(|span| line_of(&text, span.start));
                    sources.fault(
                        line.map_or(Origin::Absent, Origin::Line),
                        "",
                        error.message(),
                    );
                }
            }
        }
        let config = Config {
            node: node::read(&sources),
            controller: controller::read(&sources),
            lifecycle: lifecycle::read(&sources),
            plugins: plugins::read(&sources),
            handlers: handlers::read(&sources),
            telemetry: telemetry::read(&sources),
        };
        plugins::check(&sources, &config.plugins, &config.node.state_dir);
        unknown_sections(&sources);
        let mut faults: Vec<Fault> = sources.faults.take();
        if faults.is_empty() {
            return Ok((config, Places(sources)));
        }
        faults.sort_by(|a, b| a.origin.cmp(&b.origin));
        faults.dedup();
        Err(ConfigError::Faulty {
            source_name,
            faults,
        })
    }
}

fn unknown_sections(sources: &Sources) {
    let Some(table) = sources.document.as_ref().map(Document::as_table) else {
        return;
    };
    for (key, item) in table.iter().filter(|(key, _)| !SECTIONS.contains(key)) {
        let span = table
            .key(key)
            .and_then(toml_edit::Key::span)
            .or_else(|| item.span());
        let message = match nearest(key, SECTIONS.iter().copied()) {
            Some(nearest) => format!("unknown section; did you mean [{nearest}]?"),
            None => format!("unknown key; the sections are {}", SECTIONS.join(", ")),
        };
        sources.fault(sources.line(span), key, message);
    }
}

fn split(value: &str, separator: char) -> Vec<String> {
    value
        .split(separator)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}
