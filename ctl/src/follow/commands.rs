//! Following commands to their outcomes.

use std::{collections::HashMap, time::Duration};

use aegis_proto::{
    operator::v1::{CommandEvent, CommandView, WatchCommandsRequest, command_event::Event},
    worker::v1::{OutputChunk, Progress},
};
use tonic::Status;

use super::{is_final, pause};
use crate::{
    connection::{CallError, Connection},
    document::Command,
    failure::Failure,
    retry::Retry,
};

/// How long the stream may take to end once all commands have outcomes.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Something that happened to a command.
#[derive(Debug)]
pub enum Update<'a> {
    /// Its first sight, or a change of its state.
    State(&'a Command),
    Progress(&'a Command, Progress),
    /// A part of its output that was not seen before.
    Output(&'a Command, &'a [u8]),
}

/// Commands that are followed, and what is known of them.
pub struct CommandWatch<'a> {
    connection: &'a Connection,
    commands: Vec<Followed>,
    index: HashMap<String, usize>,
    keeps_output: bool,
}

struct Followed {
    command: Command,
    seen: bool,
    /// The offset behind the last byte of output that was passed on.
    position: u64,
    output: Vec<u8>,
}

impl<'a> CommandWatch<'a> {
    /// Of commands as the controller showed them.
    pub fn new(connection: &'a Connection, commands: Vec<CommandView>) -> Self {
        let index = commands.iter().enumerate();
        Self {
            connection,
            index: index
                .map(|(at, command)| (command.command_id.clone(), at))
                .collect(),
            commands: commands.into_iter().map(Followed::new).collect(),
            keeps_output: false,
        }
    }

    /// Keeps each command's output beside it.
    #[must_use]
    pub fn keep_output(mut self, keep: bool) -> Self {
        self.keeps_output = keep;
        self
    }

    /// The commands as they were last seen.
    pub fn into_commands(self) -> Vec<Command> {
        let commands = self.commands.into_iter();
        commands
            .map(|it| {
                if it.output.is_empty() {
                    it.command
                } else {
                    it.command.with_output(&it.output)
                }
            })
            .collect()
    }

    /// Passes on what happens until every command has an outcome.
    pub async fn run(
        &mut self,
        mut update: impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut retry = Retry::default();
        while let Err(error) = self.stream(&mut retry, &mut update).await? {
            pause(&mut retry, error).await?;
        }
        Ok(())
    }

    /// One stream; the inner error is one that may go away.
    async fn stream(
        &mut self,
        retry: &mut Retry,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<Result<(), CallError>, Failure> {
        if self.commands.is_empty() {
            return Ok(Ok(()));
        }
        let opened = self
            .connection
            .call(
                "follow the commands",
                self.request(),
                |mut client, request| async move { client.watch_commands(request).await },
            )
            .await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let next = if self.is_done() {
                match tokio::time::timeout(LAST_EVENTS, stream.message()).await {
                    Ok(next) => next,
                    Err(_) => return Ok(Ok(())),
                }
            } else {
                stream.message().await
            };
            match next {
                Ok(Some(event)) => {
                    retry.succeeded();
                    self.take(event, update)?;
                }
                // With every outcome known, it does not matter how it ended.
                _ if self.is_done() => return Ok(Ok(())),
                Ok(None) => {
                    let status = Status::unavailable("the controller ended the stream");
                    return Ok(Err(self.connection.refused("follow the commands", status)));
                }
                Err(status) => {
                    return Ok(Err(self.connection.refused("follow the commands", status)));
                }
            }
        }
    }

    fn request(&self) -> WatchCommandsRequest {
        // A group is named by its id: a thousand command ids are a long request.
        let group = self
            .commands
            .first()
            .and_then(|it| it.command.group_id.clone());
        match group {
            Some(group_id) if self.commands.len() > 1 => WatchCommandsRequest {
                group_id,
                command_ids: Vec::new(),
            },
            _ => WatchCommandsRequest {
                group_id: String::new(),
                command_ids: self
                    .commands
                    .iter()
                    .map(|it| it.command.command_id.clone())
                    .collect(),
            },
        }
    }

    fn is_done(&self) -> bool {
        self.commands
            .iter()
            .all(|it| it.command.is_final && it.seen)
    }

    fn take(
        &mut self,
        event: CommandEvent,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(followed) = self
            .index
            .get(&event.command_id)
            .and_then(|at| self.commands.get_mut(*at))
        else {
            return Ok(());
        };
        match event.event {
            Some(Event::Command(view)) => {
                let final_now = is_final(view.state());
                let command = Command::from(view);
                // A snapshot that is older than what is known changes nothing.
                if followed.command.is_final && !final_now {
                    return Ok(());
                }
                let changed = !followed.seen || command.state != followed.command.state;
                followed.command = command;
                followed.seen = true;
                if changed {
                    update(Update::State(&followed.command))
                } else {
                    Ok(())
                }
            }
            Some(Event::Progress(progress)) => {
                update(Update::Progress(&followed.command, progress))
            }
            Some(Event::Output(chunk)) => followed.output(&chunk, self.keeps_output, update),
            // Of a newer controller.
            None => Ok(()),
        }
    }
}

impl Followed {
    fn new(view: CommandView) -> Self {
        Self {
            command: view.into(),
            seen: false,
            position: 0,
            output: Vec::new(),
        }
    }

    /// Passes on what of a chunk is new: after a reconnect the controller
    /// begins again with what it kept.
    fn output(
        &mut self,
        chunk: &OutputChunk,
        keep: bool,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let known =
            usize::try_from(self.position.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let Some(new) = chunk.data.get(known..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        self.position = chunk.offset.saturating_add(chunk.data.len() as u64);
        if keep {
            self.output.extend_from_slice(new);
        }
        update(Update::Output(&self.command, new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(chunks: &[(u64, &str)]) -> String {
        let mut followed = Followed::new(CommandView::default());
        let mut shown = Vec::new();
        for (offset, data) in chunks {
            let chunk = OutputChunk {
                offset: *offset,
                data: data.as_bytes().to_vec(),
            };
            followed
                .output(&chunk, true, &mut |update| {
                    if let Update::Output(_, new) = update {
                        shown.extend_from_slice(new);
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(shown, followed.output);
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn output_that_comes_again_is_shown_once() {
        assert_eq!(
            shown(&[(0, "abc"), (3, "def"), (0, "abc"), (3, "def"), (6, "g")]),
            "abcdefg"
        );
        assert_eq!(shown(&[(0, "abc"), (1, "bcde")]), "abcde");
    }

    #[test]
    fn output_with_a_part_cut_out_goes_on_behind_it() {
        assert_eq!(
            shown(&[(0, "abc"), (10, "xyz"), (10, "xyz"), (u64::MAX, "!")]),
            "abcxyz!"
        );
    }
}
