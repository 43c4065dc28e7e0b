//! Messages of a node that have already arrived, taken together: what they
//! change shares one transaction, and results one acknowledgement.

use std::{future::poll_fn, pin::Pin, task::Poll};

use aegis_proto::worker::v1::WorkerMessage;
use prost::Message;
use tokio_stream::Stream;
use tonic::Status;

/// Messages in a batch.
const MOST: usize = 128;

/// Bytes in a batch after which no further message is taken in.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// At least one message.
pub(super) struct Batch {
    pub messages: Vec<WorkerMessage>,
    /// How the stream ended behind them, where it did.
    pub end: Option<Result<(), Status>>,
}

impl Batch {
    /// The first message, and those that wait behind it.
    pub(super) async fn of<S>(first: WorkerMessage, inbound: &mut S) -> Self
    where
        S: Stream<Item = Result<WorkerMessage, Status>> + Unpin,
    {
        let mut bytes = first.encoded_len();
        let mut messages = vec![first];
        while messages.len() < MOST && bytes < MOST_BYTES {
            match waiting(inbound).await {
                Poll::Ready(Some(Ok(message))) => {
                    bytes += message.encoded_len();
                    messages.push(message);
                }
                Poll::Ready(end) => {
                    let end = end.map_or(Ok(()), |end| end.map(drop));
                    return Self {
                        messages,
                        end: Some(end),
                    };
                }
                Poll::Pending => break,
            }
        }
        Self {
            messages,
            end: None,
        }
    }
}

/// What has arrived already; waits for nothing.
async fn waiting<S: Stream + Unpin>(inbound: &mut S) -> Poll<Option<S::Item>> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *inbound).poll_next(context))).await
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Context};

    use aegis_proto::worker::v1::{Heartbeat, worker_message};

    use super::*;

    /// What has arrived; the end of the stream behind it, or nothing yet.
    struct Arrived {
        messages: VecDeque<Result<WorkerMessage, Status>>,
        ends: bool,
    }

    impl Stream for Arrived {
        type Item = Result<WorkerMessage, Status>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.messages.pop_front() {
                None if !self.ends => Poll::Pending,
                next => Poll::Ready(next),
            }
        }
    }

    fn arrived(messages: impl IntoIterator<Item = Result<WorkerMessage, Status>>) -> Arrived {
        Arrived {
            messages: messages.into_iter().collect(),
            ends: false,
        }
    }

    fn message(sequence: u64) -> WorkerMessage {
        WorkerMessage {
            message: Some(worker_message::Message::Heartbeat(Heartbeat {
                sequence,
                ..Heartbeat::default()
            })),
        }
    }

    #[tokio::test]
    async fn what_has_arrived_is_taken_in_order_and_nothing_is_waited_for() {
        let mut inbound = arrived((1..5).map(|n| Ok(message(n))));
        let batch = Batch::of(message(0), &mut inbound).await;
        let all: Vec<_> = (0..5).map(message).collect();
        assert_eq!(batch.messages, all);
        assert!(batch.end.is_none());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_and_says_where_the_node_ended() {
        let mut inbound = arrived((0..1000).map(|n| Ok(message(n))));
        let batch = Batch::of(message(0), &mut inbound).await;
        assert_eq!((batch.messages.len(), batch.end.is_none()), (MOST, true));

        let mut inbound = arrived([Ok(message(1)), Err(Status::aborted("cut"))]);
        let batch = Batch::of(message(0), &mut inbound).await;
        assert_eq!(batch.messages.len(), 2);
        batch.end.expect("an end").expect_err("a cut");

        let mut inbound = arrived([]);
        inbound.ends = true;
        let batch = Batch::of(message(0), &mut inbound).await;
        assert_eq!(batch.messages.len(), 1);
        batch.end.expect("an end").expect("an orderly one");
    }
}
