//! What a plugin is started with.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use serde_json::Value;

use super::{
    Figures, KeyValues, TestPlugin,
    book::{Book, Grant},
};
use crate::{
    HandlerError, HostInterface, KeyValue, Metrics, Node,
    abi::AegisPluginDescriptor,
    built_in::{Create, built_ins},
    ffi::loopback,
    instance::Birth,
    manifest::{Manifest, SYMBOL_PREFIX},
};

/// Which way the harness takes to the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// The plugin's Rust code.
    Rust,
    /// The C tables, as a worker does.
    Abi,
}

/// A plugin that is not yet started.
pub struct Setup {
    descriptor: &'static AegisPluginDescriptor,
    /// The way past the C tables; a library has none.
    create: Option<Create>,
    through: Through,
    config: Vec<u8>,
    node: Node,
    grants: Vec<Grant>,
}

impl Setup {
    /// For the linked plugin named `id`, through the C ABI, with an empty
    /// config and no grants.
    ///
    /// # Panics
    ///
    /// If no such plugin is linked into this program.
    pub fn new(id: &str) -> Self {
        let built_in = built_ins()
            .find(|plugin| loopback::id(plugin.descriptor_as_if_loaded()) == id.as_bytes())
            .unwrap_or_else(|| {
                panic!("no plugin `{id}` is linked into this test; name its crate: `use x as _;`")
            });
        Self::over(built_in.descriptor_as_if_loaded(), built_in.create())
    }

    /// For a plugin in a shared library, written in whatever language. The
    /// library is never unloaded. `name` is what its descriptor's symbol has
    /// after `aegis_plugin_v1_`: the crate's name, where it is in Rust.
    ///
    /// # Panics
    ///
    /// If the library cannot be loaded or has no such descriptor.
    #[cfg(unix)]
    pub fn library(path: &Path, name: &str) -> Self {
        let descriptor = loopback::load(path, &format!("{SYMBOL_PREFIX}{name}"))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::over(descriptor, None)
    }

    fn over(descriptor: &'static AegisPluginDescriptor, create: Option<Create>) -> Self {
        Self {
            descriptor,
            create,
            through: Through::Abi,
            config: b"{}".to_vec(),
            node: Node {
                node_id: "5f0c7a52-6a54-4e0b-8c2e-0d6f6f1f7a11".to_owned(),
                role: "worker".to_owned(),
                tags: vec!["test".to_owned()],
                worker_version: "0.0.0".to_owned(),
            },
            grants: Vec::new(),
        }
    }

    /// Chooses the way.
    #[must_use]
    pub fn through(mut self, through: Through) -> Self {
        self.through = through;
        self
    }

    /// Gives the plugin a config.
    ///
    /// # Panics
    ///
    /// If `config` has no JSON form.
    #[must_use]
    pub fn config(mut self, config: impl Serialize) -> Self {
        self.config = serde_json::to_vec(&config).expect("a config has a JSON form");
        self
    }

    /// Puts it on another node.
    #[must_use]
    pub fn node(mut self, node: Node) -> Self {
        self.node = node;
        self
    }

    /// Grants a host interface. `answer` is called with a function's name, as
    /// in [`HostInterface::FUNCTIONS`], and its request.
    #[must_use]
    pub fn grant<I: HostInterface>(
        mut self,
        answer: impl Fn(&str, Value) -> Result<Value, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.grants.push(Grant {
            interface: I::ID,
            functions: I::FUNCTIONS,
            answer: Box::new(answer),
        });
        self
    }

    /// Grants [`KeyValue`] over these values.
    #[must_use]
    pub fn key_values(self, values: &KeyValues) -> Self {
        let values = values.clone();
        self.grant::<KeyValue>(move |function, request| values.answer(function, &request))
    }

    /// Grants [`Metrics`] over these figures.
    #[must_use]
    pub fn figures(self, figures: &Figures) -> Self {
        let figures = figures.clone();
        self.grant::<Metrics>(move |function, request| figures.answer(function, &request))
    }

    /// Starts the plugin.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    ///
    /// # Panics
    ///
    /// If its manifest cannot be read.
    pub fn start(self) -> Result<TestPlugin, HandlerError> {
        let descriptor = self.descriptor;
        let manifest: Manifest = serde_json::from_slice(loopback::manifest(descriptor))
            .expect("a descriptor carries a manifest");
        let state_dir = StateDir::new();
        let book = Arc::new(Book::new(self.grants));
        let birth = Birth {
            port: Box::new(Arc::clone(&book)),
            config: &self.config,
            node: self.node,
            state_dir: state_dir.0.clone(),
        };
        let engine = match (self.through, self.create) {
            (Through::Rust, Some(create)) => create(birth)?,
            (Through::Rust, None) => panic!("this plugin can be reached through the C ABI only"),
            (Through::Abi, _) => loopback::create(descriptor, birth)?,
        };
        Ok(TestPlugin::new(
            engine, book, manifest, descriptor, state_dir,
        ))
    }
}

/// A directory that goes when the plugin does.
pub(super) struct StateDir(pub(super) PathBuf);

impl StateDir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aegis-plugin-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory can be written to");
        Self(path)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
