//! What a newcomer reads: step, command, answer, meaning.

use std::path::{Path, PathBuf};

use crate::{aegisctl::Answer, cluster::Cluster};

/// Lines of each log that a failure shows.
const TAIL: usize = 25;

/// Prints as it goes.
pub struct Transcript {
    dir: PathBuf,
    step: usize,
    title: String,
}

impl Transcript {
    /// Paths in `dir` are shown as `$DEMO/…`.
    pub fn new(dir: &Path) -> Self {
        println!(
            "aegis-worker quickstart: a controller, a worker and an operator on this machine."
        );
        println!("Their files are in DEMO={}", dir.display());
        Self {
            dir: dir.to_owned(),
            step: 0,
            title: "preparing".into(),
        }
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        self.title = title.to_owned();
        println!("\n{}. {title}", self.step);
    }

    /// The command that is run next.
    pub fn command(&self, program: &str, arguments: &[&str]) {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| self.shown(&quoted(word)))
            .collect();
        println!("   $ {program} {}", words.join(" "));
    }

    /// What it answered: standard error first, where progress is told.
    pub fn answer(&self, answer: &Answer) {
        self.lines(&answer.stderr);
        self.lines(&answer.stdout);
    }

    /// Lines of an answer.
    pub fn lines(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("     {}", self.shown(line));
        }
    }

    /// What it means.
    pub fn means(&self, text: &str) {
        println!("   -> {text}");
    }

    /// The end of a whole tour.
    pub fn done(&self, took: std::time::Duration) {
        println!(
            "\nAll {} steps did what they should, in {:.1} s. README.md goes on from here.",
            self.step,
            took.as_secs_f64()
        );
    }

    /// Commands to try while everything runs.
    pub fn try_it(&self, cluster: &mut Cluster) {
        println!("\nThe controller and the worker are running. In another terminal:\n");
        let bin = cluster.artifacts.binary("aegisctl");
        let bin = bin
            .parent()
            .map(|dir| dir.display().to_string())
            .unwrap_or_default();
        println!("  export PATH={}:\"$PATH\"", quoted(&bin));
        println!(
            "  export AEGIS_ENDPOINT={}",
            cluster.endpoint().unwrap_or_default()
        );
        println!(
            "  export AEGIS_OPERATOR_TOKEN_FILE={}",
            quoted(&cluster.argument("controller/operator.token"))
        );
        println!();
        for command in [
            "nodes --watch",
            "describe",
            "describe hello.wait",
            "run --all hello --arg name=you",
            "run --all hello.wait --arg seconds=10",
            "commands",
            "events",
            "audit",
            "shutdown --all --reason \"enough\"",
        ] {
            println!("  aegisctl {command}");
        }
        println!("\nLogs:");
        for (_, process) in cluster.processes_mut() {
            println!("  tail -f {}", process.log().display());
        }
        println!(
            "\nCtrl-C here ends both and removes {}.",
            self.dir.display()
        );
    }

    /// Which step failed and why, with the logs' ends.
    pub fn failed(&self, error: &anyhow::Error, cluster: &mut Cluster) {
        eprintln!("\nFAILED at step {} ({}): {error:#}", self.step, self.title);
        for (name, process) in cluster.processes_mut() {
            let state = match process.ended() {
                Ok(Some(status)) => format!("ended with {status}"),
                Ok(None) | Err(_) => "still running".into(),
            };
            eprintln!("\n{name}, {state}; the end of its log:");
            for line in process.tail(TAIL).lines() {
                eprintln!("  {line}");
            }
        }
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&self.dir.display().to_string(), "$DEMO")
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+$>".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
