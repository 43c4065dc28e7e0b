//! What a session sends of its own accord: commands, cancels, config offers.

use std::time::Duration;

use aegis_proto::{
    CommandId,
    worker::v1::{CancelCommand, Command, CommandState, ConfigOffer, controller_message::Message},
};
use tokio::time::Instant;
use tonic::Status;

use super::{Session, reconcile::may_be_lost};
use crate::{
    allow_list::NotAllowed,
    cluster::{FIXED, decode_push},
    command::{FinalState, Step},
    kill_point::kill_point,
    store::{CommandRecord, Window},
    time::{self, proto_duration, timestamp},
};

/// Commands are held back until this part of the window has ended: what is asked
/// for each time does not have to be asked for each command.
const REFILL: usize = 6;

/// The wall clock may jump while a session waits for a command's time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Session {
    /// Sends the next commands whose time has come, and every new cancel, as
    /// far as there is room on the way to the node.
    pub(super) async fn pump(&mut self) -> Result<(), Status> {
        let mut room = self.out.capacity().max(1);
        let window = Window {
            each: self.controller.settings.window,
            exempt: &FIXED,
        };
        let now = time::now();
        let due = self
            .controller
            .store
            .due(self.node.id, now, &window, room)
            .await?;
        self.wanted = due.more;
        for (id, reason) in due.cancel {
            if self.cancels.contains(&id) {
                continue;
            }
            if room == 0 {
                self.wanted = true;
                break;
            }
            room -= 1;
            self.cancels.insert(id);
            let cancel = CancelCommand {
                command_id: id.to_string(),
                reason,
            };
            self.send(Message::Cancel(cancel)).await?;
        }
        let fit = due.deliver.len().min(room);
        self.wanted |= fit < due.deliver.len();
        self.deliver(&due.deliver[..fit]).await?;
        self.held_back = due.held_back;
        self.made_room = 0;
        self.next_due = due.next.map(|at| {
            let wait = Duration::from_millis(u64::try_from(at - now).unwrap_or(0));
            Instant::now() + wait.min(LONGEST_WAIT)
        });
        Ok(())
    }

    /// This many commands of this node have ended.
    pub(super) fn make_room(&mut self, ended: usize) {
        self.made_room += ended;
        let enough = (self.controller.settings.window / REFILL).max(1);
        self.wanted |= self.held_back && self.made_room >= enough;
    }

    /// Marks commands as delivered, then sends them. Those that were cancelled
    /// or have expired in the meantime are not sent.
    pub(super) async fn deliver(&mut self, ids: &[CommandId]) -> Result<(), Status> {
        if ids.is_empty() {
            return Ok(());
        }
        let watchers = &self.controller.watchers;
        for id in ids {
            // What was told after an earlier delivery is over.
            watchers.forget(*id);
            watchers.begin(*id);
        }
        let steps: Vec<_> = ids.iter().map(|id| (*id, Step::Deliver)).collect();
        let advanced = self.controller.advance_all(self.node.id, &steps).await;
        let sent = advanced.as_deref().unwrap_or_default();
        for id in ids {
            if !sent.iter().any(|command| command.id == *id) {
                watchers.forget(*id);
            }
        }
        for command in advanced? {
            if let Err(why) = self.controller.allowed(&self.node, &command.name) {
                self.refuse(&command, &why).await?;
                continue;
            }
            self.mine.insert(command.id);
            if command.name == "push-config" {
                // Its outcome says what became of this version; no offer repeats it.
                self.offered = decode_push(&command.payload).map(|(version, _)| version);
            }
            self.send(Message::Command(on_the_wire(command))).await?;
            kill_point!("deliver.sent");
        }
        Ok(())
    }

    /// Ends a command that this node may not be sent any more: its plugin, or
    /// what operators say of that, has changed since the command was given.
    async fn refuse(&mut self, command: &CommandRecord, why: &NotAllowed) -> Result<(), Status> {
        let lost_its_journal = || {
            let record = self.node.record();
            let hello = record.facts.as_ref();
            hello.is_some_and(|hello| may_be_lost(command, hello))
        };
        let (state, error) = if command.state >= CommandState::Accepted {
            let lost = "its worker lost it after it was accepted, and it is not sent again";
            (FinalState::Unknown, why.error(lost))
        } else if command.delivery > 1 && lost_its_journal() {
            let lost = "its worker lost its journal after it was sent, and it is not sent again";
            (FinalState::Unknown, why.error(lost))
        } else {
            (FinalState::Rejected, why.error("not sent"))
        };
        self.controller.derive(command, state, Some(error)).await?;
        Ok(())
    }

    /// Offers the config that the layers give this node, unless it has it, has
    /// refused it, or a push of it is under way.
    pub(super) async fn offer_config(&mut self) -> Result<(), Status> {
        let record = self.node.record();
        let status = record.config_status.clone().unwrap_or_default();
        let stack = self.controller.layers.load();
        let Some(wanted) = stack.wanted(
            self.node.id,
            &record.capabilities.tags,
            &status.active_version,
        ) else {
            return Ok(());
        };
        let refused = status.attempted_version == wanted.version && !status.attempt_succeeded;
        if refused || self.offered.as_ref() == Some(&wanted.version) {
            return Ok(());
        }
        let store = &self.controller.store;
        if !store
            .open_named(self.node.id, "push-config")
            .await?
            .is_empty()
        {
            return Ok(());
        }
        self.offered = Some(wanted.version.clone());
        self.send(Message::ConfigOffer(ConfigOffer {
            config_version: wanted.version,
            config_payload: wanted.document,
        }))
        .await
    }
}

fn on_the_wire(command: CommandRecord) -> Command {
    Command {
        command_id: command.id.to_string(),
        name: command.name,
        payload: command.payload,
        not_before: command.not_before.map(timestamp),
        start_by: command.start_by.map(timestamp),
        timeout: command
            .timeout_ms
            .map(|ms| proto_duration(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))),
        issuer: command.issuer,
        traceparent: command.traceparent,
        delivery: command.delivery,
    }
}
