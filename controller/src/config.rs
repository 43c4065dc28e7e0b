//! The controller's config: defaults, the TOML file, and what overrides it.
//! Precedence: flag > AEGIS_CONTROLLER_* > file > default.

mod file;
mod reader;

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

pub use reader::{ConfigError, Fault};

use crate::{Settings, retention::Retention};

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0: any that is free.
    pub listen: SocketAddr,
    /// Where everything that lasts is.
    pub data_dir: PathBuf,
    /// `sqlite:///path`; `None`: `controller.db` in the data directory.
    pub database: Option<String>,
    /// Whether plaintext beyond loopback is wished for.
    pub insecure: bool,
    /// Certificates; `None`: plaintext.
    pub tls: Option<Tls>,
    /// For the services.
    pub settings: Settings,
    /// For `tracing_subscriber`'s filter, as `info`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server's chain.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// Who signs clients' certificates; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50056)),
            data_dir: PathBuf::from("/var/lib/aegis-controller"),
            database: None,
            insecure: false,
            tls: None,
            settings: Settings::default(),
            log_level: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

/// The defaults of the wire contract.
impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(30),
            stale_after: Duration::from_secs(90),
            sweep_interval: Duration::from_secs(30),
            token_ttl: Duration::from_secs(60 * 60),
            challenge_ttl: Duration::from_secs(60),
            // A worker attests about once an hour: enough for a thousand
            // behind one address that all come back at once.
            attestations_per_minute: 600,
            config_push_roles: Vec::new(),
            require_allowed_plugins: false,
            window: 100,
            retention: Retention::default(),
        }
    }
}

impl Config {
    /// Reads a file over the defaults.
    ///
    /// # Errors
    /// With every fault in the file and its line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        Self::parse(&text).map_err(|faults| ConfigError::Faults {
            path: path.into(),
            faults,
        })
    }

    /// Reads a text over the defaults.
    ///
    /// # Errors
    /// With every fault in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        file::parse(text)
    }

    /// The database to use.
    pub fn database_url(&self) -> String {
        self.database.clone().unwrap_or_else(|| {
            format!("sqlite://{}", self.data_dir.join("controller.db").display())
        })
    }
}

/// Of node security tokens. They tell their expiry in whole seconds; a shorter
/// life would be over before its node could renew it.
pub(crate) const TOKEN_TTL: RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(30 * 24 * 60 * 60);

/// How long a node security token may live.
///
/// # Errors
/// What was expected.
pub fn parse_token_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if TOKEN_TTL.contains(&ttl) {
        return Ok(ttl);
    }
    let (low, high) = (TOKEN_TTL.start(), TOKEN_TTL.end());
    Err(format!("{ttl:?} is not from {low:?} to {high:?}"))
}

/// A duration as `30s`, `500ms`, `2m`, `1h` or `7d`.
///
/// # Errors
/// What was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("{text:?} is no duration: expected one such as 500ms, 30s, 2m, 1h or 7d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_no_node_could_renew_in_time_is_refused() {
        for bad in ["0s", "1s", "1999ms", "31d"] {
            parse_token_ttl(bad).expect_err(bad);
        }
        for good in ["2s", "1h", "30d"] {
            parse_token_ttl(good).expect(good);
        }
    }
}
