//! AttestNode and ChallengeNode: from a stranger to a node with a token.
//!
//! An enrolment token may come with either call. It is looked at when it
//! comes, and spent only in the transaction that pins the key, after the
//! challenge was answered: a failed attempt costs no token. A known node needs
//! its key alone.

use std::{net::IpAddr, time::Instant};

use aegis_proto::{
    NodeId,
    cluster::v1::{
        AttestNodeRequest, AttestNodeResponse, ChallengeNodeRequest, ChallengeNodeResponse,
        NodeRole, challenge_node_request::BootstrapProof,
    },
    error_info::{
        ENROLMENT_TOKEN_EXPIRED, ENROLMENT_TOKEN_MISSING, ENROLMENT_TOKEN_SPENT,
        ENROLMENT_TOKEN_UNKNOWN, ENROLMENT_TOKEN_WRONG_NODE, KEY_MISMATCH,
    },
};
use ed25519_dalek::{Signature, VerifyingKey};
use tonic::{Code, Status};

use super::{check_capabilities, seal::banned};
use crate::{
    auth::{Candidate, ChallengeRefused, hash, role_name},
    controller::Controller,
    status::{internal, refuse, slow_down},
    store::{NodeRecord, TokenRefusal},
    time,
};

/// Bytes of an enrolment token; ours have about 50.
const MAX_TOKEN_BYTES: usize = 512;

impl Controller {
    /// Opens a challenge.
    pub(crate) async fn attest(
        &self,
        request: AttestNodeRequest,
        address: Option<IpAddr>,
    ) -> Result<AttestNodeResponse, Status> {
        self.attempts
            .take(address, Instant::now())
            .map_err(|too_many| {
                slow_down(
                    "too many attestations from this address",
                    too_many.retry_after,
                )
            })?;
        let candidate = candidate(request)?;
        if !self.is_known(&candidate)? && !candidate.enrolment_token.is_empty() {
            self.store
                .check_token(&hash(&candidate.enrolment_token), candidate.id, time::now())
                .await?
                .map_err(|refusal| refuse_enrolment(refusal, candidate.id))?;
        }
        let (id, nonce) = self
            .challenges
            .issue(candidate, Instant::now())
            .map_err(|error| match error {
                ChallengeRefused::Full => slow_down(
                    "too many attestations are under way",
                    self.settings.challenge_ttl,
                ),
                ChallengeRefused::Random(_) => internal(&error),
            })?;
        Ok(AttestNodeResponse {
            challenge_nonce: nonce.to_vec(),
            challenge_id: id.to_string(),
        })
    }

    /// Checks the answer, enrols a new node, and gives a token.
    pub(crate) async fn answer_challenge(
        &self,
        request: ChallengeNodeRequest,
    ) -> Result<ChallengeNodeResponse, Status> {
        let id: NodeId = request.node_id.parse().map_err(invalid)?;
        let challenge = self.challenges.take(&request.challenge_id, Instant::now());
        let challenge = challenge.filter(|challenge| challenge.candidate.id == id).ok_or_else(|| {
            Status::unauthenticated(
                "the challenge is unknown, expired, answered before or of another node; attest again",
            )
        })?;
        let mut candidate = challenge.candidate;
        let good = Signature::from_slice(&request.challenge_signature).is_ok_and(|signature| {
            candidate
                .public_key
                .verify_strict(&challenge.nonce, &signature)
                .is_ok()
        });
        if !good {
            return Err(Status::unauthenticated(
                "the signature over the challenge is wrong: sign the raw nonce with the attested key",
            ));
        }
        if let Some(BootstrapProof::EnrollmentToken(token)) = request.bootstrap_proof
            && !token.is_empty()
        {
            candidate.enrolment_token = token;
        }
        self.admit(&candidate).await?;
        let (token, expires) = self.tokens.issue(
            candidate.id,
            candidate.role,
            &candidate.capabilities,
            time::now(),
        )?;
        Ok(ChallengeNodeResponse {
            node_security_token: token,
            expires_at: Some(prost_types::Timestamp {
                seconds: expires,
                nanos: 0,
            }),
        })
    }

    /// Whether this node and key are pinned.
    fn is_known(&self, candidate: &Candidate) -> Result<bool, Status> {
        let Some(node) = self.directory.find(candidate.id) else {
            return Ok(false);
        };
        let record = node.record();
        if let Some(reason) = &record.banned {
            return Err(banned(candidate.id, reason));
        }
        if record.public_key != candidate.public_key {
            return Err(refuse(
                Code::PermissionDenied,
                KEY_MISMATCH,
                format!(
                    "another key is pinned for node {}; start the worker with its old key, or have \
                     an operator evict the node and enrol it anew",
                    candidate.id
                ),
            ));
        }
        if record.role != candidate.role && self.may_push_config(candidate.role) {
            return Err(Status::permission_denied(format!(
                "node {} was enrolled as {} and can't become {}, which may push config; have an \
                 operator evict it and enrol it anew",
                candidate.id,
                role_name(record.role),
                role_name(candidate.role)
            )));
        }
        Ok(true)
    }

    /// Whether nodes of this role may push config to other nodes.
    pub(crate) fn may_push_config(&self, role: NodeRole) -> bool {
        self.settings
            .config_push_roles
            .iter()
            .any(|one| one == role_name(role))
    }

    async fn admit(&self, candidate: &Candidate) -> Result<(), Status> {
        if self.is_known(candidate)? {
            return self.readmit(candidate).await;
        }
        if candidate.enrolment_token.is_empty() {
            return Err(refuse(
                Code::PermissionDenied,
                ENROLMENT_TOKEN_MISSING,
                format!(
                    "node {} is not known here and sent no enrolment token; make one with aegisctl \
                     enrol and give it to the worker",
                    candidate.id
                ),
            ));
        }
        let now = time::now();
        let record = NodeRecord {
            id: candidate.id,
            role: candidate.role,
            public_key: candidate.public_key,
            capabilities: candidate.capabilities.clone(),
            grpc_address: candidate.grpc_address.clone(),
            enrolled_at: now,
            registered_at: None,
            deregistered: false,
            banned: None,
            facts: None,
            config_status: None,
        };
        let enrolled = self
            .store
            .enrol(&hash(&candidate.enrolment_token), &record, now)
            .await?;
        if let Err(refusal) = enrolled {
            // An earlier attempt of this node, whose answer it did not wait
            // for, may have spent the token meanwhile.
            if refusal == TokenRefusal::Spent && self.is_known(candidate)? {
                return self.readmit(candidate).await;
            }
            return Err(refuse_enrolment(refusal, candidate.id));
        }
        self.directory.add(record);
        let message = format!("enrolled as {}", role_name(candidate.role));
        self.event("node-enrolled", Some(candidate.id), None, message)
            .await;
        Ok(())
    }

    async fn readmit(&self, candidate: &Candidate) -> Result<(), Status> {
        let Some(node) = self.directory.find(candidate.id) else {
            return Ok(());
        };
        let record = node.record();
        let same = record.role == candidate.role
            && record.capabilities == candidate.capabilities
            && record.grpc_address == candidate.grpc_address;
        if !same {
            self.store
                .reattest(
                    candidate.id,
                    candidate.role,
                    &candidate.capabilities,
                    &candidate.grpc_address,
                )
                .await?;
            node.amend(|record| {
                record.role = candidate.role;
                record.capabilities = candidate.capabilities.clone();
                record.grpc_address = candidate.grpc_address.clone();
            });
            self.directory.tell(node.id);
        }
        Ok(())
    }
}

fn candidate(request: AttestNodeRequest) -> Result<Candidate, Status> {
    let role = NodeRole::try_from(request.role).unwrap_or(NodeRole::Unspecified);
    if role == NodeRole::Unspecified {
        return Err(Status::invalid_argument(
            "the role is unspecified or unknown",
        ));
    }
    let key = <[u8; 32]>::try_from(&request.public_key[..]).map_err(|_| {
        let have = request.public_key.len();
        Status::invalid_argument(format!("the public key has {have} bytes instead of 32"))
    })?;
    let public_key = VerifyingKey::from_bytes(&key)
        .ok()
        .filter(|key| !key.is_weak())
        .ok_or_else(|| Status::invalid_argument("the public key is weak or no Ed25519 key"))?;
    if request.enrolment_token.len() > MAX_TOKEN_BYTES {
        return Err(refuse_enrolment_unknown());
    }
    Ok(Candidate {
        id: request.node_id.parse().map_err(invalid)?,
        role,
        public_key,
        capabilities: check_capabilities(request.capabilities, &request.grpc_address)?,
        grpc_address: request.grpc_address,
        enrolment_token: request.enrolment_token,
    })
}

fn invalid(error: aegis_proto::MalformedId) -> Status {
    Status::invalid_argument(error.to_string())
}

fn refuse_enrolment_unknown() -> Status {
    refuse(
        Code::PermissionDenied,
        ENROLMENT_TOKEN_UNKNOWN,
        "the enrolment token is unknown or revoked; make a new one with aegisctl enrol",
    )
}

fn refuse_enrolment(refusal: TokenRefusal, node: NodeId) -> Status {
    let (reason, message) = match refusal {
        TokenRefusal::Unknown | TokenRefusal::Revoked => return refuse_enrolment_unknown(),
        TokenRefusal::Expired => (
            ENROLMENT_TOKEN_EXPIRED,
            "the enrolment token has expired".into(),
        ),
        TokenRefusal::Spent => (
            ENROLMENT_TOKEN_SPENT,
            "the enrolment token was used before: each is good once".into(),
        ),
        TokenRefusal::WrongNode => (
            ENROLMENT_TOKEN_WRONG_NODE,
            format!("the enrolment token is bound to another node than {node}"),
        ),
    };
    refuse(
        Code::PermissionDenied,
        reason,
        format!("{message}; make a new one with aegisctl enrol"),
    )
}
