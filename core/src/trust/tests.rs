use ed25519_dalek::SigningKey;

use super::*;
use crate::config::model::PluginConfig;

const POLICIES: [Trust; 3] = [Trust::Owner, Trust::Pinned, Trust::Signed];

fn release() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn plugins(trust: Trust) -> PluginsConfig {
    PluginsConfig {
        trust,
        ..PluginsConfig::default()
    }
}

fn pinned_to(trust: Trust, bytes: &[u8]) -> PluginsConfig {
    let mut plugins = plugins(trust);
    let config = PluginConfig {
        sha256: vec![*Digest::of(bytes).as_bytes()],
        ..PluginConfig::default()
    };
    plugins.by_name.insert("hello".to_owned(), config);
    plugins
}

fn trusting(trust: Trust) -> PluginsConfig {
    PluginsConfig {
        keys: vec![PublicKey::of(release().verifying_key())],
        ..plugins(trust)
    }
}

/// What comes of the file with content `this`.
fn decide(plugins: &PluginsConfig, signature: &BesideIt) -> Result<Admission, Refusal> {
    let digest = Digest::of(b"this");
    let subject = Subject {
        id: "hello",
        version: "0.1.0",
        digest: &digest,
    };
    admit(plugins, &subject, signature)
}

fn signature_over(bytes: &[u8], key: &SigningKey) -> BesideIt {
    let digest = Digest::of(bytes);
    let subject = Subject {
        id: "hello",
        version: "0.1.0",
        digest: &digest,
    };
    Ok(Some(signature::sign(key, &subject).into_bytes()))
}

#[test]
fn a_listed_digest_is_let_in_and_named_as_pinned() {
    for policy in POLICIES {
        let admission = decide(&pinned_to(policy, b"this"), &Ok(None)).expect("listed");
        assert_eq!(admission.by, TrustedBy::Pinned);
    }
}

#[test]
fn another_digest_than_the_listed_is_refused_under_every_policy_signed_or_not() {
    for policy in POLICIES {
        let plugins = PluginsConfig {
            keys: trusting(policy).keys,
            ..pinned_to(policy, b"that")
        };
        for signature in [Ok(None), signature_over(b"this", &release())] {
            let refusal = decide(&plugins, &signature).expect_err("another file");
            assert!(
                refusal.reason.contains(&Digest::of(b"this").to_string()),
                "{refusal}"
            );
        }
    }
}

#[test]
fn without_a_listed_digest_and_a_signature_the_policy_decides() {
    let admission = decide(&plugins(Trust::Owner), &Ok(None)).expect("owner");
    assert_eq!(admission.by, TrustedBy::Owner);
    let digest = Digest::of(b"this");
    for policy in [Trust::Pinned, Trust::Signed] {
        let refusal = decide(&plugins(policy), &Ok(None)).expect_err("not listed");
        assert!(
            refusal.remedy.contains(&format!("sha256 = \"{digest}\"")),
            "{refusal}"
        );
    }
}

#[test]
fn a_signature_by_a_listed_key_lets_in_and_under_pinned_alone_it_does_not() {
    let signature = signature_over(b"this", &release());
    for policy in [Trust::Owner, Trust::Signed] {
        let admission = decide(&trusting(policy), &signature).expect("signed");
        assert_eq!(admission.by, TrustedBy::Signed);
        let key = PublicKey::of(release().verifying_key());
        let fingerprint = key.fingerprint().to_string();
        assert!(admission.reason.contains(&fingerprint), "{admission:?}");
    }
    decide(&trusting(Trust::Pinned), &signature).expect_err("not pinned");
}

#[test]
fn a_signature_by_a_key_that_is_not_listed_is_noted_and_counts_for_nothing() {
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let signature = signature_over(b"this", &stranger);
    let fingerprint = Digest::of(stranger.verifying_key().as_bytes()).to_string();
    let admission = decide(&trusting(Trust::Owner), &signature).expect("its owner's");
    assert_eq!(admission.by, TrustedBy::Owner);
    assert!(admission.reason.contains(&fingerprint), "{admission:?}");
    let refusal = decide(&trusting(Trust::Signed), &signature).expect_err("not listed");
    assert!(refusal.reason.contains(&fingerprint), "{refusal}");
}

#[test]
fn a_bad_signature_is_refused_under_every_policy_even_beside_a_pinned_file() {
    let mut claims = String::from_utf8(
        signature_over(b"this", &SigningKey::from_bytes(&[8; 32]))
            .expect("read")
            .expect("there"),
    )
    .expect("text");
    let own = |key: &SigningKey| Digest::of(key.verifying_key().as_bytes()).to_string();
    claims = claims.replace(&own(&SigningKey::from_bytes(&[8; 32])), &own(&release()));
    let unreadable = Refusal::new(Check::File, "it is writable by everyone", "chmod it");
    for (signature, says) in [
        (
            signature_over(b"that", &release()),
            "for a file whose SHA-256",
        ),
        (Ok(Some(claims.into_bytes())), "did not sign"),
        (Ok(Some(b"hello".to_vec())), "another line 1"),
        (Err(unreadable), "writable by everyone"),
    ] {
        for policy in POLICIES {
            let plugins = PluginsConfig {
                keys: trusting(policy).keys,
                ..pinned_to(policy, b"this")
            };
            let refusal = decide(&plugins, &signature).expect_err(says);
            assert_eq!(refusal.check, Check::Trust);
            assert!(refusal.reason.contains(says), "{refusal}");
        }
    }
}

#[test]
fn a_revoked_digest_is_refused_signed_and_pinned_and_under_every_policy() {
    for policy in POLICIES {
        let plugins = PluginsConfig {
            keys: trusting(policy).keys,
            revoked: vec![*Digest::of(b"this").as_bytes()],
            ..pinned_to(policy, b"this")
        };
        let signature = signature_over(b"this", &release());
        let refusal = decide(&plugins, &signature).expect_err("revoked");
        assert!(refusal.reason.contains("revoked"), "{refusal}");
    }
}
