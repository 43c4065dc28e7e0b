//! The real controller.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Ctl, FixedClient, Operator, Program, binaries, eventually, free_address};

/// Names the point at which the program kills itself.
const KILL_POINT: &str = "AEGIS_KILL_POINT";

/// An `aegis-controller` on loopback with a data directory of its own.
pub struct Controller {
    /// The process.
    pub program: Program,
    address: SocketAddr,
    data: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
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
        let program = spawn(address, &data, &arguments, &[]).await;
        Self {
            program,
            address,
            data,
            arguments,
            environment: Vec::new(),
        }
    }

    /// Ends it without warning and starts it again over the same data.
    pub async fn restart(&mut self) {
        self.program.kill().await;
        self.start_again().await;
    }

    /// The same with other variables in its environment, from now on. One that
    /// is to die at a kill point may have done so when this returns.
    pub async fn restart_with(&mut self, environment: &[(String, String)]) {
        self.environment = environment.to_vec();
        self.restart().await;
    }

    /// Ends it without warning and starts it again with nothing remembered, on
    /// the same address.
    pub async fn replace(&mut self) {
        self.program.kill().await;
        self.data = TempDir::new().expect("a temporary directory");
        self.start_again().await;
    }

    async fn start_again(&mut self) {
        self.program = spawn(self.address, &self.data, &self.arguments, &self.environment).await;
    }

    /// Where it keeps everything that lasts.
    pub fn data_dir(&self) -> &Path {
        self.data.path()
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

async fn spawn(
    address: SocketAddr,
    data: &TempDir,
    arguments: &[String],
    environment: &[(String, String)],
) -> Program {
    let mut command = binaries::command("aegis-controller");
    command.arg("--listen").arg(address.to_string());
    command.arg("--data-dir").arg(data.path()).args(arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut program = Program::spawn("aegis-controller", &mut command);
    let doomed = environment.iter().any(|(name, _)| name == KILL_POINT);
    eventually("the controller listens", async || {
        if !program.runs() {
            assert!(doomed, "the controller ended");
            return Some(());
        }
        TcpStream::connect(address).await.ok().map(drop)
    })
    .await;
    program
}
