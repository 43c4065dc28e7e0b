//! `aegis-worker plugins release`

use aegis_core::{
    journal::Journal,
    local::{self, Answer, AskError, Request},
};
use anyhow::{Context, bail};

use super::{journal::stopped, printing::put};
use crate::cli::Settings;

pub fn plugins_release(settings: &Settings, plugin: &str) -> anyhow::Result<()> {
    let config = settings.load()?;
    let state_dir = config.node.state_dir;
    let request = Request::Release {
        plugin: plugin.to_owned(),
    };
    let (released, runs) = match local::ask(&state_dir, &request) {
        Ok(Answer::Released(released)) => (released, true),
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
