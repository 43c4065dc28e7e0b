//! What commands write on standard output.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

/// Writes text that came from elsewhere, as a plugin file: it cannot steer a
/// terminal.
pub fn put(text: &str) -> anyhow::Result<()> {
    let clean = |c: char| {
        if c.is_control() && c != '\n' {
            '\u{fffd}'
        } else {
            c
        }
    };
    let text: String = text.chars().map(clean).collect();
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(
        io::stdout().lock(),
        "{}",
        serde_json::to_string_pretty(value)?
    )?;
    Ok(())
}

pub fn table<const N: usize>(heading: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}
