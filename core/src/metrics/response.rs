//! What is answered.

/// What there is to see.
pub(crate) trait Pages: Send + Sync + 'static {
    /// The page at a path, made anew for each request.
    fn page(&self, path: &str) -> Response;
}

/// A response that closes its connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    UriTooLong,
    HeadTooLarge,
    InternalError,
    Unavailable,
    VersionNotSupported,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Response {
    /// A page of one line.
    pub(super) fn line(status: Status, line: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{line}\n"),
        }
    }

    pub(super) fn refusal(status: Status) -> Self {
        let (_, phrase) = status.parts();
        Self::line(status, phrase)
    }

    /// `with_body`: false for the answer to a HEAD.
    pub(super) fn encode(&self, with_body: bool) -> Vec<u8> {
        let (code, phrase) = self.status.parts();
        let allow = match self.status {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let mut bytes = format!(
            "HTTP/1.1 {code} {phrase}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Connection: close\r\n\r\n",
            self.content_type,
            self.body.len()
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

impl Status {
    const fn parts(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::BadRequest => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::UriTooLong => (414, "URI Too Long"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::InternalError => (500, "Internal Server Error"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }
}
