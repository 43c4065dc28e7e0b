//! Whether the node has its place in the cluster.

/// For readiness probes and service managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has not been live yet.
    Starting,
    /// The controller hears from it, and its token lasts.
    Healthy,
    /// The controller is out of reach, or the token is about to expire.
    Unhealthy,
    /// It is on its way out.
    Stopping,
}
