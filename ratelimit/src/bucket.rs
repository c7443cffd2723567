//! The arithmetic, without clock and without atomics: `(segment, spent, now, n) -> decision, new spent`.
//!
//! A bucket is a *virtual counter* in token space. `minted(now)` is what the rate has produced since the clock
//! began, `spent` is what was taken plus the credit that idling let expire, both modulo 2^64; the bucket holds
//! `minted - spent`, at most `burst`, below zero when in debt. Hence:
//!
//! * B1: `minted` is computed from the origin of the segment with the remainder carried from the one before,
//!   never accumulated, so nothing drifts at any rate;
//! * B2: `now` only ever enters through `minted`, so a stale `now` can refuse, but never mints;
//! * B3: `spent` does not know the rate: a new quota is a new segment, and tokens and debt stay;
//! * B4: positions lie within 2^63 of each other, so comparing them modulo 2^64 is exact. A segment that has
//!   minted 2^61 tokens asks to be turned first ([`Decision::Turn`]), after 266 days at 100 GB/s.
//!
//! There are two ways to say where a bucket stands. A word, here, is what one compare-and-swap can change, and has a
//! segment of its own, which it restarts to drop the fraction of a token. Many keys of one quota share a segment, and
//! keep the fraction beside the word. That both decide alike is tested, not shared.

use crate::decision::{Denied, Snapshot};
use crate::quota::{Inherit, Quota};

mod gauge;
mod segment;

pub(crate) use gauge::{Gauge, Glance};
pub(crate) use segment::{Claim, Level, Position, Since, Verdict, Weighed};
pub use segment::{Decision, Segment};

/// A whole bucket as a plain value, for a caller that has it to itself: under a lock, in an actor.
///
/// Alone with its segment it can do what a shared word cannot: drop the fraction of a token whenever it is
/// full. So in every window of length `t` it admits at most `burst + ⌊rate·t⌋` beyond what is given back in it,
/// without the one token of slack that a [`Limiter`](crate::Limiter) has, and a full bucket is *exactly* a new
/// one.
///
/// ```
/// use forebay_ratelimit::{Quota, Rate, bucket::Bucket};
///
/// let mut bucket = Bucket::full(Quota::new(Rate::per_second(10), 5), 0);
/// assert!(bucket.try_acquire(0, 5).is_ok());
/// let denied = bucket.try_acquire(0, 1).unwrap_err();
/// assert_eq!(denied.retry_after.duration(), Some(std::time::Duration::from_millis(100)));
/// assert!(bucket.try_acquire(100_000_000, 1).is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    segment: Segment,
    spent: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn full(quota: Quota, now_ns: u64) -> Self {
        let (segment, spent) = Segment::start(quota, now_ns);
        Self { segment, spent }
    }

    /// The quota in force, its burst clamped to [`Quota::MAX_BURST`].
    pub fn quota(&self) -> Quota {
        self.segment.quota()
    }

    /// Takes `tokens`, all or none.
    ///
    /// # Errors
    /// [`Denied`] if they may not pass at `now_ns`.
    pub fn try_acquire(&mut self, now_ns: u64, tokens: u64) -> Result<(), Denied> {
        if self.is_full(now_ns) {
            self.restart(now_ns);
        }
        loop {
            match self.segment.decide(self.spent, now_ns, tokens) {
                Decision::Admitted { spent } => {
                    self.spent = spent;
                    return Ok(());
                }
                Decision::Denied(denied) => return Err(denied),
                Decision::Turn => self.reconfigure(now_ns, self.quota()),
            }
        }
    }

    /// Takes as many of `tokens` as there are, but no fewer than `least`, and returns how many. A `least` beyond
    /// `tokens` counts as `tokens`.
    ///
    /// # Errors
    /// [`Denied`] if `least` may not pass at `now_ns`.
    pub fn acquire_up_to(&mut self, now_ns: u64, tokens: u64, least: u64) -> Result<u64, Denied> {
        let part = self.segment.part(self.spent, now_ns, tokens, least);
        self.try_acquire(now_ns, part).map(|()| part)
    }

    /// Gives back tokens that were taken; the bucket is never fuller than full.
    pub fn release(&mut self, now_ns: u64, tokens: u64) {
        self.spent = self.segment.give_back(self.spent, now_ns, tokens);
    }

    /// Puts another quota in force: [`Segment::turn`].
    pub fn reconfigure(&mut self, now_ns: u64, quota: Quota) {
        (self.segment, self.spent) = self.segment.turn(self.spent, now_ns, quota);
    }

    /// [`reconfigure`](Self::reconfigure) with a say in what becomes of tokens and debt.
    pub fn reconfigure_with(&mut self, now_ns: u64, quota: Quota, inherit: Inherit) {
        (self.segment, self.spent) = self.segment.inherit(self.spent, now_ns, quota, inherit);
    }

    /// Whether the bucket cannot be told from a new one.
    pub fn is_full(&self, now_ns: u64) -> bool {
        self.peek(now_ns).is_full()
    }

    /// When the bucket is full if nobody comes, unless that is never.
    pub fn full_at_ns(&self) -> Option<u64> {
        self.segment.full_at_ns(self.spent)
    }

    /// The bucket at `now_ns`.
    pub fn peek(&self, now_ns: u64) -> Snapshot {
        self.segment.peek(self.spent, now_ns)
    }

    /// What a full bucket becomes, so that idle time leaves no fraction of a token behind.
    fn restart(&mut self, now_ns: u64) {
        let now_ns = now_ns.max(self.segment.start_ns);
        (self.segment, self.spent) = Segment::start(self.segment.quota(), now_ns);
    }
}

#[cfg(test)]
mod tests;
