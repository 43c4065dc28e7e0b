//! The whole system: real programs, real sockets, one behaviour a file.

#![forbid(unsafe_code)]

mod system {
    /// What is wrong gets a clear error with the reason and the next step.
    mod bad_input {
        mod aegisctl_exit_codes;
        mod config_faults;
        mod controller_address;
        mod enrolment_tokens;
        mod key_file;
        mod plugin_files;
        mod plugin_signatures;
    }
    /// Operator, controller, worker, handler, and back.
    mod commands {
        mod audit;
        mod cancel;
        mod coming_back;
        mod detaching;
        mod exec;
        mod hostile_plugin;
        mod loaded_plugin_runs;
        mod output_is_bounded;
        mod panicking_handler;
        mod payload_that_does_not_fit;
        mod plugin_allow_list;
        mod plugin_keeps_and_counts;
        mod receipts_are_signed;
        mod receipts_verify_with_openssl;
        mod resumable;
        mod ten_thousand_wait;
        mod timeouts;
        mod unknown_and_disabled;
    }
    /// Processes that are killed, and what is left.
    mod crash {
        mod controller_disk_is_full;
        mod controller_is_killed;
        mod quarantine;
        mod worker_disk_is_full;
        mod worker_is_killed;
    }
    /// Both directions of `aegis.cluster.v1`, each against a minimal peer.
    mod fixed_contract {
        mod admission;
        mod configs_by_sync;
        mod controller_serves_a_whole_life;
        mod empty_command_is_ignored;
        mod forgotten_node_joins_again;
        mod list_peers_filters;
        mod malformed_attestations;
        mod operator_reaches_a_unary_node;
        mod repeated_drain_acts_once;
        mod route_execution_finds_a_node;
        mod sealed_calls_are_checked;
        mod token_is_refreshed_by_the_key_alone;
        mod unserved_calls;
        mod worker_lives_a_whole_life;
        mod worker_refuses_a_wrong_nonce;
        mod worker_survives_an_absent_controller;
        mod wrong_challenge_answers;
    }
    /// Starts, ends, drains and returns.
    mod lifecycle {
        mod away_beyond_the_token;
        mod bad_configs;
        mod bans;
        mod black_holed_connection;
        mod config_rollout;
        mod controller_forgets;
        mod controller_restarts;
        mod drain_and_undo;
        mod drain_survives;
        mod drain_view;
        mod journal_list;
        mod one_worker_per_node;
        mod pushed_config;
        mod signals;
    }
    /// Where plugins run, and what they can do to those around them.
    mod plugins {
        mod process_dies;
        mod process_ends_with_worker;
        mod process_interfaces;
        mod process_placement;
    }
    /// The stream of `aegis.worker.v1`, spoken by hand.
    mod session {
        mod bad_hello;
    }
}
