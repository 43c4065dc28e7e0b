//! Following nodes.

use std::ops::ControlFlow;

use aegis_proto::operator::v1::{NodeView, WatchNodesRequest};
use tonic::Status;

use super::pause;
use crate::{connection::Connection, failure::Failure, retry::Retry, selector::Target};

/// Calls `seen` with each selected node, and again whenever one changes, until
/// it breaks.
pub async fn watch_nodes(
    connection: &Connection,
    target: &Target,
    mut seen: impl FnMut(NodeView) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut retry = Retry::default();
    loop {
        let request = WatchNodesRequest {
            selector: Some(target.to_proto()),
        };
        let opened = connection
            .call(
                "watch the nodes",
                request,
                |mut client, request| async move { client.watch_nodes(request).await },
            )
            .await;
        let error = match opened {
            Err(error) => error,
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(Some(node)) => {
                        retry.succeeded();
                        if seen(node)?.is_break() {
                            return Ok(());
                        }
                    }
                    Ok(None) => {
                        break connection.refused(
                            "watch the nodes",
                            Status::unavailable("the controller ended the stream"),
                        );
                    }
                    Err(status) => break connection.refused("watch the nodes", status),
                }
            },
        };
        pause(&mut retry, error).await?;
    }
}
