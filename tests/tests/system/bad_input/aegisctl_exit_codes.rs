use std::{fs, os::unix::fs::PermissionsExt};

use aegis_tests::{Cluster, Controller, Ctl, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn aegisctl_tells_by_its_exit_code_what_came_of_it() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    let node = cluster.node();
    for (code, arguments) in [
        (0, vec!["nodes"]),
        (0, vec!["node", "show", node]),
        (0, vec!["describe", "hello"]),
        (0, vec!["run", node, "hello", r#"{"name": "Ada"}"#]),
        (0, vec!["run", "--all", "hello", r#"{"name": "Ada"}"#]),
        (
            0,
            vec!["run", "--tag", "test", "hello", r#"{"name": "Ada"}"#],
        ),
        (0, vec!["commands"]),
        (0, vec!["events"]),
        (0, vec!["audit"]),
        (0, vec!["enrol"]),
        // The handler fails.
        (1, vec!["run", node, "unruly.panic", r#"{"message": "no"}"#]),
        // Usage.
        (2, vec![]),
        (2, vec!["no-such-subcommand"]),
        (2, vec!["run", node]),
        (2, vec!["run", node, "hello", "{"]),
        (2, vec!["run", node, "hello", r#"{"name": 7}"#]),
    ] {
        let answer = ctl.run(&arguments).await;
        assert_eq!(answer.code, code, "{arguments:?}: {answer:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_controller_is_3_and_a_wrong_token_is_4() {
    let controller = Controller::start().await;
    let nobody = format!("http://{}", free_address());
    let ctl = Ctl::new(&nobody, &controller.operator_token_file());
    let answer = ctl.run(&["nodes"]).await;
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert!(answer.stderr.contains(&nobody), "{answer:#?}");

    let folder = tempfile::tempdir().expect("a temporary directory");
    let wrong = folder.path().join("operator.token");
    fs::write(&wrong, "not-the-token").expect("the directory is ours");
    let open = Ctl::new(&controller.endpoint(), &wrong)
        .run(&["nodes"])
        .await;
    assert_eq!(open.code, 2, "others can read it: {open:#?}");
    assert!(open.stderr.contains("chmod 600"), "{open:#?}");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let answer = Ctl::new(&controller.endpoint(), &wrong)
        .run(&["nodes"])
        .await;
    assert_eq!(answer.code, 4, "{answer:#?}");
    assert!(!answer.stderr.is_empty());

    let missing = folder.path().join("nowhere");
    let answer = Ctl::new(&controller.endpoint(), &missing)
        .run(&["nodes"])
        .await;
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("nowhere"), "{answer:#?}");
}

/// What a program reads is JSON.
#[tokio::test(flavor = "multi_thread")]
async fn aegisctl_prints_json_where_it_is_asked_to() {
    let cluster = Cluster::start().await;
    let ctl = cluster.controller.ctl();
    let text = serde_json::to_string(&ctl.json(&["nodes"]).await).expect("JSON");
    assert!(text.contains(cluster.node()), "{text}");
    let payload = r#"{"name": "Ada"}"#;
    let answer = ctl.json(&["run", cluster.node(), "hello", payload]).await;
    let text = serde_json::to_string(&answer).expect("JSON");
    assert!(text.contains("hello, Ada"), "{text}");
}

/// The operator's token is a secret.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_token_is_its_owners_alone() {
    let controller = Controller::start().await;
    let metadata = fs::metadata(controller.operator_token_file()).expect("the token file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}
