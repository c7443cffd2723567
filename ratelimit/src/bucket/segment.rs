//! A quota in force since an instant, and every question that can be put to it.

use crate::decision::{Bound, Denied, Snapshot};
use crate::quota::{Inherit, Oversize, Quota};
use crate::rate::Rate;

use super::Gauge;

mod claim;
mod position;

pub(crate) use claim::{Claim, Since};
pub(crate) use position::{Position, Weighed};

/// A segment that has minted this much is turned before it decides anything (B4).
pub(super) const TURN_AT: i64 = 1 << 61;

/// A quota in force since an instant: everything about a bucket but the one word that requests change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub(super) rate: Rate,
    /// At most [`Quota::MAX_BURST`].
    pub(super) burst: u64,
    oversize: Oversize,
    pub(super) start_ns: u64,
    /// Tokens minted before `start_ns`, modulo 2^64.
    pub(super) minted: u64,
    /// The fraction of a token minted before `start_ns`, in units of one token over the rate's nanoseconds.
    pub(super) carry: u64,
    /// ⌊(2^64-1) / the rate's nanoseconds⌋: a division by them, made once (zero when unlimited).
    reciprocal: u64,
}

/// What a [`Segment`] says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The tokens are taken if the caller's word becomes `spent` (unchanged if nothing had to be taken).
    Admitted {
        /// The new value of the word.
        spent: u64,
    },
    /// Nothing changes.
    Denied(Denied),
    /// The segment is too old to decide: [`Segment::turn`] it with the same quota and ask again.
    Turn,
}

/// A [`Decision`] with the reasons of the refusal not yet worked out, for those who do not ask.
pub(crate) enum Verdict {
    Admitted { spent: u64 },
    Short(Level),
    Turn,
}

/// Positions relative to the beginning of a segment.
pub(crate) struct Level {
    minted: i64,
    /// `spent`, not further behind than a full bucket is.
    spent: i64,
}

impl Level {
    fn available(&self) -> u64 {
        u64::try_from(self.minted.saturating_sub(self.spent)).unwrap_or(0)
    }
}

impl Segment {
    /// A full bucket: its segment and its word.
    pub fn start(quota: Quota, now_ns: u64) -> (Self, u64) {
        let Quota { rate, burst, oversize } = quota.clamped();
        let reciprocal = reciprocal(rate);
        let segment = Self { rate, burst, oversize, start_ns: now_ns, minted: burst, carry: 0, reciprocal };
        (segment, 0)
    }

    /// The quota in force, its burst clamped to [`Quota::MAX_BURST`].
    pub fn quota(&self) -> Quota {
        Quota { rate: self.rate, burst: self.burst, oversize: self.oversize }
    }

    /// Whether `tokens` may pass at `now_ns`. Changes nothing; costs two multiplications, and a division if the
    /// answer is no.
    pub fn decide(&self, spent: u64, now_ns: u64, tokens: u64) -> Decision {
        match self.weigh(spent, now_ns, tokens) {
            Verdict::Admitted { spent } => Decision::Admitted { spent },
            Verdict::Short(level) => Decision::Denied(self.denial(&level, now_ns, tokens)),
            Verdict::Turn => Decision::Turn,
        }
    }

    /// [`decide`](Self::decide) without the reasons.
    #[inline]
    pub(crate) fn weigh(&self, spent: u64, now_ns: u64, tokens: u64) -> Verdict {
        if tokens == 0 || self.rate.is_unlimited() {
            return Verdict::Admitted { spent };
        }
        let level = self.level(spent, now_ns);
        if level.minted >= TURN_AT {
            return Verdict::Turn;
        }
        let available = level.available();
        let oversize =
            tokens > self.burst && self.passes_when_full(tokens) && level.spent == self.floor(level.minted);
        if tokens <= available || oversize {
            let spent = self.position(level.spent).wrapping_add(tokens);
            return Verdict::Admitted { spent };
        }
        Verdict::Short(level)
    }

    /// As many of `tokens` as are there, but no fewer than `least`: what a partial request asks for.
    pub(crate) fn part(&self, spent: u64, now_ns: u64, tokens: u64, least: u64) -> u64 {
        if self.rate.is_unlimited() {
            return tokens;
        }
        self.level(spent, now_ns).available().clamp(least.min(tokens), tokens)
    }

    /// A refusal of `tokens` for a reason that is not in the segment, until `at_ns` or for ever.
    pub(crate) fn refusal(
        &self,
        spent: u64,
        now_ns: u64,
        tokens: u64,
        bound: Bound,
        at_ns: Option<u64>,
    ) -> Denied {
        let available = self.peek(spent, now_ns).available;
        let wait_ns = at_ns.map(|at_ns| at_ns.saturating_sub(now_ns));
        Denied::new(self.quota(), (tokens, available), bound, wait_ns)
    }

    /// The word after `tokens` came back; the bucket is never fuller than full.
    ///
    /// All of them come back, however late. Which of them time has replaced already depends on how full the
    /// bucket was in between, which one word does not remember; to return only what surely was not replaced
    /// would charge a busy bucket for work that was never done.
    pub fn give_back(&self, spent: u64, now_ns: u64, tokens: u64) -> u64 {
        if self.rate.is_unlimited() {
            return spent;
        }
        let level = self.level(spent, now_ns);
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.position(level.spent.saturating_sub(tokens).max(self.floor(level.minted)))
    }

    /// The bucket at `now_ns`.
    pub fn peek(&self, spent: u64, now_ns: u64) -> Snapshot {
        let Self { rate, burst, .. } = *self;
        if rate.is_unlimited() {
            return Snapshot { available: u64::MAX, debt: 0, rate, burst };
        }
        let level = self.level(spent, now_ns);
        let debt = u64::try_from(level.spent.saturating_sub(level.minted)).unwrap_or(0);
        Snapshot { available: level.available(), debt, rate, burst }
    }

    /// When the bucket is full if nobody comes, unless that is never. Not before the segment began.
    pub fn full_at_ns(&self, spent: u64) -> Option<u64> {
        if self.rate.is_unlimited() {
            return Some(self.start_ns);
        }
        let spent = spent.wrapping_sub(self.minted).cast_signed();
        self.minted_at_ns(spent.saturating_add_unsigned(self.burst))
    }

    /// The segment that follows this one at `now_ns`, and the word to go with it.
    ///
    /// Tokens and debt stay as they are, up to the new burst, and the fraction of a token is carried over
    /// (exactly, if the rate stays; otherwise rounded down by less than one nanosecond's worth). A bucket that
    /// was unlimited starts full. An instant before this segment began counts as its beginning.
    pub fn turn(&self, spent: u64, now_ns: u64, quota: Quota) -> (Self, u64) {
        let Quota { rate, burst, oversize } = quota.clamped();
        let start_ns = now_ns.max(self.start_ns);
        let reciprocal = reciprocal(rate);
        if self.rate.is_unlimited() {
            let segment = Self { rate, burst, oversize, start_ns, minted: self.minted, carry: 0, reciprocal };
            return (segment, self.minted.wrapping_sub(burst));
        }
        let level = self.level(spent, start_ns);
        let carry = if rate.is_unlimited() { 0 } else { self.carry_at(start_ns, rate) };
        let minted = self.position(level.minted);
        let segment = Self { rate, burst, oversize, start_ns, minted, carry, reciprocal };
        (segment, self.position(level.spent))
    }

    /// [`turn`](Self::turn) with a say in what becomes of tokens and debt.
    pub fn inherit(&self, spent: u64, now_ns: u64, quota: Quota, inherit: Inherit) -> (Self, u64) {
        let (segment, word) = self.turn(spent, now_ns, quota);
        if self.rate.is_unlimited() || inherit == Inherit::AsIs {
            return (segment, word);
        }
        let level = self.level(spent, segment.start_ns);
        let tokens = inherit.tokens(level.minted.saturating_sub(level.spent), self.burst, segment.burst);
        (segment, segment.minted.wrapping_sub(tokens.cast_unsigned()))
    }

    /// What a [`Gauge`](super::Gauge) does not hold, as plain words for a cell of atomics.
    pub(crate) fn rest(&self) -> [u64; 5] {
        let (tokens, per_ns) = self.rate.parts();
        let oversize = match self.oversize {
            Oversize::Reject => 0,
            Oversize::WhenFull => 1,
            Oversize::Split => 2,
        };
        [tokens, per_ns, oversize, self.carry, self.reciprocal]
    }

    /// The segment that has this gauge and this [`rest`](Self::rest).
    pub(crate) fn of(gauge: &Gauge, rest: [u64; 5]) -> Self {
        let [tokens, per_ns, oversize, carry, reciprocal] = rest;
        let oversize = match oversize {
            0 => Oversize::Reject,
            1 => Oversize::WhenFull,
            _ => Oversize::Split,
        };
        let Gauge { start_ns, minted, burst, .. } = *gauge;
        Self {
            rate: Rate::from_parts((tokens, per_ns)),
            burst,
            oversize,
            start_ns,
            minted,
            carry,
            reciprocal,
        }
    }

    /// The refusal of a request that [`weigh`](Self::weigh) found too large for `level`.
    #[cold]
    pub(crate) fn denial(&self, level: &Level, now_ns: u64, tokens: u64) -> Denied {
        let (bound, passes) = self.bound(tokens);
        // An oversize request passes when the bucket is full, any other when its last token is there.
        let needed = level.spent.saturating_add_unsigned(tokens.min(self.burst));
        let at_ns = if passes { self.minted_at_ns(needed) } else { None };
        let wait_ns = at_ns.map(|at_ns| at_ns.saturating_sub(now_ns));
        Denied::new(self.quota(), (tokens, level.available()), bound, wait_ns)
    }

    /// What stands in the way of `tokens`, and whether they pass at some time.
    fn bound(&self, tokens: u64) -> (Bound, bool) {
        if tokens <= self.burst { (Bound::Rate, true) } else { (Bound::Burst, self.passes_when_full(tokens)) }
    }

    /// Whether a full bucket lets more than its burst pass.
    #[inline]
    fn passes_when_full(&self, tokens: u64) -> bool {
        self.oversize == Oversize::WhenFull && tokens <= Quota::MAX_BURST
    }

    #[inline]
    fn level(&self, spent: u64, now_ns: u64) -> Level {
        let minted = self.minted_by(now_ns);
        let spent = spent.wrapping_sub(self.minted).cast_signed();
        Level { minted, spent: spent.max(self.floor(minted)) }
    }

    /// Where `spent` stands in a full bucket.
    fn floor(&self, minted: i64) -> i64 {
        minted.saturating_sub_unsigned(self.burst)
    }

    /// A relative position as a word.
    fn position(&self, relative: i64) -> u64 {
        self.minted.wrapping_add_signed(relative)
    }

    /// Whole tokens minted in this segment by `now_ns`, rounded down, saturating at 2^63-1.
    #[inline]
    fn minted_by(&self, now_ns: u64) -> i64 {
        let (tokens, per_ns) = self.rate.parts();
        let elapsed = now_ns.saturating_sub(self.start_ns);
        let narrow = tokens.checked_mul(elapsed).and_then(|units| units.checked_add(self.carry));
        // Rates in lowest terms keep the product narrow for days.
        let minted = match narrow {
            Some(units) => u128::from(self.divided(units)),
            None => self.units_by(elapsed) / u128::from(per_ns),
        };
        i64::try_from(minted).unwrap_or(i64::MAX)
    }

    /// `units` divided by the rate's nanoseconds, exactly: the product with the reciprocal is short of the
    /// quotient by at most one, since ⌊(2^64-1)/d⌋ ≥ 2^64/d - 1.
    #[inline]
    pub(super) fn divided(&self, units: u64) -> u64 {
        let (_, per_ns) = self.rate.parts();
        let product = u128::from(units) * u128::from(self.reciprocal);
        let quotient = u64::try_from(product >> 64).expect("half of the bits are left");
        let rest = units - quotient * per_ns;
        quotient + u64::from(rest >= per_ns)
    }

    /// Tokens minted after `elapsed` nanoseconds in units of one token over the rate's nanoseconds.
    /// Cannot overflow: (2^64-1)^2 + 2^64-1 < 2^128.
    fn units_by(&self, elapsed: u64) -> u128 {
        let (tokens, _) = self.rate.parts();
        u128::from(tokens) * u128::from(elapsed) + u128::from(self.carry)
    }

    /// The fraction of a token minted by `now_ns`, in the units of `rate` (which is limited).
    fn carry_at(&self, now_ns: u64, rate: Rate) -> u64 {
        let (_, old_per_ns) = self.rate.parts();
        let (_, new_per_ns) = rate.parts();
        let fraction = self.units_by(now_ns.saturating_sub(self.start_ns)) % u128::from(old_per_ns);
        let carry = fraction * u128::from(new_per_ns) / u128::from(old_per_ns);
        u64::try_from(carry).expect("a fraction below one has fewer units than one")
    }

    /// The first instant at which `minted_by` reaches `minted`: rounded up, as `minted_by` rounds down.
    fn minted_at_ns(&self, minted: i64) -> Option<u64> {
        let (tokens, per_ns) = self.rate.parts();
        let minted = u64::try_from(minted).unwrap_or(0);
        // Mostly narrow, and a narrow division costs a tenth of a wide one.
        if let Some(units) = minted.checked_mul(per_ns) {
            let elapsed = match units.saturating_sub(self.carry) {
                0 => 0,
                _ if tokens == 0 => return None,
                units => units.div_ceil(tokens),
            };
            return self.start_ns.checked_add(elapsed);
        }
        let units = u128::from(minted) * u128::from(per_ns) - u128::from(self.carry);
        let elapsed = units.checked_add(u128::from(tokens).checked_sub(1)?)? / u128::from(tokens);
        self.start_ns.checked_add(u64::try_from(elapsed).ok()?)
    }
}

fn reciprocal(rate: Rate) -> u64 {
    let (_, per_ns) = rate.parts();
    u64::MAX.checked_div(per_ns).unwrap_or(0)
}
