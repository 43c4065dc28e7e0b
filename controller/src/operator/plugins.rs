//! The plugins of the fleet, and which of their files may be sent commands.

use std::collections::{BTreeMap, HashMap};

use aegis_proto::{operator::v1 as api, worker::v1::Plugin};
use serde_json::json;
use tonic::Status;

use super::{OperatorApi, audit::Call, enrolment::short};
use crate::{
    allow_list::{Allowance, Allowed, is_plugin_name},
    controller::Controller,
    store::{AllowedPlugin, AllowedPluginList},
    time::{self, timestamp},
};

/// Lines of an answer. Nodes have a say in how many there would be.
const MAX_LINES: usize = 1000;
/// Ids that a line names.
const MAX_IDS: usize = 10;
/// Letters of a node's own words: with what is below, an answer has less than
/// the 4 MiB that its caller takes.
const MAX_NAME: usize = 64;
const MAX_WORD: usize = 16;
const MAX_REASON: usize = 256;
const MAX_NOTE_BYTES: usize = 256;
const MAX_ALLOWED: usize = 2000;

/// What makes two reports one line, in the order of the list.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    version: String,
    sha256: Vec<u8>,
    placement: String,
    state: String,
    trust: String,
}

#[derive(Default)]
struct Line {
    reason: String,
    nodes: u32,
    ids: Vec<String>,
    allowance: &'static str,
}

impl OperatorApi {
    pub(super) async fn plugins(
        &self,
        request: api::ListPluginsRequest,
    ) -> Result<api::ListPluginsResponse, Status> {
        let controller = &self.controller;
        let nodes = controller.select_to_list(request.selector.as_ref())?;
        let list = controller.store.allowed_plugins().await?;
        let allowed = controller.allow_list.load();
        let mut lines: BTreeMap<Key, Line> = BTreeMap::new();
        let mut holders: HashMap<(String, Vec<u8>), u32> = HashMap::new();
        let mut more = false;
        for node in nodes {
            let record = node.record();
            // What a node ran before it left is no part of the fleet.
            let Some(facts) = record.facts.as_ref().filter(|_| !record.deregistered) else {
                continue;
            };
            for plugin in &facts.plugins {
                let key = Key::of(plugin);
                if lines.len() == MAX_LINES && !lines.contains_key(&key) {
                    more = true;
                    continue;
                }
                *holders
                    .entry((key.name.clone(), key.sha256.clone()))
                    .or_default() += 1;
                let line = lines.entry(key).or_default();
                line.allowance = allowed.allowance(plugin).as_str();
                line.nodes += 1;
                if line.ids.len() < MAX_IDS {
                    line.ids.push(node.id.to_string());
                }
                if line.reason.is_empty() {
                    line.reason = cut(&plugin.reason, MAX_REASON);
                }
            }
        }
        Ok(api::ListPluginsResponse {
            plugins: lines.into_iter().map(view).collect(),
            more,
            allowed: allowed_views(list, &holders),
            require_allowed: controller.settings.require_allowed_plugins,
        })
    }

    pub(super) async fn allow(
        &self,
        who: &str,
        request: api::AllowPluginRequest,
    ) -> Result<api::AllowPluginResponse, Status> {
        let controller = &self.controller;
        let call = call(who, "AllowPlugin", &request.plugin, &request.sha256);
        controller
            .audited(&call, async {
                let sha256 = named(&request.plugin, &request.sha256)?;
                if request.note.len() > MAX_NOTE_BYTES {
                    return Err(Status::invalid_argument(
                        "the note is longer than 256 bytes",
                    ));
                }
                if controller.allow_list.load().len() >= MAX_ALLOWED {
                    return Err(Status::resource_exhausted(format!(
                        "{MAX_ALLOWED} digests are allowed already; take off those that are not \
                         used any more with aegisctl plugin disallow"
                    )));
                }
                let allowed = AllowedPlugin {
                    plugin: request.plugin.clone(),
                    sha256,
                    note: request.note,
                    operator: who.into(),
                    allowed_at: time::now(),
                };
                let list = controller.store.allow_plugin(&allowed, &call.ok()).await?;
                controller.allow_list.replace(&list);
                Ok(api::AllowPluginResponse {
                    refused_nodes: controller.refused_nodes(&request.plugin),
                })
            })
            .await
    }

    pub(super) async fn disallow(
        &self,
        who: &str,
        request: api::DisallowPluginRequest,
    ) -> Result<api::DisallowPluginResponse, Status> {
        let controller = &self.controller;
        let call = call(who, "DisallowPlugin", &request.plugin, &request.sha256);
        controller
            .audited(&call, async {
                let sha256 = named(&request.plugin, &request.sha256)?;
                let list = controller
                    .store
                    .disallow_plugin(&request.plugin, &sha256, &call.ok())
                    .await?
                    .ok_or_else(|| {
                        Status::not_found(
                            "this digest of the plugin is not allowed; see aegisctl plugin list",
                        )
                    })?;
                controller.allow_list.replace(&list);
                let left = controller.allow_list.load().digests(&request.plugin);
                Ok(api::DisallowPluginResponse {
                    refused_nodes: controller.refused_nodes(&request.plugin),
                    allowed_digests: u32::try_from(left).unwrap_or(u32::MAX),
                })
            })
            .await
    }
}

impl Controller {
    /// Nodes that run a file of this plugin that is not allowed.
    fn refused_nodes(&self, plugin: &str) -> u32 {
        let allowed: &Allowed = &self.allow_list.load();
        let nodes = self.directory.all();
        let refused = nodes.iter().filter(|node| {
            let record = node.record();
            let facts = record.facts.as_ref().filter(|_| !record.deregistered);
            facts.is_some_and(|facts| {
                facts.plugins.iter().any(|it| {
                    it.name == plugin
                        && it.state == "active"
                        && allowed.allowance(it) == Allowance::Refused
                })
            })
        });
        u32::try_from(refused.count()).unwrap_or(u32::MAX)
    }
}

impl Key {
    fn of(plugin: &Plugin) -> Self {
        Self {
            name: cut(&plugin.name, MAX_NAME),
            version: cut(&plugin.version, MAX_NAME),
            sha256: plugin.sha256.iter().copied().take(32).collect(),
            placement: cut(&plugin.placement, MAX_WORD),
            state: cut(&plugin.state, MAX_WORD),
            trust: cut(&plugin.trust, MAX_WORD),
        }
    }
}

fn view((key, line): (Key, Line)) -> api::FleetPlugin {
    api::FleetPlugin {
        name: key.name,
        version: key.version,
        sha256: key.sha256,
        placement: key.placement,
        state: key.state,
        trust: key.trust,
        reason: line.reason,
        nodes: line.nodes,
        node_ids: line.ids,
        allowance: line.allowance.into(),
    }
}

fn allowed_views(
    list: AllowedPluginList,
    holders: &HashMap<(String, Vec<u8>), u32>,
) -> Vec<api::AllowedPlugin> {
    list.plugins
        .into_iter()
        .map(|allowed| {
            let sha256 = allowed.sha256.to_vec();
            let key = (allowed.plugin, sha256);
            api::AllowedPlugin {
                nodes: holders.get(&key).copied().unwrap_or(0),
                plugin: key.0,
                sha256: key.1,
                note: allowed.note,
                operator: allowed.operator,
                allowed_at: Some(timestamp(allowed.allowed_at)),
            }
        })
        .collect()
}

fn call(who: &str, action: &'static str, plugin: &str, sha256: &[u8]) -> Call {
    let digest: String = sha256
        .iter()
        .take(32)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Call {
        operator: who.into(),
        action,
        detail: json!({ "plugin": short(plugin), "sha256": digest }),
    }
}

fn named(plugin: &str, sha256: &[u8]) -> Result<[u8; 32], Status> {
    if !is_plugin_name(plugin) {
        return Err(Status::invalid_argument(
            "no plugin has this name: 1 to 64 of a-z 0-9 - . _, beginning with a letter",
        ));
    }
    sha256
        .try_into()
        .map_err(|_| Status::invalid_argument("a SHA-256 has 32 bytes"))
}

fn cut(text: &str, letters: usize) -> String {
    text.chars().take(letters).collect()
}
