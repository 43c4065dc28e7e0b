//! Plain columns: no borders, no colour, so that `grep` and `awk` work on them.

use comfy_table::{Cell, ContentArrangement, presets};

/// Columns under a header.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.map(Cell::new));
    for row in rows {
        table.add_row(row.map(|cell| Cell::new(super::clean_line(&cell))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    trim(&table.to_string())
}

/// `key  value` lines.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines: Vec<String> = pairs
        .iter()
        .map(|(key, value)| {
            format!("{key:width$}  {}", super::clean_line(value))
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n")
}

/// The text with each line behind `margin`.
pub fn indent(text: &str, margin: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{margin}{line}").trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn trim(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}
