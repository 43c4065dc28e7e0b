//! What is wrong with a configuration, and where.

use std::{fmt, io, path::PathBuf};

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// A flag or an environment variable, by name.
    Setting(String),
    /// It is nowhere to be found.
    Absent,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// Which key, as `lifecycle.heartbeat_interval`; empty where the file is
    /// no TOML.
    pub key: String,
    /// What is wrong with it and what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Line(line) => write!(f, "line {line}: ")?,
            Origin::Setting(name) => write!(f, "{name}: ")?,
            Origin::Absent => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read, or is not there.
    #[error("cannot read the config file {}: check the path given with --config", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Everything that is wrong, in the order of the file.
    #[error("{}", summary(source_name.as_deref(), faults))]
    Faulty {
        /// The file, if there was one.
        source_name: Option<String>,
        /// Never empty.
        faults: Vec<Fault>,
    },
}

impl ConfigError {
    /// What is wrong; empty where the file could not even be read.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Faulty { faults, .. } => faults,
        }
    }
}

fn summary(source_name: Option<&str>, faults: &[Fault]) -> String {
    use fmt::Write as _;

    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let mut text = format!("{} has {count}", source_name.unwrap_or("the configuration"));
    for fault in faults {
        let _ = write!(text, "\n  {fault}");
    }
    text
}
