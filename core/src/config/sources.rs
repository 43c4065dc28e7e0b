//! What was given: flags, variables and the file, in this precedence.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use toml_edit::{Document, Item};

use super::{Fault, Origin};

/// The environment variables that are settings, and their keys.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("AEGIS_NODE_ID", "node.id"),
    ("AEGIS_NODE_ROLE", "node.role"),
    ("AEGIS_NODE_TAGS", "node.tags"),
    ("AEGIS_STATE_DIR", "node.state_dir"),
    ("AEGIS_ADVERTISE_ADDRESS", "node.advertise_address"),
    ("AEGIS_CONTROLLER", "controller.endpoint"),
    ("AEGIS_ENROLMENT_TOKEN", "controller.enrolment_token"),
    (
        "AEGIS_ENROLMENT_TOKEN_FILE",
        "controller.enrolment_token.file",
    ),
    ("AEGIS_CA_CERT", "controller.ca_cert"),
    ("AEGIS_CLIENT_CERT", "controller.client_cert"),
    ("AEGIS_CLIENT_KEY", "controller.client_key"),
    ("AEGIS_INSECURE", "controller.insecure"),
    ("AEGIS_HEARTBEAT_INTERVAL", "lifecycle.heartbeat_interval"),
    (
        "AEGIS_TOKEN_REFRESH_MARGIN",
        "lifecycle.token_refresh_margin",
    ),
    ("AEGIS_DRAIN_TIMEOUT", "lifecycle.drain_timeout"),
    ("AEGIS_PLUGINS", "plugins.dirs"),
    ("AEGIS_ENABLE", "handlers.enable"),
    ("AEGIS_DISABLE", "handlers.disable"),
    ("AEGIS_LOG_FORMAT", "telemetry.log_format"),
    ("AEGIS_LOG_LEVEL", "telemetry.log_level"),
    ("AEGIS_METRICS", "telemetry.metrics"),
];

/// A flag or a variable.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) key: String,
    /// More than one where a flag was repeated or a variable holds a list.
    pub(super) values: Vec<String>,
}

/// Everything that was given, and the faults found in it so far.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Flags first.
    pub(super) settings: Vec<Setting>,
    pub(super) document: Option<Document<String>>,
    /// What relative paths in the file are relative to.
    pub(super) base: Option<PathBuf>,
    pub(super) faults: RefCell<Vec<Fault>>,
}

impl Sources {
    /// The flag or variable that decides `key`, if there is one.
    pub(super) fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    pub(super) fn root(&self) -> Option<&Item> {
        self.document.as_ref().map(Document::as_item)
    }

    pub(super) fn fault(&self, origin: Origin, key: impl Into<String>, message: impl Into<String>) {
        self.faults.borrow_mut().push(Fault {
            origin,
            key: key.into(),
            message: message.into(),
        });
    }

    /// The line at which a span begins.
    pub(super) fn line(&self, span: Option<std::ops::Range<usize>>) -> Origin {
        match (&self.document, span) {
            (Some(document), Some(span)) => Origin::Line(line_of(document.raw(), span.start)),
            _ => Origin::Absent,
        }
    }

    /// A path written in the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match &self.base {
            Some(base) => base.join(path),
            None => Path::new(path).to_owned(),
        }
    }
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
