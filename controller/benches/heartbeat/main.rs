//! Server CPU per heartbeat: signed and unary, and on a session; each beside a
//! bare gRPC echo over the same kind of connection. Clients run in a process
//! of their own, so that the process's CPU time is the server's.
//!
//! `AEGIS_BENCH_CONNECTIONS` (default 200) and `AEGIS_BENCH_BEATS` (default 40,
//! for each connection) set the size.

#![forbid(unsafe_code)]

mod client;
mod echo;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use aegis_controller::{Config, Server, config::Tls};
use aegis_proto::operator::v1::{
    CreateEnrolmentTokenRequest, operator_service_client::OperatorServiceClient,
};
use anyhow::Context;
use ed25519_dalek::{Signer, SigningKey, Verifier};
use rustix::time::{ClockId, clock_gettime};

/// What the client process does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Unary,
    Session,
}

fn main() -> anyhow::Result<()> {
    // Another provider can't have been installed before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match std::env::var("AEGIS_BENCH_CLIENT") {
        Ok(load) => runtime.block_on(client::run(&load)),
        Err(_) => runtime.block_on(compare()),
    }
}

pub(crate) fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

async fn compare() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let tls = Tls {
        cert: dir.path().join("cert.pem"),
        key: dir.path().join("key.pem"),
        client_ca: None,
    };
    std::fs::write(&tls.cert, made.cert.pem())?;
    std::fs::write(&tls.key, made.signing_key.serialize_pem())?;

    println!("Ed25519 verification alone: {:.1} µs", verification());
    for (name, load) in [("unary", Load::Unary), ("session", Load::Session)] {
        let echo = echo::serve(&tls).await?;
        let bare = measure(load, echo.address.port(), &tls.cert, "").await?;
        echo.stop().await;
        let ours = ours(load, dir.path(), &tls).await?;
        println!(
            "{name} heartbeat: {ours:.1} µs of server CPU; bare echo {bare:.1} µs; ratio {:.2}",
            ours / bare
        );
    }
    Ok(())
}

async fn ours(load: Load, dir: &Path, tls: &Tls) -> anyhow::Result<f64> {
    let mut config = Config {
        listen: "127.0.0.1:0".parse()?,
        data_dir: dir.join(if load == Load::Unary {
            "unary"
        } else {
            "session"
        }),
        tls: Some(tls.clone()),
        ..Config::default()
    };
    config.settings.attestations_per_minute = 1_000_000;
    let data_dir = config.data_dir.clone();
    let server = Server::start(config).await?;
    let port = server.address().port();
    let token = std::fs::read_to_string(data_dir.join("operator.token"))?;
    let tokens = enrolment_tokens(port, &tls.cert, token.trim()).await?;
    let cost = measure(load, port, &tls.cert, &tokens).await?;
    server.stop().await?;
    Ok(cost)
}

/// One token for each connection, in lines.
async fn enrolment_tokens(port: u16, cert: &Path, operator: &str) -> anyhow::Result<String> {
    let mut client = OperatorServiceClient::new(client::dial(port, cert).await?);
    let mut tokens = String::new();
    for _ in 0..from_env("AEGIS_BENCH_CONNECTIONS", 200) {
        let mut request = tonic::Request::new(CreateEnrolmentTokenRequest::default());
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {operator}").parse()?);
        tokens += &client
            .create_enrolment_token(request)
            .await?
            .into_inner()
            .enrolment_token;
        tokens.push('\n');
    }
    Ok(tokens)
}

/// Runs a client process against the port; returns µs of this process's CPU
/// for each heartbeat. Without tokens, the client greets nobody.
async fn measure(load: Load, port: u16, cert: &Path, tokens: &str) -> anyhow::Result<f64> {
    let tokens = tokens.to_owned();
    let mut child = Command::new(std::env::current_exe()?)
        .env(
            "AEGIS_BENCH_CLIENT",
            if load == Load::Unary {
                "unary"
            } else {
                "session"
            },
        )
        .env("AEGIS_BENCH_PORT", port.to_string())
        .env("AEGIS_BENCH_CERT", cert)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    tokio::task::spawn_blocking(move || talk(&mut child, &tokens)).await?
}

fn talk(child: &mut Child, tokens: &str) -> anyhow::Result<f64> {
    let mut to = child.stdin.take().context("a pipe")?;
    let mut from = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut expect = |word: &str| {
        let line = from.next().context("the client ended early")??;
        anyhow::ensure!(line.starts_with(word), "the client said {line:?}");
        Ok(line)
    };
    to.write_all(tokens.as_bytes())?;
    to.write_all(b"\n")?;
    expect("ready")?;
    // What the greetings left behind is not the heartbeats'.
    std::thread::sleep(Duration::from_millis(500));
    let before = cpu();
    to.write_all(b"go\n")?;
    let beats: f64 = expect("done")?.trim_start_matches("done ").parse()?;
    let spent = cpu() - before;
    drop(to);
    anyhow::ensure!(child.wait()?.success(), "the client failed");
    Ok(spent.as_secs_f64() * 1e6 / beats)
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}

/// µs of CPU.
fn verification() -> f64 {
    const ROUNDS: u32 = 3000;
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [1; 60];
    let signature = key.sign(&message);
    let public = key.verifying_key();
    let before = cpu();
    for _ in 0..ROUNDS {
        assert!(
            std::hint::black_box(&public)
                .verify(&message, &signature)
                .is_ok()
        );
    }
    (cpu() - before).as_secs_f64() * 1e6 / f64::from(ROUNDS)
}
