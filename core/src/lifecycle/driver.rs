//! Does what the machine decides: sockets, clock, tasks.
//!
//! All operations are futures that the driver's own loop polls, so that
//! dropping one is all it takes to end it, and a late answer of an operation
//! that was dropped cannot arrive.

mod operations;
mod telling;

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    CloseAtEnd, Health, LifecycleError, WorkerLifecycle, chain, local_outcomes,
    machine::{Action, Ended, Event, Machine, Settings},
    probation,
    pulse::Pulse,
    steps::{self, Operation, Step},
};
use crate::{
    catalog::Catalog,
    client::NodeClusterClient,
    clock::BootInstant,
    config::Config,
    control::ShutdownRequest,
    dispatch::{DispatchLimits, Dispatcher, FixedCommands},
    facts::NodeFacts,
    metrics::Sources,
    notify::ServiceManager,
    policy::Policy,
    pushed_config::{PushedConfig, SyncRequest, WorkerSettings},
    session::{Heartbeats, Inventory, Node, SessionEvent},
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
    pushed: Arc<PushedConfig>,
    service_manager: ServiceManager,
    health: watch::Sender<Health>,
    pulse: Arc<Pulse>,
    /// Connections that were made.
    connections: u64,
    /// Why the last step failed, for the log.
    trouble: String,
    farewell: String,
    seen: Seen,
    /// The digest of the enrolment token that was offered last.
    offered_token: Option<[u8; 32]>,
    _end: CloseAtEnd,
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

impl Driver {
    pub(super) fn new(lifecycle: WorkerLifecycle) -> Result<Self, LifecycleError> {
        let WorkerLifecycle {
            config,
            identity,
            worker_version,
            journal,
            recovered,
            state,
            catalog,
            inventory,
            pushed,
            sync_requests,
            service_manager,
            health,
            metrics,
            door,
            end,
        } = lifecycle;
        let dispatcher = Dispatcher::new(
            journal.clone(),
            state.clone(),
            catalog.clone(),
            Policy::new(config.handlers.clone(), pushed.settings()),
            DispatchLimits::default(),
        );
        dispatcher
            .start_intake()
            .map_err(|error| LifecycleError::NoThread(error.kind()))?;
        dispatcher.resume(recovered);
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
            commands: dispatcher.clone(),
            inventory: inventory.subscribe(),
            config: pushed.status(),
            unknown_messages: 0.into(),
            heartbeats: Heartbeats::default(),
        });
        let pulse = Arc::new(Pulse::new());
        let mut tasks = JoinSet::new();
        if let Some(listener) = metrics {
            tasks.spawn(listener.serve(Sources {
                node: node.clone(),
                dispatcher: dispatcher.clone(),
                catalog: catalog.clone(),
                pulse: pulse.clone(),
            }));
        }
        if let Some(door) = door {
            let plugins = Arc::clone(&catalog);
            let release = Arc::new(move |plugin: &str| plugins.release(plugin));
            tasks.spawn(door.serve(node.journal.clone(), release));
        }
        tasks.spawn(probation::watch(
            pushed.clone(),
            node.clone(),
            health.subscribe(),
            config.lifecycle.config_probation,
        ));
        Ok(Self {
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
            tasks,
            sync_requests,
            settings: pushed.settings(),
            pushed,
            service_manager,
            health,
            pulse,
            connections: 0,
            trouble: String::new(),
            farewell: "the worker was told to stop".to_owned(),
            seen: Seen::default(),
            offered_token: None,
            _end: end,
        })
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
        let mut trouble = self.node.journal.trouble();
        trouble.mark_changed();
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
                Ok(()) = trouble.changed() => {
                    let trouble = trouble.borrow_and_update().clone();
                    self.node.state.set_unhealthy(trouble);
                    Woken::Time
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
        let now = BootInstant::now();
        let deadline = self.machine.next_deadline();
        let red = self.machine.healthy_until().filter(|until| *until > now);
        deadline
            .into_iter()
            .chain(red)
            .min()
            .map_or(LOOK_AGAIN, |until| until.since(now).min(LOOK_AGAIN))
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
                self.connections += 1;
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
                    let (dispatcher, pushed) = (self.dispatcher.clone(), self.pushed.clone());
                    self.ending = Some(Box::pin(async move {
                        probation::put_off(pushed).await;
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

    async fn end(mut self, ended: Ended) -> Result<(), LifecycleError> {
        self.pulse.end();
        let result = match ended {
            Ended::Clean => Ok(()),
            Ended::Banned => Err(LifecycleError::Banned),
            Ended::NotAdmitted(refusal) => Err(LifecycleError::NotAdmitted(refusal)),
        };
        if let Err(error) = &result {
            tracing::error!("{}; {}", self.trouble, error);
            self.service_manager
                .stopping(self.config.lifecycle.drain_timeout + LEAVE_TIME);
            probation::put_off(self.pushed.clone()).await;
            self.dispatcher
                .shut_down(self.config.lifecycle.drain_timeout)
                .await;
        }
        let catalog = self.catalog.clone();
        let quiesced = tokio::task::spawn_blocking(move || catalog.quiesce(QUIESCE_TIME)).await;
        if quiesced.is_err() {
            tracing::warn!("a plugin panicked at its end");
        }
        self.tasks.shutdown().await;
        let journal = self.node.journal.clone();
        match journal.outbox_len() {
            0 => {}
            outcomes => tracing::warn!(
                outcomes,
                "the controller did not take all outcomes: they are kept for the next start"
            ),
        }
        match tokio::task::spawn_blocking(move || journal.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                error = chain(&error),
                "the journal cannot be closed: the next start takes this for a crash"
            ),
            Err(_) => tracing::error!("closing the journal panicked"),
        }
        tracing::info!("worker ends");
        result
    }
}

/// How long plugins have for their own end, when their commands are over.
const QUIESCE_TIME: Duration = Duration::from_secs(5);

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
