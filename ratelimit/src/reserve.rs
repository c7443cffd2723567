//! Tokens of the future: taken now, there at a known instant.
//!
//! A reservation owns a stretch of what the rate mints, behind everything taken before it. Cancelling in time
//! gives exactly that many tokens back; those who reserved later keep the instants they were told.

use std::fmt;
use std::time::Duration;

use crate::bucket::{Claim, Since};
use crate::decision::{Bound, Denied};
use crate::limiter::Limiter;
use crate::permit::Permit;

impl<C: Fn() -> u64> Limiter<C> {
    /// Takes `tokens` now, to be used when they are there, at most `within` from now: the caller sleeps, the
    /// limiter does not. Until then the bucket is in debt and refuses everybody else.
    ///
    /// Those who act when they were told pass at most `burst + ⌊rate·t⌋ + 1` tokens in a window of length `t`,
    /// plus what one oversize request has beyond the burst, plus what is cancelled while later reservations
    /// are outstanding: they keep their instants, and others may have the tokens as well. Whoever needs the
    /// bound without the last part queues (the feature `tokio`). Requests beyond the burst pass as
    /// [`Oversize`](crate::Oversize) says, `Split` ones too.
    ///
    /// ```
    /// use forebay_ratelimit::{Limiter, Quota, Rate};
    /// use std::time::Duration;
    ///
    /// let limiter = Limiter::with_clock(Quota::new(Rate::per_second(10), 5), || 0);
    /// let (now, later) = (limiter.reserve(5, Duration::ZERO)?, limiter.reserve(2, Duration::from_secs(1))?);
    /// assert_eq!((now.at_ns(), later.at_ns()), (0, 200_000_000));
    /// later.cancel();
    /// # Ok::<(), forebay_ratelimit::Denied>(())
    /// ```
    ///
    /// # Errors
    /// [`Denied`] if the tokens are not there in time; nothing was taken. It says after how long the same
    /// reservation succeeds.
    pub fn reserve(&self, tokens: u64, within: Duration) -> Result<Reservation<'_, C>, Denied> {
        loop {
            let (segment, spent) = self.cell.read();
            let now_ns = (self.clock)();
            let refuse = |at_ns| {
                let bound = if tokens > segment.quota().burst { Bound::Burst } else { Bound::Rate };
                Err(segment.refusal(spent, now_ns, tokens, bound, at_ns))
            };
            match segment.claim(spent, Since::instant(now_ns), 0, tokens) {
                Claim::At { at_ns, spent: taken } => {
                    let within_ns = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
                    if at_ns.saturating_sub(now_ns) > within_ns {
                        return refuse(Some(at_ns - within_ns));
                    }
                    if taken == spent || self.cell.swap(spent, taken) {
                        let permit = Permit::new(self, tokens, if taken == spent { 0 } else { tokens });
                        return Ok(Reservation { permit, clock: &self.clock, at_ns });
                    }
                }
                Claim::Never => return refuse(None),
                Claim::Turn => self.turn(now_ns),
            }
        }
    }
}

/// Tokens that are taken, and will be there at [`at_ns`](Self::at_ns). Dropping it keeps them taken.
#[must_use = "the tokens are taken: use them at their time, or cancel"]
pub struct Reservation<'a, C: Fn() -> u64 = fn() -> u64> {
    permit: Permit<&'a Limiter<C>>,
    clock: &'a C,
    at_ns: u64,
}

impl<'a, C: Fn() -> u64> Reservation<'a, C> {
    /// The instant at which the tokens are there, on the limiter's clock.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// How long from now until then: zero once they are there.
    pub fn wait(&self) -> Duration {
        Duration::from_nanos(self.at_ns.saturating_sub((self.clock)()))
    }

    /// Gives all tokens back: the work will not be done. The sooner, the less others have waited for them in vain;
    /// once their time is over they stay taken. Work that was due and was not done is settled by the
    /// [permit](Self::into_permit).
    pub fn cancel(self) {
        if (self.clock)() <= self.at_ns {
            self.permit.release();
        }
    }

    /// The tokens, to be used or settled: for the caller who waited.
    pub fn into_permit(self) -> Permit<&'a Limiter<C>> {
        self.permit
    }
}

impl<C: Fn() -> u64> fmt::Debug for Reservation<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("at_ns", &self.at_ns)
            .field("tokens", &self.permit.tokens())
            .finish_non_exhaustive()
    }
}
