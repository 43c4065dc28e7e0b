//! A token that looks like one of another controller: three base64url parts,
//! RS256 by its header, with a signature that nobody but its issuer can check.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::json;

/// Makes a token that expires at `expires_at`.
pub fn opaque(node_id: &str, expires_at: SystemTime) -> String {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "fixed" });
    let claims = json!({
        "sub": node_id,
        "role": "worker",
        "cap_hash": "00".repeat(32),
        "iat": seconds(SystemTime::now()),
        "exp": seconds(expires_at),
    });
    let mut signature = [0_u8; 256];
    getrandom::fill(&mut signature).expect("the system gives random bytes");
    let parts = [header.to_string(), claims.to_string()].map(|part| BASE64.encode(part));
    format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(signature))
}

/// The claims of a token, unchecked.
pub fn claims(token: &str) -> serde_json::Value {
    let payload = token.split('.').nth(1).expect("a token of three parts");
    let payload = BASE64.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims in JSON")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}
