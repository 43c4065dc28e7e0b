//! What someone who mistyped a name may have meant.

/// The candidate with the fewest edits, if they are few for its length.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // Names come from a peer: nothing long is worth comparing.
    if name.len() > aegis_proto::limits::MAX_NAME_BYTES {
        return None;
    }
    candidates
        .map(|candidate| (edits(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(edits, candidate)| *edits <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many bytes are to be put in, left out or replaced.
fn edits(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_corrected_and_another_word_is_not() {
        let known = ["drain", "push-config", "shutdown"];
        let nearest = |name| nearest(name, known.into_iter());
        assert_eq!(nearest("drian"), Some("drain"));
        assert_eq!(nearest("push_config"), Some("push-config"));
        assert_eq!(nearest("shutdow"), Some("shutdown"));
        assert_eq!(nearest("reboot"), None);
        assert_eq!(nearest(&"d".repeat(10_000)), None);
    }
}
