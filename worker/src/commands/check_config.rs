//! `aegis-worker check-config`

use std::io::{self, Write};

use aegis_core::config::ConfigError;

use crate::{built_ins, cli::Settings};

pub fn check_config(settings: &Settings) -> anyhow::Result<()> {
    let config = settings.load()?;
    let source = settings.config_file().map_or_else(
        || "the configuration".to_owned(),
        |file| file.display().to_string(),
    );
    let faults = built_ins::config_faults(&config.plugins);
    if !faults.is_empty() {
        let source_name = Some(source);
        return Err(ConfigError::Faulty {
            source_name,
            faults,
        }
        .into());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{source} is good")?;
    writeln!(out, "  controller  {}", config.controller.endpoint)?;
    writeln!(out, "  state dir   {}", config.node.state_dir.display())?;
    for dir in &config.plugins.dirs {
        writeln!(out, "  plugins     {}", dir.display())?;
    }
    Ok(())
}
