//! `aegis-worker journal list`

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use aegis_core::{
    identity::{IdentityError, StateDir},
    journal::{self, JournalFilter, JournalLine, Listing, Outbox},
    local::{self, Answer, AskError, Request},
};
use anyhow::{Context, bail};

use super::printing::{print_json, put, table};
use crate::cli::{JournalList, Settings};

pub fn journal_list(settings: &Settings, list: &JournalList) -> anyhow::Result<()> {
    let state_dir = settings.load()?.node.state_dir;
    let listing = read(&state_dir, list.filter(), list.limit.into())?;
    if list.output.is_json() {
        print_json(&listing)
    } else {
        print_table(&listing)
    }
}

/// From the worker that runs, or else from the file, whose owner this is for as
/// long as it reads.
fn read(state_dir: &Path, filter: JournalFilter, most: usize) -> anyhow::Result<Listing> {
    match local::ask(state_dir, &Request::Journal { filter, most }) {
        Ok(Answer::Journal(listing)) => return Ok(listing),
        Ok(answer) => bail!("the worker answered something else: {answer:?}"),
        Err(AskError::NotRunning) => {}
        Err(error) => return Err(error.into()),
    }
    let (_owned, file) = stopped(state_dir)?;
    Listing::read(&file, filter, most).with_context(|| {
        format!(
            "cannot read {}: if it is damaged, the worker sets it aside at its next start",
            file.display()
        )
    })
}

/// The journal's file of a worker that does not run, with the state directory
/// that this now owns.
pub(super) fn stopped(state_dir: &Path) -> anyhow::Result<(StateDir, PathBuf)> {
    let file = state_dir.join(journal::FILE);
    if !file.exists() {
        bail!(
            "there is no journal in {}: no worker ran with that state directory yet; name \
             another with --state-dir",
            state_dir.display()
        );
    }
    let owned = match StateDir::open(state_dir) {
        Err(IdentityError::InUse { .. }) => bail!(
            "the worker that owns {} does not listen at worker.sock in it: it starts or ends \
             just now, or its log says why; try again",
            state_dir.display()
        ),
        opened => opened?,
    };
    Ok((owned, file))
}

fn print_table(listing: &Listing) -> anyhow::Result<()> {
    let mut commands = table([
        "COMMAND ID",
        "NAME",
        "STATE",
        "ATTEMPT",
        "ACCEPTED",
        "STARTED",
        "FINISHED",
        "OUTBOX",
    ]);
    for line in &listing.lines {
        commands.add_row(row(line));
    }
    let mut out = String::new();
    if listing.lines.is_empty() {
        writeln!(out, "no commands")?;
    } else {
        writeln!(out, "{}", commands.trim_fmt())?;
    }
    if listing.left_off > 0 {
        writeln!(
            out,
            "\n{} older ones are left off: --limit shows more",
            listing.left_off
        )?;
    }
    put(&out)
}

fn row(line: &JournalLine) -> [String; 8] {
    let JournalLine {
        accepted_at,
        started_at,
        finished_at,
        ..
    } = line;
    let [accepted, started, finished] = [accepted_at, started_at, finished_at].map(|at| {
        at.map_or_else(
            || "-".to_owned(),
            |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )
    });
    let outbox = match line.outbox {
        Outbox::Empty => "-",
        Outbox::Waiting => "waiting",
        Outbox::Acknowledged => "acknowledged",
    };
    let known = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    [
        line.command_id.clone(),
        known(&line.name),
        line.state.as_str().to_owned(),
        line.attempt.to_string(),
        accepted,
        started,
        finished,
        outbox.to_owned(),
    ]
}
