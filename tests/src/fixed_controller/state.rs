//! What the controller remembers, and what it checks of each call.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard},
    time::SystemTime,
};

use aegis_proto::cluster::v1::*;
use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use tokio::sync::watch;
use tonic::{Response, Status};

use super::{Rpc, Script, Seen};
use crate::jwt;

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) count: watch::Sender<usize>,
}

pub(super) struct State {
    pub(super) script: Script,
    pub(super) seen: Vec<Seen>,
    challenges: HashMap<String, Challenge>,
    tokens: HashMap<String, Token>,
    pub(super) registered: HashSet<String>,
}

struct Challenge {
    node_id: String,
    key: VerifyingKey,
    nonce: Vec<u8>,
}

struct Token {
    node_id: String,
    key: VerifyingKey,
    expires_at: SystemTime,
}

impl Shared {
    pub(super) fn new(script: Script) -> Self {
        let state = State {
            script,
            seen: Vec::new(),
            challenges: HashMap::new(),
            tokens: HashMap::new(),
            registered: HashSet::new(),
        };
        Self {
            state: Mutex::new(state),
            count: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// Runs one call: records what it saw, or that it refused.
    pub(super) fn call<T>(
        &self,
        rpc: Rpc,
        body: impl FnOnce(&mut State) -> Result<(Seen, T), Status>,
    ) -> Result<Response<T>, Status> {
        let mut state = self.lock();
        let failure = state.script.failures.iter().position(|(it, _)| *it == rpc);
        let result = match failure.and_then(|index| state.script.failures.remove(index)) {
            Some((_, status)) => Err(status),
            None => body(&mut state),
        };
        let result = match result {
            Ok((seen, answer)) => {
                state.seen.push(seen);
                Ok(Response::new(answer))
            }
            Err(status) => {
                state.seen.push(Seen::Refused(rpc, status.clone()));
                Err(status)
            }
        };
        drop(state);
        self.count.send_modify(|count| *count += 1);
        result
    }
}

impl State {
    pub(super) fn forget(&mut self) {
        self.tokens.clear();
        self.registered.clear();
    }

    pub(super) fn attest(
        &mut self,
        request: &AttestNodeRequest,
    ) -> Result<AttestNodeResponse, Status> {
        let invalid = Status::invalid_argument;
        let node_id = node_id(&request.node_id)?;
        if request.role() == NodeRole::Unspecified {
            return Err(invalid("role unspecified"));
        }
        if request.capabilities.is_none() {
            return Err(invalid("capabilities missing"));
        }
        let key = <[u8; 32]>::try_from(request.public_key.as_slice())
            .ok()
            .and_then(|key| VerifyingKey::from_bytes(&key).ok())
            .filter(|key| !key.is_weak())
            .ok_or_else(|| invalid("not a public key"))?;
        let mut nonce = vec![0; self.script.nonce_bytes];
        getrandom::fill(&mut nonce).expect("the system gives random bytes");
        let challenge_id = uuid::Uuid::new_v4().to_string();
        let challenge = Challenge {
            node_id,
            key,
            nonce: nonce.clone(),
        };
        self.challenges.insert(challenge_id.clone(), challenge);
        Ok(AttestNodeResponse {
            challenge_nonce: nonce,
            challenge_id,
        })
    }

    pub(super) fn challenge(
        &mut self,
        request: &ChallengeNodeRequest,
    ) -> Result<ChallengeNodeResponse, Status> {
        let challenge = self
            .challenges
            .remove(&request.challenge_id)
            .filter(|challenge| challenge.node_id == request.node_id)
            .ok_or_else(|| Status::unauthenticated("unknown challenge"))?;
        verify(
            &challenge.key,
            &challenge.nonce,
            &request.challenge_signature,
        )?;
        let expires_at = SystemTime::now() + self.script.token_lifetime;
        let node_security_token = jwt::opaque(&challenge.node_id, expires_at);
        let token = Token {
            node_id: challenge.node_id,
            key: challenge.key,
            expires_at,
        };
        self.tokens.insert(node_security_token.clone(), token);
        Ok(ChallengeNodeResponse {
            node_security_token,
            expires_at: Some(expires_at.into()),
        })
    }

    /// The inner message, once token and signature were right and it names the
    /// token's own node.
    pub(super) fn open<T: Message + Default>(
        &self,
        envelope: Option<SealNodeEnvelope>,
        claims: impl Fn(&T) -> &str,
    ) -> Result<T, Status> {
        let envelope = envelope.ok_or_else(|| Status::unauthenticated("no envelope"))?;
        let token = self
            .tokens
            .get(&envelope.node_security_token)
            .filter(|token| token.expires_at > SystemTime::now())
            .ok_or_else(|| Status::unauthenticated("token invalid or expired"))?;
        verify(&token.key, &envelope.payload, &envelope.signature)?;
        let inner = T::decode(envelope.payload.as_slice())
            .map_err(|_| Status::invalid_argument("undecodable payload"))?;
        if claims(&inner) != token.node_id {
            return Err(Status::unauthenticated("the token is another node's"));
        }
        Ok(inner)
    }

    pub(super) fn known(&self, node_id: &str) -> Result<(), Status> {
        let known = self.registered.contains(node_id);
        if known {
            Ok(())
        } else {
            Err(Status::unauthenticated("node unknown"))
        }
    }
}

fn node_id(text: &str) -> Result<String, Status> {
    let parsed: Result<aegis_proto::NodeId, _> = text.parse();
    parsed
        .map(|id| id.to_string())
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn verify(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> Result<(), Status> {
    Signature::from_slice(signature)
        .ok()
        .filter(|signature| key.verify_strict(message, signature).is_ok())
        .map(drop)
        .ok_or_else(|| Status::unauthenticated("wrong signature"))
}
