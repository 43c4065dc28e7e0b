//! `describe`: commands as the nodes that have them report them.

use std::collections::BTreeMap;

use clap::Args;

use super::Global;
use crate::{
    connection::Connection,
    document::{Description, Handler, HandlerOn, Summary, some},
    failure::{Exit, Failure},
    fleet,
    offer::{Offer, Offers},
    output::{self, Format},
    render,
    schema::Schema,
    selector::{SelectorFlags, Target},
};

/// `describe [COMMAND] [--node NODE | --tag TAG]`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The command; without it all commands are listed
    command: Option<String>,
    /// Ask this node only
    #[arg(long, value_name = "NODE", conflicts_with_all = ["all", "tag"])]
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
}

impl Arguments {
    /// Describes.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let target = self.selector.optional(self.node)?.unwrap_or(Target::All);
        let connection = global.connect().await?;
        let (_, nodes) = fleet::resolve(&connection, target).await?;
        let Some(command) = self.command else {
            let commands = summaries(&connection, &nodes).await?;
            match global.output {
                Format::Json => output::document(&commands)?,
                Format::Table => output::text(&render::commands_of_fleet(&commands))?,
            }
            return Ok(Exit::Success);
        };
        let offers = Offers::of(&connection, &nodes, &command).await?;
        let Some(description) = describe(offers) else {
            return Err(Failure::usage(format!("no node has a command {command:?}"))
                .next("`aegisctl describe` lists all commands."));
        };
        match global.output {
            Format::Json => output::document(&description)?,
            Format::Table => output::text(&render::description(&description))?,
        }
        Ok(Exit::Success)
    }
}

/// The command as the nodes that run it say; where none does, as those say
/// that have it disabled.
fn describe(offers: Offers) -> Option<Description> {
    let all: Vec<Offer> = offers.enabled.into_iter().chain(offers.disabled).collect();
    let first = all.first()?;
    let fields = |schema: &str| {
        Schema::parse(schema)
            .map(|it| it.fields())
            .unwrap_or_default()
    };
    let contract = |offer: &Offer| {
        let spec = &offer.spec;
        (
            spec.request_schema.clone(),
            spec.response_schema.clone(),
            spec.effect,
            spec.timeout,
        )
    };
    Some(Description {
        fields: fields(&first.spec.request_schema),
        response_fields: fields(&first.spec.response_schema),
        differs: all.iter().any(|offer| contract(offer) != contract(first)),
        handler: Handler::from(first.spec.clone()),
        nodes: all
            .into_iter()
            .map(|offer| HandlerOn {
                node_id: offer.node_id,
                enabled: offer.spec.enabled,
                disabled_reason: some(offer.spec.disabled_reason),
            })
            .collect(),
    })
}

async fn summaries(
    connection: &Connection,
    nodes: &[aegis_proto::operator::v1::NodeView],
) -> Result<Vec<Summary>, Failure> {
    let mut commands: BTreeMap<String, Summary> = BTreeMap::new();
    for node in fleet::show_all(connection, nodes).await? {
        for handler in node.handlers.into_iter().map(Handler::from) {
            let summary = commands
                .entry(handler.name.clone())
                .or_insert_with(|| Summary {
                    name: handler.name,
                    plugin: handler.plugin,
                    summary: handler.summary,
                    effect: handler.effect,
                    enabled_on: 0,
                    disabled_on: 0,
                });
            *(if handler.enabled {
                &mut summary.enabled_on
            } else {
                &mut summary.disabled_on
            }) += 1;
        }
    }
    Ok(commands.into_values().collect())
}
