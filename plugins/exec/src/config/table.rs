//! The tables as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    field::Field,
    quantity::{Size, Span},
};

/// `[programs.NAME]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct ProgramTable {
    /// The program: an absolute path.
    pub path: Field<String>,
    /// Instead of `path`: the shell that runs `script`, an absolute path.
    pub shell: Field<String>,
    /// What the shell runs; the arguments are its `$1`, `$2` and so on.
    pub script: Field<String>,
    /// Arguments: fixed text and parameters in braces, as `--unit={unit}`.
    pub args: Field<Vec<String>>,
    /// What a value may look like, by parameter.
    pub parameters: Field<BTreeMap<String, Value>>,
    /// Whether a command may give it standard input. Default: false.
    pub stdin: Field<bool>,
    /// Whom it runs as. Default: the worker's own user.
    pub user: Field<String>,
    /// Its whole environment. Default: empty.
    pub env: Field<BTreeMap<String, String>>,
    /// Where it runs. Default: `/`.
    pub working_dir: Field<String>,
    /// Octal, as "027". Default: "022".
    pub umask: Field<String>,
    /// How far its priority is lowered, 0 to 19. Default: 0.
    pub nice: Field<u8>,
    /// How long it may run. The command's own timeout holds as well.
    pub timeout: Field<Span>,
    /// From SIGTERM to SIGKILL, at most 4 s. Default: 3 s.
    pub grace: Field<Span>,
    /// How much of its output is passed on. Default: 1 MiB.
    pub output_limit: Field<Size>,
    /// Bounds of each of its processes.
    pub limits: Field<LimitsTable>,
    /// How many of it run at once, 1 to 1024. Default: as many as the command
    /// `exec` has slots.
    pub concurrency: Field<u32>,
    /// The exit statuses that mean success. Default: 0.
    pub success_codes: Field<Vec<u8>>,
    /// Who may run it, by the name of their operator token. Default: whoever
    /// may give the command `exec`.
    pub issuers: Field<Vec<String>>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: BTreeMap<String, Value>,
}

/// `limits` of a program
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct LimitsTable {
    /// Address space.
    pub memory: Field<Size>,
    /// Processor time, in whole seconds.
    pub cpu_time: Field<Span>,
    /// Processes of the user that it runs as.
    pub processes: Field<u32>,
    /// Open file descriptors.
    pub open_files: Field<u32>,
    /// The size of a file that it writes.
    pub file_size: Field<Size>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: BTreeMap<String, Value>,
}

/// A parameter that is more than its pattern.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct ParameterTable {
    /// A regular expression that a value has to match from end to end.
    pub pattern: Field<String>,
    /// What is taken where the command gives no value.
    pub default: Field<String>,
    /// Whether an argument may begin with a value that begins with `-`.
    pub leading_dash: Field<bool>,
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: BTreeMap<String, Value>,
}

impl ProgramTable {
    pub const KEYS: &[&str] = &[
        "path",
        "shell",
        "script",
        "args",
        "parameters",
        "stdin",
        "user",
        "env",
        "working_dir",
        "umask",
        "nice",
        "timeout",
        "grace",
        "output_limit",
        "limits",
        "concurrency",
        "success_codes",
        "issuers",
    ];
}

impl LimitsTable {
    pub const KEYS: &[&str] = &["memory", "cpu_time", "processes", "open_files", "file_size"];
}

impl ParameterTable {
    pub const KEYS: &[&str] = &["pattern", "default", "leading_dash"];
}
