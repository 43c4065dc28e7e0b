//! `aegis-worker plugins release`

use std::collections::BTreeSet;

use aegis_core::{
    catalog::Catalog,
    config::Config,
    journal::Journal,
    local::{self, Answer, AskError, Request},
};
use anyhow::{Context, bail};

use super::{journal::stopped, plugins::crashes, printing::put};
use crate::{built_ins, cli::Settings, exit::Usage};

pub fn plugins_release(settings: &Settings, plugin: &str) -> anyhow::Result<()> {
    let config = settings.load()?;
    expect_known(&config, plugin)?;
    let state_dir = config.node.state_dir;
    let request = Request::Release {
        plugin: plugin.to_owned(),
    };
    let (released, runs) = match local::ask(&state_dir, &request) {
        Ok(Answer::Released(released)) => (released, true),
        Ok(Answer::RunsAgain) => {
            return put(&format!("{plugin} is released: it is started again now\n"));
        }
        Ok(answer) => bail!("the worker answered something else: {answer:?}"),
        Err(AskError::NotRunning) => {
            let (_owned, file) = stopped(&state_dir)?;
            let released = Journal::forgive_in(&file, plugin)
                .with_context(|| format!("cannot change {}", file.display()))?;
            (released, false)
        }
        Err(error) => return Err(error.into()),
    };
    put(&match (released, runs) {
        (true, true) => {
            format!("{plugin} is released: it starts again when the worker is restarted\n")
        }
        (true, false) => format!("{plugin} is released: it starts with the worker\n"),
        (false, _) => format!(
            "nothing to release: the worker did not crash while {plugin} ran, or ended in an \
             orderly way since\n"
        ),
    })
}

/// Refuses a name that is neither a plugin of this node nor in quarantine.
fn expect_known(config: &Config, plugin: &str) -> anyhow::Result<()> {
    // The release itself says what is wrong with the journal.
    let crashes = crashes(&config.node.state_dir).unwrap_or_default();
    let scan = Catalog::scan(
        &config.plugins,
        &config.handlers,
        &built_ins::grants(),
        &crashes,
    );
    let mut known: BTreeSet<&str> = crashes.keys().map(String::as_str).collect();
    known.extend(scan.plugins.iter().map(|info| info.name.as_str()));
    if known.contains(plugin) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    Err(Usage(format!(
        "there is no plugin {plugin:?} here; these are: {}",
        known.join(", ")
    ))
    .into())
}
