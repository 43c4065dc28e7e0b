//! The operator's command line.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{PATIENCE, Program, binaries};

/// `aegisctl` with an endpoint and a token file.
pub struct Ctl {
    endpoint: String,
    token_file: PathBuf,
}

/// What came of one call.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ctl {
    /// Nothing is called yet.
    pub fn new(endpoint: &str, token_file: &Path) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            token_file: token_file.to_owned(),
        }
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = match timeout(PATIENCE, command.output()).await {
            Ok(output) => output.expect("aegisctl starts"),
            Err(_) => panic!("aegisctl {arguments:?} does not end"),
        };
        Answer {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs it with `-o json`; the documents on standard output. It must succeed.
    pub async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let answer = self.run(&[&["-o", "json"], arguments].concat()).await;
        assert_eq!(answer.code, 0, "{answer:#?}");
        let documents = serde_json::Deserializer::from_str(&answer.stdout).into_iter();
        documents
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{error}: {answer:#?}"))
    }

    /// Starts it without waiting for its end.
    pub fn spawn(&self, arguments: &[&str]) -> Program {
        Program::spawn("aegisctl", &mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binaries::command("aegisctl");
        command.arg("--endpoint").arg(&self.endpoint);
        command
            .arg("--token-file")
            .arg(&self.token_file)
            .args(arguments);
        command
    }
}
