//! The one word that callers read before and after a call: `[generation 52 | flags 10 | phase 2]`.
//!
//! It is written only under the breaker's lock. At a million transitions a second the generation lasts 142 years.

use crate::state::Phase;

/// What a caller without the lock has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    const CLOSED: u64 = 0;
    const OPEN: u64 = 1;
    const HALF_OPEN: u64 = 2;
    const PHASE: u64 = 3;

    /// Closed: failures in a row have been counted. Open: forced. Half-open: every slot is taken.
    pub(crate) const BUSY: u64 = 1 << 2;
    /// Tickets bear the instant of their issue.
    pub(crate) const TIMED: u64 = 1 << 3;
    /// There are [`Meters`](crate::meters::Meters).
    pub(crate) const METERED: u64 = 1 << 4;
    /// Calls in flight are counted by age.
    pub(crate) const WATCHED: u64 = 1 << 5;
    /// Failures in a row are counted.
    pub(crate) const COUNTED: u64 = 1 << 6;
    /// The trip condition is looked at.
    pub(crate) const JUDGED: u64 = 1 << 7;
    /// A dropped permit may say something.
    pub(crate) const DROPS_COUNT: u64 = 1 << 8;
    /// All calls are counted.
    pub(crate) const TALLIED: u64 = 1 << 9;
    /// Open, but admitting: too many others are.
    pub(crate) const SPARED: u64 = 1 << 10;
    /// The end of the wait is about to change, or has changed, and the word that belongs to it comes next.
    pub(crate) const CHANGING: u64 = 1 << 11;

    const GENERATION_SHIFT: u32 = 12;

    pub(crate) fn new(generation: u64, phase: Phase, flags: u64) -> Self {
        let phase = match phase {
            Phase::Closed => Self::CLOSED,
            Phase::Open => Self::OPEN,
            Phase::HalfOpen => Self::HALF_OPEN,
        };
        Self(generation << Self::GENERATION_SHIFT | flags | phase)
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// The same, where no calls are counted.
    pub(crate) fn untallied(self) -> Self {
        Self(self.0 & !Self::TALLIED)
    }

    /// The same, about to change.
    pub(crate) fn changing(self) -> Self {
        Self(self.0 | Self::CHANGING)
    }

    /// Closed, and none of `flags`: one comparison.
    #[inline]
    pub(crate) fn is_closed_without(self, flags: u64) -> bool {
        self.0 & (Self::PHASE | flags) == Self::CLOSED
    }

    /// Open, and rejecting until the wait is over, with nobody to be asked: one comparison.
    #[inline]
    pub(crate) fn is_plainly_open(self) -> bool {
        let others = Self::BUSY | Self::SPARED | Self::TALLIED | Self::CHANGING;
        self.0 & (Self::PHASE | others) == Self::OPEN
    }

    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    pub(crate) fn phase(self) -> Phase {
        match self.0 & Self::PHASE {
            Self::CLOSED => Phase::Closed,
            Self::OPEN => Phase::Open,
            _ => Phase::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        for phase in Phase::ALL {
            for generation in [0, 1, u64::MAX >> 12] {
                let word = Word::new(generation, phase, Word::BUSY | Word::SPARED);
                assert_eq!(Word::from_bits(word.bits()), word);
                assert_eq!((word.generation(), word.phase()), (generation, phase));
                assert!(word.has(Word::BUSY) && word.has(Word::SPARED) && !word.has(Word::METERED));
                assert_eq!(word.is_closed_without(Word::METERED), phase == Phase::Closed);
                assert!(!word.is_closed_without(Word::BUSY));
            }
        }
    }
}
