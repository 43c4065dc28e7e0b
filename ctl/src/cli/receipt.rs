//! `command show --receipt`: verifies a receipt, and writes what others verify
//! it from.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use aegis_proto::operator::v1::ShowCommandResponse;

use super::Global;
use crate::{
    document::{Evidence, Receipt},
    failure::{Exit, Failure},
    output::{self, Format},
    render,
};

/// Shows the receipt of a command; with a directory, writes its parts there.
pub fn show(
    global: &Global,
    shown: ShowCommandResponse,
    directory: Option<&Path>,
) -> Result<Exit, Failure> {
    let id = shown
        .command
        .as_ref()
        .map_or("", |it| it.command_id.as_str())
        .to_owned();
    let (receipt, evidence) = Receipt::of(shown).map_err(|why| {
        Failure::new(Exit::Failed, format!("command {id} has no receipt: {why}")).next(format!(
            "`aegisctl command show {id}` shows what is known of it."
        ))
    })?;
    if let Some(directory) = directory {
        let written = write(directory, &evidence).map_err(|error| {
            Failure::usage(format!(
                "can't write the receipt into {}: {error}",
                directory.display()
            ))
            .next("Give a directory that you can write and that holds no other receipt.")
        })?;
        eprintln!("wrote {} to {}", written.join(", "), directory.display());
    }
    match global.output {
        Format::Json => output::document(&receipt)?,
        Format::Table => output::text(&render::receipt(&receipt))?,
    }
    if receipt.verified {
        return Ok(Exit::Success);
    }
    Err(Failure::new(
        Exit::Failed,
        format!("the receipt does not hold: {}", receipt.faults.join("; ")),
    )
    .next("What the controller shows is not what the node signed: look at the node, and at who can write the controller's database."))
}

/// Never over what is there: it may be the evidence of another command.
fn write(directory: &Path, evidence: &Evidence) -> io::Result<[&'static str; 5]> {
    fs::create_dir_all(directory)?;
    let files: [(&'static str, &[u8]); 5] = [
        ("receipt.bin", &evidence.receipt),
        ("receipt.sig", &evidence.signature),
        ("node.pem", evidence.public_key.as_bytes()),
        ("response.json", &evidence.response),
        ("output.bin", &evidence.output),
    ];
    for (name, content) in files {
        let path = directory.join(name);
        let created = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = created.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        file.write_all(content)?;
    }
    Ok(files.map(|(name, _)| name))
}
