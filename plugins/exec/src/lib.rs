//! `exec`: runs programs that the node's own config lists.
//!
//! A command names a program of the config and gives values for its parameters.
//! Path, arguments, patterns, user, environment and limits are the config's
//! alone: nothing that comes from a controller reaches them. README.md beside
//! this crate is the operator's page.

#![forbid(unsafe_code)]

mod arguments;
mod config;
mod ending;
mod program;
mod request;
mod run;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aegis_plugin_api::prelude::*;
use serde_json::{Map, Value};

pub use config::Fault;

use config::Config;
use program::Program;
use request::{ExecRequest, Exited};

/// The programs of the node's own config.
struct Programs {
    by_name: BTreeMap<String, Arc<Program>>,
    /// As the config has them: whatever comes later has to be the same.
    listed: Map<String, Value>,
    disabled: RwLock<BTreeSet<String>>,
}

impl Plugin for Programs {
    type Config = Config;

    fn start(config: Config, _host: &Host) -> Result<Self, HandlerError> {
        let by_name = config::read(&config).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            HandlerError::new("invalid-config", faults.join("; ")).help(
                "correct [plugins.exec.config]; `aegis-worker check-config` checks it without a restart",
            )
        })?;
        Ok(Self {
            by_name,
            listed: config.programs,
            disabled: RwLock::new(config.disabled.into_iter().collect()),
        })
    }

    /// What is given to a running plugin can come from a controller, so it may
    /// turn programs off, and no more than that.
    fn reconfigure(&self, config: Config) -> Result<(), HandlerError> {
        if config.programs != self.listed {
            return Err(HandlerError::new(
                "local-config-only",
                "the programs of exec are listed in the node's own config; a pushed config can \
                 neither add nor change any",
            )
            .help(
                "leave `programs` out of it: it may set `disabled`; edit [plugins.exec.config] on \
                 the node and restart the worker",
            ));
        }
        *self
            .disabled
            .write()
            .unwrap_or_else(PoisonError::into_inner) = config.disabled.into_iter().collect();
        Ok(())
    }
}

impl Programs {
    /// The program that a command may run.
    fn find(&self, name: &str, issuer: &str) -> Result<Arc<Program>, HandlerError> {
        let Some(program) = self.by_name.get(name) else {
            return Err(self.unknown(name));
        };
        let disabled = self.disabled.read().unwrap_or_else(PoisonError::into_inner);
        if disabled.contains(name) {
            return Err(HandlerError::new(
                "program-disabled",
                format!("the program {name:?} is disabled"),
            )
            .help("it is named in `disabled` of the exec plugin's config"));
        }
        if !program.may_be_run_by(issuer) {
            return Err(HandlerError::new(
                "not-permitted",
                format!("{issuer:?} is not among the issuers that may run {name:?}"),
            )
            .help(format!(
                "see `issuers` under [plugins.exec.config.programs.{name}] on the node"
            )));
        }
        Ok(Arc::clone(program))
    }

    fn unknown(&self, name: &str) -> HandlerError {
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        HandlerError::new(
            HandlerError::INVALID_PAYLOAD,
            format!("no program {name:?} is listed on this node; these are: {known}"),
        )
        .help("list it under [plugins.exec.config.programs.NAME] on the node")
    }
}

struct Exec;

impl Handler<Programs> for Exec {
    type Request = ExecRequest;
    type Response = Exited;
    const SPEC: HandlerSpec = HandlerSpec::new("exec")
        .summary("Runs a program that the node's own config lists")
        .effect(Effect::AtMostOnce)
        .timeout(Duration::from_secs(15 * 60))
        .concurrency(8);

    async fn handle(
        &self,
        request: ExecRequest,
        cx: &Context<Programs>,
    ) -> Result<Exited, HandlerError> {
        let program = cx.plugin().find(&request.program, cx.issuer())?;
        let invocation = program.invocation(request)?;
        let _slot = program.slot()?;
        run::run(&program, invocation, cx).await
    }
}

/// What is wrong with a config of this plugin, each fault with its key; empty if
/// nothing is. Reads the files and users that it names.
pub fn config_faults(config: &Map<String, Value>) -> Vec<Fault> {
    match serde_json::from_value::<Config>(Value::Object(config.clone())) {
        Ok(config) => config::read(&config).err().unwrap_or_default(),
        Err(error) => vec![Fault {
            key: String::new(),
            message: error.to_string(),
        }],
    }
}

export_plugin! {
    id: "exec",
    plugin: Programs,
    handlers: [Exec],
}
