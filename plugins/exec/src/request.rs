//! What a command says and what it is answered.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A program to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Its name in the node's own config.
    pub program: String,
    /// Values for its parameters, by name.
    #[serde(default)]
    pub args: BTreeMap<String, Argument>,
    /// What it reads from standard input, where its config allows that. At most
    /// 64 KiB.
    #[serde(default)]
    #[schemars(length(max = 65536))]
    pub stdin: Option<String>,
}

/// A value for a parameter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Argument {
    /// A text.
    Text(String),
    /// A whole number; it becomes its decimal digits.
    Number(i64),
}

/// How a program ended that succeeded.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exited {
    /// Its exit status.
    pub exit_code: i32,
    /// From its start to its end.
    pub duration_ms: u64,
    /// What it wrote, kept or not.
    pub output_bytes: u64,
    /// It wrote more than its output limit.
    pub output_truncated: bool,
    /// Something that it started still held its output when it had ended: a
    /// process that has left the program's group, and that runs on.
    pub left_running: bool,
}

impl Argument {
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}
