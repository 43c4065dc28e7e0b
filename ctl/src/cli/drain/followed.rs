//! What is known of the drains that are followed: who is done, what blocks the
//! others, and what of it is worth a line.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::{
    document::Node,
    render::{self, short},
};

/// The nodes whose drain, or whose return to work, is waited for.
pub struct Followed {
    undo: bool,
    open: BTreeMap<String, Shown>,
    ends: BTreeMap<String, Node>,
    undone: Vec<String>,
}

/// What was last seen of a node.
#[derive(Default)]
struct Shown {
    line: String,
    drained: bool,
}

impl Followed {
    /// Of these nodes; those in `waited_for` took the command.
    pub fn new(
        undo: bool,
        nodes: impl Iterator<Item = Node>,
        waited_for: impl Iterator<Item = String>,
    ) -> Self {
        Self {
            undo,
            open: waited_for.map(|id| (id, Shown::default())).collect(),
            ends: nodes.map(|it| (it.node_id.clone(), it)).collect(),
            undone: Vec::new(),
        }
    }

    /// Whether there is nothing left to wait for.
    pub fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// The nodes as they were last seen, and the short ids of those whose drain
    /// someone else undid.
    pub fn ends(self) -> (Vec<Node>, Vec<String>) {
        (self.ends.into_values().collect(), self.undone)
    }

    /// Takes a node in as it is now: what there is to say of it.
    pub fn seen(&mut self, node: Node, now: DateTime<Utc>) -> Vec<String> {
        let said = self.take(&node, now);
        self.ends.insert(node.node_id.clone(), node);
        said
    }

    fn take(&mut self, node: &Node, now: DateTime<Utc>) -> Vec<String> {
        let Some(shown) = self.open.get_mut(&node.node_id) else {
            return Vec::new();
        };
        let drains = node.drain.is_some() || node.status == "draining";
        // A line for each change, and not for each second that passes.
        let line = what_blocks(node);
        let changed = shown.line != line;
        shown.line = line;
        let mut said = Vec::new();
        if node.deregistered {
            self.open.remove(&node.node_id);
            said.push(format!("{}  has shut down", short(&node.node_id)));
            return said;
        }
        // Without a heartbeat since it came back, what it says is not known:
        // least of all that its drain is gone.
        let is_known = node.connected && node.status != "unspecified";
        if changed {
            said.push(format!(
                "{}  {}",
                short(&node.node_id),
                told(node, is_known, now)
            ));
            if let Some(drain) = node.drain.as_ref().filter(|_| is_known) {
                let blocking = render::blocking(drain, now);
                said.extend(blocking.iter().map(|it| format!("          {it}")));
            }
        }
        if !is_known {
            return said;
        }
        let undone = !self.undo && shown.drained && !drains;
        shown.drained |= drains;
        if undone {
            self.undone.push(short(&node.node_id));
        }
        if undone || is_over(node, self.undo) {
            self.open.remove(&node.node_id);
        }
        said
    }
}

fn told(node: &Node, is_known: bool, now: DateTime<Utc>) -> String {
    match (is_known, node.connected) {
        (true, _) => render::drain_line(node, now),
        (false, true) => "connected again".into(),
        (false, false) => {
            "is not connected; its drain outlasts a restart of its worker, and is followed on"
                .into()
        }
    }
}

/// What a drain waits for, without the times that change by themselves.
fn what_blocks(node: &Node) -> String {
    let mut text = format!("{} {} {}", node.connected, node.state, node.status);
    for command in node.drain.iter().flat_map(|drain| &drain.in_flight) {
        text.push_str(&format!(
            " {} {} {}",
            command.command_id,
            command.cancelled_at.is_some(),
            command.given_up
        ));
    }
    text
}

fn is_over(node: &Node, undo: bool) -> bool {
    if undo {
        return node.drain.is_none() && node.status != "draining";
    }
    match &node.drain {
        Some(drain) => drain.finished_at.is_some(),
        // A worker of the fixed contract says that it drains, and how many run.
        None => node.status == "draining" && node.running_commands == 0,
    }
}

#[cfg(test)]
mod tests {
    use aegis_proto::operator::v1::NodeView;

    use super::*;
    use crate::document::{Drain, InFlight};

    fn node(status: &str, drain: Option<Drain>, running: u32) -> Node {
        Node {
            node_id: "0192f0c1-7a3e".into(),
            status: status.into(),
            connected: true,
            drain,
            running_commands: running,
            ..NodeView::default().into()
        }
    }

    fn drain(finished: bool) -> Option<Drain> {
        Some(Drain {
            started_at: None,
            deadline: None,
            finished_at: finished.then(Utc::now),
            reason: None,
            in_flight: Vec::new(),
        })
    }

    fn followed() -> Followed {
        Followed::new(
            false,
            std::iter::empty(),
            std::iter::once("0192f0c1-7a3e".into()),
        )
    }

    #[test]
    fn a_drain_is_over_when_its_node_says_that_the_last_handler_returned() {
        assert!(!is_over(&node("draining", drain(false), 0), false));
        assert!(is_over(&node("draining", drain(true), 0), false));
        assert!(!is_over(&node("active", None, 0), false));
    }

    #[test]
    fn a_worker_without_sessions_is_drained_when_nothing_runs() {
        assert!(!is_over(&node("draining", None, 1), false));
        assert!(is_over(&node("draining", None, 0), false));
    }

    #[test]
    fn an_undo_is_over_when_the_drain_is_gone() {
        assert!(!is_over(&node("draining", drain(false), 0), true));
        assert!(!is_over(&node("draining", None, 0), true));
        assert!(is_over(&node("active", None, 3), true));
    }

    #[test]
    fn a_drain_is_followed_through_a_restart_of_the_worker_and_of_the_controller() {
        let mut followed = followed();
        let now = Utc::now();
        assert_eq!(
            followed.seen(node("draining", drain(false), 1), now).len(),
            1
        );
        let mut away = node("draining", drain(false), 1);
        away.connected = false;
        let said = followed.seen(away, now);
        assert!(said[0].contains("outlasts a restart"), "{said:?}");
        // A controller that was restarted has heard nothing of it yet.
        assert_eq!(followed.seen(node("unspecified", None, 0), now).len(), 1);
        assert!(!followed.is_over());
        followed.seen(node("draining", drain(true), 0), now);
        assert!(followed.is_over());
        assert!(followed.ends().1.is_empty());
    }

    #[test]
    fn a_drain_that_is_gone_was_undone() {
        let mut followed = followed();
        followed.seen(node("draining", drain(false), 1), Utc::now());
        followed.seen(node("active", None, 1), Utc::now());
        assert!(followed.is_over());
        assert_eq!(followed.ends().1, ["0192f0c1"]);
    }

    #[test]
    fn a_worker_that_shut_down_is_not_waited_for() {
        let mut followed = followed();
        let mut gone = node("draining", drain(false), 1);
        gone.deregistered = true;
        followed.seen(gone, Utc::now());
        assert!(followed.is_over());
    }

    #[test]
    fn what_blocks_is_said_once_for_each_change() {
        let command = InFlight {
            command_id: "0199aaaa-0000-7000".into(),
            name: "copy".into(),
            plugin: "files".into(),
            started_at: None,
            timeout_at: None,
            cancelled_at: None,
            given_up: false,
        };
        let waiting = |command: &InFlight| {
            let mut drain = drain(false);
            drain.as_mut().unwrap().in_flight = vec![command.clone()];
            node("draining", drain, 1)
        };
        let mut followed = followed();
        let now = Utc::now();
        assert_eq!(followed.seen(waiting(&command), now).len(), 2);
        assert!(followed.seen(waiting(&command), now).is_empty());
        let cancelled = InFlight {
            cancelled_at: Some(now),
            ..command.clone()
        };
        let said = followed.seen(waiting(&cancelled), now);
        assert!(said[1].contains("asked to end"), "{said:?}");
        let given_up = InFlight {
            given_up: true,
            ..command
        };
        let said = followed.seen(waiting(&given_up), now);
        assert!(said[1].contains("only a restart"), "{said:?}");
    }
}
