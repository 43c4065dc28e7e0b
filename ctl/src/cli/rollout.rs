//! `config rollout`: shows, follows and steers rollouts.

use std::ops::ControlFlow;

use aegis_proto::operator::v1::{
    ListRolloutsRequest, SteerRolloutRequest, steer_rollout_request::Action,
};
use chrono::Utc;
use clap::{Args, Subcommand};

use super::Global;
use crate::{
    connection::Connection,
    document::{Rollout, RolloutDetail, RolloutNode},
    failure::{Exit, Failure},
    follow::{show_rollout, unless_interrupted, watch_rollout},
    output::{self, Format},
    render,
};

/// `config rollout …`
#[derive(Debug, Subcommand)]
pub enum RolloutCommands {
    /// Show a rollout with its nodes; the newest one where none is named
    Show {
        /// A rollout id or a unique beginning of one
        id: Option<String>,
        /// Stay while it runs; with -o json a document per line, each time it changes
        #[arg(short, long)]
        follow: bool,
    },
    /// List rollouts, newest first
    List,
    /// Release nothing more until it is resumed
    Pause(Steer),
    /// Go on with a stopped rollout; what has failed by now is not counted any more
    Resume {
        /// A rollout id or a unique beginning of one
        id: String,
        /// Return once it goes on
        #[arg(short, long)]
        detach: bool,
    },
    /// Give a rollout up: every node gets back what it had before
    Abort(Steer),
}

/// Which rollout, and why.
#[derive(Debug, Args)]
pub struct Steer {
    /// A rollout id or a unique beginning of one
    id: String,
    /// Why; shown with the rollout
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl RolloutCommands {
    /// Shows or steers.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let connection = global.connect().await?;
        match self {
            Self::Show { id, follow } => {
                let shown = show_rollout(&connection, &id.unwrap_or_default()).await?;
                let detail = RolloutDetail::from(shown);
                if follow {
                    return follow_rollout(global, &connection, detail.rollout.rollout_id, true)
                        .await;
                }
                print(global, &detail)?;
                Ok(Exit::Success)
            }
            Self::List => list(global, &connection).await,
            Self::Pause(Steer { id, reason }) => {
                let rollout = steer(&connection, id, Action::Pause, reason).await?;
                let id = &rollout.rollout_id;
                let text = format!(
                    "Rollout {id} is paused. `aegisctl config rollout resume {id}` goes on with it, `aegisctl config rollout abort {id}` brings back what was before."
                );
                say(global, &rollout, &text)
            }
            Self::Resume { id, detach } => {
                let rollout = steer(&connection, id, Action::Resume, String::new()).await?;
                if detach {
                    let text = format!("Rollout {} goes on.", rollout.rollout_id);
                    return say(global, &rollout, &text);
                }
                follow_rollout(global, &connection, rollout.rollout_id, false).await
            }
            Self::Abort(Steer { id, reason }) => {
                let rollout = steer(&connection, id, Action::Abort, reason).await?;
                let text = format!(
                    "Rollout {} is given up: its layer is what it was before. `aegisctl config status` shows when the nodes have it.",
                    rollout.rollout_id
                );
                say(global, &rollout, &text)
            }
        }
    }
}

async fn list(global: &Global, connection: &Connection) -> Result<Exit, Failure> {
    let listed = connection
        .call(
            "list the rollouts",
            ListRolloutsRequest::default(),
            |mut client, request| async move { client.list_rollouts(request).await },
        )
        .await?;
    let rollouts: Vec<Rollout> = listed.rollouts.into_iter().map(Rollout::from).collect();
    match global.output {
        Format::Json => output::document(&rollouts)?,
        Format::Table => output::text(&render::rollouts(&rollouts, Utc::now()))?,
    }
    Ok(Exit::Success)
}

async fn steer(
    connection: &Connection,
    rollout_id: String,
    action: Action,
    reason: String,
) -> Result<Rollout, Failure> {
    let request = SteerRolloutRequest {
        rollout_id,
        action: action.into(),
        reason,
    };
    let steered = connection
        .call(
            "steer the rollout",
            request,
            |mut client, request| async move { client.steer_rollout(request).await },
        )
        .await?;
    Ok(steered.rollout.unwrap_or_default().into())
}

fn say(global: &Global, rollout: &Rollout, text: &str) -> Result<Exit, Failure> {
    match global.output {
        Format::Json => output::document(rollout)?,
        Format::Table => output::text(text)?,
    }
    Ok(Exit::Success)
}

fn print(global: &Global, detail: &RolloutDetail) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::document(detail),
        Format::Table => output::text(&render::rollout(detail, Utc::now())),
    }
}

/// Follows a rollout while it runs, and says how it then stands. With JSON one
/// document at the end, or (`lines`) one per line each time it changes.
pub async fn follow_rollout(
    global: &Global,
    connection: &Connection,
    id: String,
    lines: bool,
) -> Result<Exit, Failure> {
    let lines = lines && global.output == Format::Json;
    let mut last: Option<RolloutDetail> = None;
    let watching = watch_rollout(connection, &id, |shown| {
        let detail = RolloutDetail::from(shown);
        if last.as_ref() != Some(&detail) {
            let known = last.as_ref().map_or(&[][..], |it| &it.nodes);
            for line in news(known, &detail.nodes) {
                eprintln!("{line}");
            }
            if lines {
                output::line(&detail)?;
            }
        }
        let runs = detail.rollout.state == "running";
        last = Some(detail);
        Ok(if runs {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    });
    let Some(watched) = unless_interrupted(watching).await else {
        eprintln!(
            "Detached; the rollout goes on. Come back with `aegisctl config rollout show {id} --follow`, stop it with `aegisctl config rollout pause {id}`."
        );
        return Ok(Exit::Detached);
    };
    watched.map_err(|failure| {
        failure.or_next(&format!(
            "The rollout goes on. Come back with `aegisctl config rollout show {id} --follow`."
        ))
    })?;
    let Some(detail) = last else {
        return Ok(Exit::Failed);
    };
    if !lines {
        print(global, &detail)?;
    }
    if detail.rollout.state == "stopped" {
        eprintln!(
            "The rollout has stopped: {}.\n  `aegisctl config rollout resume {id}` goes on with it, `aegisctl config rollout abort {id}` brings back what was before.",
            render::clean(
                detail
                    .rollout
                    .reason
                    .as_deref()
                    .unwrap_or("no reason given")
            )
        );
    }
    let succeeded = detail.rollout.state == "completed" && detail.counts.failed == 0;
    Ok(if succeeded {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// What there is to say of nodes that changed.
fn news(known: &[RolloutNode], nodes: &[RolloutNode]) -> Vec<String> {
    let before = |id: &str| known.iter().find(|it| it.node_id == id);
    let mut lines = Vec::new();
    for node in nodes {
        let settled = !matches!(node.state.as_str(), "waiting" | "pending");
        let changed = before(&node.node_id).is_none_or(|it| it.state != node.state);
        if settled && changed {
            lines.push(render::rollout_line(node));
        }
    }
    let newest = |nodes: &[RolloutNode]| nodes.iter().map(|it| it.batch).max().unwrap_or(0);
    for batch in newest(known) + 1..=newest(nodes) {
        let line = match nodes.iter().filter(|it| it.batch == batch).count() {
            1 => format!("batch {batch}: 1 node gets it"),
            count => format!("batch {batch}: {count} nodes get it"),
        };
        lines.push(line);
    }
    lines
}
