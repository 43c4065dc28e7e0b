//! The controller's address, and whether it may be spoken to in plaintext.

use std::net::IpAddr;

use tonic::transport::Uri;

/// Takes `http://HOST:PORT` and `https://HOST:PORT`. Without a port it adds
/// the protocol's own, 50056.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let refused = |why: &str| {
        Err(format!(
            "{text:?} is no address of a controller: {why}, as https://controller:50056"
        ))
    };
    let Ok(uri) = text.parse::<Uri>() else {
        return refused("write scheme, host and port");
    };
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) => scheme,
        _ => return refused("it has to begin with http:// or https://"),
    };
    let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
        return refused("it names no host");
    };
    if uri.path_and_query().is_some_and(|path| path != "/") {
        return refused("leave out what follows the port");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return refused("leave out the user");
    }
    let explicit = uri
        .authority()
        .is_some_and(|authority| authority.as_str().len() > host.len());
    match (uri.port_u16(), explicit) {
        (Some(0), _) | (None, true) => refused("the port is none"),
        (Some(port), _) => Ok(format!("{scheme}://{host}:{port}")),
        (None, false) => Ok(format!("{scheme}://{host}:50056")),
    }
}

/// Whether an endpoint's host is this machine: `localhost` or an address that
/// is loopback.
pub fn is_loopback(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether an endpoint is spoken to in plaintext.
pub(crate) fn is_plaintext(endpoint: &str) -> bool {
    endpoint.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_default_port() {
        for (text, endpoint) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
            (
                "https://controller.example",
                "https://controller.example:50056",
            ),
            ("http://[::1]", "http://[::1]:50056"),
            ("http://localhost:50056/", "http://localhost:50056"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "controller",
            "controller:50056",
            "127.0.0.1:50056",
            "ftp://host:1",
            "http://",
            "http://host:99999",
            "http://host:0",
            "http://host:",
            "http://host:1/path",
            "http://user@host:1",
            "http://ho st:1",
        ] {
            parse(text).expect_err(text);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (endpoint, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://127.8.8.8:1", true),
            ("http://[::1]:1", true),
            ("http://LocalHost:1", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example:1", false),
            ("http://0.0.0.0:1", false),
        ] {
            assert_eq!(is_loopback(endpoint), loopback, "{endpoint}");
        }
    }
}
