//! The bytes of the manifest's section.

use aegis_plugin_api::manifest::MAX_MANIFEST_BYTES;

use crate::loader::{Check, Refusal};

/// A linker may pad a section up to the alignment of what follows.
const MAX_PADDING: usize = 4096;

/// The one document of the section: all up to its NUL. Only zeros may follow.
pub(super) fn document(section: &[u8]) -> Result<&[u8], Refusal> {
    if section.len() > MAX_MANIFEST_BYTES + MAX_PADDING {
        return Err(fail(
            format!(
                "its manifest section has {} bytes, more than the {MAX_MANIFEST_BYTES} that a manifest may have",
                section.len()
            ),
            "make the schemas in the manifest smaller",
        ));
    }
    let Some(end) = section.iter().position(|byte| *byte == 0) else {
        return Err(fail(
            "its manifest section is not closed by a NUL byte".into(),
            "the file is cut or was made by something else: build it again",
        ));
    };
    let (text, rest) = section.split_at(end);
    if text.is_empty() {
        return Err(fail(
            "its manifest section is empty".into(),
            "build the plugin again with a current plugin API",
        ));
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(fail(
            "it carries several manifests: several plugins were linked into one library".into(),
            "build one library for each plugin",
        ));
    }
    Ok(text)
}

fn fail(reason: String, remedy: &str) -> Refusal {
    Refusal::new(Check::Manifest, reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_ends_at_its_nul_and_padding_is_ignored() {
        assert_eq!(document(b"{}\0").expect("closed"), b"{}");
        assert_eq!(document(b"{}\0\0\0\0").expect("padded"), b"{}");
    }

    #[test]
    fn a_section_that_is_open_empty_doubled_or_huge_is_refused() {
        for (section, says) in [
            (b"{}".to_vec(), "NUL"),
            (b"".to_vec(), "NUL"),
            (b"\0".to_vec(), "empty"),
            (b"{}\0{}\0".to_vec(), "several"),
            (
                vec![b' '; MAX_MANIFEST_BYTES + MAX_PADDING + 1],
                "more than",
            ),
        ] {
            let refusal = document(&section).expect_err(says);
            assert_eq!(refusal.check, Check::Manifest);
            assert!(refusal.reason.contains(says), "{refusal}");
        }
    }
}
