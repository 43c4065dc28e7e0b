//! Which plugin files are let in.
//!
//! `owner` and `pinned` both ask that directory and file belong to root or to
//! the worker's user and that nobody else can write them; the loader checks
//! that on the opened file. This module adds what the config says of digests.

use crate::{
    config::model::{PluginConfig, Trust},
    loader::{Check, Digest, Refusal},
};

/// Lets a file in, or not. Digests in `[plugins.NAME]` bind under every policy.
///
/// # Errors
///
/// [`Check::Trust`].
pub fn admit(
    policy: Trust,
    config: Option<&PluginConfig>,
    id: &str,
    digest: &Digest,
) -> Result<&'static str, Refusal> {
    let pins = config
        .map(|config| config.sha256.as_slice())
        .unwrap_or_default();
    if pins.contains(digest.as_bytes()) {
        return Ok("pinned");
    }
    if !pins.is_empty() {
        return Err(Refusal::new(
            Check::Trust,
            format!("its SHA-256 is {digest}, and [plugins.{id}] lists another under sha256"),
            "put the listed file back, or review this one and list its digest",
        ));
    }
    match policy {
        Trust::Owner => Ok("owner"),
        Trust::Pinned => Err(Refusal::new(
            Check::Trust,
            format!("plugins.trust is \"pinned\", and [plugins.{id}] lists no sha256"),
            format!("review the file and add sha256 = \"{digest}\" to [plugins.{id}]"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned_to(bytes: &[u8]) -> PluginConfig {
        PluginConfig {
            sha256: vec![*Digest::of(bytes).as_bytes()],
            ..PluginConfig::default()
        }
    }

    #[test]
    fn a_listed_digest_is_let_in_and_named_as_pinned() {
        let config = pinned_to(b"this");
        for policy in [Trust::Owner, Trust::Pinned] {
            let trusted = admit(policy, Some(&config), "hello", &Digest::of(b"this"));
            assert_eq!(trusted.expect("listed"), "pinned");
        }
    }

    #[test]
    fn another_digest_than_the_listed_is_refused_under_every_policy() {
        let config = pinned_to(b"this");
        for policy in [Trust::Owner, Trust::Pinned] {
            let refusal = admit(policy, Some(&config), "hello", &Digest::of(b"that"))
                .expect_err("another file");
            assert!(
                refusal.reason.contains(&Digest::of(b"that").to_string()),
                "{refusal}"
            );
        }
    }

    #[test]
    fn without_a_listed_digest_the_policy_decides() {
        let digest = Digest::of(b"this");
        assert_eq!(
            admit(Trust::Owner, None, "hello", &digest).expect("owner"),
            "owner"
        );
        let refusal = admit(Trust::Pinned, None, "hello", &digest).expect_err("not listed");
        assert!(
            refusal.remedy.contains(&format!("sha256 = \"{digest}\"")),
            "{refusal}"
        );
    }
}
