//! The wire between workers, controllers and operators: messages, service
//! traits and clients, typed ids, limits.
//!
//! Nothing here does I/O, starts a task or reads a clock. `cluster::v1` is
//! fixed for good; `worker::v1` and `operator::v1` grow by adding fields.

#![forbid(unsafe_code)]

pub mod ids;
pub mod limits;

pub use ids::{CommandId, GroupId, MalformedId, NodeId};

/// `aegis.cluster`: the fixed contract.
pub mod cluster {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all)]
    pub mod v1 {
        include!("gen/aegis.cluster.v1.rs");
    }
}

/// `aegis.worker`: the session.
pub mod worker {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all)]
    pub mod v1 {
        include!("gen/aegis.worker.v1.rs");
    }
}

/// `aegis.operator`: what operators call.
pub mod operator {
    /// Version 1.
    #[allow(missing_docs, unused_qualifications, clippy::all)]
    pub mod v1 {
        include!("gen/aegis.operator.v1.rs");
    }
}

/// The compiled descriptors of all three packages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

/// The first field of a signed [`worker::v1::Hello`].
pub const HELLO_PURPOSE: &str = "aegis.worker.v1.Hello";

/// The first field of a signed [`worker::v1::Receipt`].
pub const RECEIPT_PURPOSE: &str = "aegis.worker.v1.Receipt";

/// Codes that a [`worker::v1::CommandError`] carries when the worker or the
/// controller, and not a handler, made it. Handlers may use others.
pub mod error_code {
    /// No plugin of the node has this command.
    pub const UNKNOWN_COMMAND: &str = "unknown-command";
    /// The node's own config disables the handler or its plugin.
    pub const DISABLED: &str = "disabled";
    /// The node's policy refuses this issuer.
    pub const NOT_PERMITTED: &str = "not-permitted";
    /// The payload is not what the handler takes.
    pub const INVALID_PAYLOAD: &str = "invalid-payload";
    /// The node drains and takes no new work.
    pub const DRAINING: &str = "draining";
    /// The handler's queue is full.
    pub const OVERLOADED: &str = "overloaded";
    /// The command's id was used before with another content.
    pub const ID_REUSED: &str = "id-reused";
    /// The timeout passed.
    pub const DEADLINE_EXCEEDED: &str = "deadline-exceeded";
    /// An operator cancelled it.
    pub const CANCELLED: &str = "cancelled";
    /// `start_by` passed before it could run.
    pub const EXPIRED: &str = "expired";
    /// The handler panicked.
    pub const PANICKED: &str = "panicked";
    /// The handler ignored its cancellation and was given up on.
    pub const ABANDONED: &str = "abandoned";
    /// The worker ended while the handler ran.
    pub const WORKER_LOST: &str = "worker-lost";
    /// The worker crashed while its handler ran, and it is not run again.
    pub const INTERRUPTED: &str = "interrupted";
    /// The worker lost its record of what it ran.
    pub const JOURNAL_LOST: &str = "journal-lost";
    /// The worker cannot write down what it would run.
    pub const JOURNAL_UNWRITABLE: &str = "journal-unwritable";
    /// The node has the plugin with a digest that operators have not allowed.
    pub const PLUGIN_NOT_ALLOWED: &str = "plugin-not-allowed";
    /// The plugin broke its contract, as with a response that is no JSON.
    pub const PLUGIN_FAULT: &str = "plugin-fault";
    /// The process that its plugin runs in ended while the handler ran.
    pub const PLUGIN_CRASHED: &str = "plugin-crashed";
}

/// `google.rpc.ErrorInfo` as the controller fills it in.
pub mod error_info {
    /// The `domain` of every reason below.
    pub const DOMAIN: &str = "aegis.cluster";
    /// Attest again.
    pub const TOKEN_EXPIRED: &str = "TOKEN_EXPIRED";
    /// The token is malformed, tampered with or another node's: attest again.
    pub const TOKEN_INVALID: &str = "TOKEN_INVALID";
    /// The envelope's signature is not the pinned key's: attest again.
    pub const SIGNATURE_INVALID: &str = "SIGNATURE_INVALID";
    /// Attest and register again.
    pub const NODE_UNKNOWN: &str = "NODE_UNKNOWN";
    /// Stop trying.
    pub const NODE_BANNED: &str = "NODE_BANNED";
    /// The enrolment token was used before.
    pub const ENROLMENT_TOKEN_SPENT: &str = "ENROLMENT_TOKEN_SPENT";
    /// The enrolment token is too old.
    pub const ENROLMENT_TOKEN_EXPIRED: &str = "ENROLMENT_TOKEN_EXPIRED";
    /// The enrolment token is bound to another node id.
    pub const ENROLMENT_TOKEN_WRONG_NODE: &str = "ENROLMENT_TOKEN_WRONG_NODE";
    /// The node has no pinned key and sent no enrolment token.
    pub const ENROLMENT_TOKEN_MISSING: &str = "ENROLMENT_TOKEN_MISSING";
    /// No such enrolment token.
    pub const ENROLMENT_TOKEN_UNKNOWN: &str = "ENROLMENT_TOKEN_UNKNOWN";
    /// Another key is pinned for this node id.
    pub const KEY_MISMATCH: &str = "KEY_MISMATCH";
}
