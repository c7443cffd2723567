//! What asks for chunks that are neither full nor old: an operator, the ring, the memory they take, and the log that
//! cannot be truncated before they are stored. Pure as the rest: sizes and positions are arguments.

use super::{ChunkState, FlushPolicy, FlushReason};

/// What asks for one chunk, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlushDemand {
    /// Somebody asked for all chunks, or the process shuts down.
    pub forced: bool,
    /// The stream belongs to another instance now.
    pub not_owned: bool,
    /// The first position of the write-ahead log that the chunk needs; `None` if it needs none of it.
    pub first_needed: Option<u64>,
    /// The position that the log ought to be truncated to, by [`FlushPolicy::unpin`].
    pub free_before: Option<u64>,
}

/// How far a write-ahead log is from its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogState {
    /// The first position that is still there.
    pub first: u64,
    /// The position of the next record.
    pub next: u64,
    /// What it takes on disk.
    pub size_bytes: u64,
    /// What it may take.
    pub limit_bytes: u64,
}

impl FlushPolicy {
    /// Why to flush the chunk now, if there is a reason: what is demanded comes before what [`evaluate`](Self::evaluate)
    /// finds, forced before not owned, and that before the log.
    pub fn evaluate_with(
        &self,
        state: &ChunkState,
        demand: &FlushDemand,
        now_ns: u64,
    ) -> Option<FlushReason> {
        let FlushDemand { forced, not_owned, first_needed, free_before } = *demand;
        if forced {
            Some(FlushReason::Forced)
        } else if not_owned {
            Some(FlushReason::NotOwned)
        } else if first_needed.zip(free_before).is_some_and(|(first, before)| first < before) {
            Some(FlushReason::WalPinned)
        } else {
            self.evaluate(state, now_ns)
        }
    }

    /// The position before which no chunk ought to need the log any more, if the log nears its limit: its middle, so
    /// that half of it is freed at once and not a bit at a time.
    pub fn unpin(&self, log: &LogState) -> Option<u64> {
        let LogState { first, next, size_bytes, limit_bytes } = *log;
        let is_near = size_bytes >= share(limit_bytes, self.log_percent);
        // One more than half, so that of a log with a single record that one is freed.
        let half = next.saturating_sub(first).div_ceil(2);
        (is_near && half > 0).then(|| first.saturating_add(half))
    }

    /// Which chunks to flush, for [`FlushReason::Pressure`], where chunks of these sizes in memory share a budget. None as
    /// long as they take no more than [`memory_percent`](Self::memory_percent) of it; then the largest first, of equal
    /// ones the first, until no more than [`relieved_percent`](Self::relieved_percent) of it would be left.
    ///
    /// Takes time for sorting the sizes.
    pub fn relieve(&self, sizes: &[u64], budget_bytes: u64) -> Vec<usize> {
        let mut left = sizes.iter().fold(0u64, |sum, &size| sum.saturating_add(size));
        if left <= share(budget_bytes, self.memory_percent) {
            return Vec::new();
        }
        let target = share(budget_bytes, self.relieved_percent);
        let mut largest: Vec<(usize, u64)> = sizes.iter().copied().enumerate().collect();
        largest.sort_by_key(|&(number, size)| (std::cmp::Reverse(size), number));
        let goes = |&(_, size): &(usize, u64)| {
            let goes = left > target;
            left = left.saturating_sub(size);
            goes
        };
        largest.into_iter().take_while(goes).map(|(number, _)| number).collect()
    }
}

/// So many percent of a size.
fn share(bytes: u64, percent: u8) -> u64 {
    let share = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: ChunkState =
        ChunkState { size_bytes: 1 << 30, min_ns: 0, max_ns: 0, opened_ns: 0, appended_ns: 0 };

    #[test]
    fn what_is_demanded_comes_before_what_the_chunk_is() {
        let policy = FlushPolicy::default();
        let none = FlushDemand::default();
        let pinned = FlushDemand { first_needed: Some(9), free_before: Some(10), ..none };
        let disowned = FlushDemand { not_owned: true, ..pinned };
        let forced = FlushDemand { forced: true, ..disowned };
        for (demand, reason) in [
            (none, FlushReason::Full),
            (FlushDemand { first_needed: Some(10), ..pinned }, FlushReason::Full),
            (FlushDemand { first_needed: None, ..pinned }, FlushReason::Full),
            (FlushDemand { free_before: None, ..pinned }, FlushReason::Full),
            (pinned, FlushReason::WalPinned),
            (disowned, FlushReason::NotOwned),
            (forced, FlushReason::Forced),
        ] {
            assert_eq!(policy.evaluate_with(&FULL, &demand, 0), Some(reason), "{demand:?}");
        }
        let small = ChunkState { size_bytes: 0, ..FULL };
        assert_eq!(policy.evaluate_with(&small, &none, 0), None);
        assert_eq!(policy.evaluate_with(&small, &forced, 0), Some(FlushReason::Forced));
    }

    #[test]
    fn a_log_that_nears_its_limit_is_freed_to_its_middle() {
        let policy = FlushPolicy::default();
        let log = LogState { first: 100, next: 200, size_bytes: 70, limit_bytes: 100 };
        assert_eq!(policy.unpin(&log), Some(150));
        assert_eq!(policy.unpin(&LogState { size_bytes: 69, ..log }), None);
        assert_eq!(policy.unpin(&LogState { next: 101, ..log }), Some(101), "its only record");
        assert_eq!(policy.unpin(&LogState { next: 100, ..log }), None, "an empty log");
        let end =
            LogState { first: u64::MAX - 1, next: u64::MAX, size_bytes: u64::MAX, limit_bytes: u64::MAX };
        assert_eq!(policy.unpin(&end), Some(u64::MAX));
    }

    #[test]
    fn the_largest_chunks_go_until_enough_is_free() {
        let policy = FlushPolicy::default();
        let sizes = [10, 30, 5, 30, 6];
        assert_eq!(policy.relieve(&sizes, 102), [0usize; 0], "81 of 102 bytes are not above 80 percent");
        assert_eq!(policy.relieve(&sizes, 101), [1]);
        assert_eq!(policy.relieve(&sizes, 50), [1, 3]);
        assert_eq!(policy.relieve(&sizes, 0), [1, 3, 0, 4, 2]);
        assert_eq!(policy.relieve(&[], 0), [0usize; 0]);
        assert_eq!(policy.relieve(&[u64::MAX, u64::MAX], u64::MAX), [0]);
    }

    proptest! {
        #[test]
        fn what_stays_fits_and_nothing_goes_that_could_have_stayed(
            sizes in prop::collection::vec(0u64..1000, 0..40),
            budget in 0u64..30_000,
        ) {
            let policy = FlushPolicy::default();
            let all: u64 = sizes.iter().sum();
            let gone = policy.relieve(&sizes, budget);
            let freed: u64 = gone.iter().map(|&number| sizes[number]).sum();
            if all * 100 <= budget * 80 + 99 && all <= budget * 80 / 100 {
                prop_assert!(gone.is_empty());
            } else {
                prop_assert!(all - freed <= budget * 60 / 100);
                let last = gone.last().map_or(0, |&number| sizes[number]);
                prop_assert!(gone.is_empty() || all - freed + last > budget * 60 / 100);
            }
        }
    }
}
