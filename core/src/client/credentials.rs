//! The security token and how long it lasts.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_types::Timestamp;
use serde::Deserialize;

use crate::clock::BootInstant;

/// The protocol's own, for a token that does not tell.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct Credentials {
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    expires_at: BootInstant,
}

impl Credentials {
    pub(super) fn token(&self) -> Option<String> {
        self.lock().as_ref().map(|token| token.text.clone())
    }

    pub(super) fn expires_at(&self) -> Option<BootInstant> {
        self.lock().as_ref().map(|token| token.expires_at)
    }

    pub(super) fn replace(&self, text: String, expires_at: Option<Timestamp>) -> BootInstant {
        let expires_at = BootInstant::now() + lifetime(&text, expires_at, SystemTime::now());
        *self.lock() = Some(Token { text, expires_at });
        expires_at
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a token that was received at `now` lasts.
///
/// What the token itself says of its beginning and end does not depend on this
/// machine's wall clock being right. `expires_at` does; it is the next best.
fn lifetime(token: &str, expires_at: Option<Timestamp>, now: SystemTime) -> Duration {
    let claimed = claims(token).and_then(|claims| {
        let seconds = claims.exp?.checked_sub(claims.iat?)?;
        u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)
    });
    let until = || {
        let expires_at = SystemTime::try_from(expires_at?).ok()?;
        let lifetime = expires_at.duration_since(now).ok();
        if lifetime.is_none() {
            tracing::warn!(
                "the controller's token has expired already by this machine's clock: \
                 check the clocks of both"
            );
        }
        lifetime
    };
    claimed.or_else(until).unwrap_or(DEFAULT_LIFETIME)
}

#[derive(Deserialize)]
struct Claims {
    iat: Option<i64>,
    exp: Option<i64>,
}

/// The claims of a JWT, unverified: they are the controller's word to itself.
fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn a_wrong_wall_clock_does_not_change_a_lifetime_that_the_token_tells() {
        let token = jwt(r#"{"sub":"n","iat":1000000,"exp":1003600}"#);
        for now in [0, 1_000_000, 2_000_000_000] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            assert_eq!(
                lifetime(&token, at(1_003_600), now),
                Duration::from_secs(3600)
            );
        }
    }

    #[test]
    fn an_opaque_token_lasts_until_its_expiry() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for token in [
            "opaque",
            "a.b.c",
            &jwt("{}"),
            &jwt(r#"{"iat":5,"exp":5}"#),
            &jwt(r#"{"exp":"x"}"#),
        ] {
            assert_eq!(
                lifetime(token, at(1060), now),
                Duration::from_secs(60),
                "{token}"
            );
        }
    }

    #[test]
    fn without_a_usable_expiry_the_default_counts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for expires_at in [None, at(10), at(i64::MIN)] {
            assert_eq!(lifetime("opaque", expires_at, now), DEFAULT_LIFETIME);
        }
    }
}
