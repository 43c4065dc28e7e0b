//! What goes wrong before anything is sent, and its exit codes.

use tokio::net::TcpListener;

use crate::{
    aegisctl::{Operator, ran, write_token},
    fake::{Fake, two_nodes},
};

/// The text without the port and the directory, which are new each time.
fn stable(text: &str, operator: &Operator, endpoint: &str) -> String {
    text.replace(endpoint, "ENDPOINT")
        .replace(operator.dir().to_str().unwrap(), "DIR")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_down_is_exit_3() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let operator = Operator::at(endpoint.clone());
    let ran = operator.run(&["nodes"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    insta::assert_snapshot!("unreachable", stable(&ran.stderr, &operator, &endpoint));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_controller_does_not_know_is_exit_4() {
    let fake = Fake::start(two_nodes()).await;
    let operator = Operator::of(&fake);
    write_token(
        &operator.dir().join("operator.token"),
        "another-token",
        0o600,
    );
    let ran = operator.run(&["nodes"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    insta::assert_snapshot!(
        "wrong_token",
        stable(&ran.stderr, &operator, &fake.endpoint())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_may_not_do_is_exit_4() {
    let operator = Operator::of(&Fake::start(two_nodes()).await);
    let ran = operator.run(&["audit"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    insta::assert_snapshot!("not_permitted", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_missing_open_or_empty_is_exit_2() {
    let fake = Fake::start(two_nodes()).await;
    let operator = Operator::of(&fake);
    let none = ran(operator
        .command(&["nodes"])
        .env_remove("AEGIS_OPERATOR_TOKEN_FILE"))
    .await;
    let missing = operator
        .run(&["nodes", "--token-file", "/no/such/file"])
        .await;
    let open = operator.dir().join("open.token");
    write_token(&open, "good-token", 0o644);
    let open = operator
        .run(&["nodes", "--token-file", open.to_str().unwrap()])
        .await;
    let empty = operator.dir().join("empty.token");
    write_token(&empty, "", 0o600);
    let empty = operator
        .run(&["nodes", "--token-file", empty.to_str().unwrap()])
        .await;
    let all = [none, missing, open, empty];
    assert!(all.iter().all(|ran| ran.code == 2), "{all:?}");
    let texts: Vec<String> = all
        .iter()
        .map(|ran| stable(&ran.stderr, &operator, &fake.endpoint()))
        .collect();
    insta::assert_snapshot!("token_files", texts.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_sent_in_plaintext_to_another_machine() {
    // 192.0.2.1 is reserved for documentation: nothing answers there.
    let operator = Operator::at("http://192.0.2.1:50056".into());
    let ran = operator.run(&["nodes"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    insta::assert_snapshot!("plaintext", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_selects_nothing_is_exit_2() {
    let operator = Operator::of(&Fake::start(two_nodes()).await);
    for arguments in [
        &["run", "0193", "hello", "{}"][..],
        &["run", "--tag", "nobody", "hello", "{}"],
        &["run"],
        &["drain"],
        &["drain", "0192", "--all"],
        &["shutdown", "0192"],
        &["push-config", "--all", "/no/such/file"],
        &["node", "show", ""],
        &["command", "show", "ffff"],
        &["nodes", "--endpoint", "127.0.0.1:1"],
        &["nodes", "--no-such-flag"],
    ] {
        let ran = operator.run(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{arguments:?} {ran:?}");
    }
}
