//! The whole system: real programs, real sockets, one behaviour a file.

#![forbid(unsafe_code)]

mod system {
    /// Both directions of `aegis.cluster.v1`, each against a minimal peer.
    mod fixed_contract {
        mod admission;
        mod controller_serves_a_whole_life;
        mod list_peers_filters;
        mod malformed_attestations;
        mod operator_reaches_a_unary_node;
        mod route_execution_finds_a_node;
        mod sealed_calls_are_checked;
        mod unserved_calls;
        mod wrong_challenge_answers;
    }
    /// The stream of `aegis.worker.v1`, spoken by hand.
    mod session {
        mod bad_hello;
    }
}
