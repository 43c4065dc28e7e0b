use std::net::SocketAddr;

use aegis_proto::{operator::v1::CommandView, worker::v1::CommandState};
use aegis_tests::{Cluster, PluginDir, free_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn metrics(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("it answers");
    page
}

fn count(outcome: &CommandView) -> &str {
    assert_eq!(outcome.state(), CommandState::Succeeded, "{outcome:#?}");
    std::str::from_utf8(&outcome.response).expect("UTF-8")
}

/// What it keeps outlives a worker that is killed, and a change of its placement;
/// its figure begins anew, as figures do.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_keeps_values_and_counts_where_it_is_granted_that() {
    let placed = |placement: &str| format!("[plugins]\ndefault_placement = \"{placement}\"\n");
    let (inside, outside) = (placed("in-process"), placed("process"));
    let address = free_address();
    let mut cluster = Cluster::start_in(PluginDir::with(&["moody_plugin"]), |worker| {
        worker.config(&format!(
            "{inside}\n[telemetry]\nmetrics = \"{address}\"\n\n\
             [plugins.moody]\ngrants = [\"kv\", \"metrics\"]\n"
        ))
    })
    .await;
    for expected in ["1", "2"] {
        assert_eq!(count(&cluster.run("moody.count", "{}").await), expected);
    }
    let line = |figure: &str| {
        format!("aegis_plugin_moody_counts_total{{plugin=\"moody\",kept=\"yes\"}} {figure}\n")
    };
    let page = metrics(address).await;
    assert!(page.contains(&line("2.0")), "{page}");

    cluster.program.kill().await;
    cluster.worker = cluster.worker.replace(&inside, &outside);
    cluster.program = cluster.worker.start();
    assert_eq!(count(&cluster.run("moody.count", "{}").await), "3");
    let page = metrics(address).await;
    assert!(page.contains(&line("1.0")), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_grants_it_is_told_what_to_write() {
    let cluster = Cluster::start_in(PluginDir::with(&["moody_plugin"]), |worker| worker).await;
    let outcome = cluster.run("moody.count", "{}").await;
    assert_eq!(outcome.state(), CommandState::Failed, "{outcome:#?}");
    let error = outcome.error.expect("why");
    assert_eq!(error.code, "not-granted");
    assert!(
        error.help.contains("\"kv\"") && error.help.contains("[plugins.moody]"),
        "{error:?}"
    );
}
