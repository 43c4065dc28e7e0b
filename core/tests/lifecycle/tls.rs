//! https, with certificates on both sides.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use aegis_core::{
    client::{FailureKind, NodeClusterClient},
    config::{Config, Loader},
    identity::Identity,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity as TlsIdentity, ServerTlsConfig};

use crate::{
    controller::Controller,
    worker::{Worker, state_dir},
};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

async fn controller(authority: &Authority) -> Controller {
    // The one provider of the process; another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (cert, key) = authority.issue("localhost");
    let tls = ServerTlsConfig::new()
        .identity(TlsIdentity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(&authority.pem));
    Controller::start_with(SocketAddr::from(([127, 0, 0, 1], 0)), Some(tls)).await
}

fn config(
    controller: &Controller,
    dir: &TempDir,
    trusted: &Authority,
    client: &Authority,
) -> Config {
    let write = |name: &str, pem: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, pem).expect("written");
        path
    };
    let (cert, key) = client.issue("node");
    let toml = format!(
        "[node]\nstate_dir = {:?}\n[controller]\nendpoint = \"https://localhost:{}\"\n\
         ca_cert = {:?}\nclient_cert = {:?}\nclient_key = {:?}\n",
        dir.path().join("state"),
        controller.address.port(),
        write("ca.pem", &trusted.pem),
        write("cert.pem", &cert),
        write("key.pem", &key),
    );
    Loader::new()
        .text(toml)
        .flag(
            "--enrolment-token",
            "controller.enrolment_token",
            ["token-1"],
        )
        .load()
        .expect("a good config")
}

#[tokio::test]
async fn a_worker_and_a_controller_with_certificates_of_one_authority_find_each_other() {
    let authority = Authority::new();
    let mut controller = controller(&authority).await;
    let dir = state_dir();
    let worker = Worker::start_with(config(&controller, &dir, &authority, &authority));
    controller.session().await;
    worker.stop().await.expect("a clean end");
}

#[tokio::test]
async fn a_controller_of_another_authority_is_not_spoken_to() {
    let authority = Authority::new();
    let controller = controller(&authority).await;
    let dir = state_dir();
    let config = config(&controller, &dir, &Authority::new(), &authority);
    let identity = Arc::new(Identity::open(&config.node.state_dir, None).expect("an identity"));
    let keepalive = Duration::from_secs(30);
    let error = NodeClusterClient::connect(config.controller.into(), identity, keepalive)
        .await
        .expect_err("a stranger");
    assert_eq!(error.failure().kind, FailureKind::Unreachable);
}
