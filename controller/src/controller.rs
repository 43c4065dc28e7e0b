//! What all services share: one controller over one store.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use aegis_proto::{CommandId, NodeId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;
use uuid::Uuid;

use crate::{
    allow_list::AllowList,
    auth::{Attempts, Challenges, NodeTokens, TokenError},
    directory::Directory,
    layers::{LayerStack, Layers},
    retention::Retention,
    status::internal,
    storage::Storage,
    store::{NewEvent, SharedStore, StoreError},
    time,
    watch::Watchers,
};

/// Open challenges at once. One holds well under 4 KiB but for its
/// capabilities, whose size [`crate::cluster`] bounds.
const MAX_CHALLENGES: usize = 10_000;

/// Of an event's message. Nodes have a say in it, and many events are kept.
const MAX_EVENT_BYTES: usize = 2 * 1024;

/// Settings that the services need; [`crate::Config`] has their defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Told to workers.
    pub heartbeat_interval: Duration,
    /// Without a heartbeat for this long, a node is unhealthy.
    pub stale_after: Duration,
    /// How often the sweeper looks.
    pub sweep_interval: Duration,
    /// Of node security tokens.
    pub token_ttl: Duration,
    /// Of challenges.
    pub challenge_ttl: Duration,
    /// Attestations that one address may begin in a minute.
    pub attestations_per_minute: u32,
    /// Roles whose nodes may push config to other nodes.
    pub config_push_roles: Vec<String>,
    /// Whether commands are sent to files alone whose digest operators have
    /// allowed; otherwise that holds for plugins of which they allowed any.
    pub require_allowed_plugins: bool,
    /// Commands of one name that a node may have in hand. A worker queues 128
    /// and rejects further ones; what is cancelled there, or told twice, fits in
    /// between the two. No file sets it.
    pub window: usize,
    /// What is kept of what is over.
    pub retention: Retention,
}

/// Shared by all services.
pub struct Controller {
    pub(crate) settings: Settings,
    pub(crate) store: SharedStore,
    pub(crate) cluster_id: String,
    pub(crate) directory: Directory,
    pub(crate) tokens: Arc<NodeTokens>,
    pub(crate) challenges: Challenges,
    pub(crate) attempts: Attempts,
    pub(crate) layers: Layers,
    pub(crate) allow_list: AllowList,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) storage: Storage,
    /// Ends sessions and watches, in that order of urgency, before the server.
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) started: Instant,
}

/// Why a controller could not be made over a store.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The store failed.
    #[error("can't read the store")]
    Store(#[from] StoreError),
    /// The stored signing key is no key.
    #[error("the stored signing key is malformed; restore the database from a backup")]
    SigningKey,
    /// The stored signing key can't sign.
    #[error("the stored signing key can't be used")]
    Token(#[from] TokenError),
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random(#[from] getrandom::Error),
}

impl Controller {
    /// Reads what the store has. Makes the signing key and the cluster id
    /// where it has none.
    ///
    /// # Errors
    /// Where the store fails or holds something malformed.
    pub async fn new(store: SharedStore, settings: Settings) -> Result<Arc<Self>, ControllerError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let seed: [u8; 32] = store
            .meta("signing-key", &seed)
            .await?
            .try_into()
            .map_err(|_| ControllerError::SigningKey)?;
        let cluster_id = store
            .meta("cluster-id", Uuid::new_v4().to_string().as_bytes())
            .await?;
        let (revision, layers) = store.layers().await?;
        Ok(Arc::new(Self {
            cluster_id: String::from_utf8_lossy(&cluster_id).into_owned(),
            directory: Directory::new(store.nodes().await?),
            tokens: NodeTokens::new(&seed, settings.token_ttl)?,
            challenges: Challenges::new(settings.challenge_ttl, MAX_CHALLENGES),
            attempts: Attempts::new(settings.attestations_per_minute),
            layers: Layers::new(LayerStack { revision, layers }),
            allow_list: AllowList::new(
                settings.require_allowed_plugins,
                &store.allowed_plugins().await?,
            ),
            watchers: Arc::default(),
            storage: Storage::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            settings,
            store,
        }))
    }

    /// Runs a changing call to its end, even where its caller goes away in the
    /// middle: a call that ended between the commit and what follows it would
    /// leave nodes, sessions and watchers that never hear of the change.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        match self.tasks.spawn(call).await {
            Ok(answer) => answer,
            Err(panic) => Err(internal(&panic)),
        }
    }

    /// Writes an event. One that can't be written is only logged: no caller
    /// fails because of it.
    pub(crate) async fn event(
        &self,
        kind: &'static str,
        node: Option<NodeId>,
        command: Option<CommandId>,
        message: impl Into<String>,
    ) {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_EVENT_BYTES));
        tracing::info!(
            kind,
            node = node.map(tracing::field::display),
            command = command.map(tracing::field::display),
            "{message}"
        );
        let event = NewEvent {
            at: time::now(),
            kind,
            node,
            command,
            message,
        };
        if let Err(error) = self.store.append_event(&event).await {
            self.storage.blame(&error);
            tracing::error!(kind, %error, "an event could not be written");
        }
    }
}
