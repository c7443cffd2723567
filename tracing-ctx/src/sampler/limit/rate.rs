//! The arithmetic of a limit: which span may pass at which time, and what becomes of the word (L2, L3).

/// Most that a word may be ahead of the clock, 146 years.
pub(super) const MAX_REACH_NS: u64 = 1 << 62;
/// Who would have to wait longer than this did not come late but has another clock (L3).
pub(super) const SET_BACK_NS: u64 = 10_000_000_000;

/// So many spans per second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Between two spans. At least 1.
    pub(super) interval_ns: u64,
    /// A burst of intervals. At least one, at most [`MAX_REACH_NS`].
    pub(super) reach_ns: u64,
}

impl RateLimit {
    /// So many spans per second, which may be less than one, and the spans of one second (at least one) at
    /// once.
    ///
    /// The time between two spans is rounded up to whole nanoseconds, which at 1000 spans per second costs not
    /// more than a millionth of the rate.
    ///
    /// # Errors
    ///
    /// If the rate is not a number, not above 0, or above 1e9.
    pub fn per_second(spans: f64) -> Result<Self, RateLimitError> {
        if !(spans > 0.0 && spans <= 1e9) {
            return Err(RateLimitError { found: spans });
        }
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped just below")]
        let interval_ns = (1e9 / spans).ceil() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "at most 1e9, and rounded before")]
        let burst = spans.ceil() as u32;
        let interval_ns = interval_ns.min(MAX_REACH_NS);
        Ok(Self { interval_ns, reach_ns: interval_ns }.burst(burst))
    }

    /// So many spans at once after a time without any. Zero counts as one, for else nothing would ever pass.
    ///
    /// It is not more than the rate yields in 146 years.
    #[must_use]
    pub fn burst(self, spans: u32) -> Self {
        let reach_ns = self.interval_ns.saturating_mul(spans.max(1).into()).min(MAX_REACH_NS);
        Self { reach_ns, ..self }
    }

    /// Whether a span may pass, and the word after it.
    pub(super) fn decide(self, arrival_ns: u64, now_ns: u64) -> (bool, u64) {
        // Time stands still a reach before its end, so that a full bucket stays something that can be emptied.
        let now_ns = now_ns.min(u64::MAX - self.reach_ns);
        let latest_ns = now_ns + self.reach_ns;
        if arrival_ns > latest_ns.saturating_add(SET_BACK_NS) {
            return (false, latest_ns);
        }
        match arrival_ns.max(now_ns).checked_add(self.interval_ns) {
            Some(next_ns) if next_ns <= latest_ns => (true, next_ns),
            _ => (false, arrival_ns),
        }
    }
}

/// A rate that no limit can have.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("rate of {found} per second is not above 0 and up to 1e9")]
pub struct RateLimitError {
    /// What was given.
    pub found: f64,
}
