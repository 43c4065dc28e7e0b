//! WatchCommands: what is kept first, then what happens, until every watched
//! command has ended.

use std::{collections::BTreeMap, sync::Arc};

use aegis_proto::{
    CommandId, GroupId,
    limits::MAX_CHUNK_BYTES,
    operator::v1::{self as api, command_event::Event},
    worker::v1::OutputChunk,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Events, OperatorApi, commands::malformed};
use crate::{
    command::is_final,
    controller::Controller,
    store::CommandRecord,
    watch::{Changed, Position, Watch},
};

/// Events on their way to a watcher.
const WATCH_QUEUE: usize = 16;

/// Commands of one watch.
const MAX_WATCHED: usize = 10_000;

/// One watcher.
struct Watcher {
    controller: Arc<Controller>,
    watch: Watch,
    /// The commands that have not ended, and how much of their output was told.
    open: BTreeMap<CommandId, Position>,
    out: mpsc::Sender<Result<api::CommandEvent, Status>>,
}

/// The watcher went away.
struct Gone;

impl OperatorApi {
    pub(super) async fn command_events(
        &self,
        request: api::WatchCommandsRequest,
    ) -> Result<Events<api::CommandEvent>, Status> {
        let ids = self.watched(request).await?;
        let (out, events) = mpsc::channel(WATCH_QUEUE);
        // Watched before the first look, so that nothing falls in between.
        let watch = self.controller.watchers.watch(ids.clone());
        let watcher = Watcher {
            controller: Arc::clone(&self.controller),
            watch,
            open: ids
                .into_iter()
                .map(|id| (id, Position::default()))
                .collect(),
            out,
        };
        self.controller.tasks.spawn(watcher.run());
        Ok(Box::pin(ReceiverStream::new(events)))
    }

    async fn watched(&self, request: api::WatchCommandsRequest) -> Result<Vec<CommandId>, Status> {
        if request.command_ids.len() > MAX_WATCHED {
            return Err(Status::invalid_argument(format!(
                "at most {MAX_WATCHED} commands at once"
            )));
        }
        let mut ids = Vec::new();
        for id in &request.command_ids {
            ids.push(self.controller.find_command(id).await?);
        }
        if !request.group_id.is_empty() {
            let group: GroupId = request.group_id.parse().map_err(malformed)?;
            ids.extend(
                self.controller
                    .store
                    .group(group)
                    .await?
                    .iter()
                    .map(|command| command.id),
            );
        }
        if ids.is_empty() {
            return Err(Status::not_found(
                "there is no such command or group; see aegisctl commands for those there are",
            ));
        }
        Ok(ids)
    }
}

impl Watcher {
    async fn run(mut self) {
        let controller = Arc::clone(&self.controller);
        let out = self.out.clone();
        tokio::select! {
            () = controller.stopping.cancelled() => {
                let status = Status::unavailable("the controller is stopping; watch again");
                // The watcher may be gone already.
                let _ = out.try_send(Err(status));
            }
            () = out.closed() => {}
            _ = self.follow() => {}
        }
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        let all = Changed {
            state: true,
            progress: false,
            output: true,
        };
        let mut changed: BTreeMap<_, _> = self.open.keys().map(|id| (*id, all)).collect();
        loop {
            for (id, what) in changed {
                if self.open.contains_key(&id) {
                    self.tell(id, what).await?;
                }
            }
            if self.open.is_empty() {
                return Ok(());
            }
            changed = self.watch.changed().await;
        }
    }

    async fn tell(&mut self, id: CommandId, what: Changed) -> Result<(), Gone> {
        let read = if what.state {
            self.controller.store.command(id).await
        } else {
            Ok(None)
        };
        let command = match read {
            Ok(command) => command,
            Err(error) => {
                let _ = self.out.send(Err(error.into())).await;
                return Err(Gone);
            }
        };
        let ended = command
            .as_ref()
            .is_some_and(|command| is_final(command.state));
        // A handler's last words come before its end.
        if what.progress
            && !ended
            && let Some(progress) = self.controller.watchers.progress(id)
        {
            self.send(id, Event::Progress(progress), 0).await?;
        }
        if let Some(command) = command.as_ref().filter(|_| ended) {
            self.tell_kept_output(command).await?;
        } else if what.output {
            self.tell_output(id).await?;
        }
        if let Some(command) = command {
            let view = self.controller.command_view(command);
            self.send(id, Event::Command(view), 0).await?;
        }
        if ended {
            self.open.remove(&id);
        }
        Ok(())
    }

    /// What a running command has written since.
    async fn tell_output(&mut self, id: CommandId) -> Result<(), Gone> {
        loop {
            let told = self.told(id);
            let output = self.controller.watchers.output(id, told, MAX_CHUNK_BYTES);
            let Some((end, chunk)) = output else {
                return Ok(());
            };
            self.tell_chunk(id, end, chunk).await?;
        }
    }

    /// What is left of an ended command's output. The kept output is what was
    /// told in chunks, from the first one on; a node that left some out in
    /// between tells more by chunks than it keeps.
    async fn tell_kept_output(&mut self, command: &CommandRecord) -> Result<(), Gone> {
        let (id, attempt) = (command.id, command.attempt);
        let told = self.told(id).in_attempt(attempt);
        if told.offset >= command.output_bytes {
            return Ok(());
        }
        let Ok(output) = self.controller.store.output(id).await else {
            return Ok(());
        };
        let rest = output
            .get(usize::try_from(told.offset).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let mut offset = told.offset;
        for data in rest.chunks(MAX_CHUNK_BYTES) {
            let chunk = OutputChunk {
                offset,
                data: data.to_vec(),
            };
            offset += data.len() as u64;
            self.tell_chunk(id, Position { attempt, offset }, chunk)
                .await?;
        }
        Ok(())
    }

    fn told(&self, id: CommandId) -> Position {
        self.open.get(&id).copied().unwrap_or_default()
    }

    async fn tell_chunk(
        &mut self,
        id: CommandId,
        end: Position,
        chunk: OutputChunk,
    ) -> Result<(), Gone> {
        self.open.insert(id, end);
        self.send(id, Event::Output(chunk), end.attempt).await
    }

    async fn send(&self, id: CommandId, event: Event, attempt: u32) -> Result<(), Gone> {
        let event = api::CommandEvent {
            command_id: id.to_string(),
            event: Some(event),
            attempt,
        };
        self.out.send(Ok(event)).await.map_err(|_| Gone)
    }
}
