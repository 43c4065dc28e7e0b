//! What a node tells those that watch it.

use std::net::SocketAddr;

use aegis_core::lifecycle::{BuildError, WorkerLifecycle};
use aegis_proto::worker::v1::{
    Command, ResultAck, controller_message::Message as Down, worker_message::Message as Up,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    controller::Controller,
    worker::{DEADLINE, Worker, config, state_dir},
};

const ANYWHERE: &str = "[telemetry]\nmetrics = \"127.0.0.1:0\"\n";

/// Status and body of a page.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// Asks again until the page is as wanted.
async fn until(address: SocketAddr, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
    timeout(DEADLINE, async {
        loop {
            let (status, body) = get(address, path).await;
            if wanted(status, &body) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes to that")
}

fn has(body: &str, line: &str) -> bool {
    body.lines().any(|each| each == line)
}

#[tokio::test]
async fn readiness_follows_the_link_and_life_does_not() {
    // A port at which nobody listens yet.
    let mut controller = Controller::start().await;
    controller.stop().await;
    let dir = state_dir();
    let worker = Worker::start_with(config(&controller.endpoint(), &dir, ANYWHERE));
    let address = worker.metrics.expect("it serves");
    let (status, reason) = get(address, "/readyz").await;
    assert_eq!((status, reason.lines().count()), (503, 1), "{reason}");
    assert_eq!(get(address, "/healthz").await.0, 200);

    controller.resume().await;
    let session = controller.session().await;
    until(address, "/readyz", |status, _| status == 200).await;

    drop(session);
    controller.stop().await;
    let reason = until(address, "/readyz", |status, _| status == 503).await;
    assert!(reason.contains("does not hear from the node"), "{reason}");
    assert_eq!(get(address, "/healthz").await.0, 200);

    worker.stop().await.expect("a clean end");
    TcpStream::connect(address)
        .await
        .expect_err("the listener ends with the lifecycle");
}

#[tokio::test]
async fn figures_tell_what_happened() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start_with(config(&controller.endpoint(), &dir, ANYWHERE));
    let address = worker.metrics.expect("it serves");
    let mut session = controller.session().await;
    // Names that nobody serves are one, however many there are.
    let mut command_ids = Vec::new();
    for name in ["no-such-command", "nor-such-a-one"] {
        let command = Command {
            command_id: Uuid::now_v7().to_string(),
            name: name.to_owned(),
            payload: b"{}".to_vec(),
            ..Command::default()
        };
        command_ids.push(command.command_id.clone());
        session.say(Down::Command(command)).await;
        session
            .until(|message| matches!(message, Up::CommandResult(_)).then_some(()))
            .await;
    }
    let body = until(address, "/metrics", |_, body| {
        has(body, "aegis_worker_outbox_outcomes 2")
    })
    .await;
    for line in [
        r#"aegis_worker_commands_total{command="(unknown)",state="rejected"} 2"#,
        r#"aegis_worker_link{state="session"} 1"#,
        r#"aegis_worker_node_status{state="active"} 1"#,
        "aegis_worker_ready 1",
        "aegis_worker_journal_commands 2",
    ] {
        assert!(has(&body, line), "no {line}\n{body}");
    }
    assert!(!body.contains("such"), "{body}");
    assert!(body.ends_with("# EOF\n"));

    session
        .say(Down::ResultAck(ResultAck { command_ids }))
        .await;
    until(address, "/metrics", |_, body| {
        has(body, "aegis_worker_outbox_outcomes 0")
            && has(body, "aegis_worker_journal_commands 0")
            && !has(body, "aegis_worker_heartbeats_sent_total 0")
    })
    .await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn an_address_in_use_stops_the_worker_at_its_start() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = taken.local_addr().expect("an address");
    let dir = state_dir();
    let toml = format!("[telemetry]\nmetrics = \"{address}\"\n");
    let config = config("http://127.0.0.1:1", &dir, &toml);
    let error = WorkerLifecycle::builder(config)
        .build()
        .expect_err("the address is taken");
    assert!(
        matches!(&error, BuildError::Metrics { address: at, .. } if *at == address),
        "{error}"
    );
}

#[tokio::test]
async fn without_the_setting_nothing_is_served() {
    let dir = state_dir();
    let lifecycle = WorkerLifecycle::builder(config("http://127.0.0.1:1", &dir, ""))
        .build()
        .expect("a worker");
    assert_eq!(lifecycle.metrics_address(), None);
}
