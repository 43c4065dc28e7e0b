//! The command line: one file for each group of subcommands.

mod admission;
mod attach;
mod command;
mod config;
mod describe;
mod drain;
mod enrol;
mod group;
mod nodes;
mod plugins;
mod push_config;
mod receipt;
mod record;
mod rollout;
mod run;
mod shutdown;

use clap::{Args, Parser, Subcommand};

use crate::{
    connection::{ConnectArgs, Connection},
    duration,
    failure::{Exit, Failure},
    output::Format,
};

/// Operates a fleet of aegis workers through their controller.
#[derive(Debug, Parser)]
#[command(
    name = "aegisctl",
    version,
    max_term_width = 100,
    after_help = "A SELECTOR is a node id (or a unique beginning of one), --all or --tag TAG.\n\
                  Exit codes: 0 all succeeded, 1 some failed, 2 usage, 3 controller unreachable,\n\
                  4 not permitted, 130 detached with Ctrl-C."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Subcommands,
}

/// What every subcommand needs.
#[derive(Debug, Args)]
pub struct Global {
    /// How to show results
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl Global {
    async fn connect(&self) -> Result<Connection, Failure> {
        Ok(Connection::open(&self.connect).await?)
    }
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Make, list and revoke the tokens with which nodes enrol
    #[command(visible_alias = "enroll")]
    Enrol(enrol::Arguments),
    /// List the nodes
    Nodes(nodes::ListArguments),
    /// Show one node with its plugins and handlers
    #[command(subcommand)]
    Node(nodes::NodeCommands),
    /// List the plugins of the fleet: versions, digests, and on how many nodes
    Plugins(plugins::ListArguments),
    /// Say which plugin files may be sent commands
    #[command(subcommand)]
    Plugin(plugins::PluginCommands),
    /// Run a command on nodes and print its result
    Run(run::Arguments),
    /// Drain nodes, or take work again, and follow it
    Drain(drain::Arguments),
    /// Set a config layer and follow it to the nodes it changes: `config set`
    #[command(
        override_usage = "aegisctl push-config <NODE | --all | --tag TAG> <FILE | --remove | --revision N> [OPTIONS]"
    )]
    PushConfig(push_config::Arguments),
    /// Shut workers down: drain, deregister, exit
    Shutdown(shutdown::Arguments),
    /// List commands, newest first
    Commands(command::ListArguments),
    /// Show, follow or cancel commands
    #[command(subcommand)]
    Command(command::CommandCommands),
    /// Show or follow the commands of one submission
    #[command(subcommand)]
    Group(group::GroupCommands),
    /// Describe a command as its nodes report it; without one, list them all
    Describe(describe::Arguments),
    /// Show and set config layers, follow them to the nodes, steer rollouts
    #[command(subcommand)]
    Config(config::ConfigCommands),
    /// Refuse a node until it is unbanned
    Ban(admission::Reasoned),
    /// Admit a banned node again
    Unban(admission::Plain),
    /// Forget a node and its key: it must be enrolled anew
    Evict(admission::Reasoned),
    /// Show what happened to the nodes, newest last
    Events(record::EventArguments),
    /// Show who changed what, newest last
    Audit(record::AuditArguments),
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> Result<Exit, Failure> {
        let global = self.global;
        match self.command {
            Subcommands::Enrol(arguments) => arguments.run(&global).await,
            Subcommands::Nodes(arguments) => arguments.run(&global).await,
            Subcommands::Node(commands) => commands.run(&global).await,
            Subcommands::Plugins(arguments) => arguments.run(&global).await,
            Subcommands::Plugin(commands) => commands.run(&global).await,
            Subcommands::Run(arguments) => arguments.run(&global).await,
            Subcommands::Drain(arguments) => arguments.run(&global).await,
            Subcommands::PushConfig(arguments) => arguments.run(&global).await,
            Subcommands::Shutdown(arguments) => arguments.run(&global).await,
            Subcommands::Commands(arguments) => arguments.run(&global).await,
            Subcommands::Command(commands) => commands.run(&global).await,
            Subcommands::Group(commands) => commands.run(&global).await,
            Subcommands::Describe(arguments) => arguments.run(&global).await,
            Subcommands::Config(commands) => commands.run(&global).await,
            Subcommands::Ban(arguments) => arguments.ban(&global).await,
            Subcommands::Unban(arguments) => arguments.unban(&global).await,
            Subcommands::Evict(arguments) => arguments.evict(&global).await,
            Subcommands::Events(arguments) => arguments.run(&global).await,
            Subcommands::Audit(arguments) => arguments.run(&global).await,
        }
    }
}

/// A `--flag 90s`.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_as_documented() {
        insta::assert_snapshot!(
            "help",
            Cli::command()
                .term_width(100)
                .render_long_help()
                .to_string()
                .replace(env!("CARGO_PKG_VERSION"), "VERSION")
        );
    }
}
