//! What is seen of commands while they run: progress on standard error, their
//! output on standard output.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{clean_line, prefix, shorten};
use crate::{
    document::{self, Command},
    failure::Failure,
    follow::Update,
    output::{self, Format},
};

const TICK: Duration = Duration::from_millis(120);

/// Shows updates as they come.
pub struct Follower {
    bar: Option<ProgressBar>,
    format: Format,
    total: usize,
    ended: usize,
    /// Letters of a node id that tell the nodes apart.
    length: usize,
    /// The last line of each command's output while it has no end, where
    /// several commands share the screen.
    unfinished: BTreeMap<String, (String, Vec<u8>)>,
}

impl Follower {
    /// For commands on these nodes, one each. With JSON nothing is written to
    /// standard output: it is for the document at the end.
    pub fn new<'a>(nodes: impl Iterator<Item = &'a str> + Clone, format: Format) -> Self {
        let total = nodes.clone().count();
        Self {
            bar: (io::stderr().is_terminal() && total > 0).then(|| bar(total)),
            format,
            total,
            ended: 0,
            length: shorten(nodes),
            unfinished: BTreeMap::new(),
        }
    }

    /// Shows one update.
    pub fn update(&mut self, update: Update<'_>) -> Result<(), Failure> {
        match update {
            Update::State(command) => {
                self.state(command);
                Ok(())
            }
            Update::Progress(command, progress) => {
                self.progress(command, &progress.into());
                Ok(())
            }
            Update::Output(command, _, bytes) => self.output(command, bytes),
            Update::Gap(command, bytes) => {
                self.note(&format!(
                    "note: {bytes} bytes of the output of {} are missing here: they were not kept",
                    self.label(command)
                ));
                Ok(())
            }
            Update::Attempt(command, attempt) => {
                self.note(&format!(
                    "note: attempt {attempt} of {} begins; what ran the one before ended in the middle of it",
                    self.label(command)
                ));
                Ok(())
            }
        }
    }

    /// Ends it: unfinished lines are shown, the bar is taken away.
    pub fn close(&mut self) -> Result<(), Failure> {
        for (_, (node, line)) in std::mem::take(&mut self.unfinished) {
            self.print(&node, &line)?;
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// A line on standard error, above the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn state(&mut self, command: &Command) {
        self.ended += usize::from(command.is_final);
        if let Some(bar) = &self.bar {
            if self.total == 1 {
                bar.set_message(format!("{} {}", clean_line(&command.name), command.state));
            } else {
                bar.set_position(self.ended as u64);
            }
        }
        // One command's outcome is about to be printed in full.
        let told = if self.total == 1 {
            self.bar.is_none() && command.state == "running"
        } else {
            command.is_final
        };
        if told {
            self.note(&format!("{}  {}", self.label(command), command.state));
        }
        if command.is_final && command.output_cut > 0 {
            self.note(&format!(
                "note: {} bytes of the output of {} were not kept",
                command.output_cut,
                self.label(command)
            ));
        }
    }

    fn progress(&self, command: &Command, progress: &document::Progress) {
        let text = self::progress(progress);
        match &self.bar {
            Some(bar) if self.total == 1 => {
                if let Some(permille) = progress.permille {
                    bar.set_length(1000);
                    bar.set_position(permille.into());
                    bar.set_style(style("{spinner} [{bar:30}] {msg} ({elapsed})"));
                }
                bar.set_message(format!("{} {text}", clean_line(&command.name)));
            }
            _ => self.note(&format!("{}  {text}", self.label(command))),
        }
    }

    fn output(&mut self, command: &Command, bytes: &[u8]) -> Result<(), Failure> {
        if self.format == Format::Json {
            return Ok(());
        }
        if self.total == 1 {
            return self.suspended(|| output::raw(bytes));
        }
        let node = prefix(&command.node_id, self.length);
        let (_, line) = self
            .unfinished
            .entry(command.command_id.clone())
            .or_insert_with(|| (node.clone(), Vec::new()));
        line.extend_from_slice(bytes);
        let Some(end) = line.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = line.split_off(end + 1);
        let lines = std::mem::replace(line, rest);
        lines[..end]
            .split(|byte| *byte == b'\n')
            .try_for_each(|line| self.print(&node, line))
    }

    fn print(&self, node: &str, line: &[u8]) -> Result<(), Failure> {
        if line.is_empty() {
            return Ok(());
        }
        let line = [node.as_bytes(), b" | ", line, b"\n"].concat();
        self.suspended(|| output::raw(&line))
    }

    fn suspended<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    fn label(&self, command: &Command) -> String {
        format!(
            "{} on {}",
            clean_line(&command.name),
            prefix(&command.node_id, self.length)
        )
    }
}

/// "40% copying", "copying", "working".
pub fn progress(progress: &document::Progress) -> String {
    let note = progress.note.as_deref().map(clean_line);
    match (progress.permille, note) {
        (Some(permille), Some(note)) => format!("{}% {note}", permille / 10),
        (Some(permille), None) => format!("{}%", permille / 10),
        (None, Some(note)) => note,
        (None, None) => "working".into(),
    }
}

fn bar(total: usize) -> ProgressBar {
    let bar = if total == 1 {
        ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})"))
    } else {
        ProgressBar::new(total as u64).with_style(style(
            "{spinner} [{bar:30}] {pos} of {len} nodes ({elapsed})",
        ))
    };
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
