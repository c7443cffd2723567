//! How much may pass: a rate and the burst on top of it, parsed once and saturating, so that the arithmetic
//! behind them has no invalid input.

use std::fmt;

use crate::rate::Rate;

/// What becomes of a request for more tokens than the burst, which no bucket ever holds at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Oversize {
    /// It is never admitted.
    #[default]
    Reject,
    /// It is admitted when the bucket is full, and leaves a debt of the tokens beyond the burst: the long run
    /// is exact, and one large request does not starve for ever under a small limit.
    WhenFull,
    /// It is admitted when all its tokens were minted, over as many bursts as that takes: paid for before it
    /// passes. Only those who wait can do so; to everybody else it is rejected.
    Split,
}

/// What becomes of the tokens in a bucket when its quota changes. A debt stays in all cases but one, and what
/// was unlimited starts full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Inherit {
    /// They stay as they are, up to the new burst.
    #[default]
    AsIs,
    /// They are forgotten, and so is a debt: the bucket starts full, even under the same quota.
    Reset,
    /// As full before, as full after: 40 of 100 become 20 of 50, rounded down.
    Proportional,
    /// What was taken stays taken: 40 of 100 become 140 of 200, or a debt of 40 under a burst of 20.
    Additive,
}

impl Inherit {
    /// Tokens under the burst `new` that `tokens` under `old` become; below zero is a debt.
    pub(crate) fn tokens(self, tokens: i64, old: u64, new: u64) -> i64 {
        let most = new.min(Quota::MAX_BURST).cast_signed();
        let tokens = match self {
            Self::AsIs => tokens,
            Self::Reset => most,
            Self::Proportional => match u64::try_from(tokens) {
                // So is a bucket that holds nothing because it can hold nothing.
                Ok(tokens) if tokens >= old => most,
                Ok(tokens) => {
                    let share = u128::from(tokens) * u128::from(new) / u128::from(old);
                    i64::try_from(share).unwrap_or(most)
                }
                Err(_) => tokens,
            },
            Self::Additive => tokens.saturating_add_unsigned(new).saturating_sub_unsigned(old),
        };
        tokens.clamp(-Quota::MAX_BURST.cast_signed(), most)
    }
}

/// A rate and the burst it may save up.
///
/// ```
/// use forebay_ratelimit::{Oversize, Quota, Rate};
///
/// const PUSHES: Quota = Quota::new(Rate::per_second(4 << 20), 6 << 20).oversize(Oversize::WhenFull);
/// assert_eq!(PUSHES.burst, 6_291_456);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Quota {
    /// Tokens minted per time.
    pub rate: Rate,
    /// Tokens the bucket holds when full, and so the most that passes at one instant. Zero lets nothing pass
    /// (unless the rate is unlimited or oversize requests are admitted). Counts as
    /// [`MAX_BURST`](Self::MAX_BURST) when larger.
    pub burst: u64,
    /// What becomes of a request beyond the burst; rejected unless said otherwise.
    #[cfg_attr(feature = "serde", serde(default))]
    pub oversize: Oversize,
}

impl Quota {
    /// No bucket holds, and no debt exceeds, more than 2^61 tokens (2.3 exabytes): this keeps every position
    /// of a bucket within reach of a wrapping 64-bit comparison.
    pub const MAX_BURST: u64 = 1 << 61;

    /// Everything passes.
    pub const UNLIMITED: Self = Self::new(Rate::UNLIMITED, Self::MAX_BURST);

    /// A quota that rejects requests beyond its burst.
    pub const fn new(rate: Rate, burst: u64) -> Self {
        Self { rate, burst, oversize: Oversize::Reject }
    }

    /// The same quota with another fate for requests beyond the burst.
    #[must_use]
    pub const fn oversize(mut self, oversize: Oversize) -> Self {
        self.oversize = oversize;
        self
    }

    /// The quota as the arithmetic sees it.
    pub(crate) fn clamped(mut self) -> Self {
        self.burst = self.burst.min(Self::MAX_BURST);
        self
    }
}

/// `4194304/s, burst 6291456`, or `unlimited`; what becomes of larger requests is named where they are not rejected.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rate.is_unlimited() {
            return f.write_str("unlimited");
        }
        write!(f, "{}, burst {}", self.rate, self.burst)?;
        match self.oversize {
            Oversize::Reject => Ok(()),
            Oversize::WhenFull => f.write_str(", oversize when full"),
            Oversize::Split => f.write_str(", oversize split"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_prints_as_an_operator_writes_it() {
        assert_eq!(Quota::new(Rate::per_second(7), 5).to_string(), "7/s, burst 5");
        let split = Quota::new(Rate::per_second(7), 5).oversize(Oversize::Split);
        assert_eq!(split.to_string(), "7/s, burst 5, oversize split");
        assert_eq!(Quota::UNLIMITED.to_string(), "unlimited");
    }
}
