//! The HTTP/2 connection under the RPCs.

use std::{path::Path, time::Duration};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as TlsIdentity};

use super::{ClientError, RPC_DEADLINE};
use crate::config::{is_loopback, is_plaintext, model::ControllerConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects. Certificates are read anew each time, so that replaced ones count
/// from the next connection on.
pub(super) async fn open(
    config: &ControllerConfig,
    keepalive: Duration,
) -> Result<Channel, ClientError> {
    // The loader refuses this too; a config made in code has not been there.
    if is_plaintext(&config.endpoint) && !is_loopback(&config.endpoint) && !config.insecure {
        return Err(ClientError::misconfigured(
            format!(
                "{} is plaintext to another machine, and that was not asked for",
                config.endpoint
            ),
            None,
        ));
    }
    let mut endpoint = Endpoint::from_shared(config.endpoint.clone())
        .and_then(|endpoint| {
            endpoint.user_agent(concat!("aegis-worker/", env!("CARGO_PKG_VERSION")))
        })
        .map_err(|error| {
            ClientError::misconfigured(
                format!("{:?} is no address of a controller", config.endpoint),
                Some(error.into()),
            )
        })?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .buffer_size(16)
        .http2_keep_alive_interval(keepalive.mul_f32(1.5))
        .keep_alive_timeout(keepalive)
        .keep_alive_while_idle(true);
    if !is_plaintext(&config.endpoint) {
        endpoint = endpoint.tls_config(tls(config).await?).map_err(|error| {
            ClientError::misconfigured(
                "the certificates given for the controller cannot be used".to_owned(),
                Some(error.into()),
            )
        })?;
    }
    // The endpoint's own timeout is for TCP: a peer that accepts and then says
    // nothing is noticed here.
    match tokio::time::timeout(RPC_DEADLINE, endpoint.connect()).await {
        Ok(connected) => {
            connected.map_err(|error| ClientError::unreachable(&config.endpoint, error))
        }
        Err(_) => Err(ClientError::timed_out("Connect", RPC_DEADLINE)),
    }
}

async fn tls(config: &ControllerConfig) -> Result<ClientTlsConfig, ClientError> {
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = &config.ca_cert {
        tls = tls.ca_certificate(Certificate::from_pem(read(path).await?));
    }
    if let (Some(cert), Some(key)) = (&config.client_cert, &config.client_key) {
        tls = tls.identity(TlsIdentity::from_pem(read(cert).await?, read(key).await?));
    }
    Ok(tls)
}

async fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    tokio::fs::read(path).await.map_err(|error| {
        ClientError::misconfigured(
            format!("cannot read {}", path.display()),
            Some(error.into()),
        )
    })
}
