//! `aegis-worker identity show`

use std::io::{self, Write};

use aegis_core::identity::IdentityCard;
use anyhow::bail;
use serde_json::json;

use crate::cli::Settings;

pub fn identity_show(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let state_dir = settings.load()?.node.state_dir;
    let Some(card) = IdentityCard::read(&state_dir)? else {
        bail!(
            "there is no identity in {} yet: the worker makes one at its first start",
            state_dir.display()
        );
    };
    let key: String = card
        .public_key
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut out = io::stdout().lock();
    if json {
        let card = json!({
            "node_id": card.node_id.to_string(),
            "public_key": key,
            "enrolled": card.enrolled,
            "state_dir": state_dir,
        });
        writeln!(out, "{card:#}")?;
        return Ok(());
    }
    writeln!(out, "node id     {}", card.node_id)?;
    writeln!(out, "public key  {key}")?;
    writeln!(
        out,
        "enrolled    {}",
        if card.enrolled { "yes" } else { "no" }
    )?;
    writeln!(out, "state dir   {}", state_dir.display())?;
    Ok(())
}
