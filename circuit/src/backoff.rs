//! How long to stay open: doubling, capped, and shortened by a little chance.
//!
//! Pure: the same seed, instant and attempt give the same wait. The instant takes part so that processes which
//! share a seed, as all do that keep the default, still come back at different times. Chance only shortens, so
//! no wait exceeds the cap.

/// Waits of breakers that share their options; each has its own chances, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    base_ns: u64,
    cap_ns: u64,
    /// At most 100.
    jitter_percent: u32,
    seed: u64,
}

impl Backoff {
    /// From `base_ns` to `cap_ns`, less up to `jitter_percent` (at most 100) of it.
    pub(crate) fn new(base_ns: u64, cap_ns: u64, jitter_percent: u32, seed: u64) -> Self {
        Self { base_ns, cap_ns, jitter_percent, seed }
    }

    /// The longest wait.
    pub(crate) fn cap_ns(&self) -> u64 {
        self.cap_ns
    }

    /// The wait of breaker `number` after `attempt` openings that came to nothing, beginning at `now_ns`; at least
    /// 1 ns.
    pub(crate) fn wait_ns(&self, number: u32, attempt: u32, now_ns: u64) -> u64 {
        let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
        let full_ns = self.base_ns.saturating_mul(factor).min(self.cap_ns);
        let seed = self.seed ^ mix(u64::from(number));
        let chance = mix(seed ^ mix(now_ns ^ mix(u64::from(attempt))));
        // A fraction of the part that is left to chance, in 128 bits: (2^64-1)·100·(2^64-1) would not fit 64.
        let part_ns = u128::from(full_ns) * u128::from(self.jitter_percent) / 100;
        let less_ns = u64::try_from((part_ns * u128::from(chance)) >> 64).unwrap_or(0);
        (full_ns - less_ns).max(1)
    }
}

/// The finaliser of SplitMix64: a bijection in which every bit of the argument moves half of the result
/// (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = Backoff::new(1_000, 60_000, 0, 7);
        let waits: Vec<_> = (0..8).map(|attempt| backoff.wait_ns(0, attempt, 5)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.wait_ns(0, u32::MAX, 5), 60_000);
    }

    #[test]
    fn chance_spreads_the_waits_of_those_who_share_a_seed() {
        let backoff = Backoff::new(1_000_000, 60_000_000, 20, 0);
        let mut waits: Vec<_> = (0..1_000).map(|now_ns| backoff.wait_ns(0, 0, now_ns)).collect();
        waits.sort_unstable();
        assert!(waits[0] < 810_000 && waits[999] > 990_000, "{}..{}", waits[0], waits[999]);
        let mean = waits.iter().sum::<u64>() / 1_000;
        assert!((895_000..905_000).contains(&mean), "{mean}");
    }

    #[test]
    fn another_seed_gives_other_waits() {
        let waits = |seed| {
            let backoff = Backoff::new(1_000_000, 60_000_000, 20, seed);
            [0, 1, 2].map(|attempt| backoff.wait_ns(7, attempt, 5))
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    proptest! {
        #[test]
        fn no_wait_is_zero_or_beyond_the_cap(
            base_ns in 1..=u64::MAX,
            more_ns in any::<u64>(),
            jitter in 0..=100_u32,
            (seed, number, attempt, now_ns) in any::<(u64, u32, u32, u64)>(),
        ) {
            let cap_ns = base_ns.saturating_add(more_ns);
            let wait_ns = Backoff::new(base_ns, cap_ns, jitter, seed).wait_ns(number, attempt, now_ns);
            prop_assert!(wait_ns >= 1 && wait_ns <= cap_ns);
            let least_ns = u128::from(base_ns) * u128::from(100 - jitter) / 100;
            prop_assert!(u128::from(wait_ns) >= least_ns);
        }
    }
}
