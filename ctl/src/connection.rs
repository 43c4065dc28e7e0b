//! The connection to the controller: where it is, the operator's token, and
//! calls that all have a deadline.

mod call;
mod token;

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use aegis_proto::{
    limits::MAX_MESSAGE_BYTES, operator::v1::operator_service_client::OperatorServiceClient,
};
use clap::Args;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri},
};

pub use self::call::CallError;
use self::token::{Bearer, TokenError};
use crate::failure::{Exit, Failure, chain};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a call that answers once, and of a stream until it opens.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that says nothing for this long is asked, and given up if it
/// does not answer in the same time again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where the controller is and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// The controller's address
    #[arg(
        long,
        global = true,
        env = "AEGIS_ENDPOINT",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:50056"
    )]
    pub endpoint: String,
    /// File with the operator token; the controller writes DATA_DIR/operator.token
    #[arg(
        long,
        global = true,
        env = "AEGIS_OPERATOR_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// PEM file with the authority that signed an https:// controller's certificate
    #[arg(
        long,
        global = true,
        env = "AEGIS_CA_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub ca_cert: Option<PathBuf>,
    /// Allow plaintext to an address that is not loopback: whoever listens on the way reads the token
    #[arg(long, global = true)]
    pub insecure: bool,
}

/// The generated client with the operator's token in every call.
pub type Client = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// A connection that was made once; after a loss the next call makes it anew.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Client,
    endpoint: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Everything of [`ConnectError`]; nothing was sent then.
    pub async fn open(args: &ConnectArgs) -> Result<Self, ConnectError> {
        let uri = parse(&args.endpoint)?;
        let secure = uri.scheme_str() == Some("https");
        if !secure && !args.insecure && !is_loopback(&uri) {
            return Err(ConnectError::Plaintext(args.endpoint.clone()));
        }
        let bearer = token::read(args.token_file.as_deref())?;
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        if secure {
            endpoint = endpoint
                .tls_config(tls(args)?)
                .map_err(|source| ConnectError::Tls { source })?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|source| ConnectError::Unreachable {
                endpoint: args.endpoint.clone(),
                source,
            })?;
        let client = OperatorServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            client,
            endpoint: args.endpoint.clone(),
        })
    }

    /// The address as the operator gave it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0:?} is not an address of a controller")]
    Address(String),
    #[error("refusing to send the operator token in plaintext to {0}")]
    Plaintext(String),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("an https:// controller needs --ca-cert")]
    NoAuthority,
    #[error("can't read the authority's certificate {}", path.display())]
    Authority {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("can't use the authority's certificate")]
    Tls { source: tonic::transport::Error },
    #[error("can't reach the controller at {endpoint}")]
    Unreachable {
        endpoint: String,
        source: tonic::transport::Error,
    },
}

impl ConnectError {
    fn next(&self) -> String {
        match self {
            Self::Address(_) => "Give a URL such as http://127.0.0.1:50056 or https://controller:50056 with --endpoint or AEGIS_ENDPOINT.".into(),
            Self::Plaintext(_) => "Use an https:// address with --ca-cert, or a tunnel to loopback; --insecure allows it where the network in between is trusted.".into(),
            Self::Token(error) => error.next(),
            Self::NoAuthority => "Give the PEM file of the authority that signed the controller's certificate with --ca-cert or AEGIS_CA_CERT.".into(),
            Self::Authority { .. } | Self::Tls { .. } => "--ca-cert takes a readable PEM file with one or more certificates.".into(),
            Self::Unreachable { .. } => "Is it running there? `aegis-controller --data-dir DIR` starts one and writes its address to DIR/endpoint; give it with --endpoint or AEGIS_ENDPOINT.".into(),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::Unreachable { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        };
        Self::new(exit, chain(&error)).next(error.next())
    }
}

fn parse(endpoint: &str) -> Result<Uri, ConnectError> {
    let uri: Uri = endpoint
        .parse()
        .map_err(|_| ConnectError::Address(endpoint.into()))?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    if !scheme || uri.host().is_none_or(str::is_empty) {
        return Err(ConnectError::Address(endpoint.into()));
    }
    Ok(uri)
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn tls(args: &ConnectArgs) -> Result<ClientTlsConfig, ConnectError> {
    let path = args.ca_cert.as_ref().ok_or(ConnectError::NoAuthority)?;
    let pem = fs::read(path).map_err(|source| ConnectError::Authority {
        path: path.clone(),
        source,
    })?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:50056", true),
            ("http://127.8.9.1:1", true),
            ("http://[::1]:50056", true),
            ("http://LOCALHOST:50056", true),
            ("http://10.0.0.1:50056", false),
            ("http://localhost.example.org:50056", false),
            ("http://127.0.0.1.example.org:50056", false),
            ("http://[::2]:50056", false),
        ] {
            assert_eq!(
                is_loopback(&parse(endpoint).unwrap()),
                expected,
                "{endpoint}"
            );
        }
    }

    #[test]
    fn an_address_needs_a_scheme_and_a_host() {
        for endpoint in [
            "",
            "127.0.0.1:50056",
            "controller",
            "ftp://x:1",
            "http://",
            "unix:///run/x",
        ] {
            assert!(parse(endpoint).is_err(), "{endpoint}");
        }
    }
}
