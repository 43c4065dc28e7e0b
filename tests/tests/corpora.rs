//! What the fuzzer found worth keeping goes through the same functions again,
//! without a fuzzer.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("an input");
        let held = std::panic::catch_unwind(|| run(&bytes));
        assert!(held.is_ok(), "{} breaks {target}", path.display());
        inputs += 1;
    }
    assert!(inputs > 5, "{} has lost its inputs", corpus.display());
}

#[test]
fn library_files_are_read_or_refused() {
    replay("manifest_file", fuzz::manifest_file);
}

#[test]
fn manifests_are_read_or_refused() {
    replay("manifest_document", fuzz::manifest_document);
}

#[test]
fn the_entries_of_a_plugin_answer_whatever_they_are_given() {
    replay("plugin_entries", fuzz::plugin_entries);
}
