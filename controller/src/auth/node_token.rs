//! Node security tokens: JWTs that this controller signs with its own Ed25519
//! key, and a bounded memory of those it has verified.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aegis_proto::{
    NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey, KeypairBytes},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Millis;

/// Verified tokens that are remembered, in each of two generations.
const REMEMBERED: usize = 8192;

/// Longer than any token of ours; refused before it is looked at.
const MAX_TOKEN_BYTES: usize = 2048;

/// Signs and verifies tokens.
pub struct NodeTokens {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl: Duration,
    verified: Mutex<Generations>,
}

/// A token whose signature was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Whose it is.
    pub node: NodeId,
    /// In seconds since the Unix epoch.
    pub expires: i64,
}

/// Why a token was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once.
    #[error("the security token has expired")]
    Expired,
    /// Another controller signed it, or this one with a key it no longer has.
    #[error("the security token was not signed by this controller")]
    Foreign,
    /// It is no token, or was tampered with.
    #[error("the security token is malformed or its signature is wrong")]
    Invalid,
    /// Signing failed.
    #[error("a security token could not be signed")]
    Sign,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: String,
    cap_hash: String,
    iat: i64,
    exp: i64,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, VerifiedToken>,
    old: HashMap<Box<str>, VerifiedToken>,
}

impl NodeTokens {
    /// Tokens signed by the key with this seed.
    ///
    /// # Errors
    /// Where the key can't be encoded.
    pub fn new(seed: &[u8; 32], ttl: Duration) -> Result<Arc<Self>, TokenError> {
        let key = SigningKey::from_bytes(seed);
        let pkcs8 = KeypairBytes {
            secret_key: *seed,
            public_key: None,
        }
        .to_pkcs8_der()
        .map_err(|_| TokenError::Sign)?;
        let public = key.verifying_key();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 0;
        // Expiry is judged on every use, a remembered token's too.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Ok(Arc::new(Self {
            kid: hex(&Sha256::digest(public.as_bytes())[..8]),
            encoding: EncodingKey::from_ed_der(pkcs8.as_bytes()),
            decoding: DecodingKey::from_ed_der(public.as_bytes()),
            validation,
            ttl,
            verified: Mutex::default(),
        }))
    }

    /// How long a token lives.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Signs a token; returns it with its expiry in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Where signing fails.
    pub fn issue(
        &self,
        node: NodeId,
        role: NodeRole,
        capabilities: &NodeCapabilities,
        now: Millis,
    ) -> Result<(String, i64), TokenError> {
        let iat = now.div_euclid(1000);
        let exp = iat.saturating_add(i64::try_from(self.ttl.as_secs().max(1)).unwrap_or(i64::MAX));
        let claims = Claims {
            sub: node.to_string(),
            role: role_name(role).into(),
            cap_hash: capabilities_hash(capabilities),
            iat,
            exp,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let token =
            jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|_| TokenError::Sign)?;
        Ok((token, exp))
    }

    /// Checks signature and expiry.
    ///
    /// # Errors
    /// Where either is not good.
    pub fn verify(&self, token: &str, now: Millis) -> Result<VerifiedToken, TokenError> {
        let known = self.lock().recall(token);
        let verified = match known {
            Some(verified) => verified,
            None => {
                let verified = self.verify_signature(token)?;
                self.lock().remember(token, verified);
                verified
            }
        };
        if verified.expires <= now.div_euclid(1000) {
            return Err(TokenError::Expired);
        }
        Ok(verified)
    }

    fn verify_signature(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.alg != Algorithm::EdDSA || header.kid.as_deref() != Some(&self.kid) {
            return Err(TokenError::Foreign);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let node = claims.sub.parse().map_err(|_| TokenError::Invalid)?;
        Ok(VerifiedToken {
            node,
            expires: claims.exp,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn recall(&mut self, token: &str) -> Option<VerifiedToken> {
        if let Some(verified) = self.young.get(token) {
            return Some(*verified);
        }
        let verified = self.old.remove(token)?;
        self.remember(token, verified);
        Some(verified)
    }

    /// A full young generation becomes the old one, whose rest is forgotten.
    fn remember(&mut self, token: &str, verified: VerifiedToken) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token.into(), verified);
    }
}

/// A role as tokens name it.
pub fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Unspecified => "unspecified",
        NodeRole::Controller => "controller",
        NodeRole::Worker => "worker",
        NodeRole::Hybrid => "hybrid",
        NodeRole::Edge => "edge",
        NodeRole::RelayCoordinator => "relay-coordinator",
    }
}

/// The hex SHA-256 over the JSON of the capabilities, fields in the order of
/// their numbers.
pub fn capabilities_hash(capabilities: &NodeCapabilities) -> String {
    #[derive(Serialize)]
    struct Json<'a> {
        gpu_count: u32,
        vram_gb: u32,
        cpu_cores: u32,
        available_memory_gb: u32,
        supported_runtimes: &'a [String],
        tags: &'a [String],
    }
    let json = serde_json::to_vec(&Json {
        gpu_count: capabilities.gpu_count,
        vram_gb: capabilities.vram_gb,
        cpu_cores: capabilities.cpu_cores,
        available_memory_gb: capabilities.available_memory_gb,
        supported_runtimes: &capabilities.supported_runtimes,
        tags: &capabilities.tags,
    });
    hex(&Sha256::digest(json.unwrap_or_default()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn tokens(seed: u8) -> Arc<NodeTokens> {
        NodeTokens::new(&[seed; 32], Duration::from_secs(60)).expect("a key")
    }

    fn issue(tokens: &NodeTokens) -> (NodeId, String) {
        let node = NodeId::from_uuid(Uuid::new_v4());
        let issued = tokens.issue(node, NodeRole::Worker, &NodeCapabilities::default(), NOW);
        (node, issued.expect("signed").0)
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let tokens = tokens(1);
        let (node, token) = issue(&tokens);
        for _ in 0..2 {
            assert_eq!(
                tokens.verify(&token, NOW + 59_999).map(|v| v.node),
                Ok(node)
            );
        }
        assert_eq!(
            tokens.verify(&token, NOW + 60_000),
            Err(TokenError::Expired)
        );
    }

    #[test]
    fn another_controllers_token_is_foreign() {
        let (_, token) = issue(&tokens(2));
        assert_eq!(tokens(1).verify(&token, NOW), Err(TokenError::Foreign));
    }

    #[test]
    fn a_changed_token_is_invalid() {
        let tokens = tokens(1);
        let (_, token) = issue(&tokens);
        let (_, other) = issue(&tokens);
        let signature = other.rsplit('.').next().expect("three parts");
        let body = token.rsplit_once('.').expect("three parts").0;
        let spliced = format!("{body}.{signature}");
        assert_eq!(tokens.verify(&spliced, NOW), Err(TokenError::Invalid));
        for bad in ["", "a.b.c", "no token", &token[1..]] {
            tokens.verify(bad, NOW).expect_err(bad);
        }
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
        let tokens = tokens(1);
        let (_, token) = issue(&tokens);
        let body = token.split('.').nth(1).expect("three parts");
        let header = B64.encode(format!(
            r#"{{"alg":"none","typ":"JWT","kid":"{}"}}"#,
            tokens.kid
        ));
        tokens
            .verify(&format!("{header}.{body}."), NOW)
            .expect_err("unsigned");
    }

    #[test]
    fn the_memory_of_verified_tokens_is_bounded() {
        let mut generations = Generations::default();
        let verified = VerifiedToken {
            node: NodeId::from_uuid(Uuid::nil()),
            expires: 0,
        };
        for n in 0..3 * REMEMBERED {
            generations.remember(&n.to_string(), verified);
        }
        assert!(generations.young.len() + generations.old.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn the_capabilities_hash_is_over_their_json() {
        let capabilities = NodeCapabilities {
            cpu_cores: 4,
            tags: vec!["edge".into()],
            ..NodeCapabilities::default()
        };
        let json = br#"{"gpu_count":0,"vram_gb":0,"cpu_cores":4,"available_memory_gb":0,"supported_runtimes":[],"tags":["edge"]}"#;
        assert_eq!(capabilities_hash(&capabilities), hex(&Sha256::digest(json)));
    }
}
