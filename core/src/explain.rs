//! What would become of a command on this node, and which line decides it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{
    catalog::{Scan, nearest},
    config::{
        Config, Origin, Places,
        model::{HandlerConfig, ProcessConfig},
    },
    plugin::{HandlerInfo, Placement, PluginInfo},
    pushed_config::{HandlerSettings, WorkerSettings},
};

/// What is to be explained, and from what.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The command's name.
    pub command: &'a str,
    /// Who would give it; `None`: somebody who may.
    pub issuer: Option<&'a str>,
    /// The node's own config.
    pub config: &'a Config,
    /// Where that comes from.
    pub places: &'a Places,
    /// The plugins that a start would find.
    pub scan: &'a Scan,
    /// The version and the settings of the config that a controller pushed, if
    /// one is in force.
    pub pushed: Option<(&'a str, &'a WorkerSettings)>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The command's name.
    pub command: String,
    /// Whether a handler would begin, were there a slot and no drain.
    pub runs: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The name that may have been meant, where no plugin has this one.
    pub nearest: Option<String>,
    /// What the handler declares that it is about, or the one that would be, were
    /// it enabled.
    pub handler: Option<HandlerInfo>,
    /// Its plugin.
    pub plugin: Option<PluginInfo>,
    /// What a crash in the middle of it means.
    pub effect: Option<String>,
    /// What holds for it, in the order in which it is decided.
    pub rules: Vec<Rule>,
    /// Handlers of the same name that are not it, and why.
    pub others: Vec<Other>,
}

/// One thing that holds, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What it is about, as `timeout`.
    pub what: String,
    /// What holds.
    pub value: String,
    /// The key that decides it with its line, or what does in its place.
    pub decided_by: String,
}

/// A handler that gave way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its plugin.
    pub plugin: String,
    /// Why.
    pub reason: String,
}

/// Explains one command.
pub fn explain(question: &Question<'_>) -> Explanation {
    let named = |info: &&HandlerInfo| info.name == question.command;
    let mut rivals: Vec<&HandlerInfo> = question.scan.handlers.iter().filter(named).collect();
    // The one that is served, if one is.
    rivals.sort_by_key(|info| info.disabled.is_some());
    let mut explanation = Explanation {
        command: question.command.to_owned(),
        runs: false,
        reason: None,
        nearest: None,
        handler: None,
        plugin: None,
        effect: None,
        rules: Vec::new(),
        others: Vec::new(),
    };
    let Some((info, others)) = rivals.split_first() else {
        let names = question.scan.handlers.iter().map(|info| info.name.as_str());
        explanation.nearest = nearest(question.command, names).map(str::to_owned);
        explanation.reason = Some("no plugin of this node has this command".to_owned());
        return explanation;
    };
    let mut rules = Rules::new(question, info);
    let plugins = &question.scan.plugins;
    let same = |plugin: &&PluginInfo| plugin.name == info.plugin;
    // Of several files with one id the one that would run.
    let plugin = plugins
        .iter()
        .filter(same)
        .min_by_key(|plugin| plugin.state.parts().0 != "active");
    if let Some(plugin) = plugin {
        rules.plugin(plugin);
    }
    rules.handler();
    explanation.reason = info.disabled.clone().or(rules.refused);
    explanation.runs = explanation.reason.is_none();
    explanation.rules = rules.list;
    explanation.effect = Some(meaning(info).to_owned());
    explanation.others = others
        .iter()
        .map(|other| Other {
            plugin: other.plugin.clone(),
            reason: other.disabled.clone().unwrap_or_default(),
        })
        .collect();
    explanation.plugin = plugin.cloned();
    explanation.handler = Some((*info).clone());
    explanation
}

fn meaning(info: &HandlerInfo) -> &'static str {
    use aegis_plugin_api::Effect;

    match info.effect {
        Effect::Read => "read: it changes nothing, and is run again if a crash interrupts it",
        Effect::Idempotent => {
            "idempotent: it may be done twice, and is run again if a crash interrupts it"
        }
        Effect::AtMostOnce => {
            "at-most-once: it is never run twice, and ends as unknown if a crash interrupts it"
        }
        Effect::Resumable => {
            "resumable: it is run again with its own checkpoint if a crash interrupts it"
        }
    }
}

struct Rules<'a> {
    question: &'a Question<'a>,
    info: &'a HandlerInfo,
    local: Option<&'a HandlerConfig>,
    pushed: Option<(&'a str, &'a HandlerSettings)>,
    list: Vec<Rule>,
    refused: Option<String>,
}

impl<'a> Rules<'a> {
    fn new(question: &'a Question<'a>, info: &'a HandlerInfo) -> Self {
        let pushed = question
            .pushed
            .and_then(|(version, settings)| Some((version, settings.handlers.get(&info.name)?)));
        Self {
            question,
            info,
            local: question.config.handlers.by_name.get(&info.name),
            pushed,
            list: Vec::new(),
            refused: None,
        }
    }

    fn plugin(&mut self, plugin: &PluginInfo) {
        let id = plugin.name.as_str();
        let config = self.question.config.plugins.by_name.get(id);
        let built_in = plugin.placement == Placement::BuiltIn;
        let enabled = config.and_then(|config| config.enabled);
        let off = built_in && self.question.config.plugins.off_by_default.contains(&id);
        let by = match enabled {
            Some(_) => self.key(&["plugins", id, "enabled"]),
            None if off => "it is off by default".to_owned(),
            None => "no key turns it off".to_owned(),
        };
        self.rule("plugin enabled", yes(enabled.unwrap_or(!off)), by);
        if !plugin.trust.is_empty() {
            self.rule("trust", &plugin.trust, plugin.trust_reason.clone());
        }
        if !plugin.placed_by.is_empty() {
            let plugins = &self.question.config.plugins;
            let own = config.and_then(|config| config.placement);
            let by = match (built_in, own, plugins.default_placement) {
                (false, Some(own), _) if own == plugin.placement => {
                    self.key(&["plugins", id, "placement"])
                }
                (false, None, Some(_)) => self.key(&["plugins", "default_placement"]),
                _ => plugin.placed_by.clone(),
            };
            self.rule("placement", plugin.placement.as_str(), by);
        }
        if plugin.placement == Placement::Process
            && let Some(config) = config
        {
            self.process(id, &config.process);
        }
    }

    fn process(&mut self, id: &str, process: &ProcessConfig) {
        let limits = &process.limits;
        let bytes = |bytes: u64| match bytes {
            mebibytes if mebibytes % (1 << 20) == 0 => format!("{}MiB", mebibytes >> 20),
            bytes => format!("{bytes}B"),
        };
        for (key, value) in [
            ("memory", limits.memory.map(bytes)),
            ("cpu_time", limits.cpu_time.map(|time| format!("{time:?}"))),
            ("processes", limits.processes.map(|it| it.to_string())),
            ("open_files", limits.open_files.map(|it| it.to_string())),
            ("file_size", limits.file_size.map(bytes)),
        ] {
            if let Some(value) = value {
                let by = self.key(&["plugins", id, "limits", key]);
                self.rule(key, &value, by);
            }
        }
        if let Some(user) = &process.user {
            let by = self.key(&["plugins", id, "user"]);
            self.rule("user", user, by);
        }
        for (what, key, paths) in [
            ("may read", "read", &process.read),
            ("may write", "write", &process.write),
        ] {
            for path in paths {
                let by = self.key(&["plugins", id, "paths", key]);
                self.rule(what, &path.display().to_string(), by);
            }
        }
    }

    fn handler(&mut self) {
        let name = self.info.name.as_str();
        let handlers = &self.question.config.handlers;
        let (enabled, by) = match self.local.and_then(|local| local.enabled) {
            Some(enabled) => (enabled, self.key(&["handlers", name, "enabled"])),
            None => (handlers.default_enabled, self.key(&["handlers", "default"])),
        };
        self.rule("command enabled", yes(enabled), by);
        if let Some((version, pushed)) = self.pushed
            && pushed.enabled == Some(false)
        {
            let by = pushed_key(version, name, "enabled");
            self.rule("command enabled", "no", by.clone());
            self.refused = Some(format!("{by} is false"));
        }
        let local = self.local.and_then(|local| local.issuers.as_ref());
        let by = self.key(&["handlers", name, "issuers"]);
        self.issuers(local, by);
        if let Some((version, pushed)) = self.pushed
            && let Some(issuers) = &pushed.issuers
        {
            self.issuers(Some(issuers), pushed_key(version, name, "issuers"));
        }
        self.concurrency();
        self.timeout();
    }

    fn issuers(&mut self, issuers: Option<&Vec<String>>, by: String) {
        let value = match issuers {
            None => "anyone".to_owned(),
            Some(issuers) if issuers.is_empty() => "nobody".to_owned(),
            Some(issuers) => issuers.join(", "),
        };
        if let Some(issuers) = issuers {
            let refused = match self.question.issuer {
                Some(issuer) => !issuers.iter().any(|permitted| permitted == issuer),
                None => issuers.is_empty(),
            };
            if refused {
                let who = self.question.issuer.unwrap_or("anyone");
                self.refused
                    .get_or_insert_with(|| format!("{by} does not let {who} give it"));
            }
        }
        self.rule("issuers", &value, by);
    }

    fn concurrency(&mut self) {
        let name = self.info.name.as_str();
        let mut by = self.declared(&["handlers", name, "concurrency"]);
        let mut most = self.info.concurrency;
        if let Some((version, pushed)) = self.pushed
            && let Some(pushed) = pushed.concurrency.filter(|pushed| *pushed < most)
        {
            (most, by) = (pushed, pushed_key(version, name, "concurrency"));
        }
        self.rule("at once", &most.to_string(), by);
    }

    fn timeout(&mut self) {
        let name = self.info.name.as_str();
        let mut by = self.declared(&["handlers", name, "timeout"]);
        let mut timeout = self.info.timeout;
        let mut bound = self.local.and_then(|local| local.timeout);
        if let Some((version, pushed)) = self.pushed
            && let Some(pushed) = pushed.timeout
        {
            bound = Some(bound.map_or(pushed, |bound| bound.min(pushed)));
            if pushed < timeout {
                (timeout, by) = (pushed, pushed_key(version, name, "timeout"));
            }
        }
        let value = match bound {
            Some(bound) if bound <= timeout => format!("{timeout:?} at the most"),
            Some(bound) => format!("{timeout:?}, or up to {bound:?} as the command says"),
            None => format!("{timeout:?} unless the command says otherwise"),
        };
        self.rule("timeout", &value, by);
    }

    fn rule(&mut self, what: &str, value: &str, decided_by: String) {
        self.list.push(Rule {
            what: what.to_owned(),
            value: value.to_owned(),
            decided_by,
        });
    }

    /// The key where it is set, or else what the handler declares.
    fn declared(&self, path: &[&str]) -> String {
        match self.question.places.of(path) {
            Origin::Absent => "what the plugin declares".to_owned(),
            _ => self.key(path),
        }
    }

    /// A key as an operator writes it, and where it is set.
    fn key(&self, path: &[&str]) -> String {
        let (key, tables) = path.split_last().unwrap_or((&"", &[]));
        let table = tables.join(".");
        match self.question.places.of(path) {
            Origin::Line(line) => format!("[{table}] {key}, line {line}"),
            Origin::Setting(name) => name,
            Origin::Absent => format!("the default of [{table}] {key}"),
        }
    }
}

fn pushed_key(version: &str, name: &str, key: &str) -> String {
    format!("worker.handlers.{name}.{key} of the pushed config {version}")
}

const fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// One line for each property of a request or a response, as `name: string,
/// required`; empty where the schema says nothing of properties.
pub fn properties(schema: &Value) -> Vec<String> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| {
            let mut line = format!("{name}: {}", Kind(property));
            if required.contains(&name.as_str()) {
                line.push_str(", required");
            }
            line
        })
        .collect()
}

/// What a schema takes, in few words.
struct Kind<'a>(&'a Value);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |kind: &Value| kind.as_str().map(str::to_owned);
        match &self.0["type"] {
            Value::String(kind) => f.write_str(kind),
            Value::Array(kinds) => {
                let kinds: Vec<String> = kinds.iter().filter_map(named).collect();
                f.write_str(&kinds.join(" or "))
            }
            _ => f.write_str("anything that its schema takes"),
        }
    }
}
