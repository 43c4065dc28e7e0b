//! Why a worker does not begin to live, or does not go on.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use crate::{
    catalog::CatalogError, client::EnrolmentRefusal, identity::IdentityError,
    journal::JournalError, pushed_config::PushedConfigError,
};

/// Why there is no [`WorkerLifecycle`](super::WorkerLifecycle).
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The node has no identity.
    #[error("this node has no usable identity")]
    Identity(#[from] IdentityError),
    /// The enrolment token cannot be had.
    #[error(
        "cannot read the enrolment token from {from}: make one with `aegisctl enrol` and put it there"
    )]
    EnrolmentToken {
        /// A file or a variable.
        from: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What was given as an enrolment token is none.
    #[error("what {from} holds is no enrolment token: {why}; make one with `aegisctl enrol`")]
    MalformedToken {
        /// A file, a variable or a flag.
        from: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A certificate or key for TLS cannot be read.
    #[error("cannot read {}, named by controller.{key}", path.display())]
    Tls {
        /// The key of the config.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing can be served at the address for metrics and health.
    #[error(
        "cannot serve metrics at {address}: end what listens there, or choose another address with --metrics or telemetry.metrics"
    )]
    Metrics {
        /// As configured.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The journal cannot be opened.
    #[error("cannot open the journal in the state directory: nothing can be run without it")]
    Journal(#[from] JournalError),
    /// The pushed config that is in force cannot be kept.
    #[error("cannot open the pushed config in the state directory")]
    PushedConfig(#[from] PushedConfigError),
    /// A plugin is missing that has to be there.
    #[error("the plugins are not complete")]
    Catalog(#[from] CatalogError),
}

/// Why a worker stopped of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LifecycleError {
    /// An operator banned the node.
    #[error(
        "the controller banned this node: an operator has to lift the ban before it can come back"
    )]
    Banned,
    /// The node was never enrolled, and it was not admitted.
    #[error("the controller did not admit this node: {}; {}", .0.why(), .0.advice())]
    NotAdmitted(EnrolmentRefusal),
    /// The system gives the worker no thread.
    #[error(
        "cannot start the thread that takes commands: {0}; raise the limit on processes or threads"
    )]
    NoThread(io::ErrorKind),
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some layers repeat their cause in their own text.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
