//! Chance from a seed. What tasks draw depends on who draws how often, not on whose turn it is.

use std::hash::{DefaultHasher, Hash, Hasher};

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// For one of those that share a seed.
    pub(crate) fn of(seed: u64, who: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (seed, who).hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    pub(crate) fn key(&mut self) -> u32 {
        u32::try_from(self.below(1 << 32)).unwrap()
    }
}
