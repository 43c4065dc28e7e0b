use aegis_proto::{
    cluster::v1::SealNodeEnvelope,
    worker::v1::{
        ControllerMessage, Heartbeat, Hello, WorkerMessage, controller_message,
        worker_message::Message as Said, worker_session_client::WorkerSessionClient,
    },
};
use aegis_tests::{Controller, FixedClient, PATIENCE};
use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Endpoint};

/// A stream whose challenge was received and not yet answered.
struct Opened {
    say: mpsc::Sender<WorkerMessage>,
    hear: Streaming<ControllerMessage>,
    nonce: Vec<u8>,
}

impl Opened {
    async fn open(controller: &Controller) -> Self {
        let channel = Endpoint::from_shared(controller.endpoint()).expect("an endpoint");
        let (say, said) = mpsc::channel(4);
        let answer = WorkerSessionClient::new(channel.connect_lazy())
            .connect(ReceiverStream::new(said))
            .await;
        let mut hear = answer.expect("a stream").into_inner();
        let first = hear
            .message()
            .await
            .expect("a message")
            .expect("the challenge");
        let Some(controller_message::Message::Challenge(challenge)) = first.message else {
            panic!("the controller speaks first, with a challenge: {first:?}");
        };
        assert_eq!(challenge.nonce.len(), 32);
        Self {
            say,
            hear,
            nonce: challenge.nonce,
        }
    }

    /// What comes after the first message: a welcome, or how the stream ended.
    async fn answer(mut self, message: Said) -> Result<controller_message::Message, Status> {
        let message = WorkerMessage {
            message: Some(message),
        };
        self.say.send(message).await.expect("the stream is open");
        let heard = timeout(PATIENCE, self.hear.message())
            .await
            .expect("an answer");
        let heard = heard?.ok_or_else(|| Status::ok("the stream ended"))?;
        Ok(heard.message.expect("a variant"))
    }
}

fn hello(client: &FixedClient, nonce: &[u8]) -> Hello {
    Hello {
        purpose: aegis_proto::HELLO_PURPOSE.to_owned(),
        node_id: client.node_id.clone(),
        challenge: nonce.to_vec(),
        boot_id: uuid::Uuid::new_v4().to_string(),
        ..Hello::default()
    }
}

/// A hello proves that this node speaks on this very stream, or it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_proves_nothing_opens_no_session() {
    let controller = Controller::start().await;
    let client = controller.fixed_client().await;
    let stranger = controller.fixed_client().await;
    type Spoil = fn(&FixedClient, &FixedClient, &[u8]) -> Said;
    let cases: [(&str, Spoil); 8] = [
        ("no hello but a heartbeat", |_, _, _| {
            Said::Heartbeat(Heartbeat::default())
        }),
        ("an empty envelope", |_, _, _| {
            Said::Hello(SealNodeEnvelope::default())
        }),
        ("the nonce of another stream", |client, _, _| {
            Said::Hello(client.seal(&hello(client, &[7; 32])))
        }),
        ("another purpose", |client, _, nonce| {
            let hello = Hello {
                purpose: "aegis.worker.v1.Receipt".into(),
                ..hello(client, nonce)
            };
            Said::Hello(client.seal(&hello))
        }),
        ("another node's token", |client, stranger, nonce| {
            let mut envelope = client.seal(&hello(client, nonce));
            envelope.node_security_token.clone_from(&stranger.token);
            Said::Hello(envelope)
        }),
        ("another node's id", |client, stranger, nonce| {
            Said::Hello(client.seal(&hello(stranger, nonce)))
        }),
        ("another signature", |client, stranger, nonce| {
            let mut envelope = client.seal(&hello(client, nonce));
            envelope.signature = stranger.seal(&hello(client, nonce)).signature;
            Said::Hello(envelope)
        }),
        ("no hello inside", |client, _, _| {
            let mut envelope = client.seal(&Hello::default());
            envelope.payload = vec![0xff; 8];
            envelope.signature =
                ed25519_dalek::Signer::sign(&client.key, &envelope.payload).to_vec();
            Said::Hello(envelope)
        }),
    ];
    for (what, spoil) in cases {
        let opened = Opened::open(&controller).await;
        let message = spoil(&client, &stranger, &opened.nonce);
        let status = opened.answer(message).await.expect_err(what);
        let known = matches!(status.code(), Code::Unauthenticated | Code::InvalidArgument);
        assert!(known, "{what}: {status:?}");
        assert!(!status.message().is_empty(), "{what}");
    }

    let opened = Opened::open(&controller).await;
    let envelope = client.seal(&hello(&client, &opened.nonce));
    assert!(!envelope.encode_to_vec().is_empty());
    let heard = opened
        .answer(Said::Hello(envelope))
        .await
        .expect("a welcome");
    assert!(
        matches!(heard, controller_message::Message::Welcome(_)),
        "{heard:?}"
    );
}
