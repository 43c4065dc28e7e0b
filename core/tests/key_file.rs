//! The key file is one that other tools read.
//!
//! A test of its own: it starts a process, and for a moment a started process
//! holds every lock that the tests beside it have taken.

use std::{fs, process::Command};

use aegis_core::identity::Identity;

#[test]
fn openssl_reads_the_key_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let identity = Identity::open(dir.path(), None).expect("an identity");
    let path = dir.path().join("identity.key");
    // SEQUENCE(46) INTEGER(0): version 1, without a public key.
    let pem = fs::read_to_string(&path).expect("a key file");
    assert!(pem.contains("\nMC4CAQAw"), "not PKCS#8 version 1");

    let openssl = Command::new("openssl")
        .args(["pkey", "-noout", "-text", "-in"])
        .arg(&path)
        .output();
    let Ok(output) = openssl else {
        eprintln!("no openssl on this machine: only the version was looked at");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = String::from_utf8_lossy(&output.stdout);
    let public = shown.split("pub:").nth(1).expect("a public key");
    let public: String = public.chars().filter(char::is_ascii_hexdigit).collect();
    let expected: String = identity
        .public_key()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        public.starts_with(&expected),
        "openssl sees another public key: {public}"
    );
}
