//! The real controller.

use std::{net::SocketAddr, path::PathBuf};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Ctl, FixedClient, Operator, Program, binaries, eventually, free_address};

/// An `aegis-controller` on loopback with a data directory of its own.
pub struct Controller {
    /// The process.
    pub program: Program,
    address: SocketAddr,
    data: TempDir,
    arguments: Vec<String>,
}

impl Controller {
    /// Starts one and waits until it serves.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let data = TempDir::new().expect("a temporary directory");
        let address = free_address();
        let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
        let program = spawn(address, &data, &arguments).await;
        Self {
            program,
            address,
            data,
            arguments,
        }
    }

    /// Ends it without warning and starts it again over the same data.
    pub async fn restart(&mut self) {
        self.program.kill().await;
        self.program = spawn(self.address, &self.data, &self.arguments).await;
    }

    /// Ends it without warning and starts it again with nothing remembered, on
    /// the same address.
    pub async fn replace(&mut self) {
        self.program.kill().await;
        self.data = TempDir::new().expect("a temporary directory");
        self.program = spawn(self.address, &self.data, &self.arguments).await;
    }

    /// As `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `operator.token` in its data directory.
    pub fn operator_token_file(&self) -> PathBuf {
        self.data.path().join("operator.token")
    }

    /// A client of the operator API.
    pub fn operator(&self) -> Operator {
        let token = std::fs::read_to_string(self.operator_token_file()).expect("the token file");
        Operator::new(&self.endpoint(), token.trim())
    }

    /// The command line, set up for this controller.
    pub fn ctl(&self) -> Ctl {
        Ctl::new(&self.endpoint(), &self.operator_token_file())
    }

    /// An enrolment token for any node.
    pub async fn enrolment_token(&self) -> String {
        self.operator().enrol("").await
    }

    /// A client of the fixed contract, enrolled and registered.
    pub async fn fixed_client(&self) -> FixedClient {
        let mut client = FixedClient::new(&self.endpoint());
        let answer = client
            .join(&self.enrolment_token().await)
            .await
            .expect("it joins");
        assert!(answer.accepted, "{}", answer.message);
        client
    }
}

async fn spawn(address: SocketAddr, data: &TempDir, arguments: &[String]) -> Program {
    let mut command = binaries::command("aegis-controller");
    command.arg("--listen").arg(address.to_string());
    command.arg("--data-dir").arg(data.path()).args(arguments);
    let mut program = Program::spawn("aegis-controller", &mut command);
    eventually("the controller listens", async || {
        assert!(program.runs(), "the controller ended");
        TcpStream::connect(address).await.ok()
    })
    .await;
    program
}
