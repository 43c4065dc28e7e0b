//! The generated code under `src/gen` is what the `.proto` files give.
//!
//! `AEGIS_REGENERATE=1 cargo test -p aegis-proto --test generated` writes it anew.

use std::{fs, path::Path};

use prost::Message;

const PROTOS: [&str; 3] = [
    "aegis/cluster/v1/cluster.proto",
    "aegis/worker/v1/session.proto",
    "aegis/operator/v1/operator.proto",
];

#[test]
fn checked_in_code_matches_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = root.join("src/gen");
    let fresh = tempfile::tempdir().expect("a temporary directory");
    generate(&root.join("proto"), fresh.path());

    let regenerate = std::env::var_os("AEGIS_REGENERATE").is_some();
    let mut names = Vec::new();
    for entry in fs::read_dir(fresh.path()).expect("the fresh directory") {
        let name = entry.expect("an entry").file_name();
        let new = fs::read(fresh.path().join(&name)).expect("a fresh file");
        if regenerate {
            fs::create_dir_all(&checked_in).expect("src/gen");
            fs::write(checked_in.join(&name), &new).expect("src/gen is writable");
        }
        let old = fs::read(checked_in.join(&name)).unwrap_or_default();
        assert!(
            old == new,
            "src/gen/{} is stale: run AEGIS_REGENERATE=1 cargo test -p aegis-proto --test generated",
            name.display(),
        );
        names.push(name);
    }
    for entry in fs::read_dir(&checked_in).expect("src/gen") {
        let name = entry.expect("an entry").file_name();
        assert!(
            names.contains(&name),
            "src/gen/{} has no source",
            name.display()
        );
    }
}

fn generate(include: &Path, out: &Path) {
    let descriptors = protox::compile(PROTOS, [include]).expect("the proto files compile");
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("descriptors");
    tonic_prost_build::configure()
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(descriptors)
        .expect("code generation");
}
