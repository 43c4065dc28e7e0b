//! What the owner of this machine asks of a running worker, over the socket
//! `worker.sock` in its state directory: one request on one line, one answer on
//! one line, and the connection is over.
//!
//! Only the worker's own user and root are heard. Connections, bytes and times
//! are bounded, so that not even they can hurt the worker.

mod ask;
mod door;
mod place;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::journal::{JournalFilter, Listing};

pub use ask::{AskError, ask};
pub(crate) use door::Door;

/// A longer line is no request.
const REQUEST_BYTES: usize = 4096;

/// No answer is longer: [`MAX_LINES`](crate::journal::MAX_LINES) lines of a
/// journal are less than half of it.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The journal as a table.
    Journal {
        /// Which commands.
        filter: JournalFilter,
        /// How many of them, the newest.
        most: usize,
    },
    /// At how many crashes in a row each plugin ran.
    Crashes,
    /// Forgets the crashes for which a plugin is in quarantine.
    Release {
        /// Its name.
        plugin: String,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Journal`].
    Journal(Listing),
    /// To [`Request::Crashes`].
    Crashes(BTreeMap<String, u32>),
    /// To [`Request::Release`]: whether there was any crash of the worker to
    /// forget.
    Released(bool),
    /// To [`Request::Release`]: it crashed in a process of its own, and is
    /// started again at once.
    RunsAgain,
    /// The request was not understood or can't be met.
    Refused {
        /// Why, for a person.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
