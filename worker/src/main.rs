//! `aegis-worker`: the node agent. The one place where the engine and its
//! plugins meet.

#![forbid(unsafe_code)]

mod built_ins;
mod cli;
mod commands;
mod exit;
mod logging;
mod run;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, IdentityCommand, JournalCommand, PluginsCommand};
use exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => run::run(&cli.settings),
        Some(Command::CheckConfig) => commands::check_config(&cli.settings),
        Some(Command::Explain {
            command,
            issuer,
            output,
        }) => commands::explain(&cli.settings, command, issuer.as_deref(), output.is_json()),
        Some(Command::Identity(IdentityCommand::Show { output })) => {
            commands::identity_show(&cli.settings, output.is_json())
        }
        Some(Command::Plugins(PluginsCommand::List { output })) => {
            commands::plugins_list(&cli.settings, output.is_json())
        }
        Some(Command::Plugins(PluginsCommand::Inspect { file, output })) => {
            commands::plugins_inspect(&cli.settings, file, output.is_json())
        }
        Some(Command::Plugins(PluginsCommand::New { name, path, sdk })) => {
            commands::plugins_new(name, path.as_deref(), sdk.as_deref())
        }
        Some(Command::Plugins(PluginsCommand::Release { plugin })) => {
            commands::plugins_release(&cli.settings, plugin)
        }
        Some(Command::Plugins(PluginsCommand::Keygen { out })) => commands::plugins_keygen(out),
        Some(Command::Plugins(PluginsCommand::Sign { key, plugin, out })) => {
            commands::plugins_sign(key, plugin, out.as_deref())
        }
        Some(Command::PluginHost) => return aegis_core::plugin_host::serve(),
        Some(Command::Journal(JournalCommand::List(list))) => {
            commands::journal_list(&cli.settings, list)
        }
    };
    Exit::of(done)
}
