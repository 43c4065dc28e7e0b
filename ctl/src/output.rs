//! Standard output: tables for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and text for people
    Table,
    /// One JSON document; with --watch and --follow one object per line
    Json,
}

/// Prints a text, with a line break at its end.
pub fn text(text: &str) -> Result<(), Failure> {
    write(|out| writeln!(out, "{}", text.trim_end_matches('\n')))
}

/// Prints one JSON document.
pub fn document(document: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(document).map_err(|error| Failure::stdout(&error.into()))?;
    write(|out| writeln!(out, "{text}"))
}

/// Prints one JSON object on a line of its own.
pub fn line(object: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(object).map_err(|error| Failure::stdout(&error.into()))?;
    write(|out| writeln!(out, "{text}"))
}

/// Prints what a command wrote. A terminal gets no control characters but line
/// breaks and tabs: the bytes come from elsewhere.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        let shown = crate::render::clean(&String::from_utf8_lossy(bytes));
        return write(|out| write!(out, "{shown}"));
    }
    write(|out| out.write_all(bytes))
}

/// Writes and flushes: what follows on standard error comes after it.
fn write(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::stdout(&error))
}
