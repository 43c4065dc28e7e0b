use aegis_proto::{
    error_code,
    operator::v1::{Selector, SubmitCommandRequest, selector},
    worker::v1::{CommandState, Plugin},
};
use aegis_tests::{Cluster, Controller, PluginDir, Program, Worker, refused};
use tonic::Code;

/// The plugin that the tests allow and refuse, as the node has it.
async fn hello(cluster: &Cluster, node: &str) -> Plugin {
    let shown = cluster.operator.show(node).await;
    let plugin = shown.plugins.iter().find(|it| it.name == "hello-plugin");
    plugin.expect("it is told").clone()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same plugin with other bytes.
fn other_version(folder: &PluginDir) {
    folder.patch(
        "libhello_plugin.so",
        "hello_plugin",
        r#""version":"0.1.0""#,
        r#""version":"0.1.1""#,
    );
}

/// A cluster, and a second node with the other version.
struct Fleet {
    cluster: Cluster,
    second: Worker,
    _plugins: PluginDir,
    _program: Program,
}

impl Fleet {
    async fn start() -> Self {
        let cluster = Cluster::start().await;
        let plugins = PluginDir::with(&["unruly_plugin"]);
        other_version(&plugins);
        let second = Worker::new(&cluster.controller.endpoint())
            .token(&cluster.controller.enrolment_token().await)
            .plugins(&plugins);
        let program = second.start();
        cluster.operator.until_session(second.node_id()).await;
        Self {
            cluster,
            second,
            _plugins: plugins,
            _program: program,
        }
    }

    async fn ctl(&self, arguments: &[&str]) -> serde_json::Value {
        self.cluster
            .controller
            .ctl()
            .json(arguments)
            .await
            .remove(0)
    }

    async fn digest(&self, node: &str) -> String {
        hex(&hello(&self.cluster, node).await.sha256)
    }
}

const ADA: &str = r#"{"name": "Ada"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_to_allowed_files_alone_once_a_plugin_has_one() {
    let mut fleet = Fleet::start().await;
    let first = fleet.cluster.node().to_owned();
    let second = fleet.second.node_id().to_owned();
    let (good, other) = (fleet.digest(&first).await, fleet.digest(&second).await);
    assert_ne!(good, other);
    let plugins = fleet.ctl(&["plugins"]).await;
    let lines = plugins["plugins"].as_array().expect("a list");
    let of_hello = lines.iter().filter(|it| it["name"] == "hello-plugin");
    for (line, digest) in of_hello.zip([&good, &other]) {
        assert_eq!(line["sha256"], digest.as_str(), "{plugins:#}");
        assert_eq!(
            (&line["nodes"], &line["allowance"]),
            (&1.into(), &"open".into())
        );
    }

    let allow = [
        "plugin",
        "allow",
        "hello-plugin",
        &good,
        "--note",
        "reviewed",
    ];
    assert_eq!(fleet.ctl(&allow).await["refused_nodes"], 1);
    let outcome = fleet.cluster.run("hello", ADA).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");

    // To the other node it is refused, now and after a restart of the controller.
    for _ in 0..2 {
        let operator = &fleet.cluster.operator;
        let submitted = operator.submit(&second, "hello", ADA).await;
        let status = refused(submitted, Code::FailedPrecondition);
        let command = format!("aegisctl plugin allow hello-plugin {other}");
        for part in [&second, "hello-plugin 0.1.1", &other, &command] {
            assert!(status.message().contains(part), "{status:?}");
        }
        fleet.cluster.controller.restart().await;
        fleet.cluster.operator = fleet.cluster.controller.operator();
        for node in [&first, &second] {
            fleet.cluster.operator.until_session(node).await;
        }
    }

    // Of a selection, each node has an outcome of its own.
    let mut rpc = fleet.cluster.operator.rpc.clone();
    let request = SubmitCommandRequest {
        selector: Some(Selector {
            selector: Some(selector::Selector::Tag("test".into())),
        }),
        name: "hello".into(),
        payload: ADA.into(),
        ..Default::default()
    };
    let submitted = rpc.submit_command(request).await.expect("one may have it");
    for command in submitted.into_inner().commands {
        let outcome = fleet.cluster.operator.outcome(&command.command_id).await;
        if command.node_id == first {
            assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
            continue;
        }
        assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
        let error = outcome.error.expect("a reason");
        assert_eq!(error.code, error_code::PLUGIN_NOT_ALLOWED);
        assert!(
            error.retryable && error.message.contains(&other),
            "{error:#?}"
        );
    }

    // Another plugin is as open as before, and so is this one without a list.
    let flood = fleet
        .cluster
        .operator
        .run(&second, "unruly.flood", r#"{"kib": 1}"#)
        .await;
    assert_eq!(flood.state(), CommandState::Succeeded, "{flood:#?}");
    let listed = fleet.ctl(&["plugin", "list"]).await;
    assert_eq!(listed[0]["note"], "reviewed", "{listed:#}");
    assert_eq!(
        (&listed[0]["sha256"], &listed[0]["nodes"]),
        (&good.as_str().into(), &1.into())
    );
    fleet
        .ctl(&["plugin", "disallow", "hello-plugin", &good])
        .await;
    let outcome = fleet.cluster.operator.run(&second, "hello", ADA).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let audit = fleet.cluster.operator.audit().await;
    for action in ["AllowPlugin", "DisallowPlugin"] {
        let entry = audit.iter().find(|it| it.action == action).expect(action);
        assert!(entry.detail.contains(&good), "{entry:#?}");
    }
}

/// What waits is judged again when it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_command_is_rejected_where_plugin_or_list_has_changed_meanwhile() {
    let mut cluster = Cluster::start().await;
    let node = cluster.node().to_owned();
    let good = hex(&hello(&cluster, &node).await.sha256);
    let ctl = cluster.controller.ctl();
    ctl.json(&["plugin", "allow", "hello-plugin", &good]).await;

    cluster.program.kill().await;
    let gone = |view: &aegis_proto::operator::v1::NodeView| view.transport != "session";
    cluster.operator.until_node(&node, "it is gone", gone).await;
    let waits = cluster.operator.submit(&node, "hello", ADA).await;
    let waits = waits.expect("the file that it had is allowed").command_id;
    other_version(&cluster.plugins);
    cluster.program = cluster.worker.start();
    let outcome = cluster.operator.outcome(&waits).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
    let other = hex(&hello(&cluster, &node).await.sha256);
    let error = outcome.error.expect("a reason");
    assert_eq!(error.code, error_code::PLUGIN_NOT_ALLOWED);
    assert!(
        error.retryable && error.message.contains(&other),
        "{error:#?}"
    );
    assert!(
        error.help.contains(&format!("allow hello-plugin {other}")),
        "{error:#?}"
    );

    // Now the list changes, and not the plugin.
    ctl.json(&["plugin", "allow", "hello-plugin", &other]).await;
    cluster.program.kill().await;
    cluster.operator.until_node(&node, "it is gone", gone).await;
    let waits = cluster.operator.submit(&node, "hello", ADA).await;
    let waits = waits.expect("allowed").command_id;
    ctl.json(&["plugin", "disallow", "hello-plugin", &other])
        .await;
    cluster.program = cluster.worker.start();
    let outcome = cluster.operator.outcome(&waits).await;
    assert_eq!(outcome.state(), CommandState::Rejected, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_plugin_has_to_be_listed_only_built_in_ones_are_exempt() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let config = folder.path().join("controller.toml");
    std::fs::write(&config, "[plugins]\nrequire_allowed = true\n").expect("ours");
    let config = config.display().to_string();
    let controller = Controller::start_with(&["--config", &config]).await;
    let operator = controller.operator();
    let plugins = PluginDir::with(&["hello_plugin"]);
    let worker = Worker::new(&controller.endpoint())
        .token(&controller.enrolment_token().await)
        .plugins(&plugins);
    let _program = worker.start();
    operator.until_session(worker.node_id()).await;

    let submitted = operator.submit(worker.node_id(), "hello", ADA).await;
    refused(submitted, Code::FailedPrecondition);
    let drained = operator
        .run(worker.node_id(), "drain", r#"{"drain": true}"#)
        .await;
    assert_eq!(drained.state(), CommandState::Succeeded, "{drained:#?}");
    let undone = operator
        .run(worker.node_id(), "drain", r#"{"drain": false}"#)
        .await;
    assert_eq!(undone.state(), CommandState::Succeeded, "{undone:#?}");
    let shown = operator.show(worker.node_id()).await;
    let hello = shown.plugins.iter().find(|it| it.name == "hello-plugin");
    let digest = hex(&hello.expect("told").sha256);
    let allow = ["plugin", "allow", "hello-plugin", &digest];
    controller.ctl().json(&allow).await;
    let outcome = operator.run(worker.node_id(), "hello", ADA).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
}
