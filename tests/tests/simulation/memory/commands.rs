//! The command queue.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use aegis_controller::{
    command::{Step, is_final},
    store::{
        CommandFilter, CommandRecord, Commands, Due, Finish, Finished, NewAudit, StoreError,
        Submission, Submitted, Window,
    },
    time::Millis,
};
use aegis_proto::{CommandId, GroupId, NodeId, worker::v1::CommandState};
use tonic::async_trait;

use super::{Memory, Row, Tables};

impl Tables {
    /// Of a node, oldest first, without what lists leave out.
    fn of(&self, node: NodeId, wanted: impl Fn(&CommandRecord) -> bool) -> Vec<CommandRecord> {
        let rows = self.commands.values().map(|row| &row.command);
        rows.filter(|command| command.node == node && wanted(command))
            .map(summary)
            .collect()
    }

    fn earlier(&self, request_id: &str, digest: &[u8; 32]) -> Option<Submitted> {
        let (first, group) = self.submissions.get(request_id)?;
        Some(match first == digest {
            true => Submitted::Repeated(*group),
            false => Submitted::Reused,
        })
    }

    fn change(&mut self, id: CommandId) -> Option<&mut Row> {
        self.commands.get_mut(&id).map(Arc::make_mut)
    }

    pub(super) fn end(&mut self, id: CommandId, what: Step, at: Millis) -> bool {
        let Some(row) = self.change(id) else {
            return false;
        };
        let ended = row.command.end(what, at);
        if ended {
            row.ended_at = Some(at);
        }
        ended
    }

    fn finish(&mut self, finish: &Finish) -> Finished {
        let row = self.change(finish.id);
        let Some(row) = row.filter(|row| row.command.node == finish.node) else {
            return Finished::Unknown;
        };
        match finish.settle(summary(&row.command)) {
            Finished::Committed(command) => {
                row.command = CommandRecord {
                    payload: std::mem::take(&mut row.command.payload),
                    ..CommandRecord::clone(&command)
                };
                row.output = finish.output.clone();
                row.ended_at = Some(finish.ended_at);
                Finished::Committed(command)
            }
            Finished::Already(_) => Finished::Already(Box::new(row.command.clone())),
            unchanged => unchanged,
        }
    }
}

fn summary(command: &CommandRecord) -> CommandRecord {
    CommandRecord {
        payload: Vec::new(),
        response: Vec::new(),
        receipt: Vec::new(),
        receipt_signature: Vec::new(),
        receipt_key: Vec::new(),
        ..command.clone()
    }
}

fn is_open(command: &CommandRecord) -> bool {
    !is_final(command.state)
}

fn is_queued(command: &CommandRecord) -> bool {
    command.state == CommandState::Queued
}

fn is_in_hand(command: &CommandRecord) -> bool {
    is_open(command) && !is_queued(command)
}

#[async_trait]
impl Commands for Memory {
    async fn submit(
        &self,
        submission: Arc<Submission>,
        audit: NewAudit,
    ) -> Result<Submitted, StoreError> {
        let insert = |tables: &mut Tables| {
            if let Some(request_id) = &submission.request_id
                && let Some(earlier) = tables.earlier(request_id, &submission.digest)
            {
                return earlier;
            }
            for finish in &submission.superseded {
                if let Finished::Moved(open) = tables.finish(finish) {
                    tables.finish(&finish.late(&open));
                }
            }
            for command in &submission.commands {
                let row = Row {
                    command: command.clone(),
                    output: Vec::new(),
                    ended_at: None,
                };
                tables.commands.insert(command.id, Arc::new(row));
            }
            if let Some(request_id) = &submission.request_id {
                let made = (submission.digest, submission.group);
                tables.submissions.insert(request_id.clone(), made);
            }
            Submitted::Made
        };
        let submitted = self.durable(insert).await;
        if submitted == Submitted::Made {
            self.note(&audit);
        }
        Ok(submitted)
    }

    async fn submitted(
        &self,
        request_id: &str,
        digest: &[u8; 32],
    ) -> Result<Option<Submitted>, StoreError> {
        Ok(self.read(|tables| tables.earlier(request_id, digest)).await)
    }

    async fn command(&self, id: CommandId) -> Result<Option<CommandRecord>, StoreError> {
        Ok(self
            .read(|tables| tables.commands.get(&id).map(|row| row.command.clone()))
            .await)
    }

    async fn command_ids(&self, prefix: &str, limit: u32) -> Result<Vec<CommandId>, StoreError> {
        let ids = |tables: &Tables| {
            let ids = tables.commands.keys().copied();
            ids.filter(|id| id.to_string().starts_with(prefix))
                .take(limit as usize)
                .collect()
        };
        Ok(self.read(ids).await)
    }

    async fn output(&self, id: CommandId) -> Result<Vec<u8>, StoreError> {
        let output = self.read(|tables| tables.commands.get(&id).map(|row| row.output.clone()));
        Ok(output.await.unwrap_or_default())
    }

    async fn list(&self, filter: &CommandFilter) -> Result<Vec<CommandRecord>, StoreError> {
        let is_wanted = |command: &CommandRecord| {
            let nodes = filter.nodes.as_ref();
            nodes.is_none_or(|nodes| nodes.contains(&command.node))
                && (filter.states.is_empty() || filter.states.contains(&command.state))
                && filter.group.is_none_or(|group| group == command.group)
                && filter.before.is_none_or(|before| command.id < before)
        };
        let list = |tables: &Tables| {
            let newest_first = tables.commands.values().rev().map(|row| &row.command);
            newest_first
                .filter(|command| is_wanted(command))
                .take(filter.limit as usize)
                .map(summary)
                .collect()
        };
        Ok(self.read(list).await)
    }

    async fn group(&self, group: GroupId) -> Result<Vec<CommandRecord>, StoreError> {
        let group = |tables: &Tables| {
            let all = tables.commands.values().map(|row| &row.command);
            all.filter(|command| command.group == group)
                .cloned()
                .collect()
        };
        Ok(self.read(group).await)
    }

    async fn open(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError> {
        Ok(self.read(|tables| tables.of(node, is_open)).await)
    }

    async fn open_named(&self, node: NodeId, name: &str) -> Result<Vec<CommandRecord>, StoreError> {
        let wanted = |command: &CommandRecord| is_open(command) && command.name == name;
        Ok(self.read(|tables| tables.of(node, wanted)).await)
    }

    async fn in_hand(&self, node: NodeId) -> Result<Vec<CommandRecord>, StoreError> {
        Ok(self.read(|tables| tables.of(node, is_in_hand)).await)
    }

    async fn queued(&self, node: NodeId) -> Result<HashSet<CommandId>, StoreError> {
        let queued = self.read(|tables| tables.of(node, is_queued)).await;
        Ok(queued.iter().map(|command| command.id).collect())
    }

    async fn due(
        &self,
        node: NodeId,
        now: Millis,
        window: &Window,
        limit: usize,
    ) -> Result<Due, StoreError> {
        Ok(self
            .read(|tables| due(&tables.of(node, is_open), now, window, limit))
            .await)
    }

    async fn open_count(&self, node: NodeId) -> Result<u32, StoreError> {
        let open = self.read(|tables| tables.of(node, is_open).len()).await;
        Ok(u32::try_from(open).expect("few"))
    }

    async fn open_counts(&self) -> Result<HashMap<NodeId, u32>, StoreError> {
        let counts = |tables: &Tables| {
            let mut counts = HashMap::new();
            for row in tables.commands.values().filter(|row| is_open(&row.command)) {
                *counts.entry(row.command.node).or_default() += 1;
            }
            counts
        };
        Ok(self.read(counts).await)
    }

    async fn advance(
        &self,
        node: NodeId,
        steps: &[(CommandId, Step)],
        at: Millis,
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let advance = |tables: &mut Tables| {
            let mut of_each = Vec::<(CommandId, Vec<Step>)>::new();
            for (id, step) in steps {
                match of_each.iter_mut().find(|(one, _)| one == id) {
                    Some((_, all)) => all.push(*step),
                    None => of_each.push((*id, vec![*step])),
                }
            }
            let mut changed = Vec::new();
            for (id, steps) in of_each {
                let Some(row) = tables.change(id).filter(|row| row.command.node == node) else {
                    continue;
                };
                let mut track = row.command.track();
                let takes = |step: &Step| track.take(*step, at);
                if steps.iter().map(takes).filter(|taken| *taken).count() == 0 {
                    continue;
                }
                row.command.set_track(track);
                changed.push(match steps.contains(&Step::Deliver) {
                    true => row.command.clone(),
                    false => summary(&row.command),
                });
            }
            changed
        };
        Ok(match steps.iter().any(|(_, step)| *step == Step::Deliver) {
            true => self.durable(advance).await,
            false => self.relaxed(advance).await,
        })
    }

    async fn finish(&self, finishes: Vec<Finish>) -> Result<Vec<Finished>, StoreError> {
        let finish = |tables: &mut Tables| {
            let all = finishes.iter();
            all.map(|finish| tables.finish(finish)).collect()
        };
        Ok(self.durable(finish).await)
    }

    async fn request_cancel(
        &self,
        id: CommandId,
        reason: &str,
        at: Millis,
        audit: &NewAudit,
    ) -> Result<Option<CommandRecord>, StoreError> {
        let cancel = |tables: &mut Tables| {
            let row = tables.change(id)?;
            if row.command.cancel(reason, at) {
                row.ended_at = row.command.finished_at;
            }
            Some(summary(&row.command))
        };
        let cancelled = self.durable(cancel).await;
        if cancelled.is_some() {
            self.note(audit);
        }
        Ok(cancelled)
    }

    async fn expire(&self, now: Millis, limit: u32) -> Result<Vec<CommandId>, StoreError> {
        let past = |tables: &Tables| -> Vec<CommandId> {
            let all = tables.commands.values().map(|row| &row.command);
            all.filter(|command| is_queued(command) && command.start_by.is_some_and(|by| by <= now))
                .map(|command| command.id)
                .take(limit as usize)
                .collect()
        };
        let past = self.read(past).await;
        if past.is_empty() {
            return Ok(past);
        }
        let expire = |tables: &mut Tables| {
            let mut expired = past;
            expired.retain(|id| tables.end(*id, Step::Expire, now));
            expired
        };
        Ok(self.durable(expire).await)
    }

    async fn ended_beyond(&self, keep: u32) -> Result<Option<Millis>, StoreError> {
        let mut ends: Vec<_> = self
            .read(|tables| {
                let rows = tables.commands.values();
                rows.filter_map(|row| row.ended_at).collect()
            })
            .await;
        ends.sort_unstable_by(|one: &Millis, other| other.cmp(one));
        Ok(ends.get(keep as usize).copied())
    }

    async fn prune_commands(&self, before: Millis, most: u32) -> Result<u32, StoreError> {
        let over = |tables: &Tables| {
            let rows = tables.commands.values();
            let over = rows.filter_map(|row| Some((row.ended_at?, row.command.id)));
            let mut over: Vec<_> = over.filter(|(at, _)| *at < before).collect();
            over.sort_unstable();
            over.truncate(most as usize);
            over
        };
        let over = self.read(over).await;
        if over.is_empty() {
            return Ok(0);
        }
        let pruned = u32::try_from(over.len()).expect("few");
        self.relaxed(|tables| {
            for (_, id) in over {
                tables.commands.remove(&id);
            }
            let commands = &tables.commands;
            tables
                .submissions
                .retain(|_, (_, group)| commands.values().any(|row| row.command.group == *group));
        })
        .await;
        Ok(pruned)
    }
}

fn due(open: &[CommandRecord], now: Millis, window: &Window, limit: usize) -> Due {
    let mut due = Due::default();
    let mut in_hand: HashMap<&str, usize> = HashMap::new();
    let mut queued: BTreeMap<&str, Vec<&CommandRecord>> = BTreeMap::new();
    for command in open {
        if is_queued(command) {
            queued.entry(&command.name).or_default().push(command);
            continue;
        }
        *in_hand.entry(&command.name).or_default() += 1;
        if command.cancel_requested {
            due.cancel.push((command.id, command.cancel_reason.clone()));
        }
    }
    for (name, queued) in queued {
        let room = window.room(name, in_hand.get(name).copied().unwrap_or(0));
        if room == 0 {
            due.held_back = true;
            continue;
        }
        let most = limit.min(room).saturating_add(1);
        let later = queued.iter().filter_map(|command| command.not_before);
        let later = later.filter(|at| *at > now).min();
        due.next = due.next.into_iter().chain(later).min();
        let in_time = queued
            .iter()
            .filter(|command| command.start_by.is_none_or(|by| by > now));
        let (prompt, timed): (Vec<&CommandRecord>, Vec<&CommandRecord>) =
            in_time.partition(|command| command.not_before.is_none());
        let mut timed: Vec<_> = timed
            .into_iter()
            .filter(|command| command.not_before.is_some_and(|at| at <= now))
            .collect();
        timed.sort_unstable_by_key(|command| (command.not_before, command.id));
        let oldest = prompt.into_iter().take(most);
        let mut ripe: Vec<_> = oldest
            .chain(timed.into_iter().take(most))
            .map(|command| command.id)
            .collect();
        ripe.sort_unstable();
        ripe.truncate(most);
        if ripe.len() > room {
            due.held_back = true;
            ripe.truncate(room);
        }
        due.deliver.extend(ripe);
    }
    due.deliver.sort_unstable();
    due.more = due.deliver.len() > limit;
    due.deliver.truncate(limit);
    due
}
