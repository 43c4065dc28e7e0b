//! `aegisctl`: the operator's command line. It talks to the controller's
//! operator API and to nothing else.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cli;
mod connection;
mod document;
mod duration;
mod failure;
mod fleet;
mod follow;
mod nearest;
mod offer;
mod output;
mod payload;
mod render;
mod retry;
mod schema;
mod selector;
mod submit;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{cli::Cli, failure::Failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = run(cli).unwrap_or_else(|failure| {
        failure.print();
        failure.exit()
    });
    ExitCode::from(exit.code())
}

fn run(cli: Cli) -> Result<failure::Exit, Failure> {
    // An error says that a provider is installed, and there is but one to install.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::runtime)?
        .block_on(cli.run())
}
