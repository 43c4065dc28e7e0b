//! Config layers, and the config file.

use aegis_proto::{
    cluster::v1::{NodeRole, PushConfigInner, PushConfigRequest},
    operator::v1::{SetConfigRequest, ShowConfigRequest},
};
use tonic::Code;

use crate::peer::{Controller, Node, all, only, tag};

#[tokio::test]
async fn layers_merge_and_reach_only_the_nodes_they_change() {
    let controller = Controller::start().await;
    let blue = controller
        .node_with(|has| has.tags = vec!["blue".into()])
        .await;
    let red = controller
        .node_with(|has| has.tags = vec!["red".into()])
        .await;
    let mut operator = controller.operator();
    let mut set = async |selector, document: &str| {
        let request = SetConfigRequest {
            selector: Some(selector),
            document: document.into(),
            ..Default::default()
        };
        let commands = operator
            .set_config(request)
            .await
            .expect("set")
            .into_inner()
            .commands;
        commands
            .into_iter()
            .map(|command| command.node_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        set(all(), r#"{"worker":{"level":"info","x":1}}"#)
            .await
            .len(),
        2
    );
    assert_eq!(
        set(tag("blue"), r#"{"worker":{"level":"debug"}}"#).await,
        vec![blue.id.clone()]
    );
    assert_eq!(
        set(only(&red), r#"{"worker":{"x":null}}"#).await,
        vec![red.id.clone()]
    );
    assert!(
        set(tag("blue"), r#"{"worker":{"level":"debug"}}"#)
            .await
            .is_empty(),
        "no change"
    );

    let merged = async |node: &Node| {
        let request = ShowConfigRequest {
            selector: Some(only(node)),
        };
        let shown = controller
            .operator()
            .show_config(request)
            .await
            .expect("shown")
            .into_inner();
        (
            String::from_utf8(shown.merged).expect("UTF-8"),
            shown.layers.len(),
        )
    };
    assert_eq!(
        merged(&blue).await,
        (r#"{"worker":{"level":"debug","x":1}}"#.into(), 2)
    );
    assert_eq!(
        merged(&red).await,
        (r#"{"worker":{"level":"info"}}"#.into(), 2)
    );

    assert_eq!(set(tag("blue"), "").await, vec![blue.id.clone()]);
    assert_eq!(
        merged(&blue).await,
        (r#"{"worker":{"level":"info","x":1}}"#.into(), 1)
    );
    let shown = controller
        .operator()
        .show_config(ShowConfigRequest::default())
        .await
        .expect("shown");
    let mut scopes: Vec<_> = shown
        .into_inner()
        .layers
        .into_iter()
        .map(|layer| layer.scope)
        .collect();
    scopes.sort();
    assert_eq!(scopes, ["global", "node"]);
}

#[tokio::test]
async fn a_config_that_is_no_object_or_too_large_is_refused() {
    let controller = Controller::start().await;
    controller.node().await;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(900 * 1024));
    for bad in ["[]", "3", "{", "{\"a\":1", large.as_str()] {
        let request = SetConfigRequest {
            selector: Some(all()),
            document: bad.into(),
            ..Default::default()
        };
        let refused = controller
            .operator()
            .set_config(request)
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let request = SetConfigRequest {
        selector: None,
        document: b"{}".to_vec(),
        ..Default::default()
    };
    let refused = controller
        .operator()
        .set_config(request)
        .await
        .expect_err("no layer");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn only_listed_roles_push_config() {
    let controller = Controller::start_with(|config| {
        config.settings.config_push_roles = vec!["controller".into()];
    })
    .await;
    let target = controller.node().await;
    let worker = controller.node().await;
    let mut pusher = Node::new();
    pusher.role = NodeRole::Controller;
    pusher
        .enrol(&controller, &controller.enrolment_token().await)
        .await
        .expect("enrolled");

    let inner = PushConfigInner {
        target_node_id: target.id.clone(),
        config_version: "v1".into(),
        config_payload: br#"{"a":1}"#.to_vec(),
    };
    let mut cluster = controller.cluster();
    let request = PushConfigRequest {
        envelope: worker.seal(&inner),
    };
    let refused = cluster.push_config(request).await.expect_err("a worker");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let request = PushConfigRequest {
        envelope: pusher.seal(&inner),
    };
    assert!(
        cluster
            .push_config(request)
            .await
            .expect("a controller")
            .into_inner()
            .accepted
    );
    let synced = target.sync_config(&controller, "").await.expect("synced");
    assert_eq!(synced.config_delta, br#"{"a":1}"#);
}

#[tokio::test]
async fn a_node_whose_layers_went_away_is_given_the_empty_config() {
    let controller = Controller::start().await;
    let node = controller.node().await;
    let set = async |document: &str| {
        let request = SetConfigRequest {
            selector: Some(all()),
            document: document.into(),
            ..Default::default()
        };
        controller
            .operator()
            .set_config(request)
            .await
            .expect("set")
            .into_inner()
            .commands
    };
    set(r#"{"a":1}"#).await;
    let version = node
        .sync_config(&controller, "")
        .await
        .expect("synced")
        .latest_version;
    assert_eq!(set("").await.len(), 1);
    let back = node
        .sync_config(&controller, &version)
        .await
        .expect("synced");
    assert_eq!(
        (back.up_to_date, &back.config_delta[..]),
        (false, &b"{}"[..])
    );
}

#[test]
fn the_annotated_config_is_valid_and_says_the_defaults() {
    use aegis_controller::Config;
    let text = include_str!("../../etc/aegis-controller.toml");
    let (file, default) = (Config::parse(text).expect("valid"), Config::default());
    assert_eq!(format!("{file:?}"), format!("{default:?}"));
    // The examples that are commented out are valid as well.
    let examples: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::parse(&examples).expect("valid");
    assert!(config.tls.is_some_and(|tls| tls.client_ca.is_some()));
    assert!(config.database.is_some());
}
