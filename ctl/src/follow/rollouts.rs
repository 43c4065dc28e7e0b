//! Following a rollout: it is asked for again and again, as it is small and
//! changes slowly.

use std::{ops::ControlFlow, time::Duration};

use aegis_proto::operator::v1::{ShowRolloutRequest, ShowRolloutResponse};

use super::pause;
use crate::{
    connection::{CallError, Connection},
    failure::Failure,
    retry::Retry,
};

const ASK_EVERY: Duration = Duration::from_millis(300);

/// A rollout as it is now; the newest one where the id is empty.
pub async fn show_rollout(
    connection: &Connection,
    rollout_id: &str,
) -> Result<ShowRolloutResponse, CallError> {
    let request = ShowRolloutRequest {
        rollout_id: rollout_id.to_owned(),
    };
    connection
        .call(
            "show the rollout",
            request,
            |mut client, request| async move { client.show_rollout(request).await },
        )
        .await
}

/// Calls `seen` with the rollout as it is, again and again, until it breaks.
pub async fn watch_rollout(
    connection: &Connection,
    rollout_id: &str,
    mut seen: impl FnMut(ShowRolloutResponse) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut retry = Retry::default();
    loop {
        match show_rollout(connection, rollout_id).await {
            Ok(shown) => {
                retry.succeeded();
                if seen(shown)?.is_break() {
                    return Ok(());
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            Err(error) => pause(&mut retry, error).await?,
        }
    }
}
