//! One bucket shared by many threads: one atomic word that requests change, and a segment that only
//! reconfiguration changes.
//!
//! L1: a refusal writes nothing, so refusing scales with the threads that ask.
//! L2: rate and burst change together, or not at all.

use std::fmt;
use std::sync::Arc;

use crate::bucket::{Decision, Glance, Level, Segment, Verdict};
use crate::cell::Cell;
use crate::clock::monotonic_ns;
use crate::decision::{Denied, Snapshot};
use crate::permit::{Permit, Release};
use crate::quota::{Inherit, Quota};

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
#[repr(C, align(64))] // the beginning of the cell is one cache line
pub struct Limiter<C = fn() -> u64> {
    pub(crate) cell: Cell,
    pub(crate) clock: C,
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
        match self.glance(tokens) {
            Some(Glance::Admitted { .. }) => true,
            Some(Glance::Short) => false,
            _ => self.take(tokens, |_, _, _| ()).is_ok(),
        }
    }

    /// Takes `tokens` if they may pass now. Dropping the permit keeps them taken; to give some or all back,
    /// say so to the [`Permit`].
    ///
    /// # Errors
    /// [`Denied`], which tells the bound and the wait; nothing was taken.
    #[inline]
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit<&Self>, Denied> {
        if let Some(Glance::Admitted { .. }) = self.glance(tokens) {
            return Ok(Permit::new(self, tokens, tokens));
        }
        let taken = self.take(tokens, |segment, level, now_ns| segment.denial(level, now_ns, tokens));
        taken.map(|taken| Permit::new(self, tokens, taken))
    }

    /// [`try_acquire`](Self::try_acquire) with a permit that holds the limiter instead of borrowing it.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(self: &Arc<Self>, tokens: u64) -> Result<Permit<Arc<Self>>, Denied> {
        let taken = self.try_acquire(tokens)?.tokens();
        Ok(Permit::new(Arc::clone(self), tokens, taken))
    }

    /// Takes as many of `tokens` as there are now, but no fewer than `least`: for work that can be done in
    /// part. [`Permit::granted`] says how many they are. A `least` beyond `tokens` counts as `tokens`; one of
    /// zero is never refused.
    ///
    /// # Errors
    /// [`Denied`] if `least` may not pass; nothing was taken.
    pub fn acquire_up_to(&self, tokens: u64, least: u64) -> Result<Permit<&Self>, Denied> {
        loop {
            let (segment, spent) = self.cell.read();
            let now_ns = (self.clock)();
            let part = segment.part(spent, now_ns, tokens, least);
            match segment.weigh(spent, now_ns, part) {
                Verdict::Admitted { spent: taken } if taken == spent => {
                    return Ok(Permit::new(self, part, 0));
                }
                Verdict::Admitted { spent: taken } => {
                    if self.cell.swap(spent, taken) {
                        return Ok(Permit::new(self, part, part));
                    }
                }
                Verdict::Short(level) => return Err(segment.denial(&level, now_ns, part)),
                Verdict::Turn => self.turn(now_ns),
            }
        }
    }

    /// Whether `tokens` would pass now; takes nothing.
    ///
    /// # Errors
    /// [`Denied`] as by [`try_acquire`](Self::try_acquire).
    pub fn check(&self, tokens: u64) -> Result<(), Denied> {
        let (segment, spent) = self.cell.read();
        let now_ns = (self.clock)();
        match segment.weigh(spent, now_ns, tokens) {
            Verdict::Admitted { .. } => Ok(()),
            Verdict::Short(level) => Err(segment.denial(&level, now_ns, tokens)),
            Verdict::Turn => {
                self.turn(now_ns);
                self.check(tokens)
            }
        }
    }

    /// Gives back `tokens` that were taken. The bucket is never fuller than full, but it is the caller's care
    /// not to give back more than was taken; a [`Permit`] cannot.
    pub fn release(&self, tokens: u64) {
        self.release_at((self.clock)(), tokens);
    }

    pub(crate) fn release_at(&self, now_ns: u64, tokens: u64) {
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
        self.reconfigure_with(quota, Inherit::AsIs);
    }

    /// [`reconfigure`](Self::reconfigure) with a say in what becomes of tokens and debt. The same quota again
    /// changes nothing, unless the bucket is to be [reset](Inherit::Reset).
    pub fn reconfigure_with(&self, quota: Quota, inherit: Inherit) {
        let quota = quota.clamped();
        let due = |segment: &Segment| segment.quota() != quota || inherit == Inherit::Reset;
        if !due(&self.cell.read().0) {
            return;
        }
        let now_ns = (self.clock)();
        self.cell
            .replace(|segment, spent| due(&segment).then(|| segment.inherit(spent, now_ns, quota, inherit)));
    }

    /// Takes `tokens` if a glance tells that they may pass: nearly always. `None` if it tells nothing.
    #[inline]
    fn glance(&self, tokens: u64) -> Option<Glance> {
        loop {
            let (gauge, spent) = self.cell.glance();
            // The clock after the word: whoever moved the word saw an earlier instant, so nobody is refused
            // for having been late.
            match gauge.weigh(spent, (self.clock)(), tokens) {
                Glance::Unsure => return None,
                Glance::Admitted { spent: taken } if !self.cell.swap(spent, taken) => {}
                told => return Some(told),
            }
        }
    }

    /// Takes `tokens`, or as many as have to be paid for: none when unlimited. A refusal is put into words by
    /// `refuse`, which costs more than the decision.
    fn take<E>(&self, tokens: u64, refuse: impl FnOnce(&Segment, &Level, u64) -> E) -> Result<u64, E> {
        loop {
            let (segment, spent) = self.cell.read();
            if tokens == 0 || segment.quota().rate.is_unlimited() {
                return Ok(0);
            }
            // After the word, as in `glance`.
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
    pub(crate) fn turn(&self, now_ns: u64) {
        self.cell.replace(|segment, spent| {
            let due = segment.decide(spent, now_ns, 1) == Decision::Turn;
            due.then(|| segment.turn(spent, now_ns, segment.quota()))
        });
    }
}

impl<C: Fn() -> u64> Release for Limiter<C> {
    type Tokens = u64;

    fn give_back(&self, tokens: u64) {
        self.release(tokens);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Bucket;
    use crate::rate::Rate;

    #[test]
    fn a_limiter_and_a_bucket_take_the_bytes_that_the_front_page_says() {
        assert_eq!((size_of::<Limiter>(), size_of::<Bucket>()), (128, 72));
    }

    /// L1, also where the word lies far behind what a full bucket has.
    #[test]
    fn a_thousand_refusals_move_no_word() {
        let now_ns = std::cell::Cell::new(0);
        let limiter = Limiter::with_clock(Quota::new(Rate::per_second(10), 5), || now_ns.get());
        for taken in [5, 0] {
            assert!(limiter.allow(taken));
            let before = limiter.cell.read();
            for tokens in (6..).take(1_000) {
                assert!(!limiter.allow(tokens) && limiter.try_acquire(tokens).is_err());
                assert!(limiter.acquire_up_to(tokens, tokens).is_err() && limiter.check(tokens).is_err());
                assert!(limiter.reserve(tokens, std::time::Duration::MAX).is_err());
            }
            assert_eq!(limiter.cell.read(), before);
            now_ns.set(3_600_000_000_000);
        }
    }
}
