//! A controller and one worker of it.

use aegis_proto::operator::v1::CommandView;

use crate::{Controller, Operator, PluginDir, Program, Worker};

/// The real programs, with the example plugin and the unruly one loaded.
pub struct Cluster {
    /// The controller.
    pub controller: Controller,
    /// How the worker was started.
    pub worker: Worker,
    /// The worker's process.
    pub program: Program,
    /// Calls the controller.
    pub operator: Operator,
    /// What the worker loads from.
    pub plugins: PluginDir,
}

impl Cluster {
    /// Starts both and waits until the worker is connected.
    pub async fn start() -> Self {
        Self::start_with(|worker| worker).await
    }

    /// The same with more said to the worker.
    pub async fn start_with(change: impl FnOnce(Worker) -> Worker) -> Self {
        Self::start_in(PluginDir::with(&["hello_plugin", "unruly_plugin"]), change).await
    }

    /// The same with other plugins.
    pub async fn start_in(plugins: PluginDir, change: impl FnOnce(Worker) -> Worker) -> Self {
        let controller = Controller::start().await;
        let operator = controller.operator();
        let worker = Worker::new(&controller.endpoint())
            .token(&controller.enrolment_token().await)
            .plugins(&plugins);
        let worker = change(worker);
        let program = worker.start();
        operator.until_session(worker.node_id()).await;
        Self {
            controller,
            worker,
            program,
            operator,
            plugins,
        }
    }

    /// The worker's node id.
    pub fn node(&self) -> &str {
        self.worker.node_id()
    }

    /// Gives the worker a command and waits for its outcome.
    pub async fn run(&self, name: &str, payload: &str) -> CommandView {
        self.operator.run(self.node(), name, payload).await
    }
}
