//! `nodes`, `node show`, `describe`, `enrol`.

use aegis_proto::worker::v1::HandlerSpec;

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, Fake, Script, hello, node, two_nodes},
};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_a_table_or_json() {
    let mut script = two_nodes();
    script.nodes[1].connected = false;
    script.nodes[1].hostname = "be\x1b[31mta".into();
    let operator = Operator::of(&Fake::start(script).await);
    let table = operator.run(&["nodes"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    insta::assert_snapshot!("nodes_table", table.stdout);
    insta::assert_snapshot!(
        "nodes_json",
        operator.run(&["nodes", "0192", "-o", "json"]).await.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nodes_is_no_error() {
    let operator = Operator::of(&Fake::start(Script::default()).await);
    let ran = operator.run(&["nodes"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("aegisctl enrol"), "{}", ran.stdout);
    assert_eq!(operator.run(&["nodes", "-o", "json"]).await.stdout, "[]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_with_its_plugins_and_handlers() {
    let operator = Operator::of(&Fake::start(two_nodes()).await);
    let ran = operator.run(&["node", "show", "0192"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!("node_show", ran.stdout);
    let json = operator
        .run(&["node", "show", "0192", "-o", "json"])
        .await
        .json();
    assert_eq!(json["node_id"], ALPHA);
    assert_eq!(json["handlers"][0]["request_schema"]["required"][0], "name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_described_from_its_schema() {
    let operator = Operator::of(&Fake::start(two_nodes()).await);
    insta::assert_snapshot!(
        "describe",
        operator.run(&["describe", "hello"]).await.stdout
    );
    insta::assert_snapshot!("describe_all", operator.run(&["describe"]).await.stdout);
    assert_eq!(operator.run(&["describe", "nothing"]).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_command_is_refused_with_its_reason() {
    let script = Script {
        nodes: vec![node(ALPHA, "alpha")],
        handlers: vec![HandlerSpec {
            enabled: false,
            disabled_reason: "[handlers.hello] enabled = false".into(),
            ..hello()
        }],
        ..Default::default()
    };
    let fake = Fake::start(script).await;
    let ran = Operator::of(&fake)
        .run(&["run", "0192", "hello", "--arg", "name=x"])
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    insta::assert_snapshot!("disabled", ran.stderr);
    assert!(fake.submitted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn enrol_prints_the_token_alone() {
    let operator = Operator::of(&Fake::start(Script::default()).await);
    let ran = operator.run(&["enrol", "--ttl", "10m"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "aegis-enrol-secret\n"),
        "{ran:?}"
    );
    let json = operator.run(&["enrol", "-o", "json"]).await.json();
    assert_eq!(json["token_id"], "token-1");
}
