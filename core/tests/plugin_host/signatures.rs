//! Signature files, beside real libraries.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use aegis_core::{
    config::model::Trust,
    loader::{Check, Digest, inspect},
    plugin::PluginState,
    trust::{PublicKey, TrustedBy, create_key, sign},
};
use serde_json::json;

use crate::{
    fixture::{Fixture, chmod},
    world::{World, ask, reason},
};

/// A node that trusts one key, and a directory with what it signed.
struct Signed {
    world: World,
    key: PathBuf,
    library: PathBuf,
    signature: PathBuf,
}

impl Signed {
    fn new() -> Self {
        let mut world = World::new();
        let key = world.root().join("release.key");
        let made = create_key(&key).expect("a key");
        world.plugins.trust = Trust::Signed;
        let public = made.public.to_str().expect("UTF-8");
        world.plugins.keys = vec![PublicKey::configured(public).expect("a key")];
        let library = Fixture::new("fix").build(&world.directory(), "fix.so");
        let signature = sign(&key, &library, None).expect("signed").signature;
        assert_eq!(signature, world.directory().join("fix.so.sig"));
        Self {
            world,
            key,
            library,
            signature,
        }
    }

    /// Loads, and answers why the plugin is out.
    #[track_caller]
    fn assert_refused(&self, says: &str) {
        let reason = reason(&self.world.load().plugins(), "fix");
        let start = format!("{} check failed: ", Check::Trust.as_str());
        assert!(
            reason.starts_with(&start) && reason.contains(says),
            "{reason:?} should say {says:?}"
        );
        let inspection = inspect(&self.library, &self.world.plugins);
        let refusal = inspection.refusal().expect("an inspection sees the same");
        assert_eq!(refusal.to_string(), reason);
        assert_eq!(inspection.trust, None);
    }

    fn assert_runs(&self, trust: &str) {
        let catalog = self.world.load();
        assert_eq!(ask(&catalog, "fix.echo", "1"), json!(1));
        assert_eq!(catalog.plugins()[0].trust, trust);
    }
}

#[test]
fn a_signed_plugin_runs_and_an_inspection_names_the_key() {
    let signed = Signed::new();
    signed.assert_runs("signed");
    let inspection = inspect(&signed.library, &signed.world.plugins);
    let trust = inspection.trust.expect("let in");
    assert_eq!(trust.by, TrustedBy::Signed);
    let key = signed.world.plugins.keys[0].fingerprint().to_string();
    assert!(trust.reason.contains(&key), "{trust:?}");
}

#[test]
fn without_a_signature_a_plugin_is_out_until_its_digest_is_listed() {
    let mut signed = Signed::new();
    fs::remove_file(&signed.signature).expect("removed");
    signed.assert_refused("no signature file beside it");
    let digest = Digest::of(&fs::read(&signed.library).expect("built"));
    signed.world.plugin("fix").sha256 = vec![*digest.as_bytes()];
    signed.assert_runs("pinned");
}

#[test]
fn a_signature_by_a_key_that_is_not_listed_is_refused_by_its_name() {
    let mut signed = Signed::new();
    let stranger = create_key(&signed.world.root().join("stranger.key")).expect("a key");
    sign(&stranger.private, &signed.library, None).expect("signed");
    signed.assert_refused(&stranger.key.fingerprint().to_string());

    signed.world.plugins.trust = Trust::Owner;
    signed.assert_runs("owner");
}

#[test]
fn a_signature_that_claims_a_listed_key_is_refused_under_every_policy() {
    let mut signed = Signed::new();
    let stranger = create_key(&signed.world.root().join("stranger.key")).expect("a key");
    let forged = sign(&stranger.private, &signed.library, None).expect("signed");
    let listed = signed.world.plugins.keys[0].fingerprint().to_string();
    let text = fs::read_to_string(&forged.signature)
        .expect("written")
        .replace(&stranger.key.fingerprint().to_string(), &listed);
    fs::write(&forged.signature, text).expect("ours");
    for policy in [Trust::Owner, Trust::Pinned, Trust::Signed] {
        signed.world.plugins.trust = policy;
        signed.assert_refused("did not sign these lines");
    }
}

#[test]
fn other_bytes_and_another_version_are_refused_with_the_reason() {
    let signed = Signed::new();
    // A library may have anything behind its last section.
    let mut bytes = fs::read(&signed.library).expect("built");
    bytes.push(0);
    fs::write(&signed.library, bytes).expect("ours");
    signed.assert_refused("for a file whose SHA-256");

    Fixture::new("fix")
        .declare("/version", json!("1.2.4"))
        .build(&signed.world.directory(), "fix.so");
    signed.assert_refused("for version \"1.2.3\", and the file is version \"1.2.4\"");

    fs::remove_file(&signed.library).expect("removed");
    Fixture::new("other").build(&signed.world.directory(), "fix.so");
    signed.assert_refused("for the plugin \"fix\", and the file is \"other\"");

    sign(&signed.key, &signed.library, None).expect("signed anew, over the old signature");
    let catalog = signed.world.load();
    assert_eq!(ask(&catalog, "other.echo", "1"), json!(1));
}

#[test]
fn a_signature_file_has_to_be_whole_and_nobody_elses_to_write() {
    let signed = Signed::new();
    let text = fs::read(&signed.signature).expect("written");
    let write = |bytes: &[u8]| fs::write(&signed.signature, bytes).expect("ours");
    write(&text[..text.len() - 10]);
    signed.assert_refused("ends within line 6");
    write(b"");
    signed.assert_refused("ends within line 1");
    write(&[text.as_slice(), b"\n"].concat());
    signed.assert_refused("goes on after line 6");
    write(&vec![b'a'; 1025]);
    signed.assert_refused("larger than 1024 bytes");
    write(&text);
    for (mode, who) in [(0o646, "everyone"), (0o664, "its group")] {
        chmod(&signed.signature, mode);
        signed.assert_refused(&format!("of its signature file: it is writable by {who}"));
    }
    chmod(&signed.signature, 0o644);
    signed.assert_runs("signed");
}

#[test]
fn a_signature_is_a_file_of_the_directory_itself() {
    let signed = Signed::new();
    let elsewhere = signed.world.root().join("elsewhere.sig");
    fs::rename(&signed.signature, &elsewhere).expect("moved");
    let link = |target: &Path| symlink(target, &signed.signature).expect("a link");
    link(&elsewhere);
    signed.assert_refused("a symbolic link that leads out of its directory");
    fs::remove_file(&signed.signature).expect("removed");
    link(Path::new("nothing"));
    signed.assert_refused("a symbolic link to nothing");
    fs::remove_file(&signed.signature).expect("removed");
    fs::create_dir(&signed.signature).expect("a directory");
    signed.assert_refused("it is a directory, not a file");
}

#[test]
fn a_revoked_plugin_is_out_signed_or_not_and_the_next_version_runs() {
    let mut signed = Signed::new();
    let digest = Digest::of(&fs::read(&signed.library).expect("built"));
    signed.world.plugins.revoked = vec![*digest.as_bytes()];
    signed.assert_refused("plugins.revoked lists");
    signed.world.plugins.trust = Trust::Owner;
    signed.assert_refused("plugins.revoked lists");
    Fixture::new("fix")
        .declare("/version", json!("1.2.4"))
        .build(&signed.world.directory(), "fix.so");
    sign(&signed.key, &signed.library, None).expect("signed");
    signed.assert_runs("signed");
    assert_eq!(signed.world.load().plugins()[0].state, PluginState::Active);
}
