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
    document::{Command, some},
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
    /// A part of its output that was not seen before, and its offset.
    Output(&'a Command, u64, &'a [u8]),
    /// So many bytes of its output are missing before the next part: they were
    /// not kept.
    Gap(&'a Command, u64),
    /// Its handler was begun again, after what ran it ended: so is its output.
    Attempt(&'a Command, u32),
}

/// Commands that are followed, and what is known of them.
pub struct CommandWatch<'a> {
    connection: &'a Connection,
    commands: Vec<Followed>,
    index: HashMap<String, usize>,
    /// Named in place of its commands: a thousand ids are a long request.
    group: Option<String>,
    keeps_output: bool,
}

struct Followed {
    command: Command,
    seen: bool,
    /// Which attempt's output is followed; 0 until it is known.
    attempt: u32,
    /// The offset behind the last byte of output that was passed on.
    position: u64,
    /// Passed on, but for the beginning of a character whose rest has not come.
    held: Vec<u8>,
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
            group: None,
            keeps_output: false,
        }
    }

    /// Of all commands of a group.
    pub fn of_group(connection: &'a Connection, group: String, commands: Vec<CommandView>) -> Self {
        Self {
            group: some(group).filter(|_| commands.len() > 1),
            ..Self::new(connection, commands)
        }
    }

    /// Keeps each command's output beside it.
    #[must_use]
    pub fn keep_output(mut self, keep: bool) -> Self {
        self.keeps_output = keep;
        self
    }

    /// Their nodes, in the order of the commands.
    pub fn nodes(&self) -> Vec<String> {
        let commands = self.commands.iter();
        commands.map(|it| it.command.node_id.clone()).collect()
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
        let ids = || self.commands.iter().map(|it| it.command.command_id.clone());
        match &self.group {
            Some(group_id) => WatchCommandsRequest {
                group_id: group_id.clone(),
                command_ids: Vec::new(),
            },
            None => WatchCommandsRequest {
                group_id: String::new(),
                command_ids: ids().collect(),
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
                let progress = view.progress.clone();
                let command = Command::from(view);
                // A snapshot that is older than what is known changes nothing.
                if followed.command.is_final && !final_now {
                    return Ok(());
                }
                let first = !followed.seen;
                let changed = first || command.state != followed.command.state;
                if final_now {
                    followed.pass_on_held(update)?;
                }
                followed.command = command;
                followed.seen = true;
                if changed {
                    update(Update::State(&followed.command))?;
                }
                match progress.filter(|_| first && !final_now) {
                    Some(progress) => update(Update::Progress(&followed.command, progress)),
                    None => Ok(()),
                }
            }
            Some(Event::Progress(progress)) => {
                update(Update::Progress(&followed.command, progress))
            }
            Some(Event::Output(chunk)) => {
                if followed.attempt(event.attempt, update)? {
                    followed.output(&chunk, self.keeps_output, update)?;
                }
                Ok(())
            }
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
            attempt: 0,
            position: 0,
            held: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Whether output of this attempt is still of interest; 0 is an older
    /// controller, which does not say.
    fn attempt(
        &mut self,
        attempt: u32,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        if attempt == 0 || attempt == self.attempt {
            return Ok(true);
        }
        if attempt < self.attempt {
            return Ok(false);
        }
        if std::mem::replace(&mut self.attempt, attempt) > 0 {
            self.pass_on_held(update)?;
            self.position = 0;
            self.output.clear();
            update(Update::Attempt(&self.command, attempt))?;
        }
        Ok(true)
    }

    /// Passes on what of a chunk is new: after a reconnect the controller
    /// begins again with what it kept.
    fn output(
        &mut self,
        chunk: &OutputChunk,
        keep: bool,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let known = self.position.saturating_sub(chunk.offset);
        let new = chunk
            .data
            .get(usize::try_from(known).unwrap_or(usize::MAX)..);
        let Some(new) = new.filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        let missing = chunk.offset.saturating_sub(self.position);
        if missing > 0 {
            self.pass_on_held(update)?;
            update(Update::Gap(&self.command, missing))?;
        }
        self.position = chunk.offset.saturating_add(chunk.data.len() as u64);
        if keep {
            self.output.extend_from_slice(new);
        }
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(new);
        self.held = whole.split_off(whole.len() - begun_character(&whole));
        if whole.is_empty() {
            return Ok(());
        }
        let behind = (whole.len() + self.held.len()) as u64;
        let offset = self.position.saturating_sub(behind);
        update(Update::Output(&self.command, offset, &whole))
    }

    /// Nothing follows on what was held back.
    fn pass_on_held(
        &mut self,
        update: &mut impl FnMut(Update<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        let offset = self.position.saturating_sub(held.len() as u64);
        update(Update::Output(&self.command, offset, &held))
    }
}

/// Bytes at the end that begin a character of UTF-8 and do not end it: chunks
/// are cut wherever a handler happened to write or a limit fell.
fn begun_character(bytes: &[u8]) -> usize {
    for (at, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if at + 1 < length { at + 1 } else { 0 };
    }
    0
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
                    match update {
                        Update::Output(_, _, new) => shown.extend_from_slice(new),
                        Update::Gap(_, missing) => shown.extend(format!("[{missing}]").bytes()),
                        _ => {}
                    }
                    Ok(())
                })
                .unwrap();
        }
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
            "abc[7]xyz[18446744073709551602]!"
        );
        assert_eq!(shown(&[(2, "c"), (3, "d")]), "[2]cd");
    }

    #[test]
    fn output_of_another_attempt_begins_anew() {
        let mut followed = Followed::new(CommandView::default());
        let mut shown = Vec::new();
        for (attempt, offset, data) in [(1, 0, "abc"), (1, 0, "abc"), (2, 0, "xy"), (1, 0, "abc")] {
            let mut update = |update: Update<'_>| {
                match update {
                    Update::Attempt(_, attempt) => shown.push(attempt.to_string()),
                    Update::Output(_, _, new) => shown.push(String::from_utf8_lossy(new).into()),
                    _ => {}
                }
                Ok(())
            };
            let chunk = OutputChunk {
                offset,
                data: data.into(),
            };
            if followed.attempt(attempt, &mut update).unwrap() {
                followed.output(&chunk, true, &mut update).unwrap();
            }
        }
        assert_eq!(shown, ["abc", "2", "xy"]);
        assert_eq!(followed.output, b"xy");
    }

    #[test]
    fn a_character_that_was_cut_is_shown_whole() {
        let text = "zwölf €, 🦀".as_bytes();
        let mut followed = Followed::new(CommandView::default());
        let mut shown: Vec<(u64, String)> = Vec::new();
        let mut update = |update: Update<'_>| {
            if let Update::Output(_, offset, new) = update {
                shown.push((offset, std::str::from_utf8(new).unwrap().to_owned()));
            }
            Ok(())
        };
        for (offset, byte) in text.iter().enumerate() {
            let chunk = OutputChunk {
                offset: offset as u64,
                data: vec![*byte],
            };
            followed.output(&chunk, false, &mut update).unwrap();
        }
        let whole: String = shown.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(whole.as_bytes(), text);
        for (offset, part) in &shown {
            let offset = usize::try_from(*offset).unwrap();
            assert!(whole[offset..].starts_with(part.as_str()));
        }
    }

    #[test]
    fn a_character_that_never_ends_is_passed_on_in_the_end() {
        let mut followed = Followed::new(CommandView::default());
        let mut shown = Vec::new();
        let mut update = |update: Update<'_>| {
            if let Update::Output(_, _, new) = update {
                shown.extend_from_slice(new);
            }
            Ok(())
        };
        let chunk = OutputChunk {
            offset: 0,
            data: b"a\xe2\x82".to_vec(),
        };
        followed.output(&chunk, false, &mut update).unwrap();
        followed.pass_on_held(&mut update).unwrap();
        assert_eq!(shown, b"a\xe2\x82");
        assert_eq!(begun_character(b"\x80\x80\x80"), 0);
        assert_eq!(begun_character(b""), 0);
    }
}
