//! Why a controller did not start.

use std::{net::SocketAddr, path::PathBuf};

use crate::{auth::OperatorTokenError, controller::ControllerError, store::StoreError};

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the data directory.
    #[error("another controller uses the data directory {}; stop it first, or give this one another --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory can't be used.
    #[error("can't use {} in the data directory; check its owner and mode", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anyone on the network could listen in.
    #[error(
        "refusing to listen on {address} without TLS: tokens would cross the network in the clear; set [tls] in the config, listen on loopback, or give --insecure"
    )]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// A certificate or key can't be read.
    #[error("can't read {}, which [tls] names", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key don't work.
    #[error("the certificate and key of [tls] can't be used")]
    Tls(#[source] tonic::transport::Error),
    /// The address can't be listened on.
    #[error("can't listen on {address}; is another process using the port?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operator token can't be used.
    #[error(transparent)]
    OperatorToken(#[from] OperatorTokenError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds can't be used.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// The compiled-in descriptors can't be read.
    #[error("the reflection service can't be built")]
    Reflection(#[from] tonic_reflection::server::Error),
}
