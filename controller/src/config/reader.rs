//! Reading TOML so that every fault is found at once and has a line.

use std::{collections::BTreeSet, fmt, ops::Range, path::PathBuf, time::Duration};

use toml::de::{DeTable, DeValue};

use super::parse_duration;

/// A config file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("can't read the config {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It has faults.
    #[error("the config {} has {} fault(s):{}", path.display(), faults.len(), Lines(faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// In the order of their lines.
        faults: Vec<Fault>,
    },
}

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// With its section, as `tls.cert`; empty where it is about the syntax.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

struct Lines<'a>(&'a [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// A parsed file that is read section by section.
pub(super) struct Reader<'t> {
    text: &'t str,
    root: DeTable<'t>,
    sections: BTreeSet<&'static str>,
    faults: Vec<Fault>,
}

/// One table of the file, or an absent one.
pub(super) struct Section<'r, 't> {
    name: &'static str,
    text: &'t str,
    table: Option<(&'r DeTable<'t>, Range<usize>)>,
    known: Vec<&'static str>,
    faults: &'r mut Vec<Fault>,
}

/// One value.
pub(super) struct Value<'v, 't>(&'v DeValue<'t>);

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Result<Self, Vec<Fault>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let root = root.into_inner();
            return Ok(Self {
                text,
                root,
                sections: BTreeSet::new(),
                faults: Vec::new(),
            });
        }
        Err(errors
            .into_iter()
            .map(|error| Fault {
                line: line(text, error.span().map_or(0, |span| span.start)),
                key: String::new(),
                message: error.message().to_owned(),
            })
            .collect())
    }

    /// Reads one table; the empty name is the root. `read` is not called where
    /// a table other than the root is absent.
    pub(super) fn section(&mut self, name: &'static str, read: impl FnOnce(&mut Section<'_, 't>)) {
        let table = if name.is_empty() {
            Some((&self.root, 0..0))
        } else {
            self.sections.insert(name);
            let Some((key, value)) = self.root.iter().find(|(key, _)| key.get_ref() == name) else {
                return;
            };
            match value.get_ref() {
                DeValue::Table(table) => Some((table, key.span())),
                _ => {
                    self.faults.push(Fault {
                        line: line(self.text, key.span().start),
                        key: name.into(),
                        message: format!("is no section: write [{name}]"),
                    });
                    return;
                }
            }
        };
        let mut section = Section {
            name,
            text: self.text,
            table,
            known: Vec::new(),
            faults: &mut self.faults,
        };
        read(&mut section);
        if !name.is_empty() {
            section.refuse_unknown(&[]);
        } else {
            // What is no key of the root may be a section; `finish` judges.
            let known = section.known.clone();
            self.sections.extend(known);
        }
    }

    /// Refuses what was not read.
    pub(super) fn finish(mut self) -> Result<(), Vec<Fault>> {
        let known: Vec<_> = self.sections.iter().copied().collect();
        let mut root = Section {
            name: "",
            text: self.text,
            table: Some((&self.root, 0..0)),
            known: Vec::new(),
            faults: &mut self.faults,
        };
        root.refuse_unknown(&known);
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by_key(|fault| fault.line);
        Err(self.faults)
    }
}

impl Section<'_, '_> {
    /// Sets `target` where the key is there and right.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        target: &mut T,
        read: impl FnOnce(&Value<'_, '_>) -> Result<T, String>,
    ) {
        self.known.push(key);
        let Some((_, value)) = self.entry(key) else {
            return;
        };
        match read(&Value(value.1)) {
            Ok(read) => *target = read,
            Err(message) => {
                let line = line(self.text, value.0.start);
                self.faults.push(Fault {
                    line,
                    key: self.path(key),
                    message,
                });
            }
        }
    }

    /// Refuses the section without this key.
    pub(super) fn require(&mut self, key: &str, present: bool) {
        if !present && self.entry(key).is_none() {
            self.fault(key, "is missing");
        }
    }

    /// Tells a fault of a key, or of the section where the key is absent.
    pub(super) fn fault(&mut self, key: &str, message: &str) {
        let section = self.table.as_ref().map_or(0, |(_, span)| span.start);
        let at = self.entry(key).map_or(section, |(key, _)| key);
        let line = line(self.text, at);
        self.faults.push(Fault {
            line,
            key: self.path(key),
            message: message.into(),
        });
    }

    fn entry(&self, key: &str) -> Option<(usize, (Range<usize>, &DeValue<'_>))> {
        let (table, _) = self.table.as_ref()?;
        let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((name.span().start, (value.span(), value.get_ref())))
    }

    fn refuse_unknown(&mut self, also: &[&'static str]) {
        let Some((table, _)) = &self.table else {
            return;
        };
        let known: Vec<_> = self.known.iter().chain(also).copied().collect();
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let near = known.iter().filter(|one| is_slip(name, one)).min();
            let message = match near {
                Some(near) => format!("there is no such key; did you mean {near}?"),
                None => format!("there is no such key; there are {}", known.join(", ")),
            };
            let line = line(self.text, key.span().start);
            self.faults.push(Fault {
                line,
                key: self.path(name),
                message,
            });
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.into()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}

impl Value<'_, '_> {
    pub(super) fn string(&self) -> Result<String, String> {
        match self.0 {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(expected("a string", other)),
        }
    }

    pub(super) fn strings(&self) -> Result<Vec<String>, String> {
        match self.0 {
            DeValue::Array(items) => items
                .iter()
                .map(|item| Value(item.get_ref()).string())
                .collect(),
            other => Err(expected("an array of strings", other)),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self.0 {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(expected("true or false", other)),
        }
    }

    pub(super) fn integer(&self) -> Result<i64, String> {
        match self.0 {
            DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
                .map_err(|_| format!("{} is too large", value.as_str())),
            other => Err(expected("a number", other)),
        }
    }

    pub(super) fn duration(&self, low: Duration, high: Duration) -> Result<Duration, String> {
        let duration = parse_duration(&self.string()?)?;
        if (low..=high).contains(&duration) {
            Ok(duration)
        } else {
            Err(format!("{duration:?} is not from {low:?} to {high:?}"))
        }
    }
}

fn expected(what: &str, have: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", have.type_str())
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Whether one is likely a slip for the other: a letter more, less or other,
/// or two swapped.
fn is_slip(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..]
        .iter()
        .rev()
        .zip(b[head..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (a, b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    a.len() <= 1 && b.len() <= 1 || (a.len() == 2 && b.len() == 2 && a[0] == b[1] && a[1] == b[0])
}
