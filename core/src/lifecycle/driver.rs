//! Does what the machine decides: sockets, clock, tasks.
//!
//! All operations are futures that the driver's own loop polls, so that
//! dropping one is all it takes to end it, and a late answer of an operation
//! that was dropped cannot arrive.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    Health, LifecycleError, WorkerLifecycle, chain, local_outcomes,
    machine::{Action, Ended, Event, Machine, Notice, Settings},
    steps::{self, Operation, Step},
};
use crate::{
    catalog::Catalog,
    client::NodeClusterClient,
    clock::BootInstant,
    command::{CancelReason, Command, CommandId},
    config::Config,
    control::ShutdownRequest,
    dispatch::{DispatchLimits, Dispatcher, FixedCommands},
    facts::NodeFacts,
    notify::ServiceManager,
    policy::Policy,
    pushed_config::{SyncRequest, WorkerSettings},
    session::{self, CommandSink, Inventory, Node, SessionEvent},
};

/// The machine's deadlines are on a clock that counts suspend, and timers are
/// not: look again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Deregistering and tidying up, for the service manager's patience.
const LEAVE_TIME: Duration = Duration::from_secs(30);

pub(super) struct Driver {
    machine: Machine,
    config: Arc<Config>,
    node: Arc<Node>,
    dispatcher: Dispatcher,
    catalog: Arc<Catalog>,
    inventory: watch::Sender<Arc<Inventory>>,
    client: Option<NodeClusterClient>,
    /// Connecting, attesting, registering, a heartbeat or the session.
    link: Option<Operation>,
    renewal: Option<Operation>,
    /// Draining, flushing or deregistering.
    ending: Option<Operation>,
    session_events: Option<mpsc::Receiver<SessionEvent>>,
    interval: watch::Sender<Duration>,
    /// Tasks that outlast a link.
    tasks: JoinSet<()>,
    sync_requests: mpsc::Receiver<SyncRequest>,
    settings: watch::Receiver<WorkerSettings>,
    service_manager: ServiceManager,
    health: watch::Sender<Health>,
    /// Why the last step failed, for the log.
    trouble: String,
    farewell: String,
    seen: Seen,
}

/// What was said already and is not worth a second line.
#[derive(Default)]
struct Seen {
    session_not_served: bool,
    ready: bool,
}

/// What woke the loop up.
enum Woken {
    Step(Step),
    Session(SessionEvent),
    Event(Event),
    Sync(SyncRequest),
    Watchdog,
    Time,
}

impl CommandSink for Dispatcher {
    fn submit(&self, command: Command) {
        Dispatcher::submit(self, command);
    }

    fn cancel(&self, id: CommandId, reason: CancelReason, note: &str) {
        Dispatcher::cancel(self, id, reason, note);
    }
}

impl Driver {
    pub(super) fn new(lifecycle: WorkerLifecycle) -> Self {
        let WorkerLifecycle {
            config,
            identity,
            worker_version,
            journal,
            state,
            catalog,
            inventory,
            pushed,
            sync_requests,
            service_manager,
            health,
        } = lifecycle;
        let dispatcher = Dispatcher::new(
            journal.clone(),
            state.clone(),
            catalog.clone(),
            Policy::new(config.handlers.clone(), pushed.settings()),
            DispatchLimits::default(),
        );
        let boot_id = Uuid::new_v4();
        let machine = Machine::new(
            Settings::from(&*config),
            identity.enrolment().exists(),
            boot_id.as_u64_pair().0,
        );
        let node = Arc::new(Node {
            fixed: FixedCommands::new(identity.node_id(), boot_id).into(),
            identity,
            boot_id,
            worker_version,
            state,
            facts: NodeFacts::new(),
            journal,
            commands: Arc::new(dispatcher.clone()),
            inventory: inventory.subscribe(),
            config: pushed.status(),
            unknown_messages: 0.into(),
        });
        Self {
            interval: watch::Sender::new(machine.interval()),
            machine,
            config,
            node,
            dispatcher,
            catalog,
            inventory,
            client: None,
            link: None,
            renewal: None,
            ending: None,
            session_events: None,
            tasks: JoinSet::new(),
            sync_requests,
            settings: pushed.settings(),
            service_manager,
            health,
            trouble: String::new(),
            farewell: "the worker was told to stop".to_owned(),
            seen: Seen::default(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), LifecycleError> {
        tracing::info!(
            node_id = %self.node.identity.node_id(),
            controller = self.config.controller.endpoint,
            version = self.node.worker_version,
            "worker starts"
        );
        self.tasks.spawn(local_outcomes::settle(self.node.clone()));
        let mut requested = self.node.state.shutdown_requested();
        let mut status = self.node.state.subscribe_status();
        let mut watchdog = self.service_manager.watchdog_interval().map(ticks);
        let pushed_interval = self.settings.borrow_and_update().heartbeat_interval;
        let mut ended = self.step(Event::IntervalSet {
            interval: pushed_interval,
        });
        while ended.is_none() {
            let rest = self.rest();
            let ending = self.machine.is_ending();
            let woken = tokio::select! {
                step = steps::next(&mut self.link) => Woken::Step(step),
                step = steps::next(&mut self.renewal) => Woken::Step(step),
                step = steps::next(&mut self.ending) => Woken::Step(step),
                event = receive(&mut self.session_events) => Woken::Session(event),
                Some(request) = self.sync_requests.recv() => Woken::Sync(request),
                Some(_) = self.tasks.join_next() => Woken::Time,
                Ok(_) = shutdown.wait_for(|stop| *stop), if !ending => {
                    Woken::Event(Event::ShutdownRequested { drain_timeout: None })
                }
                Ok(request) = requested.wait_for(Option::is_some), if !ending => {
                    let request = request.clone();
                    self.requested(request)
                }
                Ok(()) = self.settings.changed() => {
                    let interval = self.settings.borrow_and_update().heartbeat_interval;
                    Woken::Event(Event::IntervalSet { interval })
                }
                Ok(()) = status.changed() => Woken::Event(Event::StatusChanged),
                () = tick(&mut watchdog) => Woken::Watchdog,
                () = tokio::time::sleep(rest) => Woken::Time,
            };
            ended = self.woken(woken);
            self.publish();
        }
        self.end(ended.unwrap_or(Ended::Clean)).await
    }

    fn requested(&mut self, request: Option<ShutdownRequest>) -> Woken {
        let Some(request) = request else {
            return Woken::Time;
        };
        if !request.reason.is_empty() {
            self.farewell = request.reason;
        }
        let drain_timeout = request.drain_timeout_ms.map(Duration::from_millis);
        Woken::Event(Event::ShutdownRequested { drain_timeout })
    }

    fn rest(&self) -> Duration {
        let deadline = self.machine.next_deadline();
        deadline.map_or(LOOK_AGAIN, |deadline| {
            deadline.since(BootInstant::now()).min(LOOK_AGAIN)
        })
    }

    fn woken(&mut self, woken: Woken) -> Option<Ended> {
        match woken {
            Woken::Step(step) => {
                let event = self.result(step);
                self.step(event)
            }
            Woken::Session(SessionEvent::Opened {
                interval,
                session_id,
            }) => {
                tracing::debug!(session_id, "welcomed");
                self.step(Event::SessionOpened { interval })
            }
            Woken::Session(SessionEvent::TokenRenewed { expires_at }) => {
                self.step(Event::TokenRenewed { expires_at })
            }
            Woken::Event(event) => self.step(event),
            Woken::Sync(SyncRequest { version, reply }) => {
                let client = self
                    .client
                    .clone()
                    .filter(|client| client.token_expires_at().is_some());
                self.tasks.spawn(steps::acknowledge_config(
                    client,
                    self.node.clone(),
                    version,
                    reply,
                ));
                None
            }
            Woken::Watchdog => {
                self.service_manager.alive();
                None
            }
            Woken::Time => {
                self.take_stock();
                let actions = self.machine.tick(BootInstant::now());
                self.carry_out(actions)
            }
        }
    }

    fn step(&mut self, event: Event) -> Option<Ended> {
        let now = BootInstant::now();
        let mut actions = self.machine.handle(event, now);
        actions.extend(self.machine.tick(now));
        self.interval.send_if_modified(|known| {
            let interval = self.machine.interval();
            std::mem::replace(known, interval) != interval
        });
        self.carry_out(actions)
    }

    /// Turns what an operation came to into what the machine understands.
    fn result(&mut self, step: Step) -> Event {
        match step {
            Step::Event(event) => event,
            Step::Connected(client) => {
                self.client = Some(client);
                Event::Connected
            }
            Step::Failed(error) => {
                self.trouble = chain(&error);
                Event::StepFailed(error.failure())
            }
            Step::Heartbeat(response) => {
                steps::take_wishes(response, &self.node);
                self.ready();
                Event::HeartbeatDone
            }
            Step::SessionClosed(closed) => {
                self.session_events = None;
                self.trouble = closed.message;
                Event::SessionEnded(closed.end)
            }
            Step::Renewed(result) => Event::Renewed(result.map_err(|error| {
                self.trouble = chain(&error);
                error.failure()
            })),
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Option<Ended> {
        let mut ended = None;
        for action in actions {
            match action {
                Action::Say(notice) => self.say(notice),
                Action::DropLink => {
                    self.link = None;
                    self.renewal = None;
                    self.session_events = None;
                }
                Action::NoteAdmitted => {
                    let noted = self
                        .node
                        .identity
                        .enrolment()
                        .note(&self.config.controller.endpoint);
                    if let Err(error) = noted {
                        tracing::warn!(error = chain(&error), "the enrolment will be forgotten");
                    }
                }
                Action::SyncConfig => {
                    if let Some(client) = self.client.clone() {
                        self.tasks
                            .spawn(steps::sync_config(client, self.node.clone()));
                    }
                }
                Action::Drain { timeout } => {
                    tracing::info!(
                        reason = self.farewell,
                        ?timeout,
                        "worker shuts down: draining"
                    );
                    self.service_manager.stopping(timeout + LEAVE_TIME);
                    let dispatcher = self.dispatcher.clone();
                    self.ending = Some(Box::pin(async move {
                        dispatcher.shut_down(timeout).await;
                        Step::Event(Event::Drained)
                    }));
                }
                Action::Flush => {
                    let journal = self.node.journal.clone();
                    self.ending = Some(Box::pin(async move {
                        journal.outbox_empty().await;
                        Step::Event(Event::Flushed)
                    }));
                }
                Action::Deregister => self.ending = self.deregister(),
                Action::Finish(how) => ended = Some(how),
                Action::Renew => self.renewal = self.renew(),
                step => self.link = self.begin(&step),
            }
        }
        ended
    }

    /// The operations of the link.
    fn begin(&mut self, action: &Action) -> Option<Operation> {
        let node = self.node.clone();
        if let Action::Connect { keepalive } = *action {
            let config = Arc::new(self.config.controller.clone());
            let old = self.client.clone();
            return Some(Box::pin(async move {
                let connected = match old {
                    Some(old) => old.reconnect(keepalive).await,
                    None => {
                        NodeClusterClient::connect(config, node.identity.clone(), keepalive).await
                    }
                };
                connected.map_or_else(Step::Failed, Step::Connected)
            }));
        }
        let client = self.client.clone()?;
        let config = self.config.clone();
        let operation: Operation = match *action {
            Action::Attest { offer_token } => Box::pin(async move {
                let token = offer_token.then(|| token(&config)).flatten();
                let profile = steps::profile(&config, &node.facts);
                match client
                    .attest_and_challenge(&profile, token.as_deref())
                    .await
                {
                    Ok(expires_at) => Step::Event(Event::Attested { expires_at }),
                    Err(error) => Step::Failed(error),
                }
            }),
            Action::Register => Box::pin(async move {
                match client.register(&steps::profile(&config, &node.facts)).await {
                    Ok(answer) => {
                        tracing::info!(cluster_id = answer.cluster_id, "registered");
                        Step::Event(Event::Registered)
                    }
                    Err(error) => Step::Failed(error),
                }
            }),
            Action::OpenSession => {
                let (sender, receiver) = mpsc::channel(8);
                self.session_events = Some(receiver);
                let interval = self.interval.subscribe();
                Box::pin(async move {
                    Step::SessionClosed(session::run(client, &node, interval, sender).await)
                })
            }
            Action::Heartbeat { deadline } => Box::pin(steps::heartbeat(client, node, deadline)),
            _ => return None,
        };
        Some(operation)
    }

    fn renew(&self) -> Option<Operation> {
        let (client, config, node) = (self.client.clone()?, self.config.clone(), self.node.clone());
        Some(Box::pin(async move {
            let profile = steps::profile(&config, &node.facts);
            Step::Renewed(client.attest_and_challenge(&profile, None).await)
        }))
    }

    fn deregister(&self) -> Option<Operation> {
        let (client, reason) = (self.client.clone()?, self.farewell.clone());
        Some(Box::pin(async move {
            match client.deregister(&reason).await {
                Ok(()) => tracing::info!("deregistered"),
                Err(error) => tracing::warn!(
                    error = chain(&error),
                    "could not deregister: the controller will notice by itself"
                ),
            }
            Step::Event(Event::Deregistered)
        }))
    }

    fn say(&mut self, notice: Notice) {
        let trouble = std::mem::take(&mut self.trouble);
        match notice {
            Notice::SessionOpen => {
                tracing::info!(interval = ?self.machine.interval(), "session open");
                self.ready();
            }
            Notice::SessionNotServed => {
                if !std::mem::replace(&mut self.seen.session_not_served, true) {
                    tracing::info!("the controller serves no session: heartbeats go one by one");
                }
            }
            Notice::Retry { wait } => tracing::warn!("{trouble}; trying again in {wait:.1?}"),
            Notice::Forgotten => tracing::warn!("{trouble}; attesting again"),
            Notice::TokenDemanded => {
                tracing::warn!(
                    "{trouble}; the controller has forgotten this node: offering the enrolment token"
                );
            }
            Notice::Renewed => tracing::debug!("token renewed"),
            Notice::RenewalFailed { wait } => {
                tracing::warn!("cannot renew the token: {trouble}; trying again in {wait:.1?}");
            }
            Notice::Superseded { wait } => tracing::error!(
                "another live worker uses this node's id and key: stop one of the two, or give it a \
                 state directory of its own; trying again in {wait:.1?}"
            ),
            Notice::Evicted { wait } => {
                tracing::error!(
                    "an operator evicted this node: enrol it again; trying again in {wait:.1?}"
                );
            }
            Notice::GoingAway { wait } => tracing::info!("{trouble}; trying again in {wait:.1?}"),
            Notice::LeftUnheard => {
                tracing::warn!(
                    "could not deregister, for want of a connection: the controller will notice by itself"
                );
            }
        }
    }

    /// A plugin may have failed or come back since.
    fn take_stock(&self) {
        let plugins = self.catalog.plugins();
        self.inventory.send_if_modified(|known| {
            let changed = known.plugins != plugins;
            if changed {
                *known = Arc::new(Inventory {
                    plugins,
                    handlers: self.catalog.handlers(),
                });
            }
            changed
        });
    }

    fn ready(&mut self) {
        if !std::mem::replace(&mut self.seen.ready, true) {
            self.service_manager.ready();
        }
    }

    fn publish(&self) {
        let health = if self.machine.is_ending() {
            Health::Stopping
        } else if self.machine.is_healthy(BootInstant::now()) {
            Health::Healthy
        } else if self.seen.ready {
            Health::Unhealthy
        } else {
            Health::Starting
        };
        let changed = self
            .health
            .send_if_modified(|known| std::mem::replace(known, health) != health);
        if changed {
            self.service_manager.status(match health {
                Health::Starting => "looking for the controller",
                Health::Healthy => "registered",
                Health::Unhealthy => "the controller is out of reach",
                Health::Stopping => "shutting down",
            });
        }
    }

    async fn end(self, ended: Ended) -> Result<(), LifecycleError> {
        let result = match ended {
            Ended::Clean => Ok(()),
            Ended::Banned => Err(LifecycleError::Banned),
            Ended::NotAdmitted(refusal) => Err(LifecycleError::NotAdmitted(refusal)),
        };
        if let Err(error) = &result {
            tracing::error!("{}; {}", self.trouble, error);
            self.service_manager
                .stopping(self.config.lifecycle.drain_timeout + LEAVE_TIME);
            self.dispatcher
                .shut_down(self.config.lifecycle.drain_timeout)
                .await;
        }
        let catalog = self.catalog.clone();
        let quiesced = tokio::task::spawn_blocking(move || catalog.quiesce(QUIESCE_TIME)).await;
        if quiesced.is_err() {
            tracing::warn!("a plugin panicked at its end");
        }
        tracing::info!("worker ends");
        result
    }
}

/// How long plugins have for their own end, when their commands are over.
const QUIESCE_TIME: Duration = Duration::from_secs(5);

/// Unreadable is as good as none: the controller's answer says what is missing.
fn token(config: &Config) -> Option<String> {
    let source = config.controller.enrolment_token.as_ref()?;
    match steps::enrolment_token(source) {
        Ok(token) => Some(token),
        Err(error) => {
            tracing::warn!(%error, "cannot read the enrolment token");
            None
        }
    }
}

fn ticks(period: Duration) -> Pin<Box<Interval>> {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Box::pin(interval)
}

async fn tick(interval: &mut Option<Pin<Box<Interval>>>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn receive(events: &mut Option<mpsc::Receiver<SessionEvent>>) -> SessionEvent {
    if let Some(receiver) = events {
        match receiver.recv().await {
            Some(event) => return event,
            None => *events = None,
        }
    }
    std::future::pending().await
}
