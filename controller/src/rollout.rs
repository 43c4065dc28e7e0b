//! Rollouts: a layer reaches its nodes in batches, and stops at the first
//! failures.
//!
//! What happens next is a function of the terms and of how each node stands:
//! no store, no clock, no session. Which document a node has meanwhile is
//! decided in [`crate::layers`], and nowhere else.

mod driver;
mod progress;

use std::time::Duration;

pub use driver::run;
pub(crate) use {driver::ends, progress::Standing};

use crate::time::{Millis, duration_millis};

/// How a rollout goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Nodes that get it at once, one at least.
    pub batch: u32,
    /// It stops when more nodes than these have failed.
    pub max_failures: u32,
    /// What a node may take from its release on.
    pub node_timeout: Duration,
    /// How long each batch is watched at the least.
    pub pause: Duration,
}

/// What is known of a node of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// When it was released; `None` where it was not.
    pub released_at: Option<Millis>,
    /// Whether it was connected then.
    pub present: bool,
    /// It is banned, deregistered or evicted: nothing is to be expected of it.
    pub gone: bool,
    /// Whether it has the config.
    pub config: Config,
    /// What became of the push-config that brings it.
    pub push: Push,
    /// Its failure was accepted by whoever resumed the rollout.
    pub forgiven: bool,
}

/// Whether a node has the config that it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// It says that it is in force.
    InForce,
    /// It says that it tried it, and has another one.
    Refused,
    /// It has not said anything of it.
    Missing,
}

/// What became of a push-config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It succeeded, another one took its place, or there is none.
    Over,
    /// It has no outcome yet.
    Open,
    /// It was rejected, or failed.
    Failed,
}

/// Where a node of a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It is not released.
    Waiting,
    /// It is released, and not heard to have it.
    Pending,
    /// It has it.
    Active,
    /// It refused it, or was there and did not take it in time.
    Failed,
    /// It was away all the time, and gets it when it is back.
    Absent,
}

/// What a rollout does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: nodes are still to answer.
    Wait,
    /// These get it, by their place in the order.
    Release(Vec<usize>),
    /// As many as these have failed, which is too many.
    Stop(usize),
    /// Everybody has it who can have it.
    Complete,
}

impl NodeState {
    /// As operators are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Absent => "absent",
        }
    }
}

impl Progress {
    /// Where the node stands.
    pub fn state(&self, timeout: Duration, now: Millis) -> NodeState {
        let Some(released_at) = self.released_at else {
            return NodeState::Waiting;
        };
        let in_time = now < released_at.saturating_add(duration_millis(timeout));
        match (self.config, self.push) {
            (Config::Refused, _) | (Config::Missing, Push::Failed) => NodeState::Failed,
            // The push has not ended: the node may yet take the config back.
            (Config::InForce, Push::Open) if in_time && !self.gone => NodeState::Pending,
            (Config::InForce, _) => NodeState::Active,
            (Config::Missing, _) if self.gone => NodeState::Absent,
            (Config::Missing, _) if in_time => NodeState::Pending,
            (Config::Missing, _) if self.present => NodeState::Failed,
            (Config::Missing, _) => NodeState::Absent,
        }
    }
}

/// What a rollout that runs does next. `nodes` are in the order in which they
/// get it.
pub fn decide(terms: &Terms, nodes: &[Progress], now: Millis) -> Decision {
    let states: Vec<_> = nodes
        .iter()
        .map(|node| node.state(terms.node_timeout, now))
        .collect();
    let failed = std::iter::zip(nodes, &states)
        .filter(|(node, state)| **state == NodeState::Failed && !node.forgiven)
        .count();
    if failed > terms.max_failures as usize {
        return Decision::Stop(failed);
    }
    let newest = nodes.iter().filter_map(|node| node.released_at).max();
    let is_watched = newest.is_some_and(|at| now < at.saturating_add(duration_millis(terms.pause)));
    if is_watched || states.contains(&NodeState::Pending) {
        return Decision::Wait;
    }
    let waiting = (0..nodes.len()).filter(|at| states[*at] == NodeState::Waiting);
    let next: Vec<usize> = waiting.take(terms.batch.max(1) as usize).collect();
    if next.is_empty() {
        Decision::Complete
    } else {
        Decision::Release(next)
    }
}

#[cfg(test)]
mod tests;
