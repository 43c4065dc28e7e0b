//! A node for plugins to live on: directories, config, fakes of what the
//! worker does for them, and a way to call a command and wait for its end.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use aegis_core::{
    catalog::{Catalog, CatalogOptions, NodeDescription, Scan},
    command::{CancelReason, CommandId, HandlerError},
    config::model::{HandlersConfig, PluginConfig, PluginsConfig},
    control::{
        CandidateConfig, ConfigControl, CurrentConfig, DrainRequest, DrainStatus, NodeControl,
        RejectedConfig, ShutdownRequest,
    },
    plugin::{
        Call, CallId, CallSink, Completion, Handler, Lookup, Placement, PluginInfo, PluginInstance,
        PluginState, Started,
    },
};
use bytes::Bytes;
use serde_json::Value;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    directory: tempfile::TempDir,
    pub plugins: PluginsConfig,
    pub handlers: HandlersConfig,
    pub node_control: Arc<FakeNode>,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["plugins", "state"] {
            std::fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        let plugins = PluginsConfig {
            dirs: vec![directory.path().join("plugins")],
            default_placement: Some(Placement::InProcess),
            ..PluginsConfig::default()
        };
        Self {
            directory,
            plugins,
            handlers: HandlersConfig::default(),
            node_control: Arc::default(),
        }
    }

    /// Where the plugins are.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().join("plugins")
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// How often the plugin wrote this note into its state directory.
    pub fn notes(&self, plugin: &str, note: &str) -> usize {
        let path = self
            .directory
            .path()
            .join("state/plugins")
            .join(plugin)
            .join(note);
        std::fs::read(path).map_or(0, |content| content.len())
    }

    pub fn plugin(&mut self, id: &str) -> &mut PluginConfig {
        self.plugins.by_name.entry(id.to_owned()).or_default()
    }

    pub fn options(&self) -> CatalogOptions {
        CatalogOptions {
            plugins: self.plugins.clone(),
            handlers: self.handlers.clone(),
            default_grants: Default::default(),
            node: NodeDescription {
                node_id: "0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11".into(),
                role: "worker".into(),
                tags: vec!["blue".into()],
                worker_version: "0.0.0".into(),
            },
            state_dir: self.directory.path().join("state"),
            node_control: Arc::clone(&self.node_control) as _,
            config_control: Arc::new(NoConfig),
            expected_built_ins: &[],
            plugin_host: None,
            crashes: Default::default(),
            starting: Box::new(|_| {}),
        }
    }

    pub fn load(&self) -> Catalog {
        Catalog::load(self.options()).expect("a catalog")
    }

    pub fn scan(&self) -> Scan {
        Catalog::scan(
            &self.plugins,
            &self.handlers,
            &Default::default(),
            &Default::default(),
        )
    }
}

/// Why the plugin of this id or file stem is not running; panics if it is.
pub fn reason(plugins: &[PluginInfo], name: &str) -> String {
    let stem = |info: &PluginInfo| info.file.as_ref()?.file_stem()?.to_str().map(str::to_owned);
    let info = plugins
        .iter()
        .find(|info| info.name == name || stem(info).as_deref() == Some(name));
    match info
        .unwrap_or_else(|| panic!("{name} is not in {plugins:?}"))
        .state
        .clone()
    {
        PluginState::Refused(reason)
        | PluginState::Failed(reason)
        | PluginState::Quarantined(reason)
        | PluginState::Disabled(reason) => reason,
        PluginState::Active => panic!("{name} runs"),
    }
}

pub fn handler(catalog: &Catalog, name: &str) -> Handler {
    match catalog.lookup(name) {
        Lookup::Found(handler) => handler.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

/// A call under way, or over.
pub struct Running {
    pub started: Started,
    pub sink: Arc<Recorder>,
    end: Receiver<Completion>,
}

pub fn start(catalog: &Catalog, name: &str, payload: &str) -> Running {
    let handler = handler(catalog, name);
    start_on(&*handler.instance, handler.index, payload)
}

pub fn start_on(instance: &dyn PluginInstance, handler: u32, payload: &str) -> Running {
    let (told, end) = sync_channel(8);
    let sink = Arc::new(Recorder {
        told,
        heard: Mutex::default(),
        checkpoint: Mutex::default(),
    });
    let call = Call {
        handler,
        command_id: CommandId::from_uuid(uuid::Uuid::now_v7()),
        payload: payload.as_bytes(),
        timeout: Some(PATIENCE),
        issuer: "tests",
        traceparent: "",
        attempt: 1,
    };
    let started = instance.start(call, Arc::clone(&sink) as _);
    Running { started, sink, end }
}

/// Calls a command and waits for its end.
pub fn run(catalog: &Catalog, name: &str, payload: &str) -> Completion {
    start(catalog, name, payload).end()
}

/// Calls a command that answers at once with a document.
pub fn ask(catalog: &Catalog, name: &str, payload: &str) -> Value {
    match run(catalog, name, payload) {
        Completion::Succeeded(response) => serde_json::from_slice(&response).expect("JSON"),
        other => panic!("{name}: {other:?}"),
    }
}

impl Running {
    pub fn end(self) -> Completion {
        match self.started {
            Started::Done(completion) => {
                assert!(
                    self.end.try_recv().is_err(),
                    "told although it was done at once"
                );
                completion
            }
            Started::Pending(_) => self
                .end
                .recv_timeout(PATIENCE)
                .expect("the end of the call"),
            Started::Refused(error) => panic!("refused: {error}"),
        }
    }

    pub fn id(&self) -> CallId {
        match self.started {
            Started::Pending(id) => id,
            ref other => panic!("not pending: {other:?}"),
        }
    }

    pub fn refusal(self) -> HandlerError {
        match self.started {
            Started::Refused(error) => error,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Whether it was told of an end.
    pub fn told(&self) -> bool {
        self.end.try_recv().is_ok()
    }
}

/// Keeps what a call said.
pub struct Recorder {
    told: SyncSender<Completion>,
    pub heard: Mutex<Vec<String>>,
    pub checkpoint: Mutex<Option<Bytes>>,
}

impl CallSink for Recorder {
    fn progress(&self, permille: u32, note: &str) {
        self.heard
            .lock()
            .expect("sound")
            .push(format!("{permille} {note}"));
    }
    fn output(&self, data: &[u8]) {
        self.heard
            .lock()
            .expect("sound")
            .push(String::from_utf8_lossy(data).into_owned());
    }
    fn save_checkpoint(&self, data: &[u8]) -> Result<(), HandlerError> {
        *self.checkpoint.lock().expect("sound") = Some(Bytes::copy_from_slice(data));
        Ok(())
    }
    fn checkpoint(&self) -> Option<Bytes> {
        self.checkpoint.lock().expect("sound").clone()
    }
    fn complete(&self, completion: Completion) {
        self.told.try_send(completion).expect("room for every end");
    }
    fn cancelled(&self) -> Option<CancelReason> {
        None
    }
}

/// Waits until `ready` says so, or long enough to say that it never will.
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !ready() {
        assert!(
            std::time::Instant::now() < deadline,
            "{what} never happened"
        );
        std::thread::yield_now();
    }
}

#[derive(Default)]
pub struct FakeNode {
    pub drains: Mutex<Vec<DrainRequest>>,
}

impl NodeControl for FakeNode {
    fn drain(&self, request: DrainRequest) -> Result<DrainStatus, HandlerError> {
        let status = DrainStatus {
            draining: request.drain,
            ..DrainStatus::default()
        };
        self.drains.lock().expect("sound").push(request);
        Ok(status)
    }
    fn drain_status(&self) -> DrainStatus {
        DrainStatus::default()
    }
    fn shutdown(&self, _: ShutdownRequest) -> Result<(), HandlerError> {
        Ok(())
    }
}

struct NoConfig;

impl ConfigControl for NoConfig {
    fn current(&self) -> CurrentConfig {
        CurrentConfig::default()
    }
    fn validate(&self, _: &CandidateConfig) -> Result<(), HandlerError> {
        Ok(())
    }
    fn store(&self, _: &CandidateConfig) -> Result<(), HandlerError> {
        Ok(())
    }
    fn apply(&self, _: &str) -> Result<(), HandlerError> {
        Ok(())
    }
    fn acknowledge(&self, _: &str) -> Result<(), HandlerError> {
        Ok(())
    }
    fn reject(&self, _: RejectedConfig) -> Result<(), HandlerError> {
        Ok(())
    }
}
