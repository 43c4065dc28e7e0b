//! The manifest reader on damaged files: it may refuse them, and never more.

use std::{fs, sync::OnceLock};

use aegis_core::manifest;
use proptest::prelude::*;

use crate::{fixture::Fixture, world::World};

fn library() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        fs::read(Fixture::new("fix").build(World::new().root(), "a.so")).expect("built")
    })
}

/// Where the headers and tables of a library are, damage tells most.
fn place() -> impl Strategy<Value = usize> {
    let len = library().len();
    prop_oneof![0..64_usize, 64..1024_usize, len - 4096..len, 0..len]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_library_is_read_or_refused(
        damage in prop::collection::vec((place(), any::<u8>()), 0..8),
        words in prop::collection::vec((place(), prop_oneof![Just(u64::MAX), Just(1 << 63), any::<u64>()]), 0..3),
        cut in prop::option::of(0..library().len()),
    ) {
        let mut bytes = library().to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        for (at, word) in words {
            let at = at.min(bytes.len() - 8) & !7;
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        if let Err(refusal) = manifest::read(&bytes) {
            prop_assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(manifest::read(&bytes).is_err());
        prop_assert!(manifest::decode(&bytes).is_err());
    }
}

#[test]
fn the_undamaged_library_is_read() {
    assert_eq!(manifest::read(library()).expect("sound").manifest.id, "fix");
}
