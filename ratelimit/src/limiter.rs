//! One bucket shared by many threads: one atomic word that requests change, and a segment that only
//! reconfiguration changes.
//!
//! L1: a refusal writes nothing, so refusing scales with the threads that ask.
//! L2: rate and burst change together, or not at all.

use std::fmt;
use std::sync::LazyLock;
use std::time::Instant;

use crate::bucket::{Decision, Level, Segment, Verdict};
use crate::cell::Cell;
use crate::decision::{Denied, Snapshot};
use crate::quota::Quota;

/// Admits at most a [`Quota`] of work; to be shared by reference or in an `Arc`.
///
/// In every window of length `t` it admits at most `burst + ⌊rate·t⌋ + 1` tokens, plus the part of one
/// oversize request beyond the burst where the quota lets those pass, plus what is given back in the window.
///
/// ```
/// use forebay_ratelimit::{Limiter, Quota, Rate};
///
/// let limiter = Limiter::new(Quota::new(Rate::per_second(4 << 20), 6 << 20));
/// match limiter.try_acquire(64 << 10) {
///     Ok(permit) => permit.keep(),
///     Err(denied) => println!("429: {denied}"),
/// }
/// ```
pub struct Limiter<C = fn() -> u64> {
    cell: Cell,
    clock: C,
}

impl Limiter {
    /// A full limiter on the system's monotonic clock.
    pub fn new(quota: Quota) -> Self {
        Self::with_clock(quota, monotonic_ns)
    }
}

impl<C: Fn() -> u64> Limiter<C> {
    /// A full limiter on a clock of the caller's: monotonic nanoseconds since whenever.
    ///
    /// A clock that stands still or jumps back only delays tokens. One that runs ahead and comes back has
    /// minted what it showed, and no more follows until time has caught up.
    pub fn with_clock(quota: Quota, clock: C) -> Self {
        Self { cell: Cell::new(Segment::start(quota, clock())), clock }
    }

    /// Takes `tokens` if they may pass now. All or none; zero always passes.
    #[inline]
    pub fn allow(&self, tokens: u64) -> bool {
        self.take(tokens, |_, _, _| ()).is_ok()
    }

    /// Takes `tokens` if they may pass now. Dropping the permit keeps them taken; to give some or all back,
    /// say so to the [`Permit`].
    ///
    /// # Errors
    /// [`Denied`], which tells the bound and the wait; nothing was taken.
    #[inline]
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit<'_, C>, Denied> {
        let taken = self.take(tokens, |segment, level, now_ns| segment.denial(level, now_ns, tokens));
        taken.map(|tokens| Permit { limiter: self, tokens })
    }

    /// Gives back `tokens` that were taken. The bucket is never fuller than full, but it is the caller's care
    /// not to give back more than was taken; a [`Permit`] cannot.
    pub fn release(&self, tokens: u64) {
        let now_ns = (self.clock)();
        loop {
            let (segment, spent) = self.cell.read();
            let back = segment.give_back(spent, now_ns, tokens);
            if back == spent || self.cell.swap(spent, back) {
                return;
            }
        }
    }

    /// The bucket now; takes nothing.
    pub fn peek(&self) -> Snapshot {
        let (segment, spent) = self.cell.read();
        segment.peek(spent, (self.clock)())
    }

    /// The quota in force, its burst clamped to [`Quota::MAX_BURST`].
    pub fn quota(&self) -> Quota {
        self.cell.read().0.quota()
    }

    /// Puts another quota in force, rate and burst as one. Tokens and debt stay, up to the new burst; a
    /// limiter that was unlimited starts full. The same quota again costs a few loads.
    ///
    /// A request that was decided under the old quota when the new one came in may still take its tokens.
    pub fn reconfigure(&self, quota: Quota) {
        let quota = quota.clamped();
        if self.quota() == quota {
            return;
        }
        let now_ns = (self.clock)();
        self.cell
            .replace(|segment, spent| (segment.quota() != quota).then(|| segment.turn(spent, now_ns, quota)));
    }

    /// Takes `tokens`, or as many as have to be paid for: none when unlimited. A refusal is put into words by
    /// `refuse`, which costs more than the decision.
    #[inline]
    fn take<E>(&self, tokens: u64, refuse: impl FnOnce(&Segment, &Level, u64) -> E) -> Result<u64, E> {
        loop {
            let (segment, spent) = self.cell.read();
            if tokens == 0 || segment.quota().rate.is_unlimited() {
                return Ok(0);
            }
            // The clock after the word: whoever moved the word saw an earlier instant, so nobody is refused
            // for having been late.
            let now_ns = (self.clock)();
            match segment.weigh(spent, now_ns, tokens) {
                Verdict::Admitted { spent: taken } => {
                    if self.cell.swap(spent, taken) {
                        return Ok(tokens);
                    }
                }
                Verdict::Short(level) => return Err(refuse(&segment, &level, now_ns)),
                Verdict::Turn => self.turn(now_ns),
            }
        }
    }

    /// Begins a new segment under the same quota, unless another thread already has.
    #[cold]
    fn turn(&self, now_ns: u64) {
        self.cell.replace(|segment, spent| {
            let due = segment.decide(spent, now_ns, 1) == Decision::Turn;
            due.then(|| segment.turn(spent, now_ns, segment.quota()))
        });
    }
}

impl<C: Fn() -> u64> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { available, debt, .. } = self.peek();
        f.debug_struct("Limiter")
            .field("quota", &self.quota())
            .field("available", &available)
            .field("debt", &debt)
            .finish_non_exhaustive()
    }
}

/// Tokens taken from a [`Limiter`].
///
/// Dropping it keeps them taken, for work that was admitted was most often also done; what was not done is
/// given back by [`release`](Self::release), and an estimate that was too high is settled by
/// [`shrink_to`](Self::shrink_to). It cannot give back more than was taken.
pub struct Permit<'a, C: Fn() -> u64 = fn() -> u64> {
    limiter: &'a Limiter<C>,
    tokens: u64,
}

impl<C: Fn() -> u64> Permit<'_, C> {
    /// Tokens this permit could give back: none if the limiter was unlimited when it was asked.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}

    /// Gives all tokens back: the work was not done. Best soon: they come on top of what has been minted since,
    /// up to a full bucket, so what others take right after a late return is more than the rate alone allows.
    pub fn release(mut self) {
        self.shrink_to(0);
    }

    /// Gives back all but `tokens`: the work was smaller than it looked. Does nothing if it was larger.
    pub fn shrink_to(&mut self, tokens: u64) {
        if let Some(surplus) = self.tokens.checked_sub(tokens).filter(|&surplus| surplus > 0) {
            self.limiter.release(surplus);
            self.tokens = tokens;
        }
    }
}

impl<C: Fn() -> u64> fmt::Debug for Permit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// Nanoseconds since this process first asked; monotonic, and the same origin for all limiters.
#[expect(clippy::disallowed_methods, reason = "the edge: the clock of those who do not bring their own")]
pub(crate) fn monotonic_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // The origin first: it must not lie after the instant it is compared with.
    let origin = *ORIGIN;
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;

    #[test]
    fn a_limiter_and_a_bucket_take_the_bytes_that_the_front_page_says() {
        assert_eq!((size_of::<Limiter>(), size_of::<Bucket>()), (88, 72));
    }
}
