//! Challenges that wait for their answer. Each can be answered once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aegis_proto::{
    NodeId,
    cluster::v1::{NodeCapabilities, NodeRole},
    limits::NONCE_BYTES,
};
use ed25519_dalek::VerifyingKey;
use uuid::Uuid;

/// What a node said of itself when it asked for a challenge.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: NodeRole,
    /// Its key; not weak.
    pub public_key: VerifyingKey,
    /// What it has.
    pub capabilities: NodeCapabilities,
    /// Where it listens, if it does.
    pub grpc_address: String,
    /// Empty where it sent none.
    pub enrolment_token: String,
}

/// A challenge and whom it is for.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Who asked.
    pub candidate: Candidate,
    /// What is to be signed.
    pub nonce: [u8; NONCE_BYTES],
    expires: Instant,
}

/// Why there is no challenge.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeRefused {
    /// Too many are open.
    #[error("too many challenges are open")]
    Full,
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random(#[source] getrandom::Error),
}

/// The open challenges.
#[derive(Debug)]
pub struct Challenges {
    ttl: Duration,
    most: usize,
    open: Mutex<HashMap<Uuid, Challenge>>,
}

impl Challenges {
    /// At most `most` at once, each for `ttl`.
    pub fn new(ttl: Duration, most: usize) -> Self {
        Self {
            ttl,
            most,
            open: Mutex::default(),
        }
    }

    /// Opens one; returns its id and nonce.
    ///
    /// # Errors
    /// Where too many are open or there is no randomness.
    pub fn issue(
        &self,
        candidate: Candidate,
        now: Instant,
    ) -> Result<(Uuid, [u8; NONCE_BYTES]), ChallengeRefused> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(ChallengeRefused::Random)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.most {
            open.retain(|_, challenge| challenge.expires > now);
        }
        if open.len() >= self.most {
            return Err(ChallengeRefused::Full);
        }
        let id = Uuid::new_v4();
        open.insert(
            id,
            Challenge {
                candidate,
                nonce,
                expires: now + self.ttl,
            },
        );
        Ok((id, nonce))
    }

    /// Takes one out, for good; `None` where it is unknown, was taken before or expired.
    pub fn take(&self, id: &str, now: Instant) -> Option<Challenge> {
        let id = Uuid::try_parse(id).ok()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id).filter(|challenge| challenge.expires > now)
    }

    /// Forgets the expired ones.
    pub fn sweep(&self, now: Instant) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, challenge| challenge.expires > now);
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    fn candidate() -> Candidate {
        Candidate {
            id: NodeId::from_uuid(Uuid::new_v4()),
            role: NodeRole::Worker,
            public_key: SigningKey::from_bytes(&[7; 32]).verifying_key(),
            capabilities: NodeCapabilities::default(),
            grpc_address: String::new(),
            enrolment_token: String::new(),
        }
    }

    #[test]
    fn a_challenge_can_be_answered_once() {
        let challenges = Challenges::new(Duration::from_secs(60), 10);
        let now = Instant::now();
        let (id, nonce) = challenges.issue(candidate(), now).expect("room");
        let taken = challenges.take(&id.to_string(), now).expect("open");
        assert_eq!(taken.nonce, nonce);
        assert!(challenges.take(&id.to_string(), now).is_none());
    }

    #[test]
    fn an_expired_challenge_is_gone() {
        let challenges = Challenges::new(Duration::from_secs(60), 10);
        let now = Instant::now();
        let (id, _) = challenges.issue(candidate(), now).expect("room");
        assert!(
            challenges
                .take(&id.to_string(), now + Duration::from_secs(60))
                .is_none()
        );
    }

    #[test]
    fn open_challenges_are_bounded_and_expiry_makes_room() {
        let challenges = Challenges::new(Duration::from_secs(60), 2);
        let now = Instant::now();
        challenges.issue(candidate(), now).expect("room");
        challenges.issue(candidate(), now).expect("room");
        assert!(matches!(
            challenges.issue(candidate(), now),
            Err(ChallengeRefused::Full)
        ));
        challenges
            .issue(candidate(), now + Duration::from_secs(61))
            .expect("room again");
    }
}
