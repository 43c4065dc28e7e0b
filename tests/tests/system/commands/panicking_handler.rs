use aegis_proto::{error_code, worker::v1::CommandState};
use aegis_tests::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_fails_its_command_and_the_worker_lives() {
    let mut cluster = Cluster::start().await;
    let outcome = cluster
        .run("unruly.panic", r#"{"message": "out of cheese"}"#)
        .await;
    assert_eq!(outcome.state(), CommandState::Failed, "{outcome:#?}");
    let error = outcome.error.expect("an error");
    assert_eq!(error.code, error_code::PANICKED);
    assert!(error.message.contains("out of cheese"), "{error:?}");

    // Another plugin did not notice.
    let outcome = cluster.run("hello", r#"{"name": "Ada"}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");

    // The instance is made anew; until then its plugin refuses.
    eventually("the plugin is back", async || {
        let outcome = cluster.run("unruly.flood", r#"{"kib": 1}"#).await;
        (outcome.state() == CommandState::Succeeded).then_some(())
    })
    .await;
    assert!(cluster.program.runs());
}
