//! As much of an HTTP/1.1 request as is needed here: its first line, and where
//! its head ends. Header fields and bodies are not looked at.

use super::response::Status;

/// The first line and all header fields together.
pub(super) const MAX_HEAD_BYTES: usize = 8 * 1024;

/// The longest path that is looked at is far shorter.
const MAX_LINE_BYTES: usize = 2 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Get {
        /// Without the query.
        path: String,
        /// False for HEAD.
        with_body: bool,
    },
    Refused(Status),
}

/// Answers as soon as the outcome is certain; `None`: more has to come.
pub(super) fn parse(head: &[u8]) -> Option<Request> {
    // A TLS handshake, or anything else that is no HTTP.
    if head.first().is_some_and(|byte| !byte.is_ascii_uppercase()) {
        return Some(Request::Refused(Status::BadRequest));
    }
    let searched = &head[..head.len().min(MAX_LINE_BYTES)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return (head.len() >= MAX_LINE_BYTES).then_some(Request::Refused(Status::UriTooLong));
    };
    let request = line(&head[..end]);
    if matches!(request, Request::Refused(_)) {
        return Some(request);
    }
    if head[end..].windows(4).any(|four| four == b"\r\n\r\n") {
        return Some(request);
    }
    (head.len() > MAX_HEAD_BYTES).then_some(Request::Refused(Status::HeadTooLarge))
}

fn line(line: &[u8]) -> Request {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Request::Refused(Status::BadRequest);
    };
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        other if other.starts_with(b"HTTP/") => {
            return Request::Refused(Status::VersionNotSupported);
        }
        _ => return Request::Refused(Status::BadRequest),
    }
    if !target.starts_with(b"/") || !target.iter().all(u8::is_ascii_graphic) {
        return Request::Refused(Status::BadRequest);
    }
    let with_body = match method {
        b"GET" => true,
        b"HEAD" => false,
        _ => return Request::Refused(Status::MethodNotAllowed),
    };
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    Request::Get {
        path: String::from_utf8_lossy(path).into_owned(),
        with_body,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Option<Request> {
        Some(Request::Get {
            path: path.to_owned(),
            with_body: true,
        })
    }

    fn refused(status: Status) -> Option<Request> {
        Some(Request::Refused(status))
    }

    #[test]
    fn a_request_counts_when_its_head_is_complete() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(parse(whole), get("/metrics"));
        assert_eq!(parse(b"GET / HTTP/1.0\r\n\r\n"), get("/"));
        assert_eq!(
            parse(b"HEAD /readyz HTTP/1.1\r\n\r\nrest"),
            Some(Request::Get {
                path: "/readyz".to_owned(),
                with_body: false,
            })
        );
    }

    #[test]
    fn what_is_no_request_is_refused_at_once() {
        for (head, status) in [
            (b"\x16\x03\x01\x02\x00".as_slice(), Status::BadRequest),
            (b"\r\n", Status::BadRequest),
            (b"get /metrics HTTP/1.1\r\n", Status::BadRequest),
            (b"GET /metrics\r\n", Status::BadRequest),
            (b"GET  /metrics HTTP/1.1\r\n", Status::BadRequest),
            (b"GET /a b HTTP/1.1\r\n", Status::BadRequest),
            (b"GET /a\x00 HTTP/1.1\r\n", Status::BadRequest),
            (b"GET /\xff HTTP/1.1\r\n", Status::BadRequest),
            (b"GET http://a/metrics HTTP/1.1\r\n", Status::BadRequest),
            (b"GET /metrics SPDY/3\r\n", Status::BadRequest),
            (b"PRI * HTTP/2.0\r\n", Status::VersionNotSupported),
            (b"POST /metrics HTTP/1.1\r\n", Status::MethodNotAllowed),
            (b"GETX /metrics HTTP/1.1\r\n", Status::MethodNotAllowed),
        ] {
            assert_eq!(
                parse(head),
                refused(status),
                "{:?}",
                head.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn lines_and_heads_have_an_end() {
        let line = [b"GET /".as_slice(), &[b'a'; MAX_LINE_BYTES]].concat();
        assert_eq!(parse(&line), refused(Status::UriTooLong));
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.resize(MAX_HEAD_BYTES, b'a');
        assert_eq!(parse(&head), None);
        head.push(b'a');
        assert_eq!(parse(&head), refused(Status::HeadTooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_within_the_limit(head in prop::collection::vec(any::<u8>(), MAX_HEAD_BYTES + 1)) {
            prop_assert!(parse(&head).is_some());
        }

        #[test]
        fn more_bytes_never_change_an_answer(
            start in "(GET|HEAD|POST|get)? ?/?[a-z?]{0,8} ?(HTTP/1.1)?(\r\n){0,3}",
            more in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(answer) = parse(start.as_bytes()) {
                let longer = [start.as_bytes(), &more].concat();
                prop_assert_eq!(parse(&longer), Some(answer));
            }
        }
    }
}
