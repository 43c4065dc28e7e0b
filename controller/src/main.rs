//! The `aegis-controller` binary: flags, log, signals. The rest is the library.

#![forbid(unsafe_code)]

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use aegis_controller::{
    Config, Server,
    config::{LogFormat, parse_token_ttl},
};
use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The controller of an aegis cluster.
#[derive(Parser)]
#[command(name = "aegis-controller", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Check the config and say what is wrong with it, without starting anything.
    CheckConfig,
}

#[derive(clap::Args)]
struct Options {
    /// Where to listen; port 0 takes any that is free [default: 127.0.0.1:50056]
    #[arg(
        long,
        global = true,
        env = "AEGIS_CONTROLLER_LISTEN",
        value_name = "ADDRESS"
    )]
    listen: Option<SocketAddr>,
    /// Holds everything that lasts [default: /var/lib/aegis-controller]
    #[arg(
        long,
        global = true,
        env = "AEGIS_CONTROLLER_DATA_DIR",
        value_name = "DIR"
    )]
    data_dir: Option<PathBuf>,
    /// sqlite:///path/to/file [default: controller.db in the data directory]
    #[arg(
        long,
        global = true,
        env = "AEGIS_CONTROLLER_DATABASE",
        value_name = "URL"
    )]
    database: Option<String>,
    /// How long a node's security token lives [default: 1h]
    #[arg(long, global = true, env = "AEGIS_CONTROLLER_TOKEN_TTL", value_name = "DURATION",
          value_parser = parse_token_ttl)]
    token_ttl: Option<Duration>,
    /// A TOML file with all settings
    #[arg(
        long,
        global = true,
        env = "AEGIS_CONTROLLER_CONFIG",
        value_name = "FILE"
    )]
    config: Option<PathBuf>,
    /// Allow plaintext on an address that is not loopback
    #[arg(long, global = true, env = "AEGIS_CONTROLLER_INSECURE")]
    insecure: bool,
}

impl Options {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.database = self.database.or(config.database);
        config.settings.token_ttl = self.token_ttl.unwrap_or(config.settings.token_ttl);
        config.insecure |= self.insecure;
        Ok(config)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match cli.options.config() {
        Ok(config) => config,
        Err(error) => return fail(&error, 2),
    };
    match cli.command {
        Some(Command::CheckConfig) => match Server::check(&config) {
            Ok(()) => {
                println!("the config is good");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.into(), 2),
        },
        None => match run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("aegis-controller: {error:#}");
    ExitCode::from(code)
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    start_log(&config)?;
    // Another provider can't have been installed before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;

    let operator_token = config.data_dir.join("operator.token");
    let server = Server::start(config).await?;
    println!("listening on {}", server.endpoint());
    println!("operator token in {}", operator_token.display());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        stopped = server.stop() => stopped.context("serving failed"),
        _ = terminate.recv() => anyhow::bail!("a second signal cut the stop short"),
        _ = interrupt.recv() => anyhow::bail!("a second signal cut the stop short"),
    }
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&config.log_level))
        .with_context(|| format!("log.level: {:?} is no filter", config.log_level))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
