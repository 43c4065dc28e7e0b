//! What goes wrong on the way and is put right.

use std::{net::SocketAddr, time::Duration};

use aegis_core::lifecycle::LifecycleError;
use aegis_proto::worker::v1::{Bye, bye, controller_message::Message as Down};
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    controller::{Controller, Heard, refusal},
    worker::{Worker, config, state_dir},
};

#[tokio::test]
async fn a_controller_that_comes_up_later_is_found() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = free.local_addr().expect("an address");
    drop(free);
    let dir = state_dir();
    let worker = Worker::start(&format!("http://{address}"), &dir);
    tokio::task::yield_now().await;
    let mut controller = Controller::start_at(address).await;
    controller.session().await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_controller_that_goes_and_comes_back_gets_a_session_without_another_attestation() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let session = controller.session().await;
    drop(session);
    controller.stop().await;
    controller.resume().await;
    let heard = controller.until(|heard| match heard {
        Heard::Session(_) | Heard::Attest(_) => Some(heard),
        _ => None,
    });
    assert!(matches!(heard.await, Heard::Session(_)));
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_controller_that_lost_its_memory_gets_the_node_back() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    drop(controller.session().await);
    controller.stop().await;
    controller.forget();
    controller.resume().await;
    controller
        .until(|heard| matches!(heard, Heard::Register(_)).then_some(()))
        .await;
    controller.session().await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_token_is_renewed_with_the_key_alone_while_the_session_stays() {
    let mut controller = Controller::start().await;
    controller.knobs().token_lifetime = Duration::from_secs(1);
    let dir = state_dir();
    let worker = Worker::start_with(config(
        &controller.endpoint(),
        &dir,
        "[lifecycle]\ntoken_refresh_margin = \"900ms\"",
    ));
    controller.attest().await;
    let mut session = controller.session().await;
    assert_eq!(controller.attest().await.enrolment_token, "");
    session.until(|_| Some(())).await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_banned_node_stops_trying() {
    let mut controller = Controller::start().await;
    let dir = state_dir();
    let worker = Worker::start(&controller.endpoint(), &dir);
    let session = controller.session().await;
    session
        .say(Down::Bye(Bye {
            reason: bye::Reason::Banned.into(),
            ..Bye::default()
        }))
        .await;
    assert_eq!(worker.ended().await, Err(LifecycleError::Banned));

    controller
        .knobs()
        .refusals
        .push_back(refusal(Code::PermissionDenied, "NODE_BANNED"));
    let worker = Worker::start(&controller.endpoint(), &dir);
    assert_eq!(worker.ended().await, Err(LifecycleError::Banned));
}

#[tokio::test]
async fn a_worker_ends_although_no_controller_was_ever_there() {
    let dir = state_dir();
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    Worker::start(&endpoint, &dir)
        .stop()
        .await
        .expect("a clean end");
}
