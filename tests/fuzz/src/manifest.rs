//! The readers of what a plugin file says of itself.

use aegis_core::manifest;

/// A whole library file: object format, segments, section, document, symbol.
pub fn manifest_file(bytes: &[u8]) {
    match manifest::read(bytes) {
        Ok(read) => sound(&read.manifest, &read.text),
        Err(refusal) => assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty()),
    }
}

/// The JSON document alone.
pub fn manifest_document(bytes: &[u8]) {
    let Ok(decoded) = manifest::decode(bytes) else {
        return;
    };
    let checked = manifest::check_each(&decoded);
    let passed = checked.iter().all(|(_, result)| result.is_ok());
    assert_eq!(passed, manifest::check(&decoded).is_ok());
    if passed {
        sound(&decoded, bytes);
    }
}

/// What later code relies on once a manifest was let in.
fn sound(manifest: &aegis_plugin_api::manifest::Manifest, text: &[u8]) {
    assert!(std::str::from_utf8(text).is_ok());
    assert!((1..=64).contains(&manifest.id.len()));
    assert!(
        manifest
            .id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/')
    );
    assert!(manifest.symbol.starts_with("aegis_plugin_v1_"));
    assert!(!manifest.handlers.is_empty());
    for handler in &manifest.handlers {
        assert!((1..=64).contains(&handler.name.len()));
        assert!(handler.timeout_ms > 0 && handler.concurrency > 0);
    }
}
