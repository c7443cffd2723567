//! Tokens that are yet to be minted, for those who wait for them: a line, or a reservation.

use super::{Level, Segment, TURN_AT};
use crate::quota::{Oversize, Quota};

/// What taking tokens comes to, however long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The word becomes `spent`, and the tokens are there at `at_ns`.
    At { at_ns: u64, spent: u64 },
    /// No time brings them under this quota.
    Never,
    /// See [`Decision::Turn`].
    Turn,
}

/// An instant from which on all that is minted is somebody's, and what they had beyond a burst by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    pub(crate) at_ns: u64,
    pub(crate) saved: u64,
}

impl Since {
    /// With nothing but what the bucket holds.
    pub(crate) fn instant(at_ns: u64) -> Self {
        Self { at_ns, saved: 0 }
    }
}

impl Segment {
    /// Whether `tokens` are saved up over more than one burst.
    #[cfg(feature = "tokio")]
    pub(crate) fn splits(&self, tokens: u64) -> bool {
        self.oversize == Oversize::Split && tokens > self.burst
    }

    /// What `tokens` come to behind `ahead` others that also are yet to be taken, when everything minted `since`
    /// is theirs. Oversize requests are paid for before they pass ([`Oversize::Split`]) or
    /// afterwards ([`Oversize::WhenFull`]).
    pub(crate) fn claim(&self, spent: u64, since: Since, ahead: u64, tokens: u64) -> Claim {
        if tokens == 0 || self.rate.is_unlimited() {
            return Claim::At { at_ns: since.at_ns, spent };
        }
        let level = self.level_since(spent, since);
        if level.minted >= TURN_AT {
            return Claim::Turn;
        }
        let paid_before = match self.oversize {
            Oversize::Reject if tokens > self.burst => return Claim::Never,
            Oversize::WhenFull => tokens.min(self.burst),
            Oversize::Reject | Oversize::Split => tokens,
        };
        let first = level.spent.saturating_add_unsigned(ahead);
        let last = first.saturating_add_unsigned(tokens);
        // Debts are bounded as bursts are (B4).
        if last.saturating_sub(level.minted) > Quota::MAX_BURST.cast_signed() {
            return Claim::Never;
        }
        match self.minted_at_ns(first.saturating_add_unsigned(paid_before)) {
            Some(at_ns) => Claim::At { at_ns: at_ns.max(since.at_ns), spent: self.position(last) },
            None => Claim::Never,
        }
    }

    /// [`give_back`](Self::give_back) while all that was minted `since` is somebody's, and stays theirs.
    #[cfg(feature = "tokio")]
    pub(crate) fn give_back_since(&self, spent: u64, since: Since, tokens: u64) -> u64 {
        if self.rate.is_unlimited() {
            return spent;
        }
        let level = self.level_since(spent, since);
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        self.position(level.spent.saturating_sub(tokens).max(self.floor_since(level.minted, since)))
    }

    /// [`turn`](Self::turn) while all that was minted `since` is somebody's, and stays theirs: what of it is
    /// beyond the new burst comes beside the word. As much may still come back as before, up to the new burst.
    #[cfg(feature = "tokio")]
    pub(crate) fn turn_since(
        &self,
        spent: u64,
        since: Since,
        now_ns: u64,
        quota: Quota,
    ) -> ((Self, u64), Since) {
        let (segment, word) = self.turn(spent, now_ns, quota);
        let at_ns = segment.start_ns;
        if self.rate.is_unlimited() || segment.rate.is_unlimited() {
            return ((segment, word), Since::instant(at_ns));
        }
        let level = self.level_since(spent, since);
        let room = level.spent.saturating_sub(self.floor_since(level.minted, since));
        let room = room.min(segment.burst.cast_signed());
        let spent = self.position(level.spent);
        let available = segment.minted.wrapping_sub(spent).cast_signed();
        let saved = available.saturating_add(room).saturating_sub_unsigned(segment.burst);
        let saved = u64::try_from(saved).unwrap_or(0);
        ((segment, spent), Since { at_ns, saved })
    }

    fn level_since(&self, spent: u64, since: Since) -> Level {
        let minted = self.minted_by(since.at_ns);
        let spent = spent.wrapping_sub(self.minted).cast_signed();
        Level { minted, spent: spent.max(self.floor_since(minted, since)) }
    }

    /// Where `spent` stands in a bucket that is full besides what was saved.
    fn floor_since(&self, minted: i64, since: Since) -> i64 {
        self.floor(minted).saturating_sub_unsigned(since.saved)
    }
}
