//! What happens around a change of a command: its watchers are told, its node
//! is woken, its end is logged.

use aegis_proto::{CommandId, NodeId, worker::v1::CommandState};

use crate::{
    command::{FinalState, Step, is_final},
    controller::Controller,
    outcome,
    store::{CommandRecord, Finish, Finished, StoreError},
    time,
};

/// Open commands that one node may have.
pub const MAX_OPEN: u32 = 10_000;

impl Controller {
    /// Takes a step; see [`crate::store::Commands::advance`].
    pub(crate) async fn advance(
        &self,
        node: NodeId,
        id: CommandId,
        step: Step,
    ) -> Result<Option<CommandRecord>, StoreError> {
        Ok(self.advance_all(node, &[(id, step)]).await?.pop())
    }

    /// Takes several at once. Returns the commands that they changed.
    pub(crate) async fn advance_all(
        &self,
        node: NodeId,
        steps: &[(CommandId, Step)],
    ) -> Result<Vec<CommandRecord>, StoreError> {
        let changed = self.store.advance(node, steps, time::now()).await?;
        for command in &changed {
            self.watchers.state_changed(command.id);
        }
        Ok(changed)
    }

    /// Ends a command whose outcome its node told, and tells everybody.
    pub(crate) async fn finish_all(
        &self,
        finishes: Vec<Finish>,
    ) -> Result<Vec<Finished>, StoreError> {
        let finished = self.store.finish(finishes).await?;
        for one in &finished {
            if let Finished::Committed(command) = one {
                self.ended(command).await;
            }
        }
        Ok(finished)
    }

    /// Ends a command for reasons of the controller's own, and tells everybody,
    /// its session included.
    pub(crate) async fn finish(&self, finish: &Finish) -> Result<(), StoreError> {
        self.finish_all(vec![finish.clone()]).await?;
        if let Some(node) = self.directory.find(finish.node) {
            node.wake();
        }
        Ok(())
    }

    /// Ends a command whose outcome the controller derives.
    pub(crate) async fn derive(
        &self,
        command: &CommandRecord,
        state: FinalState,
        error: Option<aegis_proto::worker::v1::CommandError>,
    ) -> Result<(), StoreError> {
        self.finish(&Finish::derived(command, state, error, time::now()))
            .await
    }

    /// A command ended: its watchers and those of its node are told.
    pub(crate) async fn ended(&self, command: &CommandRecord) {
        self.watchers.ended(command.id);
        self.directory.tell(command.node);
        if command.state != CommandState::Succeeded && is_final(command.state) {
            let why = command
                .error
                .as_ref()
                .map_or("", |error| error.message.as_str());
            let message = format!("{} {}: {why}", command.name, state_name(command.state));
            self.event(
                "command-ended",
                Some(command.node),
                Some(command.id),
                message,
            )
            .await;
        }
    }

    /// Tells watchers of commands that the store ended by itself.
    pub(crate) async fn ended_in_store(&self, ids: &[CommandId]) {
        for id in ids {
            match self.store.command(*id).await {
                Ok(Some(command)) => self.ended(&command).await,
                Ok(None) => {}
                Err(error) => tracing::error!(%id, %error, "an ended command can't be read"),
            }
        }
    }

    /// Open `push-config` commands of a node end when a newer config is on its way.
    pub(crate) fn superseded_by(version: &str, open: &CommandRecord) -> Finish {
        let by = format!("config {version}");
        let (state, error) = if open.state == CommandState::Queued {
            (FinalState::Cancelled, outcome::superseded(&by))
        } else {
            (FinalState::Unknown, outcome::superseded_late())
        };
        Finish::derived(open, state, Some(error), time::now())
    }
}

/// A state as people read it.
pub fn state_name(state: CommandState) -> &'static str {
    match state {
        CommandState::Unspecified => "unspecified",
        CommandState::Queued => "queued",
        CommandState::Delivered => "delivered",
        CommandState::Accepted => "accepted",
        CommandState::Running => "running",
        CommandState::Succeeded => "succeeded",
        CommandState::Failed => "failed",
        CommandState::Rejected => "rejected",
        CommandState::Expired => "expired",
        CommandState::Cancelled => "cancelled",
        CommandState::Unknown => "unknown",
    }
}
