//! What was decided, and, when it was a refusal, by which bound and until when.

use std::fmt;
use std::time::Duration;

use crate::quota::Quota;
use crate::rate::Rate;

/// A refusal. Not an error of the program: the caller sheds, delays, or answers 429 with
/// [`retry_after`](Self::retry_after).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Denied {
    /// Tokens that were asked for.
    pub requested: u64,
    /// Tokens that were there; fewer may still be had at once.
    pub available: u64,
    /// The rate of the quota that refused.
    pub rate: Rate,
    /// The burst of the quota that refused.
    pub burst: u64,
    /// What stood in the way.
    pub bound: Bound,
    /// When the same request passes, if nobody else comes in between.
    pub retry_after: RetryAfter,
}

impl Denied {
    /// The refusal of `requested` tokens by `quota` because of `bound`, until `wait` is over or for ever.
    pub(crate) fn new(
        quota: Quota,
        (requested, available): (u64, u64),
        bound: Bound,
        wait_ns: Option<u64>,
    ) -> Self {
        let Quota { rate, burst, .. } = quota;
        let wait = |wait_ns| RetryAfter::After(Duration::from_nanos(wait_ns));
        let retry_after = wait_ns.map_or(RetryAfter::Never, wait);
        Self { requested, available, rate, burst, bound, retry_after }
    }
}

/// What stood in the way of a request.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// The bucket holds too few tokens now: the rate is used up.
    Rate,
    /// The request is larger than the burst.
    Burst,
    /// Others wait already, and are served first.
    Queue,
    /// The key is new, and the table is full of keys whose buckets are not.
    Keys,
}

/// How long a refused request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryAfter {
    /// Tight to the nanosecond: one earlier, the request would be refused again. Under [`Bound::Queue`], when
    /// all who wait and the request are served, if nobody leaves. Under [`Bound::Keys`], when the first of the
    /// buckets looked at is full: a guess, for others wait too.
    After(Duration),
    /// No wait helps under this quota (or the instant lies beyond 2^64 ns of the clock).
    Never,
}

impl RetryAfter {
    /// The wait, unless it is for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::After(wait) => Some(wait),
            Self::Never => None,
        }
    }

    /// The wait in whole seconds, rounded up: what a `Retry-After` header takes (RFC 9110, 10.2.3). A client
    /// that keeps to it does not come too early.
    pub fn seconds(self) -> Option<u64> {
        let wait = self.duration()?;
        Some(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)))
    }
}

impl Bound {
    /// `rate`, `burst`, `queue` or `keys`: a label for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Burst => "burst",
            Self::Queue => "queue",
            Self::Keys => "keys",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `retry after 1.5s`, `no retry will pass`.
impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(wait) => write!(f, "retry after {wait:?}"),
            Self::Never => f.write_str("no retry will pass"),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, available, rate, burst, bound, retry_after } = self;
        match bound {
            Bound::Rate => {
                write!(f, "{requested} tokens exceed the rate of {rate}: {available} of {burst} available")?;
            }
            Bound::Burst => write!(f, "{requested} tokens exceed the burst of {burst}")?,
            Bound::Queue => write!(f, "{requested} tokens have to wait behind others at the rate of {rate}")?,
            Bound::Keys => write!(f, "{requested} tokens for a new key: every key held is in use")?,
        }
        write!(f, ", {retry_after}")
    }
}

/// So that `?` carries a refusal out of functions that return boxed errors.
impl std::error::Error for Denied {}

/// A bucket at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Tokens that can be taken at once: 2^64-1 when unlimited, otherwise at most `burst`.
    pub available: u64,
    /// Tokens owed by an oversize request; nothing passes before they are minted.
    pub debt: u64,
    /// The rate in force.
    pub rate: Rate,
    /// The burst in force.
    pub burst: u64,
}

impl Snapshot {
    /// Whether the bucket cannot be told from a new one.
    pub fn is_full(self) -> bool {
        self.available >= self.burst && self.debt == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_exceeded_and_until_when() {
        let mut denied = Denied {
            requested: 500,
            available: 20,
            rate: Rate::per_second(100),
            burst: 1_000,
            bound: Bound::Rate,
            retry_after: RetryAfter::After(Duration::from_millis(4_800)),
        };
        assert_eq!(
            denied.to_string(),
            "500 tokens exceed the rate of 100/s: 20 of 1000 available, retry after 4.8s"
        );
        (denied.bound, denied.burst, denied.retry_after) = (Bound::Burst, 10, RetryAfter::Never);
        assert_eq!(denied.to_string(), "500 tokens exceed the burst of 10, no retry will pass");
    }

    #[test]
    fn seconds_to_retry_after_are_whole_and_never_too_few() {
        let seconds = |wait| RetryAfter::After(wait).seconds();
        assert_eq!(seconds(Duration::ZERO), Some(0));
        assert_eq!(seconds(Duration::from_nanos(1)), Some(1));
        assert_eq!(seconds(Duration::from_secs(2)), Some(2));
        assert_eq!(seconds(Duration::from_millis(2_001)), Some(3));
        assert_eq!(seconds(Duration::MAX), Some(u64::MAX));
        assert_eq!(RetryAfter::Never.seconds(), None);
    }
}
