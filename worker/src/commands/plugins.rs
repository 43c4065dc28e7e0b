//! `aegis-worker plugins list` and `plugins inspect`

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use aegis_core::{
    catalog::{Catalog, Scan},
    config::Config,
    journal::{self, Journal},
    loader::{self, Inspection},
    local::{self, Answer, AskError, Request},
    plugin::PluginState,
};
use anyhow::{Context, bail};

use super::{
    journal::stopped,
    printing::{print_json, put, table},
};
use crate::{built_ins, cli::Settings};

pub fn plugins_list(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let config = settings.load()?;
    let scan = scan(&config);
    if json {
        print_json(&scan)
    } else {
        print_scan(&scan)
    }
}

/// What a start would find.
pub(super) fn scan(config: &Config) -> Scan {
    let crashes = crashes(&config.node.state_dir).unwrap_or_else(|error| {
        // A list without it is better than none.
        eprintln!("cannot tell which plugins are in quarantine: {error:#}");
        BTreeMap::new()
    });
    Catalog::scan(
        &config.plugins,
        &config.handlers,
        &built_ins::grants(),
        &crashes,
    )
}

/// At how many crashes of the worker in a row each plugin ran: asked of the
/// worker that runs, or read as the next start would.
pub(super) fn crashes(state_dir: &Path) -> anyhow::Result<BTreeMap<String, u32>> {
    match local::ask(state_dir, &Request::Crashes) {
        Ok(Answer::Crashes(crashes)) => return Ok(crashes),
        Ok(answer) => bail!("the worker answered something else: {answer:?}"),
        Err(AskError::NotRunning) => {}
        Err(error) => return Err(error.into()),
    }
    if !state_dir.join(journal::FILE).exists() {
        return Ok(BTreeMap::new());
    }
    let (_owned, file) = stopped(state_dir)?;
    Journal::crashes_in(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn print_scan(scan: &Scan) -> anyhow::Result<()> {
    let mut plugins = table([
        "PLUGIN",
        "VERSION",
        "PLACEMENT",
        "TRUST",
        "STATE",
        "COMMANDS",
    ]);
    for plugin in &scan.plugins {
        let commands: Vec<&str> = scan
            .handlers
            .iter()
            .filter(|handler| handler.plugin == plugin.name && handler.disabled.is_none())
            .map(|handler| handler.name.as_str())
            .collect();
        plugins.add_row([
            plugin.name.as_str(),
            plugin.version.as_str(),
            plugin.placement.as_str(),
            plugin.trust.as_str(),
            state(&plugin.state).0,
            &commands.join(", "),
        ]);
    }
    let mut out = String::new();
    writeln!(out, "{}", plugins.trim_fmt())?;
    for plugin in &scan.plugins {
        let file = plugin.file.as_ref();
        let place = file.map(|file| format!(" ({})", file.display()));
        let place = place.unwrap_or_default();
        match state(&plugin.state) {
            (state, Some(reason)) => {
                writeln!(out, "\n{}{place} is {state}: {reason}", plugin.name)?;
            }
            (_, None) if file.is_some() => {
                writeln!(
                    out,
                    "\n{}{place} is let in, {}: {}",
                    plugin.name, plugin.trust, plugin.trust_reason
                )?;
                writeln!(
                    out,
                    "it runs {}: {}",
                    plugin.placement.as_str(),
                    plugin.placed_by
                )?;
            }
            (_, None) => {}
        }
    }
    for handler in &scan.handlers {
        if let Some(reason) = &handler.disabled {
            writeln!(
                out,
                "\nthe command {} of {} is disabled: {reason}",
                handler.name, handler.plugin
            )?;
        }
    }
    put(&out)
}

fn state(state: &PluginState) -> (&'static str, Option<&str>) {
    match state.parts() {
        ("active", _) => ("ok", None),
        (state, reason) => (state, Some(reason)),
    }
}

pub fn plugins_inspect(settings: &Settings, file: &Path, json: bool) -> anyhow::Result<()> {
    let inspection = loader::inspect(file, &settings.load()?.plugins);
    if json {
        print_json(&inspection)?;
    } else {
        print_inspection(&inspection)?;
    }
    match inspection.refusal() {
        None => Ok(()),
        Some(refusal) => bail!("a worker would refuse {}: {refusal}", file.display()),
    }
}

fn print_inspection(inspection: &Inspection) -> anyhow::Result<()> {
    let mut out = String::new();
    writeln!(out, "file       {}", inspection.file.display())?;
    if let Some(bytes) = inspection.bytes {
        writeln!(out, "size       {bytes} bytes")?;
    }
    if let Some(digest) = &inspection.sha256 {
        let hex: String = digest
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        writeln!(out, "sha256     {hex}")?;
    }
    if let Some(trust) = &inspection.trust {
        writeln!(out, "trust      {}: {}", trust.by.as_str(), trust.reason)?;
    }
    if let Some(manifest) = &inspection.manifest {
        writeln!(out, "plugin     {} {}", manifest.id, manifest.version)?;
        writeln!(
            out,
            "abi        {}.{}, any host from {}.{}",
            manifest.abi.major, manifest.abi.minor, manifest.abi.major, manifest.abi.min_host_minor
        )?;
        writeln!(out, "made with  {}, {}", manifest.sdk, manifest.toolchain)?;
        writeln!(
            out,
            "target     {}, panic = {}",
            manifest.target, manifest.panic
        )?;
        if !manifest.requires.is_empty() {
            writeln!(out, "requires   {}", manifest.requires.join(", "))?;
        }
        let mut handlers = table(["COMMAND", "EFFECT", "TIMEOUT", "AT ONCE", "SUMMARY"]);
        for handler in &manifest.handlers {
            handlers.add_row([
                handler.name.clone(),
                handler.effect.as_str().to_owned(),
                format!("{:?}", std::time::Duration::from_millis(handler.timeout_ms)),
                handler.concurrency.to_string(),
                handler.summary.clone(),
            ]);
        }
        writeln!(out, "\n{}", handlers.trim_fmt())?;
    }
    writeln!(out)?;
    for result in &inspection.checks {
        let (mark, why) = match (&result.refusal, result.passed) {
            (None, true) => ("ok", String::new()),
            (None, false) => ("not made", String::new()),
            (Some(refusal), _) => ("FAILED", format!("{}; {}", refusal.reason, refusal.remedy)),
        };
        writeln!(out, "{:<13}{mark:<9} {why}", result.check.as_str())?;
    }
    put(&out)
}
