//! What a node tells of its config, within bounds: it is kept, and shown with
//! every list of nodes.

use aegis_proto::worker::v1::ConfigStatus;

/// Bytes of a version or a step. Ours have fewer than 40.
const MAX_NAME_BYTES: usize = 256;

/// Bytes of a reason.
const MAX_REASON_BYTES: usize = 4 * 1024;

/// The wire promises no more; see `ConfigStatus.log_tail`.
const MAX_LOG_LINES: usize = 20;
const MAX_LOG_BYTES: usize = 512;

/// The same with each text cut where it is longer than it may be.
pub fn bounded(mut status: ConfigStatus) -> ConfigStatus {
    for name in [
        &mut status.active_version,
        &mut status.attempted_version,
        &mut status.failed_step,
        &mut status.rolled_back_to,
    ] {
        cut(name, MAX_NAME_BYTES);
    }
    cut(&mut status.reason, MAX_REASON_BYTES);
    let surplus = status.log_tail.len().saturating_sub(MAX_LOG_LINES);
    status.log_tail.drain(..surplus);
    for line in &mut status.log_tail {
        cut(line, MAX_LOG_BYTES);
    }
    status
}

fn cut(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_says_too_much_is_cut_short() {
        let long = "ä".repeat(100_000);
        let status = bounded(ConfigStatus {
            active_version: long.clone(),
            reason: long.clone(),
            log_tail: (0..100).map(|line| format!("{line}{long}")).collect(),
            ..ConfigStatus::default()
        });
        assert!(status.active_version.len() <= MAX_NAME_BYTES);
        assert!(status.reason.len() <= MAX_REASON_BYTES);
        assert_eq!(status.log_tail.len(), MAX_LOG_LINES);
        assert!(status.log_tail[0].starts_with("80"), "the newest are kept");
        assert!(status.log_tail.iter().all(|it| it.len() <= MAX_LOG_BYTES));
        let fine = ConfigStatus {
            active_version: "cfg-1".into(),
            ..ConfigStatus::default()
        };
        assert_eq!(bounded(fine.clone()), fine);
    }
}
