use std::{collections::BTreeMap, sync::Arc};

use aegis_proto::{operator::v1::ListCommandsRequest, worker::v1::CommandState};
use aegis_tests::{Cluster, Operator, eventually};
use tokio::{sync::Semaphore, task::JoinSet};

/// As many as one node may have.
const COMMANDS: usize = 10_000;

/// All that was committed while a node was away is run when it comes back: no
/// queue overflows, and nothing is refused for its number.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_commands_for_a_node_that_is_away_all_run_when_it_returns() {
    let mut cluster = Cluster::start().await;
    cluster.program.kill().await;
    let node = cluster.node().to_owned();
    submit(&cluster.operator, &node).await;
    let more = cluster
        .operator
        .submit(&node, "hello", r#"{"name": "x"}"#)
        .await;
    let refused = more.expect_err("there is room for so many and no more");
    assert_eq!(
        refused.code(),
        tonic::Code::ResourceExhausted,
        "{refused:?}"
    );

    cluster.program = cluster.worker.start();
    // Something else is not held up by them.
    cluster.operator.until_session(&node).await;
    let mut left = COMMANDS as u32;
    while left > 0 {
        // However slow the machine is, it goes on.
        left = eventually("some more are over", async || {
            let nodes = cluster.operator.nodes().await;
            let now = nodes[0].queued_commands;
            (now == 0 || now < left).then_some(now)
        })
        .await;
    }
    let states = states(&cluster.operator).await;
    assert_eq!(
        states,
        BTreeMap::from([(CommandState::Succeeded, COMMANDS)])
    );
}

async fn submit(operator: &Operator, node: &str) {
    let room = Arc::new(Semaphore::new(64));
    let mut submits = JoinSet::new();
    for _ in 0..COMMANDS {
        let permit = Arc::clone(&room).acquire_owned().await.expect("open");
        let (operator, node) = (operator.clone(), node.to_owned());
        submits.spawn(async move {
            let submitted = operator.submit(&node, "hello", r#"{"name": "x"}"#).await;
            drop(permit);
            submitted.expect("committed");
        });
    }
    while let Some(submitted) = submits.join_next().await {
        submitted.expect("committed");
    }
}

/// How many commands are in which state.
async fn states(operator: &Operator) -> BTreeMap<CommandState, usize> {
    let mut counts = BTreeMap::new();
    let mut before = String::new();
    loop {
        let request = ListCommandsRequest {
            limit: 1000,
            before,
            ..Default::default()
        };
        let page = operator.rpc.clone().list_commands(request).await;
        let page = page.expect("the commands").into_inner().commands;
        let Some(last) = page.last() else {
            return counts;
        };
        before = last.command_id.clone();
        for command in &page {
            *counts.entry(command.state()).or_default() += 1;
        }
    }
}
