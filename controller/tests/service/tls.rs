//! TLS, with and without client certificates.

use std::path::Path;

use aegis_controller::{Server, config::Tls};
use aegis_proto::cluster::v1::node_cluster_service_client::NodeClusterServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::{
    Code, Status,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use crate::peer::{Node, config, soon};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// Certificate and key in PEM.
fn issue(issuer: &Issuer) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("names");
    let cert = params.signed_by(&key, issuer).expect("a certificate");
    (cert.pem(), key.serialize_pem())
}

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

async fn attest(endpoint: &str, tls: ClientTlsConfig) -> Result<(), Status> {
    let unreachable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(unreachable)?;
    let endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    let channel = soon(endpoint.connect()).await.map_err(unreachable)?;
    let mut cluster = NodeClusterServiceClient::new(channel);
    cluster
        .attest_node(Node::new().attestation(""))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_client_needs_a_certificate_where_a_client_ca_is_set() {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let files = tempfile::tempdir().expect("a directory");
    let issuer = issuer();
    let (cert, key) = issue(&issuer);
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(&dir);
    config.tls = Some(Tls {
        cert: write(files.path(), "cert.pem", &cert),
        key: write(files.path(), "key.pem", &key),
        client_ca: Some(write(files.path(), "ca.pem", &issuer.pem())),
    });
    Server::check(&config).expect("good certificates");
    let server = Server::start(config).await.expect("a controller");
    assert!(server.endpoint().starts_with("https://"));

    let trusting = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(issuer.pem()))
        .domain_name("localhost");
    let refused = attest(server.endpoint(), trusting.clone())
        .await
        .expect_err("no certificate");
    assert_ne!(
        refused.code(),
        Code::InvalidArgument,
        "it got through: {refused}"
    );
    let (cert, key) = issue(&issuer);
    let known = trusting.identity(Identity::from_pem(cert, key));
    attest(server.endpoint(), known).await.expect("known");
    soon(server.stop()).await.expect("a clean end");
}

#[tokio::test]
async fn a_certificate_that_can_not_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = config(&dir);
    let missing = dir.path().join("missing.pem");
    config.tls = Some(Tls {
        cert: missing.clone(),
        key: missing.clone(),
        client_ca: None,
    });
    let error = Server::check(&config).expect_err("missing").to_string();
    assert!(error.contains("missing.pem"), "{error}");
}
