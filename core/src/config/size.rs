//! Numbers of bytes as people write them: `65536`, `64MiB`.

use super::section::Section;

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a whole number with a unit.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    factor
        .and_then(|(_, factor)| number.parse::<u64>().ok()?.checked_mul(*factor))
        .ok_or_else(|| {
            let text: String = text.chars().take(64).collect();
            format!(
                "{text:?} is no size: write a whole number with B, KiB, MiB or GiB, as \"64MiB\""
            )
        })
}

impl Section<'_> {
    /// A text as `parse` takes it, or a number of bytes.
    pub(super) fn size(&self, key: &'static str) -> Option<u64> {
        match self.item(key)?.as_integer() {
            Some(bytes) => match u64::try_from(bytes) {
                Ok(bytes) => Some(bytes),
                Err(_) => {
                    self.fault(key, "a size is not negative");
                    None
                }
            },
            None => Some(self.parsed(key, parse)?.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_its_unit_and_nothing_else() {
        for (text, bytes) in [
            ("0B", 0),
            ("1KiB", 1024),
            ("64 MiB", 64 << 20),
            ("3GiB", 3 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "5",
            "MiB",
            "-5B",
            "1.5GiB",
            "5MB",
            "18446744073709551615TiB",
        ] {
            parse(text).expect_err(text);
        }
    }
}
