//! A connection. What was said and has not arrived waits in the channels of
//! either end, and arrives when the schedule has it arrive.

use std::collections::VecDeque;

use aegis_controller::simulation::Ends;
use aegis_proto::worker::v1::{
    ControllerMessage, WorkerMessage, controller_message, worker_message,
};
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::JoinHandle,
};
use tonic::Status;

/// Messages that either end takes in before it has to read them.
pub const ROOM: usize = 64;

/// The worker's own.
pub const OUTBOUND: usize = 16;

/// Of each end's messages, those that may come a second time.
const COPIES: usize = 8;

pub struct Link {
    /// What the worker said, and where it goes; `None`: the controller's end
    /// is gone.
    said_by_worker: mpsc::Receiver<WorkerMessage>,
    to_controller: Option<mpsc::Sender<Result<WorkerMessage, Status>>>,
    said_by_controller: mpsc::Receiver<Result<ControllerMessage, Status>>,
    to_worker: Option<mpsc::Sender<Result<ControllerMessage, Status>>>,
    pub session: JoinHandle<String>,
    /// What came before and may come again, on this connection.
    came_up: VecDeque<WorkerMessage>,
    came_down: VecDeque<ControllerMessage>,
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrived {
    Nothing,
    /// As people read it.
    Message(String),
    End,
}

impl Link {
    pub fn new(
        ends: Ends,
        said_by_worker: mpsc::Receiver<WorkerMessage>,
        to_worker: mpsc::Sender<Result<ControllerMessage, Status>>,
        session: JoinHandle<String>,
    ) -> Self {
        Self {
            said_by_worker,
            to_controller: Some(ends.to),
            said_by_controller: ends.from,
            to_worker: Some(to_worker),
            session,
            came_up: VecDeque::new(),
            came_down: VecDeque::new(),
        }
    }

    pub fn is_open_to_controller(&self) -> bool {
        self.to_controller.is_some()
    }

    pub fn is_open_to_worker(&self) -> bool {
        self.to_worker.is_some()
    }

    pub fn is_over(&self) -> bool {
        self.to_controller.is_none() && self.to_worker.is_none()
    }

    /// The worker notices that the connection is broken.
    pub fn worker_notices(&mut self) {
        self.to_worker = None;
    }

    pub fn controller_notices(&mut self) {
        self.to_controller = None;
    }

    /// The next message of the worker arrives.
    pub fn deliver_up(&mut self) -> Arrived {
        let Some(to) = self.to_controller.as_ref().filter(|to| to.capacity() > 0) else {
            return Arrived::Nothing;
        };
        match self.said_by_worker.try_recv() {
            Ok(message) => {
                let shown = show_up(&message);
                if !matches!(message.message, Some(worker_message::Message::Hello(_))) {
                    keep(&mut self.came_up, &message);
                }
                if to.try_send(Ok(message)).is_err() {
                    self.to_controller = None;
                }
                Arrived::Message(shown)
            }
            Err(TryRecvError::Empty) => Arrived::Nothing,
            Err(TryRecvError::Disconnected) => {
                self.to_controller = None;
                Arrived::End
            }
        }
    }

    /// The next message of the controller arrives.
    pub fn deliver_down(&mut self) -> Arrived {
        let Some(to) = self.to_worker.as_ref().filter(|to| to.capacity() > 0) else {
            return Arrived::Nothing;
        };
        match self.said_by_controller.try_recv() {
            Ok(message) => {
                let shown = message
                    .as_ref()
                    .map_or_else(|status| format!("status: {}", status.message()), show_down);
                if let Ok(message) = &message
                    && may_come_twice(message)
                {
                    keep(&mut self.came_down, message);
                }
                if to.try_send(message).is_err() {
                    self.to_worker = None;
                }
                Arrived::Message(shown)
            }
            Err(TryRecvError::Empty) => Arrived::Nothing,
            Err(TryRecvError::Disconnected) => {
                self.to_worker = None;
                Arrived::End
            }
        }
    }

    /// Something that was said before comes again.
    pub fn repeat_up(&self, which: usize) -> Option<String> {
        let message = self.came_up.get(which)?;
        let sent = self.to_controller.as_ref()?.try_send(Ok(message.clone()));
        sent.is_ok().then(|| show_up(message))
    }

    pub fn repeat_down(&self, which: usize) -> Option<String> {
        let message = self.came_down.get(which)?;
        let sent = self.to_worker.as_ref()?.try_send(Ok(message.clone()));
        sent.is_ok().then(|| show_down(message))
    }
}

/// What is said of the session itself is not repeated: that is the transport's
/// promise.
fn may_come_twice(message: &ControllerMessage) -> bool {
    use controller_message::Message;
    matches!(
        message.message,
        Some(Message::Command(_) | Message::Cancel(_) | Message::ResultAck(_))
    )
}

fn keep<T: Clone>(copies: &mut VecDeque<T>, message: &T) {
    if copies.len() == COPIES {
        copies.pop_front();
    }
    copies.push_back(message.clone());
}

fn show_up(message: &WorkerMessage) -> String {
    use worker_message::Message;
    match &message.message {
        Some(Message::Hello(_)) => "hello".to_owned(),
        Some(Message::Heartbeat(heartbeat)) => format!("heartbeat {:?}", heartbeat.status()),
        Some(Message::CommandUpdate(update)) => {
            let id = short(&update.command_id);
            format!("update {id} {:?}", update.update)
        }
        Some(Message::CommandResult(result)) => {
            use prost::Message as _;
            let receipt = aegis_proto::worker::v1::Receipt::decode(result.receipt.as_slice());
            let receipt = receipt.expect("a receipt");
            let code = result.error.as_ref().map_or("", |error| &error.code);
            let id = short(&receipt.command_id);
            format!("result {id} {:?} {code}", receipt.state())
        }
        _ => "something else".to_owned(),
    }
}

fn show_down(message: &ControllerMessage) -> String {
    use controller_message::Message;
    match &message.message {
        Some(Message::Challenge(_)) => "challenge".to_owned(),
        Some(Message::Welcome(_)) => "welcome".to_owned(),
        Some(Message::Command(command)) => {
            let id = short(&command.command_id);
            format!(
                "command {id} {} delivery {}",
                command.name, command.delivery
            )
        }
        Some(Message::Cancel(cancel)) => format!("cancel {}", short(&cancel.command_id)),
        Some(Message::ResultAck(ack)) => {
            let ids: Vec<_> = ack.command_ids.iter().map(|id| short(id)).collect();
            format!("acknowledged {}", ids.join(" "))
        }
        Some(Message::Bye(bye)) => format!("bye {:?}", bye.reason()),
        _ => "something else".to_owned(),
    }
}

/// The part of an id that differs within a schedule.
pub fn short(id: &str) -> &str {
    id.get(4..18).unwrap_or(id)
}
