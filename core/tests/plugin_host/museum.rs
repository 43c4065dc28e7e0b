//! Plugin files of past releases, kept as they were built: this host loads them
//! and they answer as they did.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use aegis_core::{loader::Digest, manifest, plugin::Completion};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    fixture::chmod,
    world::{World, run},
};

/// `museum.json` of one release.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Museum {
    release: String,
    target: String,
    exhibits: Vec<Exhibit>,
    /// The exhibits' sources, by path, with their SHA-256.
    sources: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exhibit {
    file: String,
    sha256: String,
    plugin: String,
    toolchain: String,
    abi: String,
    calls: Vec<ExpectedCall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCall {
    command: String,
    payload: Value,
    response: Value,
}

fn halls() -> Vec<(PathBuf, Museum)> {
    let museum = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/museum");
    let halls: Vec<_> = fs::read_dir(museum)
        .expect("the museum")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|hall| {
            let text = fs::read(hall.join("museum.json")).expect("each release has a list");
            let museum = serde_json::from_slice(&text).expect("its list can be read");
            (hall, museum)
        })
        .collect();
    assert!(!halls.is_empty(), "the museum is empty");
    halls
}

fn digest(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Digest::of(&bytes).to_string()
}

/// Every file below `directory`, relative to it.
fn files(directory: &Path, below: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files(&entry.path(), &format!("{name}/"), found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn the_museum_is_as_it_was_left() {
    for (hall, museum) in halls() {
        let mut listed = BTreeSet::from(["museum.json".to_owned()]);
        let exhibits = museum.exhibits.iter().map(|it| (&it.file, &it.sha256));
        for (name, sha256) in exhibits.chain(&museum.sources) {
            assert_eq!(
                &digest(&hall.join(name)),
                sha256,
                "{name} of release {} was changed: an exhibit is never built again",
                museum.release
            );
            listed.insert(name.clone());
        }
        let mut found = BTreeSet::new();
        files(&hall, "", &mut found);
        assert_eq!(found, listed, "museum.json lists every file");
    }
}

#[test]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")),
    ignore = "the exhibits are libraries for x86_64-unknown-linux-gnu"
)]
fn plugins_of_every_release_load_and_answer_as_they_did() {
    for (hall, museum) in halls() {
        assert_eq!(museum.target, "x86_64-unknown-linux-gnu");
        let world = World::new();
        for exhibit in &museum.exhibits {
            let library = world.directory().join(&exhibit.file);
            fs::copy(hall.join(&exhibit.file), &library).expect("a copy");
            chmod(&library, 0o644);
            let bytes = fs::read(&library).expect("copied");
            let read = manifest::read(&bytes)
                .unwrap_or_else(|refusal| panic!("{} is refused: {refusal}", exhibit.file));
            let abi = format!("{}.{}", read.manifest.abi.major, read.manifest.abi.minor);
            assert_eq!(
                (&read.manifest.id, &read.manifest.toolchain, &abi),
                (&exhibit.plugin, &exhibit.toolchain, &exhibit.abi)
            );
        }
        let catalog = world.load();
        for exhibit in &museum.exhibits {
            assert!(!exhibit.calls.is_empty());
            for call in &exhibit.calls {
                let answer = run(&catalog, &call.command, &call.payload.to_string());
                let Completion::Succeeded(response) = answer else {
                    panic!("{} of {}: {answer:?}", call.command, museum.release);
                };
                let response: Value = serde_json::from_slice(&response).expect("JSON");
                assert_eq!(
                    response, call.response,
                    "{} of {}",
                    call.command, museum.release
                );
            }
        }
    }
}
