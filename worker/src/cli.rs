//! The command line.

use std::{env, path::PathBuf};

use aegis_core::{
    config::{Config, ConfigError, Loader, Places},
    journal::{JournalFilter, MAX_LINES},
};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::built_ins;

/// What the worker starts itself with to host a plugin.
pub const PLUGIN_HOST: &str = "plugin-host";

/// The node agent: proves who it is to a controller, registers what the node
/// can do, and runs commands through its plugins. Without a subcommand it runs
/// until it is told to stop.
#[derive(Debug, Parser)]
#[command(
    name = "aegis-worker",
    version,
    after_help = "Every flag has an AEGIS_* variable, as AEGIS_CONTROLLER; a flag goes before a \
                  variable, a variable before the config file.\n\
                  Exit codes: 0 clean, 1 failure, 2 bad config or usage, 3 not admitted."
)]
pub struct Cli {
    #[command(flatten)]
    pub settings: Settings,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the configuration as a start would, and say everything that is wrong with it.
    CheckConfig,
    /// Say what would become of a command on this node, and which line of the config decides it.
    ///
    /// Exits with 0 if it would run and with 1 if it would not.
    Explain {
        /// The command's name, as hello.
        command: String,
        /// As if this issuer gave it: the name of their operator token.
        #[arg(long, value_name = "NAME")]
        issuer: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// The node's id and key.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// The plugins of this node.
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// The commands of this node and what became of them.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Serve a plugin to the worker that started this.
    #[command(name = PLUGIN_HOST, hide = true)]
    PluginHost,
}

#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Show the node's id and public key.
    Show {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub enum PluginsCommand {
    /// List the plugins that a start would find, with the reason for each that it would not load.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Let a plugin start again that is in quarantine because the worker, or the plugin's own
    /// process, crashed too often while it ran.
    Release {
        /// The plugin's name.
        plugin: String,
    },
    /// Make a key to sign plugins with: a private file, and a public one beside it.
    Keygen {
        /// The private key's file; the public one is called the same with .pub behind it.
        #[arg(long, value_name = "FILE", default_value = "plugin-signing.key")]
        out: PathBuf,
    },
    /// Sign a plugin file: writes the signature that nodes look for beside it.
    Sign {
        /// The private key, as `keygen` or openssl wrote it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The library; it may be for another machine than this one.
        plugin: PathBuf,
        /// Where to, if not beside the library with .sig behind its name.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write a plugin in Rust that builds, tests and loads as it stands.
    New {
        /// The name of the crate, of the plugin and of its first command, as disk-usage.
        name: String,
        /// The folder to write it to; by default the name.
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
        /// The folder plugin-api of a checkout, to be used in place of a copy of its sources.
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Show what a plugin file says of itself and whether a start would let it in, without running
    /// any of it.
    Inspect {
        /// The library.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// List the commands that have no outcome yet or whose outcome the controller has not
    /// acknowledged, oldest first; also beside a running worker.
    List(JournalList),
}

#[derive(Debug, Args)]
pub struct JournalList {
    /// Only those without an outcome.
    #[arg(long, conflicts_with = "all")]
    open: bool,
    /// Those too whose outcome was acknowledged, as far as they are remembered.
    #[arg(long)]
    all: bool,
    /// The newest so many.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u16).range(1..=MAX_LINES as i64)
    )]
    pub limit: u16,
    #[command(flatten)]
    pub output: Output,
}

/// How something is printed.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
    /// As `-o json`, which it was before.
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
}

impl Output {
    pub fn is_json(self) -> bool {
        self.json || self.output == OutputFormat::Json
    }
}

impl JournalList {
    pub fn filter(&self) -> JournalFilter {
        if self.open {
            JournalFilter::Open
        } else if self.all {
            JournalFilter::All
        } else {
            JournalFilter::Held
        }
    }
}

#[derive(Debug, Args)]
pub struct Settings {
    /// The config file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The controller, as https://controller:50056.
    #[arg(long, global = true, value_name = "URL")]
    controller: Option<String>,
    /// A directory of plugins; may be repeated.
    #[arg(long, global = true, value_name = "DIR")]
    plugins: Vec<String>,
    /// Where identity and state are kept.
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<String>,
    /// The node's id, if it is not to be made up.
    #[arg(long, global = true, value_name = "UUID")]
    node_id: Option<String>,
    /// The enrolment token. Others on this machine can see it: prefer the file.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        conflicts_with = "enrolment_token_file"
    )]
    enrolment_token: Option<String>,
    /// A file with the enrolment token.
    #[arg(long, global = true, value_name = "FILE")]
    enrolment_token_file: Option<String>,
    /// At least this often, as 30s.
    #[arg(long, global = true, value_name = "DURATION")]
    heartbeat_interval: Option<String>,
    /// Enable a command; may be repeated.
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    enable: Vec<String>,
    /// Disable a command; may be repeated.
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    disable: Vec<String>,
    /// The form of the log on standard error.
    #[arg(long, global = true)]
    log_format: Option<LogFormat>,
    /// As info or info,aegis_core=debug.
    #[arg(long, global = true, value_name = "FILTER")]
    log_level: Option<String>,
    /// Serve metrics and health over HTTP here, as 127.0.0.1:9464; port 0 takes any free one.
    #[arg(long, global = true, value_name = "ADDR")]
    metrics: Option<String>,
    /// Speak plaintext even to another machine.
    #[arg(long, global = true)]
    insecure: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// Flags, variables and the file.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_with_places().map(|(config, _)| config)
    }

    /// The same, and where each key comes from.
    pub fn load_with_places(&self) -> Result<(Config, Places), ConfigError> {
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        let mut loader = Loader::new()
            .environment(env::vars_os().filter_map(|(name, value)| {
                // What is no text is no setting of ours.
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }))
            .flag(
                "--controller",
                "controller.endpoint",
                self.controller.clone(),
            )
            .flag("--plugins", "plugins.dirs", self.plugins.clone())
            .flag("--state-dir", "node.state_dir", self.state_dir.clone())
            .flag("--node-id", "node.id", self.node_id.clone())
            .flag(
                "--enrolment-token",
                "controller.enrolment_token",
                self.enrolment_token.clone(),
            )
            .flag(
                "--enrolment-token-file",
                "controller.enrolment_token.file",
                self.enrolment_token_file.clone(),
            )
            .flag(
                "--heartbeat-interval",
                "lifecycle.heartbeat_interval",
                self.heartbeat_interval.clone(),
            )
            .flag("--enable", "handlers.enable", self.enable.clone())
            .flag("--disable", "handlers.disable", self.disable.clone())
            .flag("--log-format", "telemetry.log_format", format)
            .flag("--log-level", "telemetry.log_level", self.log_level.clone())
            .flag("--metrics", "telemetry.metrics", self.metrics.clone())
            .flag(
                "--insecure",
                "controller.insecure",
                self.insecure.then_some("true"),
            );
        if let Some(file) = self.config_file() {
            loader = loader.file(file);
        }
        let (mut config, places) = loader.load_with_places()?;
        config.plugins.off_by_default = built_ins::OFF_BY_DEFAULT.to_vec();
        Ok((config, places))
    }

    /// `None`: flags, variables and defaults alone.
    pub fn config_file(&self) -> Option<PathBuf> {
        let variable = || {
            env::var_os("AEGIS_CONFIG")
                .filter(|file| !file.is_empty())
                .map(PathBuf::from)
        };
        self.config.clone().or_else(variable)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
