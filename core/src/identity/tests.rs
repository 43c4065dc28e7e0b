use std::{fs, os::unix::fs::PermissionsExt};

use ed25519_dalek::{Signature, VerifyingKey};

use super::*;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn an_identity_is_made_once_and_found_again() {
    let dir = dir();
    let state = dir.path().join("made/by/open");
    let first = Identity::open(&state, None).expect("a new identity");
    let (id, key) = (first.node_id(), first.public_key());
    drop(first);
    let second = Identity::open(&state, Some(id)).expect("the same identity");
    assert_eq!((second.node_id(), second.public_key()), (id, key));

    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("identity.key")), 0o600);
    let card = IdentityCard::read(&state)
        .expect("readable beside its owner")
        .expect("a card");
    assert_eq!(
        (card.node_id, card.public_key, card.enrolled),
        (id, key, false)
    );
}

#[test]
fn a_signature_verifies_with_the_public_key() {
    let dir = dir();
    let identity = Identity::open(dir.path(), None).expect("an identity");
    let key = VerifyingKey::from_bytes(&identity.public_key()).expect("a key");
    let signature = Signature::from_bytes(&identity.sign(b"nonce"));
    key.verify_strict(b"nonce", &signature)
        .expect("a good signature");
    key.verify_strict(b"other", &signature)
        .expect_err("a signature over something else");
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let dir = dir();
    let _first = Identity::open(dir.path(), None).expect("the first owner");
    let error = Identity::open(dir.path(), None).expect_err("a second owner");
    assert!(
        matches!(error, IdentityError::InUse { owner: Some(pid), .. } if pid == std::process::id())
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let dir = dir();
    drop(Identity::open(dir.path(), None).expect("an identity"));
    let path = dir.path().join("identity.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    let error = Identity::open(dir.path(), None).expect_err("an open key");
    assert!(
        matches!(error, IdentityError::OpenKey { mode: 0o640, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn a_damaged_key_file_is_refused_and_kept() {
    let dir = dir();
    drop(Identity::open(dir.path(), None).expect("an identity"));
    let path = dir.path().join("identity.key");
    for damage in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "\u{1f511}",
    ] {
        fs::write(&path, damage).expect("writable");
        let error = Identity::open(dir.path(), None).expect_err("a damaged key");
        assert!(matches!(error, IdentityError::DamagedKey { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("still there"), damage);
    }
}

#[test]
fn a_link_in_the_place_of_the_key_is_refused() {
    let dir = dir();
    drop(Identity::open(dir.path(), None).expect("an identity"));
    let path = dir.path().join("identity.key");
    fs::rename(&path, dir.path().join("elsewhere")).expect("renamed");
    std::os::unix::fs::symlink("elsewhere", &path).expect("a link");
    assert!(matches!(
        Identity::open(dir.path(), None),
        Err(IdentityError::Io { .. })
    ));
}

#[test]
fn the_configured_id_has_to_be_the_stored_one() {
    let dir = dir();
    let wanted: NodeId = "0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11"
        .parse()
        .expect("an id");
    let other: NodeId = "0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d12"
        .parse()
        .expect("an id");
    assert_eq!(
        Identity::open(dir.path(), Some(wanted))
            .expect("kept")
            .node_id(),
        wanted
    );
    let error = Identity::open(dir.path(), Some(other)).expect_err("another node");
    assert!(matches!(error, IdentityError::OtherNode { stored, .. } if stored == wanted));
    fs::write(dir.path().join("node-id"), "node-1\n").expect("writable");
    assert!(matches!(
        Identity::open(dir.path(), None),
        Err(IdentityError::DamagedNodeId { .. })
    ));
}

#[test]
fn an_enrolled_node_never_gets_a_new_key_silently() {
    let dir = dir();
    let identity = Identity::open(dir.path(), None).expect("an identity");
    assert!(!identity.enrolment().exists());
    identity
        .enrolment()
        .note("http://127.0.0.1:1")
        .expect("noted");
    identity
        .enrolment()
        .note("http://127.0.0.1:2")
        .expect("noted again");
    assert!(identity.enrolment().exists());
    drop(identity);
    fs::remove_file(dir.path().join("identity.key")).expect("removed");
    assert!(matches!(
        Identity::open(dir.path(), None),
        Err(IdentityError::Lost { .. })
    ));
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let dir = dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).expect("chmod");
    assert!(matches!(
        Identity::open(dir.path(), None),
        Err(IdentityError::OpenDirectory { .. })
    ));
}
