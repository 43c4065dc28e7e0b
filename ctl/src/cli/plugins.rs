//! `plugins` and `plugin …`: what runs in the fleet, and what may.

use aegis_proto::operator::v1::{
    AllowPluginRequest, DisallowPluginRequest, ListPluginsRequest, ListPluginsResponse,
};
use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use crate::{
    connection::Connection,
    document::{AllowedPlugin, FleetPlugins},
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// `plugins [SELECTOR]`
#[derive(Debug, Args)]
pub struct ListArguments {
    /// A node id or its beginning; without a selector all nodes are looked at
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
}

/// `plugin …`
#[derive(Debug, Subcommand)]
pub enum PluginCommands {
    /// List the files that were allowed
    List,
    /// Allow a file; from the first one on, no other file of the plugin is sent commands
    Allow {
        #[command(flatten)]
        file: File,
        /// What it is, or who reviewed it
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Take a file off the list; without any, the plugin is open again, unless all have to be listed
    Disallow {
        #[command(flatten)]
        file: File,
    },
}

/// One file of a plugin.
#[derive(Debug, Args)]
pub struct File {
    /// The plugin's name
    name: String,
    /// The SHA-256 of the file: 64 digits, as sha256sum and `plugins -o json` tell it
    #[arg(value_parser = parse_sha256)]
    sha256: Sha256,
}

/// Of a file.
#[derive(Debug, Clone)]
struct Sha256(Vec<u8>);

impl ListArguments {
    /// Lists.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let connection = global.connect().await?;
        let target = match self.selector.optional(self.node)? {
            Some(target @ Target::Node(_)) => Some(fleet::resolve(&connection, target).await?.0),
            target => target,
        };
        let response = list(&connection, target.as_ref()).await?;
        let fleet = FleetPlugins::from(&response);
        match global.output {
            Format::Json => output::document(&fleet)?,
            Format::Table => output::text(&render::plugins(&fleet))?,
        }
        Ok(Exit::Success)
    }
}

impl PluginCommands {
    /// Does what the subcommand says.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Self::List => list_allowed(global).await,
            Self::Allow { file, note } => file.allow(note, global).await,
            Self::Disallow { file } => file.disallow(global).await,
        }
    }
}

impl File {
    async fn allow(self, note: String, global: &Global) -> Result<Exit, Failure> {
        let request = AllowPluginRequest {
            plugin: self.name.clone(),
            sha256: self.sha256.0.clone(),
            note,
        };
        let response = global
            .connect()
            .await?
            .call(
                "allow the plugin",
                request,
                |mut client, request| async move { client.allow_plugin(request).await },
            )
            .await?;
        let said = format!("{} with this SHA-256 may be sent commands.", self.name);
        self.report(global, true, response.refused_nodes, &said)
    }

    async fn disallow(self, global: &Global) -> Result<Exit, Failure> {
        let request = DisallowPluginRequest {
            plugin: self.name.clone(),
            sha256: self.sha256.0.clone(),
        };
        let response = global
            .connect()
            .await?
            .call(
                "disallow the plugin",
                request,
                |mut client, request| async move { client.disallow_plugin(request).await },
            )
            .await?;
        let said = match response.allowed_digests {
            0 => format!("No file of {} is listed any more.", self.name),
            left => format!(
                "{} with this SHA-256 is not allowed any more; {left} others of it are.",
                self.name
            ),
        };
        self.report(global, false, response.refused_nodes, &said)
    }

    fn report(
        &self,
        global: &Global,
        allowed: bool,
        refused: u32,
        said: &str,
    ) -> Result<Exit, Failure> {
        match global.output {
            Format::Json => output::document(&json!({
                "plugin": self.name,
                "sha256": crate::document::hex(&self.sha256.0),
                "allowed": allowed,
                "refused_nodes": refused,
            }))?,
            Format::Table => {
                output::text(said)?;
                if refused > 0 {
                    let nodes = if refused == 1 {
                        "node has"
                    } else {
                        "nodes have"
                    };
                    output::text(&format!(
                        "{refused} {nodes} another file of it and are sent no command of it; see \
                         aegisctl plugins."
                    ))?;
                }
            }
        }
        Ok(Exit::Success)
    }
}

async fn list_allowed(global: &Global) -> Result<Exit, Failure> {
    let response = list(&global.connect().await?, None).await?;
    let require = response.require_allowed;
    let allowed: Vec<AllowedPlugin> = response.allowed.into_iter().map(Into::into).collect();
    match global.output {
        Format::Json => output::document(&allowed)?,
        Format::Table => output::text(&render::allowed_plugins(&allowed, require, Utc::now()))?,
    }
    Ok(Exit::Success)
}

async fn list(
    connection: &Connection,
    target: Option<&Target>,
) -> Result<ListPluginsResponse, Failure> {
    let request = ListPluginsRequest {
        selector: target.map(Target::to_proto),
    };
    let response = connection
        .call(
            "list the plugins",
            request,
            |mut client, request| async move { client.list_plugins(request).await },
        )
        .await?;
    Ok(response)
}

fn parse_sha256(text: &str) -> Result<Sha256, String> {
    let expected = || "expected 64 hexadecimal digits, as sha256sum prints them".to_owned();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(expected());
    }
    (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| expected()))
        .collect::<Result<_, _>>()
        .map(Sha256)
}
