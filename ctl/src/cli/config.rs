//! `config show`.

use aegis_proto::operator::v1::ShowConfigRequest;
use chrono::Utc;
use clap::Subcommand;

use super::Global;
use crate::{
    document::Config,
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// `config …`; `push-config` sets.
#[derive(Debug, Subcommand)]
pub enum ConfigCommands {
    /// Show the layers; for a node its merged config and what it has applied
    Show {
        /// A node id or its beginning; without a selector all layers are shown
        node: Option<String>,
        #[command(flatten)]
        selector: SelectorFlags,
    },
}

impl ConfigCommands {
    /// Shows.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self::Show { node, selector } = self;
        let target = selector.optional(node)?;
        let connection = global.connect().await?;
        let target = match target {
            Some(target @ Target::Node(_)) => Some(fleet::resolve(&connection, target).await?.0),
            target => target,
        };
        let request = ShowConfigRequest {
            selector: target.as_ref().map(Target::to_proto),
        };
        let response = connection
            .call(
                "show the config",
                request,
                |mut client, request| async move { client.show_config(request).await },
            )
            .await?;
        let config = Config::from(response);
        match global.output {
            Format::Json => output::document(&config)?,
            Format::Table => output::text(&render::config(&config, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}
