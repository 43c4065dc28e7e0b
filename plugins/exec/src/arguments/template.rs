//! One argument as the config has it.

use std::collections::BTreeMap;

/// Fixed text and the names of parameters.
#[derive(Debug)]
pub struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Hole(String),
}

impl Template {
    /// `{name}` is a hole; `{{` and `}}` are braces.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("{written:?} {what}: a parameter is written {{name}}, a brace {{{{ or }}}}")
        };
        if written.contains('\0') {
            return Err(format!("{written:?} has a NUL in it"));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(wrong("has a `}` that closes nothing"));
            }
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| wrong("is not closed"))?;
            if !is_parameter_name(name) {
                return Err(wrong(&format!(
                    "has {name:?} in braces, which no parameter is named"
                )));
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Hole(name.to_owned()));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self(pieces))
    }

    /// The parameters that it names.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Hole(name) => Some(name.as_str()),
        })
    }

    /// The parameter that it begins with.
    pub fn leading_hole(&self) -> Option<&str> {
        match self.0.first() {
            Some(Piece::Hole(name)) => Some(name),
            _ => None,
        }
    }

    /// Whether it is this fixed text.
    pub fn is(&self, fixed: &str) -> bool {
        matches!(self.0.as_slice(), [Piece::Text(text)] if text == fixed)
    }

    pub fn fill(&self, values: &BTreeMap<String, String>) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            // Every hole has a parameter, and every parameter a value.
            Piece::Hole(name) => values.get(name).map_or("", String::as_str),
        });
        pieces.collect()
    }
}

/// `a-z 0-9 _ -`, beginning with a letter.
pub fn is_parameter_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}
