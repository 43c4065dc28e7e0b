//! `plugins`, `plugin …`.

use aegis_proto::operator::v1::{AllowedPlugin, FleetPlugin, ListPluginsResponse};

use crate::{
    aegisctl::Operator,
    fake::{ALPHA, BETA, Fake, Script, two_nodes},
};

fn fleet() -> Script {
    let hello = FleetPlugin {
        name: "hello-plugin".into(),
        version: "0.1.0".into(),
        sha256: vec![0xab; 32],
        placement: "in-process".into(),
        state: "active".into(),
        trust: "signed".into(),
        nodes: 2,
        node_ids: vec![ALPHA.into(), BETA.into()],
        allowance: "allowed".into(),
        ..FleetPlugin::default()
    };
    let refused = FleetPlugin {
        version: "0.1.1".into(),
        sha256: vec![0xcd; 32],
        state: "refused".into(),
        trust: String::new(),
        reason: "trust check failed: \x1b[31mit is not signed".into(),
        nodes: 1,
        node_ids: vec![BETA.into()],
        allowance: "refused".into(),
        ..hello.clone()
    };
    Script {
        plugins: ListPluginsResponse {
            plugins: vec![hello, refused],
            allowed: vec![AllowedPlugin {
                plugin: "hello-plugin".into(),
                sha256: vec![0xab; 32],
                note: "reviewed".into(),
                operator: "ops".into(),
                allowed_at: None,
                nodes: 2,
            }],
            ..ListPluginsResponse::default()
        },
        ..two_nodes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugins_of_the_fleet_are_a_table_or_json() {
    let operator = Operator::of(&Fake::start(fleet()).await);
    let table = operator.run(&["plugins"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    insta::assert_snapshot!("plugins_table", table.stdout);
    let json = operator.run(&["plugins", "-o", "json"]).await.json();
    assert_eq!(json["plugins"][0]["sha256"], "ab".repeat(32));
    assert_eq!(json["plugins"][1]["allowance"], "refused");

    let none = Operator::of(&Fake::start(two_nodes()).await);
    let table = none.run(&["plugins"]).await;
    assert_eq!((table.code, table.stdout.lines().count()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_allowed_files_says_what_holds_for_the_others() {
    let operator = Operator::of(&Fake::start(fleet()).await);
    let table = operator.run(&["plugin", "list"]).await;
    assert_eq!(table.code, 0, "{table:?}");
    insta::assert_snapshot!("plugin_list", table.stdout);
    let allowed = operator
        .run(&["plugin", "allow", "hello-plugin", &"cd".repeat(32)])
        .await;
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(
        allowed.stdout.contains("1 node has another file"),
        "{allowed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_digest_is_a_usage_error() {
    let operator = Operator::of(&Fake::start(fleet()).await);
    for text in ["", "abc", &"zz".repeat(32), &"é".repeat(32)] {
        let ran = operator
            .run(&["plugin", "allow", "hello-plugin", text])
            .await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("64 hexadecimal digits"), "{ran:?}");
    }
}
