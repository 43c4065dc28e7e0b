//! TLS, and when it may be left out.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::StartError;
use crate::config::Config;

/// The TLS settings; `None` where the config has none and that is safe or wished for.
pub(super) fn tls(config: &Config) -> Result<Option<ServerTlsConfig>, StartError> {
    let Some(tls) = &config.tls else {
        if config.listen.ip().is_loopback() || config.insecure {
            return Ok(None);
        }
        return Err(StartError::Plaintext {
            address: config.listen,
        });
    };
    let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
    let mut server = ServerTlsConfig::new().identity(identity);
    if let Some(client_ca) = &tls.client_ca {
        server = server.client_ca_root(Certificate::from_pem(read(client_ca)?));
    }
    Ok(Some(server))
}

/// Where the controller can be reached from its own machine.
pub(super) fn endpoint(address: SocketAddr, tls: bool) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|source| StartError::TlsFile {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_one_that_can_be_dialled() {
        let endpoint = |text: &str, tls| endpoint(text.parse().expect("an address"), tls);
        assert_eq!(endpoint("0.0.0.0:50056", false), "http://127.0.0.1:50056");
        assert_eq!(endpoint("[::]:1", true), "https://[::1]:1");
        assert_eq!(endpoint("192.0.2.1:2", true), "https://192.0.2.1:2");
    }

    #[test]
    fn plaintext_beyond_loopback_has_to_be_asked_for() {
        let mut config = Config {
            listen: "0.0.0.0:0".parse().expect("an address"),
            ..Config::default()
        };
        assert!(matches!(tls(&config), Err(StartError::Plaintext { .. })));
        config.insecure = true;
        assert!(matches!(tls(&config), Ok(None)));
    }
}
