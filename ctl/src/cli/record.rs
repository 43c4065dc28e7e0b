//! `events` and `audit`.

use aegis_proto::operator::v1::{ListAuditRequest, ListEventsRequest};
use chrono::Utc;
use clap::Args;

use super::Global;
use crate::{
    document::{AuditEntry, Event},
    failure::{Exit, Failure},
    fleet,
    output::{self, Format},
    render,
    selector::{SelectorFlags, Target},
};

/// Which part of a record.
#[derive(Debug, Args)]
struct Range {
    /// How many at the most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only what is newer than the entry with this id
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: u64,
}

/// `events [SELECTOR]`
#[derive(Debug, Args)]
pub struct EventArguments {
    /// A node id or its beginning; without a selector all events are shown
    node: Option<String>,
    #[command(flatten)]
    selector: SelectorFlags,
    #[command(flatten)]
    range: Range,
}

/// `audit`
#[derive(Debug, Args)]
pub struct AuditArguments {
    #[command(flatten)]
    range: Range,
}

impl EventArguments {
    /// Shows events.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let target = self.selector.optional(self.node)?;
        let connection = global.connect().await?;
        let target = match target {
            Some(target @ Target::Node(_)) => Some(fleet::resolve(&connection, target).await?.0),
            target => target,
        };
        let request = ListEventsRequest {
            selector: target.as_ref().map(Target::to_proto),
            limit: self.range.limit,
            after: self.range.after,
        };
        let response = connection
            .call(
                "list the events",
                request,
                |mut client, request| async move { client.list_events(request).await },
            )
            .await?;
        let events: Vec<Event> = response.events.into_iter().map(Event::from).collect();
        match global.output {
            Format::Json => output::document(&events)?,
            Format::Table => output::text(&render::events(&events, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}

impl AuditArguments {
    /// Shows the audit log.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let request = ListAuditRequest {
            limit: self.range.limit,
            after: self.range.after,
        };
        let connection = global.connect().await?;
        let response = connection
            .call(
                "read the audit log",
                request,
                |mut client, request| async move { client.list_audit(request).await },
            )
            .await?;
        let entries: Vec<AuditEntry> = response.entries.into_iter().map(AuditEntry::from).collect();
        match global.output {
            Format::Json => output::document(&entries)?,
            Format::Table => output::text(&render::audit(&entries, Utc::now()))?,
        }
        Ok(Exit::Success)
    }
}
