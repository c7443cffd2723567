//! What an ordinary decision needs of a segment, in six words and one multiplication.
//!
//! The rate is a fixed-point number of tokens per nanosecond, rounded down. So the product with the time is at
//! most the time short of the exact one, in units of 2^-64 tokens; where that could make a difference to the
//! whole tokens, and wherever else anything is out of the ordinary, the gauge says so and the exact
//! [`Segment`] decides. It never guesses.

use super::Segment;
use super::segment::TURN_AT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(super) start_ns: u64,
    /// Tokens minted before `start_ns`, modulo 2^64.
    pub(super) minted: u64,
    pub(super) burst: u64,
    /// ⌊rate·2^(64-shift)⌋, with the smallest shift that lets it fit.
    per_ns: u64,
    /// ⌊2^64·the part of a token minted before `start_ns`⌋.
    part: u64,
    /// Nanoseconds since `start_ns` for which the gauge is good; the shift in the six lowest bits.
    reach: u64,
}

/// The answer of a [`Gauge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glance {
    /// What [`Segment::weigh`] says, too, with the same word.
    Admitted { spent: u64 },
    /// What [`Segment::weigh`] says, too.
    Short,
    /// Ask the segment.
    Unsure,
}

const SHIFT_BITS: u64 = 63;

impl Gauge {
    pub(crate) fn of(segment: &Segment) -> Self {
        let Segment { rate, burst, start_ns, minted, carry, .. } = *segment;
        let blind = Self { start_ns, minted, burst, per_ns: 0, part: 0, reach: 0 };
        if rate.is_unlimited() {
            return blind;
        }
        let (tokens, period_ns) = rate.parts();
        let (wide_tokens, wide_ns) = (u128::from(tokens), u128::from(period_ns));
        // Below 2^64, so that at most 64 binary places are shifted out.
        let Some(shift) = (0..64_u32).find(|&shift| wide_tokens < wide_ns << shift) else { return blind };
        let per_ns = u64::try_from((wide_tokens << (64 - shift)) / wide_ns);
        let part = u64::try_from((u128::from(carry) << 64) / wide_ns);
        // Neither is the time shifted out of its word, nor is the segment to be turned meanwhile.
        let unshifted = u128::from(u64::MAX >> shift >> 1);
        let minted_in = (u128::from(TURN_AT.unsigned_abs()) * wide_ns - u128::from(carry))
            .checked_div(wide_tokens)
            .unwrap_or(unshifted);
        // Nor does the clock wrap within reach: an instant before the start lies beyond it, modulo 2^64.
        let reach = unshifted.min(minted_in).min(u128::from(u64::MAX - start_ns));
        let reach = u64::try_from(reach).ok().and_then(|reach| reach.checked_sub(64));
        match (per_ns, part, reach) {
            (Ok(per_ns), Ok(part), Some(reach)) => {
                Self { start_ns, minted, burst, per_ns, part, reach: reach & !SHIFT_BITS | u64::from(shift) }
            }
            _ => blind,
        }
    }

    /// As plain words, for a cell of atomics.
    pub(crate) fn to_words(self) -> [u64; 6] {
        let Self { start_ns, minted, burst, per_ns, part, reach } = self;
        [start_ns, minted, burst, per_ns, part, reach]
    }

    /// The inverse of [`to_words`](Self::to_words).
    #[inline]
    pub(crate) fn from_words([start_ns, minted, burst, per_ns, part, reach]: [u64; 6]) -> Self {
        Self { start_ns, minted, burst, per_ns, part, reach }
    }

    /// [`Segment::weigh`] at a glance.
    #[inline]
    pub(crate) fn weigh(&self, spent: u64, now_ns: u64, tokens: u64) -> Glance {
        // An instant before the start lies beyond every reach; zero tokens are more than any burst.
        let elapsed = now_ns.wrapping_sub(self.start_ns);
        if elapsed >= self.reach || tokens.wrapping_sub(1) >= self.burst {
            return Glance::Unsure;
        }
        let shifted = elapsed << (self.reach & SHIFT_BITS);
        let (below, minted) = shifted.carrying_mul(self.per_ns, self.part);
        // The exact product is less than `shifted + 1` away.
        if below.checked_add(shifted).is_none_or(|sum| sum == u64::MAX) {
            return Glance::Unsure;
        }
        // Below 2^61, as is the burst (B4). Branches instead of a maximum: what is most often taken does not
        // wait for the product then.
        let (minted, level) = (minted.cast_signed(), spent.wrapping_sub(self.minted).cast_signed());
        if level.wrapping_add_unsigned(self.burst) <= minted {
            let full = self.minted.wrapping_sub(self.burst).wrapping_add(tokens);
            return Glance::Admitted { spent: full.wrapping_add_signed(minted) };
        }
        if level.wrapping_add_unsigned(tokens) <= minted {
            return Glance::Admitted { spent: spent.wrapping_add(tokens) };
        }
        Glance::Short
    }
}
