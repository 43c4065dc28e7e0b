//! `enrol`: tokens with which nodes are admitted.

use std::time::Duration;

use aegis_proto::operator::v1::{
    CreateEnrolmentTokenRequest, ListEnrolmentTokensRequest, RevokeEnrolmentTokenRequest,
};
use chrono::Utc;
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{Global, parse_duration};
use crate::{
    document::{self, EnrolmentToken, NewEnrolmentToken, some, time},
    failure::{Exit, Failure},
    output::{self, Format},
    render,
};

/// `enrol [list | revoke]`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Commands>,
    #[command(flatten)]
    create: Create,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// List enrolment tokens; the tokens themselves are never shown again
    List,
    /// Revoke an enrolment token that is still open
    Revoke {
        /// Its id, from `enrol list`
        token_id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Only the node with this id may spend it
    #[arg(long, value_name = "UUID")]
    node_id: Option<Uuid>,
    /// How long it may be spent [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Arguments {
    /// Makes a token, or does what the subcommand says.
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command {
            None => self.create.run(global).await,
            Some(Commands::List) => list(global).await,
            Some(Commands::Revoke { token_id }) => revoke(global, token_id).await,
        }
    }
}

impl Create {
    async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let request = CreateEnrolmentTokenRequest {
            node_id: self.node_id.map(|id| id.to_string()).unwrap_or_default(),
            ttl: self.ttl.map(document::duration),
            note: self.note.unwrap_or_default(),
        };
        let token = global
            .connect()
            .await?
            .call(
                "make an enrolment token",
                request,
                |mut client, request| async move { client.create_enrolment_token(request).await },
            )
            .await?;
        let document = NewEnrolmentToken {
            expires_at: time(token.expires_at.as_ref()),
            enrolment_token: token.enrolment_token,
            token_id: token.token_id,
            node_id: self.node_id.map(|id| id.to_string()),
        };
        match global.output {
            Format::Json => output::document(&document)?,
            Format::Table => {
                // The token alone on standard output: `TOKEN=$(aegisctl enrol)` works.
                output::text(&document.enrolment_token)?;
                eprintln!(
                    "Good for one node, {}. It is shown only now; `aegisctl enrol revoke {}` takes it back.",
                    document.expires_at.map_or_else(
                        || "for a while".into(),
                        |at| format!("expires {}", render::ago(Utc::now(), Some(at)))
                    ),
                    document.token_id
                );
            }
        }
        Ok(Exit::Success)
    }
}

async fn list(global: &Global) -> Result<Exit, Failure> {
    let response = global
        .connect()
        .await?
        .call(
            "list the enrolment tokens",
            ListEnrolmentTokensRequest {},
            |mut client, request| async move { client.list_enrolment_tokens(request).await },
        )
        .await?;
    let tokens: Vec<EnrolmentToken> = response.tokens.into_iter().map(Into::into).collect();
    match global.output {
        Format::Json => output::document(&tokens)?,
        Format::Table => output::text(&render::tokens(&tokens, Utc::now()))?,
    }
    Ok(Exit::Success)
}

async fn revoke(global: &Global, token_id: String) -> Result<Exit, Failure> {
    let request = RevokeEnrolmentTokenRequest {
        token_id: token_id.clone(),
    };
    global
        .connect()
        .await?
        .call(
            "revoke the enrolment token",
            request,
            |mut client, request| async move { client.revoke_enrolment_token(request).await },
        )
        .await?;
    match global.output {
        Format::Json => {
            output::document(&serde_json::json!({ "token_id": some(token_id), "revoked": true }))?
        }
        Format::Table => output::text(&format!("Enrolment token {token_id} is revoked."))?,
    }
    Ok(Exit::Success)
}
