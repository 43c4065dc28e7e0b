//! Submitting a command: once, however often the connection breaks meanwhile.

use std::time::Duration;

use aegis_proto::operator::v1::{SubmitCommandRequest, SubmitCommandResponse};
use uuid::Uuid;

use crate::connection::{CallError, Connection};

const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Submits. A request without an id gets one of its own, by which the controller
/// knows a repetition for one.
pub async fn submit(
    connection: &Connection,
    mut request: SubmitCommandRequest,
) -> Result<SubmitCommandResponse, CallError> {
    if request.request_id.is_empty() {
        request.request_id = Uuid::now_v7().to_string();
    }
    let mut attempt = 1;
    loop {
        let answer = connection
            .call(
                "submit the command",
                request.clone(),
                |mut client, request| async move { client.submit_command(request).await },
            )
            .await;
        match answer {
            Err(error) if error.is_interruption() && attempt < ATTEMPTS => attempt += 1,
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}
