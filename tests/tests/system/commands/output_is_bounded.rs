use aegis_proto::worker::v1::CommandState;
use aegis_tests::Cluster;

/// 1 MiB of output is kept, and what was cut is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_cut_and_said_to_be() {
    let cluster = Cluster::start().await;
    let outcome = cluster.run("unruly.flood", r#"{"kib": 3072}"#).await;
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    let shown = cluster.operator.command(&outcome.command_id).await;
    let kept = u64::try_from(shown.output.len()).expect("a length");
    assert!(kept <= 1024 * 1024, "{kept}");
    assert_eq!(kept + outcome.output_cut, 3072 * 1024);

    let small = cluster.run("unruly.flood", r#"{"kib": 2}"#).await;
    let shown = cluster.operator.command(&small.command_id).await;
    assert_eq!((shown.output.len(), small.output_cut), (2048, 0));
    assert!(shown.output.ends_with(b"0001\n"));
}

/// An answer is refused where it could not be sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_fails_its_command() {
    let cluster = Cluster::start().await;
    let outcome = cluster.run("unruly.bloat", r#"{"kib": 2048}"#).await;
    assert_eq!(outcome.state(), CommandState::Failed, "{:?}", outcome.error);
    assert!(outcome.response.is_empty());
    let outcome = cluster.run("unruly.bloat", r#"{"kib": 512}"#).await;
    assert_eq!(
        outcome.state(),
        CommandState::Succeeded,
        "{:?}",
        outcome.error
    );
    assert_eq!(outcome.response.len(), 512 * 1024 + 2);
}
