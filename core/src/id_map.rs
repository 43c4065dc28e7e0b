//! Maps by command id, on the hot path of every command.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use crate::command::CommandId;

/// A map by command id.
pub(crate) type IdMap<V> = HashMap<CommandId, V, IdHashing>;

/// Hashes ids, which are 16 bytes, with a keyed multiplication. The keys are
/// random in every process: ids come from a peer, who must not be able to
/// choose them so that they collide.
#[derive(Debug, Clone)]
pub(crate) struct IdHashing {
    keys: [u64; 2],
}

impl Default for IdHashing {
    fn default() -> Self {
        let random = RandomState::new();
        // An odd factor loses nothing of what it multiplies.
        Self {
            keys: [random.hash_one(0), random.hash_one(1) | 1],
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
    keys: [u64; 2],
    state: u64,
}

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = u128::from(self.state ^ word ^ self.keys[0]) * u128::from(self.keys[1]);
        // Both halves, folded: no bit of the word goes without effect.
        self.state = (mixed as u64) ^ ((mixed >> 64) as u64);
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an id, which is the same for all.
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn ids_that_differ_little_differ_in_the_bits_that_a_map_looks_at() {
        let hashing = IdHashing::default();
        for shift in [0, 16, 48, 64, 96, 110] {
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
