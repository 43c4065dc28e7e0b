//! Maps by command id, on the hot path of every command.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use crate::command::CommandId;

/// A map by command id.
pub(crate) type IdMap<V> = HashMap<CommandId, V, IdHashing>;

/// Hashes ids, which are 16 bytes, with keyed multiplications. The keys are
/// random in every process: ids come from a peer, who must not be able to
/// choose them so that they collide.
#[derive(Debug, Clone)]
pub(crate) struct IdHashing {
    /// One pair for each half of an id.
    keys: [[u64; 2]; 2],
}

impl Default for IdHashing {
    fn default() -> Self {
        let random = RandomState::new();
        // An odd factor loses nothing of what it multiplies.
        let pair = |n: u64| [random.hash_one(2 * n), random.hash_one(2 * n + 1) | 1];
        Self {
            keys: [pair(0), pair(1)],
        }
    }
}

impl BuildHasher for IdHashing {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            keys: self.keys,
            state: 0,
        }
    }
}

/// See [`IdHashing`].
pub(crate) struct IdHasher {
    keys: [[u64; 2]; 2],
    state: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for (half, [added, factor]) in bytes.chunks(8).zip(self.keys.iter().cycle()) {
            let mut word = [0; 8];
            word[..half.len()].copy_from_slice(half);
            let mixed = self.state ^ u64::from_le_bytes(word) ^ added;
            let product = u128::from(mixed) * u128::from(*factor);
            // Both halves, folded: no bit of the word goes without effect.
            self.state = (product as u64) ^ ((product >> 64) as u64);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an id, which is the same for all.
    }

    fn finish(&self) -> u64 {
        // A map looks at the lowest and the highest bits only.
        let spread = (self.state ^ (self.state >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        spread ^ (spread >> 29)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn ids_that_differ_little_differ_in_the_bits_that_a_map_looks_at() {
        for shift in [0, 16, 48, 64, 96, 110] {
            let hashing = IdHashing::default();
            let low: HashSet<u64> = (0..4096_u128)
                .map(|n| {
                    let id = CommandId::from_uuid(Uuid::from_u128(n << shift));
                    hashing.hash_one(id) & 0xffff
                })
                .collect();
            // Of 4096 values in 65536 places, an even spread leaves 3970 distinct.
            assert!(low.len() > 3500, "{} distinct at shift {shift}", low.len());
        }
    }
}
