use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;
use serde_json::Value;

/// From the operator's command line to a loaded library and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_plugins_command_runs_and_answers() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();

    let answer = ctl
        .run(&["run", cluster.node(), "hello", "--arg", "name=Ada"])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stdout.contains("hello, Ada"), "{answer:#?}");
    let answer = ctl
        .run(&["run", cluster.node(), "hello", r#"{"name": "Grace"}"#])
        .await;
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(answer.stdout.contains("hello, Grace"), "{answer:#?}");

    let outcome = cluster.run("hello", r#"{"name": "Edsger"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let response: Value = serde_json::from_slice(&outcome.response).expect("JSON");
    assert_eq!(response["text"], "hello, Edsger");
    assert_eq!(outcome.attempt, 1);
    assert!(outcome.started_at.is_some() && outcome.finished_at.is_some());
}

/// The inventory tells what was loaded, from which file and with what digest.
#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_has_built_in_and_loaded_plugins() {
    let cluster = Cluster::start().await;
    let shown = cluster.operator.show(cluster.node()).await;
    let mut plugins: Vec<_> = shown
        .plugins
        .iter()
        .map(|it| {
            (
                it.name.as_str(),
                it.placement.as_str(),
                it.state.as_str(),
                it.sha256.len(),
            )
        })
        .collect();
    plugins.sort_unstable();
    assert_eq!(
        plugins,
        [
            ("drain", "built-in", "active", 0),
            ("exec", "built-in", "disabled", 0),
            ("hello-plugin", "in-process", "active", 32),
            ("push-config", "built-in", "active", 0),
            ("shutdown", "built-in", "active", 0),
            ("unruly", "in-process", "active", 32),
        ],
    );
    let hello = shown
        .handlers
        .iter()
        .find(|it| it.name == "hello")
        .expect("the handler");
    assert!(
        hello.enabled && hello.request_schema.contains("name"),
        "{hello:?}"
    );
}
