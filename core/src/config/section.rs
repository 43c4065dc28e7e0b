//! One table of the file, read key by key.
//!
//! Each reader takes a flag or a variable before the file's value, notes a
//! fault where the value is none of its kind, and answers `None` both then and
//! where nothing was given.

use std::{cell::RefCell, fmt, path::PathBuf, time::Duration};

use toml_edit::{Item, TableLike, Value};

use super::{Origin, parse_duration, sources::Sources, suggest::nearest};

pub(super) struct Section<'a> {
    sources: &'a Sources,
    /// As `plugins.hello`.
    path: String,
    table: Option<&'a dyn TableLike>,
    known: RefCell<Vec<&'static str>>,
}

/// A value and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<'a> Section<'a> {
    /// The table `name` of the file's root.
    pub(super) fn root(sources: &'a Sources, name: &str) -> Self {
        let item = sources.root().and_then(|root| root.get(name));
        Self::new(sources, name.to_owned(), item)
    }

    pub(super) fn new(sources: &'a Sources, path: String, item: Option<&'a Item>) -> Self {
        let table = item.and_then(Item::as_table_like);
        if let (Some(item), None) = (item, table) {
            sources.fault(
                sources.line(item.span()),
                path.clone(),
                format!("this has to be a table: write [{path}]"),
            );
        }
        Self {
            sources,
            path,
            table,
            known: RefCell::default(),
        }
    }

    /// The table under `key` in this one.
    pub(super) fn child(&self, key: &str) -> Section<'a> {
        let item = self.table.and_then(|table| table.get(key));
        Section::new(self.sources, self.key(key), item)
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Keys of this table whose values are tables.
    pub(super) fn tables(&self) -> Vec<&'a str> {
        self.table
            .map(|table| {
                table
                    .iter()
                    .filter(|(_, item)| item.is_table_like())
                    .map(|(key, _)| key)
                    .collect()
            })
            .unwrap_or_default()
    }

    pub(super) fn item(&self, key: &'static str) -> Option<&'a Item> {
        self.known.borrow_mut().push(key);
        self.table.and_then(|table| table.get(key))
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        if let Some(setting) = self.sources.setting(&self.key(key)) {
            return Origin::Setting(setting.name.clone());
        }
        let span = self.table.and_then(|table| {
            let (key, item) = table.get_key_value(key)?;
            key.span().or_else(|| item.span())
        });
        self.sources.line(span)
    }

    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        self.sources.fault(self.origin(key), self.key(key), message);
    }

    /// A fault of one value of a list.
    pub(super) fn fault_at(&self, origin: Origin, key: &str, message: impl Into<String>) {
        self.sources.fault(origin, self.key(key), message);
    }

    /// A text that `parse` takes.
    pub(super) fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Found<T>> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some(Found {
                value,
                origin: text.origin,
            }),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Found<String>> {
        let item = self.item(key);
        let origin = self.origin(key);
        if let Some(setting) = self.sources.setting(&self.key(key)) {
            let value = setting.values.last()?.clone();
            return Some(Found { value, origin });
        }
        let item = item?;
        match item.as_str() {
            Some(value) => Some(Found {
                value: value.to_owned(),
                origin,
            }),
            None => {
                self.fault(
                    key,
                    format!("this has to be a text in quotes, not {}", kind(item)),
                );
                None
            }
        }
    }

    pub(super) fn duration(&self, key: &'static str) -> Option<Found<Duration>> {
        if let Some(number) = self.item(key).and_then(Item::as_integer) {
            self.fault(
                key,
                format!("a duration needs a unit: write \"{number}s\" for seconds"),
            );
            return None;
        }
        self.parsed(key, parse_duration)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let item = self.item(key);
        if self.sources.setting(&self.key(key)).is_some() {
            return self
                .parsed(key, |text| match text {
                    "true" | "1" | "yes" => Ok(true),
                    "false" | "0" | "no" | "" => Ok(false),
                    other => Err(format!("{other:?} is neither true nor false")),
                })
                .map(|found| found.value);
        }
        let item = item?;
        let value = item.as_bool();
        if value.is_none() {
            self.fault(
                key,
                format!("this has to be true or false, not {}", kind(item)),
            );
        }
        value
    }

    pub(super) fn integer(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<u32> {
        let item = self.item(key)?;
        let value = item.as_integer().and_then(|n| u32::try_from(n).ok());
        let value = value.filter(|n| range.contains(n));
        if value.is_none() {
            self.fault(
                key,
                format!(
                    "this has to be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        value
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let item = self.item(key);
        if let Some(setting) = self.sources.setting(&self.key(key)) {
            return Some(setting.values.clone());
        }
        let item = item?;
        let texts = item.as_array().and_then(|array| {
            array
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        if texts.is_none() {
            self.fault(key, "this has to be a list of texts, as [\"one\", \"two\"]");
        }
        texts
    }

    /// The same, each with the line that it stands on.
    pub(super) fn placed_texts(&self, key: &'static str) -> Vec<Found<String>> {
        let texts = self.texts(key).unwrap_or_default();
        let values = self.item(key).and_then(Item::as_array);
        texts
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                let span = values.and_then(|values| values.get(index)?.span());
                let origin = match span {
                    Some(span) => self.sources.line(Some(span)),
                    None => self.origin(key),
                };
                Found { value, origin }
            })
            .collect()
    }

    /// A path; one from the file is relative to the file.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let found = self.parsed(key, non_empty)?;
        Some(self.locate(key, &found.value))
    }

    pub(super) fn paths(&self, key: &'static str) -> Option<Vec<PathBuf>> {
        Some(
            self.texts(key)?
                .iter()
                .map(|path| self.locate(key, path))
                .collect(),
        )
    }

    fn locate(&self, key: &str, path: &str) -> PathBuf {
        match self.sources.setting(&self.key(key)) {
            Some(_) => PathBuf::from(path),
            None => self.sources.resolve(path),
        }
    }

    /// Refuses a key that exists in the design but not in this version.
    pub(super) fn not_available(&self, key: &'static str, instead: &str) {
        if self.item(key).is_some() {
            self.fault(
                key,
                format!("this is not available in this version: {instead}"),
            );
        }
    }

    /// Notes every key that no reader asked for. `named` tells of those that
    /// are names and not keys.
    pub(super) fn finish(self, named: impl Fn(&str, &Item) -> bool) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for (key, item) in table.iter() {
            if !known.contains(&key) && !named(key, item) {
                unknown(&self, key, &known);
            }
        }
    }
}

fn unknown(section: &Section<'_>, key: &str, known: &[&'static str]) {
    let message = match nearest(key, known.iter().copied()) {
        Some(nearest) => format!("unknown key; did you mean `{nearest}`?"),
        None => format!("unknown key; [{}] knows {}", section.path, list(known)),
    };
    section.fault(key, message);
}

/// For [`Section::finish`] of tables without names of their own.
pub(super) fn no_names(_: &str, _: &Item) -> bool {
    false
}

/// Takes the words of a fixed list.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                match nearest(text, names.iter().copied()) {
                    Some(word) => format!("{text:?} is not known here; did you mean \"{word}\"?"),
                    None => format!("{text:?} is not known here: write one of {}", list(&names)),
                }
            })
    }
}

pub(super) fn non_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("this must not be empty")
    } else {
        Ok(text.to_owned())
    }
}

fn list(words: &[&str]) -> String {
    let mut words: Vec<&str> = words.to_vec();
    words.sort_unstable();
    words.dedup();
    words.join(", ")
}

fn kind(item: &Item) -> &'static str {
    match item {
        Item::Value(Value::Integer(_) | Value::Float(_)) => "a number",
        Item::Value(Value::Boolean(_)) => "true or false",
        Item::Value(Value::Array(_)) => "a list",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::String(_)) => "a text",
        _ => "a table",
    }
}
