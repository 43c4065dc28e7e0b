//! Config that reaches its nodes in batches, and what layers were before.

use aegis_proto::{
    cluster::v1::NodeStatus,
    operator::v1::{
        ListConfigRevisionsRequest, RolloutPlan, Selector, SetConfigRequest, SetConfigResponse,
        ShowRolloutRequest, ShowRolloutResponse, SteerRolloutRequest,
        steer_rollout_request::Action,
    },
    worker::v1::{CommandState, ConfigStatus, worker_message::Message as FromWorker},
};
use tonic::{Code, Status};

use crate::peer::{Controller, Node, all, only, soon};

const OLD: &str = r#"{"a":1}"#;
const NEW: &str = r#"{"a":2}"#;

fn by_ones(max_failures: u32) -> Option<RolloutPlan> {
    Some(RolloutPlan {
        batch_nodes: 1,
        max_failures,
        ..Default::default()
    })
}

async fn set(
    controller: &Controller,
    selector: Selector,
    document: &str,
    rollout: Option<RolloutPlan>,
) -> Result<SetConfigResponse, Status> {
    let request = SetConfigRequest {
        selector: Some(selector),
        document: document.into(),
        rollout,
        ..Default::default()
    };
    let set = controller.operator().set_config(request).await;
    set.map(tonic::Response::into_inner)
}

async fn show(controller: &Controller) -> ShowRolloutResponse {
    let request = ShowRolloutRequest::default();
    let shown = controller.operator().show_rollout(request).await;
    shown.expect("shown").into_inner()
}

async fn steer(controller: &Controller, id: &str, action: Action) -> Result<String, Status> {
    let request = SteerRolloutRequest {
        rollout_id: id.into(),
        action: action.into(),
        reason: "because".into(),
    };
    let steered = controller.operator().steer_rollout(request).await?;
    Ok(steered.into_inner().rollout.expect("a rollout").state)
}

/// Waits until the newest rollout is as wanted.
async fn until(
    controller: &Controller,
    is: impl Fn(&ShowRolloutResponse) -> bool,
) -> ShowRolloutResponse {
    soon(async {
        loop {
            let shown = show(controller).await;
            if is(&shown) {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn until_state(controller: &Controller, state: &str) -> ShowRolloutResponse {
    until(controller, |it| {
        it.rollout.as_ref().is_some_and(|it| it.state == state)
    })
    .await
}

async fn until_released(controller: &Controller, batch: u32) -> ShowRolloutResponse {
    until(controller, |it| it.nodes.iter().any(|it| it.batch == batch)).await
}

fn states(shown: &ShowRolloutResponse) -> Vec<&str> {
    shown.nodes.iter().map(|it| it.state.as_str()).collect()
}

/// What a node that asks is given.
async fn given(controller: &Controller, node: &Node) -> String {
    let synced = node.sync_config(controller, "").await.expect("synced");
    String::from_utf8(synced.config_delta).expect("UTF-8")
}

/// A node of the fixed contract that takes whatever it is given.
async fn takes(controller: &Controller, node: &Node) -> String {
    let synced = node.sync_config(controller, "").await.expect("synced");
    let named = node.sync_config(controller, &synced.latest_version).await;
    assert!(named.expect("synced").up_to_date);
    synced.latest_version
}

async fn alive(controller: &Controller) -> Node {
    let node = controller.node().await;
    let beat = node.heartbeat(controller, NodeStatus::Active).await;
    beat.expect("alive");
    node
}

fn node<'a>(nodes: &'a [Node], shown: &ShowRolloutResponse, place: usize) -> &'a Node {
    let id = &shown.nodes[place].node_id;
    nodes
        .iter()
        .find(|it| it.id == *id)
        .expect("a node of ours")
}

#[tokio::test]
async fn nodes_get_a_config_in_batches_each_once_the_one_before_has_it() {
    let controller = Controller::start().await;
    let nodes = [alive(&controller).await, alive(&controller).await];
    set(&controller, all(), OLD, None).await.expect("set");
    for node in &nodes {
        takes(&controller, node).await;
    }
    let begun = set(&controller, all(), NEW, by_ones(0)).await.expect("set");
    assert!(begun.commands.is_empty() && !begun.rollout_id.is_empty());

    let shown = until_released(&controller, 1).await;
    assert_eq!(states(&shown), ["pending", "waiting"]);
    let (first, second) = (node(&nodes, &shown, 0), node(&nodes, &shown, 1));
    assert_eq!(given(&controller, first).await, NEW);
    assert_eq!(given(&controller, second).await, OLD);
    // One that joins meanwhile is no part of it.
    let late = alive(&controller).await;
    assert_eq!(given(&controller, &late).await, OLD);

    takes(&controller, first).await;
    let shown = until_released(&controller, 2).await;
    assert_eq!(states(&shown), ["active", "pending"]);
    assert_eq!(given(&controller, &late).await, OLD);
    takes(&controller, second).await;
    let shown = until_state(&controller, "completed").await;
    assert_eq!(states(&shown), ["active", "active"]);
    assert_eq!(given(&controller, &late).await, NEW);
}

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart_of_the_controller() {
    let controller = Controller::start().await;
    let nodes = [alive(&controller).await, alive(&controller).await];
    set(&controller, all(), NEW, by_ones(0)).await.expect("set");
    until_released(&controller, 1).await;
    let dir = controller.dir;
    controller.server.stop().await.expect("stopped");

    let controller = Controller::start_in(dir, |_| {}).await;
    let shown = show(&controller).await;
    let (first, second) = (node(&nodes, &shown, 0), node(&nodes, &shown, 1));
    assert_eq!(states(&shown), ["pending", "waiting"]);
    assert_eq!(given(&controller, first).await, NEW);
    assert_eq!(given(&controller, second).await, "");
    takes(&controller, first).await;
    until_released(&controller, 2).await;
    takes(&controller, second).await;
    until_state(&controller, "completed").await;
}

#[tokio::test]
async fn a_rollout_stops_at_a_failure_and_is_resumed_or_given_up() {
    let controller = Controller::start().await;
    let nodes = [alive(&controller).await, alive(&controller).await];
    set(&controller, all(), OLD, None).await.expect("set");
    let mut old = String::new();
    for node in &nodes {
        old = takes(&controller, node).await;
    }
    let id = set(&controller, all(), NEW, by_ones(0))
        .await
        .expect("set")
        .rollout_id;
    let shown = until_released(&controller, 1).await;
    let (first, second) = (node(&nodes, &shown, 0), node(&nodes, &shown, 1));

    let mut session = first
        .session(&controller, first.hello(&["push-config"]))
        .await
        .expect("a session");
    let push = session.command().await;
    let new = first
        .sync_config(&controller, "")
        .await
        .expect("synced")
        .latest_version;
    let refused = ConfigStatus {
        active_version: old.clone(),
        attempted_version: new,
        failed_step: "apply".into(),
        reason: "not this one".into(),
        ..Default::default()
    };
    session.send(FromWorker::ConfigStatus(refused)).await;
    let result = first.result(&push, CommandState::Failed, "");
    session.send(FromWorker::CommandResult(result)).await;

    let shown = until_state(&controller, "stopped").await;
    assert_eq!(states(&shown), ["failed", "waiting"]);
    assert_eq!(shown.nodes[0].step, "apply");
    assert_eq!(shown.nodes[0].reason, "not this one");
    assert_eq!(given(&controller, second).await, OLD);
    let unsettled = set(&controller, all(), OLD, None).await;
    assert_eq!(
        unsettled.expect_err("refused").code(),
        Code::FailedPrecondition
    );

    // Whoever resumes has seen the failure: it does not stop it again.
    assert_eq!(
        steer(&controller, &id, Action::Resume)
            .await
            .expect("steered"),
        "running"
    );
    let again = steer(&controller, &id, Action::Resume).await;
    assert_eq!(again.expect_err("it runs").code(), Code::FailedPrecondition);
    until_released(&controller, 2).await;
    assert_eq!(given(&controller, second).await, NEW);

    assert_eq!(
        steer(&controller, &id[..35], Action::Abort)
            .await
            .expect("steered"),
        "aborted"
    );
    let shown = show(&controller).await;
    assert_eq!(states(&shown), ["failed", "pending"]);
    assert_eq!(given(&controller, second).await, OLD);
    assert_eq!(given(&controller, first).await, OLD);
    let over = steer(&controller, &id, Action::Abort).await;
    assert_eq!(
        over.expect_err("it is over").code(),
        Code::FailedPrecondition
    );
    set(&controller, all(), NEW, None)
        .await
        .expect("the layer is free again");
}

#[tokio::test]
async fn a_paused_rollout_releases_nothing() {
    let controller = Controller::start().await;
    let nodes = [alive(&controller).await, alive(&controller).await];
    let id = set(&controller, all(), NEW, by_ones(0))
        .await
        .expect("set")
        .rollout_id;
    let shown = until_released(&controller, 1).await;
    steer(&controller, &id, Action::Pause)
        .await
        .expect("steered");
    takes(&controller, node(&nodes, &shown, 0)).await;
    // The layer of one node alone can be set meanwhile.
    let second = node(&nodes, &shown, 1);
    set(&controller, only(second), r#"{"b":1}"#, None)
        .await
        .expect("set");
    assert_eq!(given(&controller, second).await, r#"{"b":1}"#);
    let shown = show(&controller).await;
    assert_eq!(states(&shown), ["active", "waiting"]);
    let reason = shown.rollout.expect("a rollout").reason;
    assert_eq!(reason, "by operator: because");
    steer(&controller, &id, Action::Resume)
        .await
        .expect("steered");
    until_released(&controller, 2).await;
    assert_eq!(given(&controller, second).await, r#"{"a":2,"b":1}"#);
}

#[tokio::test]
async fn a_rollout_that_changes_no_node_is_none() {
    let controller = Controller::start().await;
    let set = set(&controller, all(), NEW, by_ones(0)).await.expect("set");
    assert!(set.rollout_id.is_empty());
    let none = controller
        .operator()
        .show_rollout(ShowRolloutRequest::default())
        .await;
    assert_eq!(none.expect_err("none").code(), Code::NotFound);
}

#[tokio::test]
async fn what_a_layer_was_is_kept_and_can_be_brought_back() {
    let controller = Controller::start().await;
    let node = alive(&controller).await;
    for document in [OLD, NEW, ""] {
        set(&controller, all(), document, None).await.expect("set");
    }
    set(&controller, only(&node), NEW, None).await.expect("set");
    let history = async |selector| {
        let request = ListConfigRevisionsRequest {
            selector,
            ..Default::default()
        };
        let listed = controller.operator().list_config_revisions(request).await;
        listed.expect("listed").into_inner().revisions
    };
    assert_eq!(history(None).await.len(), 4);
    assert_eq!(history(Some(only(&node))).await.len(), 4);
    let global = history(Some(all())).await;
    let documents: Vec<_> = global
        .iter()
        .map(|it| it.layer.as_ref().expect("a layer").document.as_slice())
        .collect();
    assert_eq!(documents, [b"", NEW.as_bytes(), OLD.as_bytes()]);
    assert!(global[0].version.is_empty() && global[1].version.starts_with("cfg-"));

    let back = |selector, revision| {
        let request = SetConfigRequest {
            selector: Some(selector),
            revision,
            ..Default::default()
        };
        let mut operator = controller.operator();
        async move { operator.set_config(request).await }
    };
    back(all(), global[2].revision).await.expect("set");
    let shown = history(Some(all())).await;
    assert_eq!(
        shown[0].layer.as_ref().expect("a layer").document,
        OLD.as_bytes()
    );
    let other = back(only(&node), global[2].revision).await;
    assert_eq!(other.expect_err("another layer's").code(), Code::NotFound);
}
