use proptest::prelude::*;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn public() -> PublicKey {
    PublicKey::of(key().verifying_key())
}

/// The text of a signature over `library`, and the digest of that.
fn signed(library: &[u8]) -> (String, Digest) {
    let digest = Digest::of(library);
    let text = sign(
        &key(),
        &Subject {
            id: "hello",
            version: "0.1.0",
            digest: &digest,
        },
    );
    (text, digest)
}

#[test]
fn what_was_signed_holds_for_that_file_and_no_other() {
    let (text, digest) = signed(b"library");
    let file = SignatureFile::parse(text.as_bytes()).expect("its own form");
    assert_eq!(file.key(), public().fingerprint().to_string());
    file.holds(&public()).expect("signed");
    let subject = Subject {
        id: "hello",
        version: "0.1.0",
        digest: &digest,
    };
    file.is_about(&subject).expect("the file");
    let other_digest = Digest::of(b"other");
    for (other, part) in [
        (
            Subject {
                id: "hell",
                ..subject
            },
            "the plugin \"hello\"",
        ),
        (
            Subject {
                version: "0.1.1",
                ..subject
            },
            "version \"0.1.0\"",
        ),
        (
            Subject {
                digest: &other_digest,
                ..subject
            },
            "SHA-256",
        ),
    ] {
        let fault = file.is_about(&other).expect_err(part);
        assert!(fault.to_string().contains(part), "{fault}");
    }
}

#[test]
fn every_changed_line_breaks_it() {
    let (text, _) = signed(b"library");
    for (from, to) in [
        ("plugin: hello", "plugin: jello"),
        ("version: 0.1.0", "version: 0.1.1"),
        ("sha256: ", "sha256: 0"),
        ("key: ", "key: 0"),
    ] {
        let mut changed = text.replacen(from, to, 1);
        if to.ends_with('0') && from.ends_with(' ') {
            // Still 64 digits: the last one of the line goes.
            let end = changed.find(to).expect("there") + to.len() + 63;
            changed.remove(end);
        }
        let file = SignatureFile::parse(changed.as_bytes()).expect("still the form");
        let fault = file.holds(&public()).expect_err(from);
        assert!(matches!(fault, SignatureFault::Wrong { .. }), "{fault}");
    }
}

#[test]
fn a_signature_of_another_key_or_of_another_purpose_does_not_hold() {
    let (text, _) = signed(b"library");
    let file = SignatureFile::parse(text.as_bytes()).expect("its own form");
    let other = PublicKey::of(SigningKey::from_bytes(&[8; 32]).verifying_key());
    file.holds(&other).expect_err("another key");

    let (statement, _) = text.split_once("signature: ").expect("its line");
    let receipt = key().sign(statement.replace(PURPOSE, "aegis-receipt-v1").as_bytes());
    let forged = format!(
        "{statement}signature: {}\n",
        BASE64_STANDARD.encode(receipt.to_bytes())
    );
    let file = SignatureFile::parse(forged.as_bytes()).expect("the form");
    file.holds(&public()).expect_err("signed as something else");
}

#[test]
fn what_only_looks_like_a_signature_file_is_told_by_its_line() {
    let (text, _) = signed(b"library");
    let upper = text.replacen(
        &public().fingerprint().to_string(),
        &public().fingerprint().to_string().to_uppercase(),
        1,
    );
    let unpadded = text.replace("==\n", "\n");
    for (changed, says) in [
        (String::new(), "ends within line 1"),
        ("hello".to_owned(), "another line 1"),
        (text.replace("-v1", "-v2"), "another line 1"),
        (text.replace("-v1\n", "-v1 \n"), "another line 1"),
        (text.replace('\n', "\r\n"), "another line 1"),
        (text.replace("plugin: ", "plugin:"), "another line 2"),
        (text.replace("version: 0.1.0\n", ""), "another line 3"),
        (text.replace("sha256: ", "sha256: z"), "another line 4"),
        (upper, "another line 5"),
        (unpadded, "another line 6"),
        (
            text.replace("signature: ", "signature: AAAA"),
            "another line 6",
        ),
        (text.trim_end().to_owned(), "ends within line 6"),
        (text[..40].to_owned(), "ends within line 3"),
        (format!("{text}\n"), "goes on after line 6"),
        (format!("{text}{text}"), "goes on after line 6"),
    ] {
        let fault = SignatureFile::parse(changed.as_bytes()).expect_err(says);
        assert!(fault.to_string().contains(says), "{fault}: {changed}");
    }
    SignatureFile::parse(b"\xff").expect_err("no text");
}

proptest! {
    /// Whatever is taken has exactly one form.
    #[test]
    fn nothing_but_its_own_form_is_taken(bytes in any::<Vec<u8>>()) {
        prop_assert!(SignatureFile::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_never_overlooked(at in 0_usize..400, to in any::<u8>()) {
        let (text, digest) = signed(b"library");
        let mut bytes = text.clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let subject = Subject { id: "hello", version: "0.1.0", digest: &digest };
        let held = SignatureFile::parse(&bytes)
            .and_then(|file| file.is_about(&subject).and_then(|()| file.holds(&public())));
        // The key's line is signed too, so even that one cannot change.
        prop_assert!(held.is_err());
    }

    #[test]
    fn a_cut_file_is_never_taken(length in 0_usize..400) {
        let (text, _) = signed(b"library");
        prop_assume!(length < text.len());
        prop_assert!(SignatureFile::parse(&text.as_bytes()[..length]).is_err());
    }
}
