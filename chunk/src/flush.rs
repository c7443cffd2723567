//! When a chunk is closed and stored. Pure: time and state are arguments, and every open chunk is told to
//! flush sooner or later, whatever the timestamps of its entries are.

mod pressure;

use std::fmt;
use std::time::Duration;

pub use pressure::{FlushDemand, LogState};

/// Why a chunk is flushed.
///
/// [`FlushPolicy::evaluate_with`] gives all but [`Synced`](Self::Synced) and [`Pressure`](Self::Pressure), for which the
/// policy is asked otherwise.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum FlushReason {
    /// It has reached its target size.
    Full,
    /// Its entries span, or it has been open for, the maximum age.
    MaxAge,
    /// Nothing was appended to it for a while.
    Idle,
    /// It was closed so that replicas cut at the same entry: [`FlushPolicy::should_sync_cut`].
    Synced,
    /// Somebody asked for it, or the process shuts down.
    Forced,
    /// Its stream belongs to another instance now.
    NotOwned,
    /// The memory budget is spent and it was chosen to give: [`FlushPolicy::relieve`].
    Pressure,
    /// It keeps the write-ahead log from being truncated: [`FlushPolicy::unpin`].
    WalPinned,
}

impl FlushReason {
    /// The word for it, as a metric's label has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::MaxAge => "max_age",
            Self::Idle => "idle",
            Self::Synced => "synced",
            Self::Forced => "forced",
            Self::NotOwned => "not_owned",
            Self::Pressure => "pressure",
            Self::WalPinned => "wal_pinned",
        }
    }
}

impl fmt::Display for FlushReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When to flush; the defaults are Loki's.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct FlushPolicy {
    /// Encoded bytes at which a chunk is full. Default 1.5 MiB, as a builder's. Smaller chunks cost more
    /// requests and index, larger ones more memory.
    pub target_size: u64,
    /// How long a chunk may be. Default 2 h, held against the times of its entries, so that a backfill is cut
    /// as live logs are, and against the time since its first append, so that no chunk stays for ever.
    pub max_age: Duration,
    /// How long a chunk may go without an append. Default 30 min. Less makes small chunks of slow streams,
    /// more keeps the memory of those that have ended.
    pub max_idle: Duration,
    /// The period at whose bounds chunks are cut, so that replicas cut at the same entry. Default 1 h; zero
    /// for not at all.
    pub sync_period: Duration,
    /// How full a chunk has to be for that. Default 0.1. Less makes small chunks of slow streams.
    pub sync_min_utilization: f64,
    /// Percent of a memory budget above which chunks are flushed to relieve it. Default 80. Less makes small chunks,
    /// more leaves little room while they are written.
    pub memory_percent: u8,
    /// Percent of the budget that is left by it. Default 60. More makes it happen more often.
    pub relieved_percent: u8,
    /// Percent of a write-ahead log's limit from which on chunks are flushed that pin it. Default 70.
    pub log_percent: u8,
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self {
            target_size: 3 << 19,
            max_age: Duration::from_secs(2 * 3600),
            max_idle: Duration::from_secs(1800),
            sync_period: Duration::from_secs(3600),
            sync_min_utilization: 0.1,
            memory_percent: 80,
            relieved_percent: 60,
            log_percent: 70,
        }
    }
}

/// What a policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkState {
    /// About how many bytes it has when encoded.
    pub size_bytes: u64,
    /// Log time of its oldest entry, nanoseconds since 1970.
    pub min_ns: i64,
    /// Log time of its newest entry.
    pub max_ns: i64,
    /// When the first entry was appended, on the clock of `now_ns`.
    pub opened_ns: u64,
    /// When the last entry was appended, on the clock of `now_ns`.
    pub appended_ns: u64,
}

impl FlushPolicy {
    /// Why to flush the chunk now, if there is a reason: full comes before age, age before idleness.
    ///
    /// `now_ns` is monotonic, of the origin that `state` has. A time before those of the state counts as
    /// them.
    pub fn evaluate(&self, state: &ChunkState, now_ns: u64) -> Option<FlushReason> {
        let span = u128::from(state.min_ns.abs_diff(state.max_ns));
        let open = u128::from(now_ns.saturating_sub(state.opened_ns));
        let idle = u128::from(now_ns.saturating_sub(state.appended_ns));
        if state.size_bytes >= self.target_size {
            Some(FlushReason::Full)
        } else if span >= self.max_age.as_nanos() || open >= self.max_age.as_nanos() {
            Some(FlushReason::MaxAge)
        } else if idle >= self.max_idle.as_nanos() {
            Some(FlushReason::Idle)
        } else {
            None
        }
    }

    /// Whether to close the chunk before it takes an entry of `timestamp_ns`, so that replicas which missed
    /// different entries before go on with the same chunks.
    ///
    /// `highest_ns` is the newest timestamp of the stream so far. The fingerprint spreads the cuts of
    /// different streams over the period. An entry out of order never cuts.
    pub fn should_sync_cut(
        &self,
        timestamp_ns: i64,
        highest_ns: i64,
        fingerprint: u64,
        utilization: f64,
    ) -> bool {
        let Ok(period @ 1..) = u64::try_from(self.sync_period.as_nanos()) else { return false };
        let phase = |time: i64| time.cast_unsigned().wrapping_add(fingerprint) % period;
        let full_enough = self.sync_min_utilization <= 0.0 || utilization > self.sync_min_utilization;
        timestamp_ns >= highest_ns && phase(timestamp_ns) < phase(highest_ns) && full_enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn state() -> ChunkState {
        ChunkState { size_bytes: 10, min_ns: 0, max_ns: 5, opened_ns: HOUR, appended_ns: HOUR }
    }

    #[test]
    fn each_bound_is_met_to_the_nanosecond() {
        let policy = FlushPolicy::default();
        assert_eq!(policy.evaluate(&state(), HOUR), None);
        assert_eq!(policy.evaluate(&state(), HOUR + HOUR / 2 - 1), None);
        assert_eq!(policy.evaluate(&state(), HOUR + HOUR / 2), Some(FlushReason::Idle));
        let busy = ChunkState { appended_ns: 3 * HOUR - 1, ..state() };
        assert_eq!(policy.evaluate(&busy, 3 * HOUR - 1), None);
        assert_eq!(policy.evaluate(&busy, 3 * HOUR), Some(FlushReason::MaxAge));
        let long = ChunkState { max_ns: 2 * HOUR.cast_signed(), ..state() };
        assert_eq!(policy.evaluate(&long, HOUR), Some(FlushReason::MaxAge));
        let full = ChunkState { size_bytes: 3 << 19, ..long };
        assert_eq!(policy.evaluate(&full, HOUR), Some(FlushReason::Full));
    }

    #[test]
    fn a_clock_before_the_state_and_times_at_the_ends_of_the_world_are_no_reason_to_panic() {
        let policy = FlushPolicy::default();
        assert_eq!(policy.evaluate(&state(), 0), None);
        let wide = ChunkState { min_ns: i64::MIN, max_ns: i64::MAX, ..state() };
        assert_eq!(policy.evaluate(&wide, 0), Some(FlushReason::MaxAge));
        assert!(!policy.should_sync_cut(i64::MIN, i64::MAX, u64::MAX, 1.0));
    }

    proptest! {
        /// A stream that trickles for ever, its timestamps standing still, is flushed all the same.
        #[test]
        fn no_chunk_outlives_its_age(gaps in prop::collection::vec(0..HOUR / 2, 1..200)) {
            let policy = FlushPolicy::default();
            let mut now = HOUR;
            let mut state = state();
            for gap in gaps {
                now += gap;
                let due = now - state.opened_ns >= 2 * HOUR;
                prop_assert_eq!(policy.evaluate(&state, now).is_some(), due);
                if due {
                    return Ok(());
                }
                state.appended_ns = now;
            }
        }

        /// Two replicas that saw the same entries of late close before the same ones, whatever came earlier.
        #[test]
        fn replicas_cut_before_the_same_entries(
            gaps in prop::collection::vec(0..HOUR.cast_signed() / 3, 20..60),
            // Time and fingerprint are added modulo 2^64; here they stay below.
            fingerprint in 0..u64::MAX / 2,
        ) {
            let policy = FlushPolicy::default();
            let times: Vec<i64> = gaps.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            let cuts = |from: usize| -> Vec<i64> {
                times[from..]
                    .windows(2)
                    .filter(|pair| policy.should_sync_cut(pair[1], pair[0], fingerprint, 0.5))
                    .map(|pair| pair[1])
                    .collect()
            };
            let (all, late) = (cuts(0), cuts(10));
            prop_assert!(all.ends_with(&late));
            // The bounds that lie between two entries, counted without the policy: no gap is a period long.
            let number = |time: i64| (i128::from(time) + i128::from(fingerprint)) / i128::from(HOUR);
            let crossed: Vec<i64> =
                times.windows(2).filter(|pair| number(pair[0]) < number(pair[1])).map(|pair| pair[1]).collect();
            prop_assert_eq!(all, crossed, "one cut for each bound, before the first entry behind it");
        }
    }
}
