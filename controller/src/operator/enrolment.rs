//! Enrolment tokens.

use std::time::Duration;

use aegis_proto::operator::v1 as api;
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use super::{OperatorApi, audit::Call, select::node_id, views::token_view};
use crate::{
    auth::Secret,
    status::internal,
    store::TokenRecord,
    time::{self, duration_millis, from_proto_duration, timestamp},
};

const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_NOTE_BYTES: usize = 1024;

impl OperatorApi {
    pub(super) async fn create_token(
        &self,
        who: &str,
        request: api::CreateEnrolmentTokenRequest,
    ) -> Result<api::CreateEnrolmentTokenResponse, Status> {
        let id = Uuid::now_v7().to_string();
        let call = Call {
            operator: who.into(),
            action: "CreateEnrolmentToken",
            detail: json!({ "token_id": id, "node_id": short(&request.node_id) }),
        };
        self.controller
            .audited(&call, async {
                let node = (!request.node_id.is_empty())
                    .then(|| node_id(&request.node_id))
                    .transpose()?;
                let ttl = match &request.ttl {
                    None => DEFAULT_TTL,
                    Some(ttl) => from_proto_duration(ttl)
                        .filter(|ttl| (Duration::from_secs(1)..=LONGEST_TTL).contains(ttl))
                        .ok_or_else(|| {
                            Status::invalid_argument("the ttl has to be from 1 s to 30 days")
                        })?,
                };
                if request.note.len() > MAX_NOTE_BYTES {
                    return Err(Status::invalid_argument("the note is longer than 1 KiB"));
                }
                let secret = Secret::new("aegis-enrol-").map_err(|error| internal(&error))?;
                let now = time::now();
                let token = TokenRecord {
                    id: id.clone(),
                    node,
                    created_at: now,
                    expires_at: now.saturating_add(duration_millis(ttl)),
                    revoked_at: None,
                    spent_by: None,
                    note: request.note,
                };
                self.controller
                    .store
                    .create_token(&token, &secret.hash(), &call.ok())
                    .await?;
                Ok(api::CreateEnrolmentTokenResponse {
                    enrolment_token: secret.expose().to_owned(),
                    token_id: token.id,
                    expires_at: Some(timestamp(token.expires_at)),
                })
            })
            .await
    }

    pub(super) async fn revoke_token(
        &self,
        who: &str,
        request: api::RevokeEnrolmentTokenRequest,
    ) -> Result<api::RevokeEnrolmentTokenResponse, Status> {
        let call = Call {
            operator: who.into(),
            action: "RevokeEnrolmentToken",
            detail: json!({ "token_id": short(&request.token_id) }),
        };
        self.controller
            .audited(&call, async {
                let store = &self.controller.store;
                let token = store
                    .revoke_token(&request.token_id, time::now(), &call.ok())
                    .await?;
                let token = token.ok_or_else(|| {
                    Status::not_found("there is no such enrolment token; give the token's id")
                })?;
                match token.spent_by {
                    None => Ok(api::RevokeEnrolmentTokenResponse {}),
                    Some(node) => Err(Status::failed_precondition(format!(
                        "node {node} has spent the token already; evict the node to undo that"
                    ))),
                }
            })
            .await
    }

    pub(super) async fn tokens(&self) -> Result<api::ListEnrolmentTokensResponse, Status> {
        let now = time::now();
        let tokens = self.controller.store.tokens().await?;
        let tokens = tokens
            .into_iter()
            .map(|token| token_view(token, now))
            .collect();
        Ok(api::ListEnrolmentTokensResponse { tokens })
    }
}

/// A caller's text as the audit log takes it.
pub(super) fn short(text: &str) -> String {
    text.chars().take(128).collect()
}
