//! `aegis-worker plugins keygen` and `plugins sign`

use std::{
    fmt::Write as _,
    path::{Path, absolute},
};

use aegis_core::trust;

use super::printing::put;

pub fn plugins_keygen(out: &Path) -> anyhow::Result<()> {
    let made = trust::create_key(out)?;
    let public = absolute(&made.public)?;
    let mut text = String::new();
    writeln!(
        text,
        "private key  {} (sign with it, and keep it off the nodes)",
        made.private.display()
    )?;
    writeln!(text, "public key   {}", public.display())?;
    writeln!(text, "fingerprint  {}", made.key.fingerprint())?;
    writeln!(
        text,
        "\nIn the config of each node, the key itself or the path of its public file there:\n\n\
         [plugins]\ntrust = \"signed\"\nkeys = [\"{}\"]",
        made.key
    )?;
    put(&text)
}

pub fn plugins_sign(key: &Path, plugin: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let signed = trust::sign(key, plugin, out)?;
    let mut text = String::new();
    writeln!(text, "plugin     {} {}", signed.plugin, signed.version)?;
    writeln!(text, "sha256     {}", signed.digest)?;
    writeln!(text, "key        {}", signed.key.fingerprint())?;
    writeln!(text, "signature  {}", signed.signature.display())?;
    put(&text)
}
