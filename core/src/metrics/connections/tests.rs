use tokio::io::duplex;

use super::*;

const IMPATIENT: Patience = Patience {
    request: Duration::from_millis(20),
    response: Duration::from_millis(20),
    linger: Duration::from_millis(20),
};

struct Echo;

impl Pages for Echo {
    fn page(&self, path: &str) -> Response {
        Response::line(Status::Ok, path)
    }
}

/// What one client reads that sends `bytes`, and then leaves if it `leaves`.
async fn answer(bytes: &[u8], leaves: bool) -> String {
    let (mut client, server) = duplex(64 * 1024);
    let served = tokio::spawn(serve(server, Arc::new(Echo), Patience::default()));
    client.write_all(bytes).await.expect("room");
    if leaves {
        client.shutdown().await.expect("open");
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("text");
    drop(client);
    served.await.expect("no panic");
    answer
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

#[tokio::test]
async fn a_page_comes_whole_and_the_connection_ends() {
    let answer = answer(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n", false).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(first_line(head), "HTTP/1.1 200 OK");
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(head.contains("\r\nContent-Length: 3"), "{head}");
    assert_eq!(body, "/a\n");
}

#[tokio::test]
async fn the_answer_to_head_has_no_body_but_its_length() {
    let answer = answer(b"HEAD /a HTTP/1.1\r\n\r\n", false).await;
    assert!(answer.contains("\r\nContent-Length: 3"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn other_methods_are_told_which_are_served() {
    let answer = answer(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", false).await;
    assert_eq!(first_line(&answer), "HTTP/1.1 405 Method Not Allowed");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_without_end_is_refused_and_not_kept() {
    let mut endless = b"GET / HTTP/1.1\r\n".to_vec();
    endless.extend(std::iter::repeat_n(b"X: y\r\n".as_slice(), 8000).flatten());
    let answer = answer(&endless, false).await;
    assert_eq!(
        first_line(&answer),
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
}

#[tokio::test]
async fn whoever_leaves_early_gets_nothing() {
    for bytes in [b"".as_slice(), b"GET /", b"GET / HTTP/1.1\r\nHost"] {
        assert_eq!(answer(bytes, true).await, "");
    }
}

#[tokio::test]
async fn a_client_that_does_not_come_to_an_end_is_sent_away() {
    let (mut client, server) = duplex(1024);
    let served = tokio::spawn(serve(server, Arc::new(Echo), IMPATIENT));
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: ")
        .await
        .expect("room");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("text");
    assert_eq!(first_line(&answer), "HTTP/1.1 408 Request Timeout");
    // It stays, and is left all the same.
    served.await.expect("no panic");
}

#[tokio::test]
async fn a_client_that_never_reads_is_left() {
    // No room for the response.
    let (mut client, server) = duplex(64);
    let served = tokio::spawn(serve(server, Arc::new(Echo), IMPATIENT));
    client
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("room");
    served.await.expect("it ends by itself");
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_out() {
    let mut connections = Connections::new(Arc::new(Echo));
    let mut silent = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        let (client, server) = duplex(1024);
        connections.take(server);
        silent.push(client);
        assert!(connections.handles.len() <= MAX_CONNECTIONS);
    }
    let (mut client, server) = duplex(1024);
    connections.take(server);
    client
        .write_all(b"GET /a HTTP/1.1\r\n\r\n")
        .await
        .expect("room");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("text");
    assert_eq!(first_line(&answer), "HTTP/1.1 200 OK");
    let mut byte = [0];
    let read = silent[0].read(&mut byte).await.expect("closed");
    assert_eq!(read, 0, "the oldest had to go");
}
