//! `aegis.worker.v1.WorkerSession`: one stream per node.
//!
//! A stream is one task: it owns both directions, and ends when the node goes,
//! a newer session of the node comes, an operator ends it, or the controller
//! stops. What it has to send, it reads from the store whenever it is woken;
//! nothing queues up in between.

mod batch;
mod greeting;
mod inbound;
mod outbound;
mod receipt;
mod reconcile;
mod results;
mod seat;

use std::{collections::HashSet, sync::Arc, time::Duration};

use aegis_proto::{
    CommandId,
    worker::v1::{
        ControllerMessage, WorkerMessage, bye, controller_message::Message,
        worker_session_server::WorkerSession,
    },
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use batch::Batch;
use greeting::Greeting;
pub use seat::Seat;

use crate::{controller::Controller, directory::Node, time};

/// Messages on their way to a node that has not read them yet.
const OUTBOUND: usize = 32;

/// A node that reads nothing for this long has lost its session.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The last word is not waited for as long.
const BYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Streams that may be in their handshake at once.
const HANDSHAKES: usize = 1024;

/// When a node may come back after the controller went away.
const RETURN_AFTER: Duration = Duration::from_secs(1);

/// Serves sessions.
#[derive(Clone)]
pub struct SessionApi {
    controller: Arc<Controller>,
    handshakes: Arc<Semaphore>,
}

impl SessionApi {
    /// Over a controller.
    pub fn new(controller: Arc<Controller>) -> Self {
        Self {
            controller,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        }
    }
}

#[tonic::async_trait]
impl WorkerSession for SessionApi {
    type ConnectStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if self.controller.stopping.is_cancelled() {
            return Err(Status::unavailable("the controller is stopping; try again"));
        }
        self.serve(request.into_inner())
            .map(|messages| Response::new(ReceiverStream::new(messages)))
    }
}

/// What a node says, from the network or a simulation.
pub(crate) trait Inbound:
    Stream<Item = Result<WorkerMessage, Status>> + Unpin + Send + 'static
{
}

impl<S: Stream<Item = Result<WorkerMessage, Status>> + Unpin + Send + 'static> Inbound for S {}

impl SessionApi {
    /// Serves a node on a task of its own. The answer is what is said to it.
    pub(crate) fn serve(
        &self,
        mut inbound: impl Inbound,
    ) -> Result<mpsc::Receiver<Result<ControllerMessage, Status>>, Status> {
        let permit = Arc::clone(&self.handshakes)
            .try_acquire_owned()
            .map_err(|_| {
                crate::status::slow_down("too many sessions are being opened", RETURN_AFTER)
            })?;
        let (out, messages) = mpsc::channel(OUTBOUND);
        let controller = Arc::clone(&self.controller);
        self.controller.tasks.spawn(async move {
            let greeted = controller.greet(&mut inbound, &out).await;
            drop(permit);
            let ended = match greeted {
                Ok((session, hello)) => session.run(hello, &mut inbound).await,
                Err(status) => Err(status),
            };
            if let Err(status) = ended {
                // The node may be gone already.
                let _ = out.send_timeout(Err(status), SEND_TIMEOUT).await;
            }
        });
        Ok(messages)
    }
}

/// A greeted session.
pub(crate) struct Session {
    controller: Arc<Controller>,
    node: Arc<Node>,
    seat: Arc<Seat>,
    out: mpsc::Sender<Result<ControllerMessage, Status>>,
    /// Open commands that this node is known to have.
    mine: HashSet<CommandId>,
    /// Cancels that were sent on this session.
    cancels: HashSet<CommandId>,
    /// The config version that was last offered on this session.
    offered: Option<String>,
    renew_at: Instant,
    /// Whether the store has to be asked for what is due.
    wanted: bool,
    /// Commands wait for the end of what the node has in hand.
    held_back: bool,
    /// Results since they were held back.
    made_room: usize,
    /// When the next queued command's time comes.
    next_due: Option<Instant>,
    /// Results that changed nothing.
    complaints: u32,
    /// Messages and variants that this controller does not know.
    unknown: u64,
}

impl Session {
    /// Serves a seated session, and leaves the seat whatever happens.
    async fn run(mut self, hello: Greeting, inbound: &mut impl Inbound) -> Result<(), Status> {
        let _leaving = self.seat.leave_on_drop();
        let ended = match self.welcome(hello).await {
            Ok(()) => self.serve(inbound).await,
            Err(status) => Err(status),
        };
        let ended = match self.seat.bye() {
            Some(bye) => {
                let message = Some(Message::Bye(bye));
                // A node that does not read is gone in any case.
                let _ = self
                    .out
                    .send_timeout(Ok(ControllerMessage { message }), BYE_TIMEOUT)
                    .await;
                Ok(())
            }
            None => ended,
        };
        let vacated = {
            let mut live = self.node.live();
            let ours = live
                .session
                .as_ref()
                .is_some_and(|seat| Arc::ptr_eq(seat, &self.seat));
            if ours {
                live.session = None;
            }
            ours
        };
        if let Err(status) = &ended
            && status.code() == Code::ResourceExhausted
        {
            self.controller.storage.suspect();
        }
        if vacated {
            self.controller.directory.tell(self.node.id);
            let why = match &ended {
                Ok(()) => "the session ended".to_owned(),
                Err(status) => format!("the session ended: {}", status.message()),
            };
            self.controller
                .event("session-closed", Some(self.node.id), None, why)
                .await;
        }
        if self.unknown > 0 {
            tracing::info!(node = %self.node.id, count = self.unknown, "messages were not understood");
        }
        ended
    }

    async fn serve(&mut self, inbound: &mut impl Inbound) -> Result<(), Status> {
        self.wanted = true;
        self.offer_config().await?;
        loop {
            // What the node tells comes last: it can't keep the session from
            // anything by telling much. What goes to it waits for room.
            tokio::select! {
                biased;
                () = self.seat.ended() => return Ok(()),
                () = self.controller.stopping.cancelled() => {
                    let why = "the controller is stopping";
                    self.seat.end(bye::Reason::GoingAway, why, Some(RETURN_AFTER));
                    return Ok(());
                }
                () = sleep_until(self.renew_at) => self.renew().await?,
                () = self.seat.woken() => {
                    self.wanted = true;
                    self.offer_config().await?;
                }
                () = at(self.next_due) => {
                    self.next_due = None;
                    self.wanted = true;
                }
                room = has_room(&self.out), if self.wanted => {
                    if !room {
                        return Ok(());
                    }
                    self.pump().await?;
                }
                message = inbound.next() => match message.transpose()? {
                    Some(message) => {
                        let batch = Batch::of(message, inbound).await;
                        self.take_all(batch.messages).await?;
                        if let Some(end) = batch.end {
                            return end;
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Sends one message, or gives the session up: where the node does not
    /// read, or the session is to end.
    async fn send(&self, message: Message) -> Result<(), Status> {
        let message = Ok(ControllerMessage {
            message: Some(message),
        });
        tokio::select! {
            biased;
            sent = self.out.send_timeout(message, SEND_TIMEOUT) => {
                sent.map_err(|_| Status::aborted("the node is gone or does not read its session"))
            }
            () = self.seat.ended() => Err(Status::aborted("the session was ended")),
        }
    }

    /// The node's token, before half of its life is over.
    async fn renew(&mut self) -> Result<(), Status> {
        let record = self.node.record();
        let (token, expires) = self.controller.tokens.issue(
            self.node.id,
            record.role,
            &record.capabilities,
            time::now(),
        )?;
        self.renew_at = Instant::now() + self.controller.tokens.ttl() / 2;
        self.send(Message::TokenRenewal(
            aegis_proto::worker::v1::TokenRenewal {
                node_security_token: token,
                expires_at: Some(prost_types::Timestamp {
                    seconds: expires,
                    nanos: 0,
                }),
            },
        ))
        .await
    }
}

/// Waits for room on the way to the node; `false` where there is no way any more.
async fn has_room(out: &mpsc::Sender<Result<ControllerMessage, Status>>) -> bool {
    out.reserve().await.is_ok()
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}
