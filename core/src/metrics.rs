//! Metrics and health over HTTP, for whoever watches the node: `GET /metrics`
//! in the OpenMetrics text format, `GET /healthz` and `GET /readyz`.
//!
//! Nothing is counted here. Each scrape reads what the parts of the worker
//! know anyway, so that a worker without a listener pays nothing.
//!
//! Whoever connects is assumed to be hostile: requests are small and soon
//! there, connections are few and short, and nothing that a client sends is
//! kept or logged.

mod connections;
mod exposition;
mod families;
mod listener;
mod probe;
mod request;
mod response;
mod snapshot;
mod sources;

pub(crate) use listener::Listener;
pub(crate) use sources::Sources;
