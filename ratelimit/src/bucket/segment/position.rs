//! Where a bucket stands in a [`Segment`] that it shares with others: 12 bytes instead of a segment each.
//!
//! A lone [`Bucket`](super::Bucket) drops the fraction of a token by restarting its segment. Those who share
//! one keep the fraction beside the word, in units of one token over the rate's nanoseconds, and so decide
//! exactly as a lone bucket does. (Where a rate has more than 2^32 nanoseconds in lowest terms, the fraction
//! is rounded against the bucket by less than 2^-31 tokens each time it is written.)

use super::{Segment, TURN_AT};
use crate::decision::{Denied, Snapshot};
use crate::quota::Quota;

/// What a bucket has spent: a word as elsewhere, and a part of a token on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) spent: u64,
    /// In units of one token over the rate's nanoseconds, shifted right by [`Segment::grid`].
    pub(crate) part: u32,
}

/// What a segment says to a request from a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// The tokens are taken if the bucket moves here.
    Admitted(Position),
    /// Too few tokens: [`Segment::refusal_at`] says how many.
    Short,
    /// The segment has to be turned first, and every position in it [kept in reach](Segment::within_reach).
    Due,
}

/// Tokens relative to the beginning of a segment, and a rest in units of one token over the rate's
/// nanoseconds; ordered as the numbers that they stand for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Amount {
    whole: i64,
    rest: u64,
}

impl Segment {
    /// A bucket that is full at `at_ns`, which may lie ahead of `now_ns`: until then it lacks what is minted in
    /// between, at most [`Quota::MAX_BURST`] beyond its burst.
    pub(crate) fn full_position(&self, now_ns: u64, at_ns: u64) -> Position {
        let now = self.minted_exactly(now_ns);
        let farthest = now.whole.saturating_add_unsigned(Quota::MAX_BURST);
        let mut minted = self.minted_exactly(at_ns);
        if minted <= now {
            return self.behind(self.floor_below(now));
        }
        minted.whole = minted.whole.min(farthest);
        self.ahead_of(self.floor_below(minted))
    }

    /// A bucket that holds `tokens` at `now_ns`, at most its burst; below zero is a debt.
    pub(crate) fn position_of(&self, now_ns: u64, tokens: i64) -> Position {
        let minted = self.minted_exactly(now_ns);
        let floor = self.floor_below(minted);
        let spent = Amount { whole: minted.whole.saturating_sub(tokens), ..minted };
        if spent <= floor { self.behind(floor) } else { self.ahead_of(spent) }
    }

    /// Whether `tokens` may pass at `now_ns` from `position`.
    #[inline]
    pub(crate) fn weigh_at(&self, position: Position, now_ns: u64, tokens: u64) -> Weighed {
        if tokens == 0 || self.rate.is_unlimited() {
            return Weighed::Admitted(position);
        }
        let minted = self.minted_exactly(now_ns);
        if minted.whole >= TURN_AT {
            return Weighed::Due;
        }
        let spent = self.amount(position);
        let floor = self.floor_below(minted);
        let full = spent <= floor;
        let oversize = full && tokens > self.burst && self.passes_when_full(tokens);
        let available = if full { self.burst } else { positive(between(spent, minted)) };
        if tokens > available && !oversize {
            return Weighed::Short;
        }
        // What idling left over, the fraction included, is dropped here.
        let base = if full { self.ahead_of(floor) } else { position };
        Weighed::Admitted(Position { spent: base.spent.wrapping_add(tokens), part: base.part })
    }

    /// The refusal of a request that was found [too large](Weighed::Short).
    #[cold]
    pub(crate) fn refusal_at(&self, position: Position, now_ns: u64, tokens: u64) -> Denied {
        let (bound, passes) = self.bound(tokens);
        let spent = self.amount(position).max(self.floor_below(self.minted_exactly(now_ns)));
        let whole = spent.whole.saturating_add_unsigned(tokens.min(self.burst));
        let at_ns = if passes { self.reaches_at_ns(Amount { whole, ..spent }) } else { None };
        let wait_ns = at_ns.map(|at_ns| at_ns.saturating_sub(now_ns));
        Denied::new(self.quota(), (tokens, self.peek_at(position, now_ns).available), bound, wait_ns)
    }

    /// The position after `tokens` came back; never fuller than full.
    pub(crate) fn give_back_at(&self, position: Position, now_ns: u64, tokens: u64) -> Position {
        let Amount { whole, rest } = self.amount(position);
        let whole = whole.saturating_sub(i64::try_from(tokens).unwrap_or(i64::MAX));
        let floor = self.floor_below(self.minted_exactly(now_ns));
        if (Amount { whole, rest }) <= floor {
            return self.behind(floor);
        }
        Position { spent: self.position(whole), ..position }
    }

    /// The bucket at `position` and `now_ns`.
    pub(crate) fn peek_at(&self, position: Position, now_ns: u64) -> Snapshot {
        let Self { rate, burst, .. } = *self;
        let (minted, spent) = (self.minted_exactly(now_ns), self.amount(position));
        if spent <= self.floor_below(minted) {
            return Snapshot { available: burst, debt: 0, rate, burst };
        }
        let available = between(spent, minted);
        Snapshot { available: positive(available), debt: positive(available.saturating_neg()), rate, burst }
    }

    /// Whether the bucket at `position` cannot be told from a new one.
    #[inline]
    pub(crate) fn is_full_at(&self, position: Position, now_ns: u64) -> bool {
        self.amount(position) <= self.floor_below(self.minted_exactly(now_ns))
    }

    /// When the bucket at `position` is full if nobody comes, unless that is never.
    pub(crate) fn full_position_at_ns(&self, position: Position) -> Option<u64> {
        let Amount { whole, rest } = self.amount(position);
        self.reaches_at_ns(Amount { whole: whole.saturating_add_unsigned(self.burst), rest })
    }

    /// The position in `next` that has the tokens and the debt which `position` has here, up to the burst of
    /// `next`. The fraction of a token is carried over as by [`turn`](Segment::turn).
    pub(crate) fn carry_to(&self, next: &Segment, position: Position, now_ns: u64) -> Position {
        let (minted, spent) = (self.minted_exactly(now_ns), self.amount(position));
        let (next_minted, (_, per_ns), (_, next_per_ns)) =
            (next.minted_exactly(now_ns), self.rate.parts(), next.rate.parts());
        let (available, fraction) = if spent <= self.floor_below(minted) {
            (i64::try_from(self.burst).unwrap_or(i64::MAX), 0)
        } else {
            let fraction = match minted.rest.checked_sub(spent.rest) {
                Some(fraction) => fraction,
                None => per_ns - (spent.rest - minted.rest),
            };
            (between(spent, minted), fraction)
        };
        if available >= i64::try_from(next.burst).unwrap_or(i64::MAX) {
            return next.behind(next.floor_below(next_minted));
        }
        let fraction = u128::from(fraction) * u128::from(next_per_ns) / u128::from(per_ns);
        let fraction = u64::try_from(fraction).expect("a fraction below one has fewer units than one");
        let whole = next_minted.whole.saturating_sub(available);
        next.ahead_of(match next_minted.rest.checked_sub(fraction) {
            Some(rest) => Amount { whole, rest },
            None => Amount { whole: whole - 1, rest: next_per_ns - (fraction - next_minted.rest) },
        })
    }

    /// Whether the segment has to be turned before it decides anything at `now_ns` (B4).
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        self.minted_by(now_ns) >= TURN_AT
    }

    /// The position as it is, or that of a full bucket if it has fallen behind one: what every position in a
    /// segment must become before the segment is turned (B4).
    pub(crate) fn within_reach(&self, position: Position, now_ns: u64) -> Position {
        self.give_back_at(position, now_ns, 0)
    }

    /// Tokens minted in this segment by `now_ns`, with the rest that [`minted_by`](Segment::minted_by) drops.
    #[inline]
    fn minted_exactly(&self, now_ns: u64) -> Amount {
        let (tokens, per_ns) = self.rate.parts();
        let elapsed = now_ns.saturating_sub(self.start_ns);
        if let Some(units) = tokens.checked_mul(elapsed).and_then(|units| units.checked_add(self.carry)) {
            let whole = self.divided(units);
            return Amount { whole: i64::try_from(whole).unwrap_or(i64::MAX), rest: units - whole * per_ns };
        }
        let units = self.units_by(elapsed);
        let whole = i64::try_from(units / u128::from(per_ns)).unwrap_or(i64::MAX);
        let rest = u64::try_from(units % u128::from(per_ns)).expect("below a divisor of 64 bits");
        Amount { whole, rest }
    }

    /// The first instant at which [`minted_exactly`](Self::minted_exactly) reaches `amount`.
    fn reaches_at_ns(&self, amount: Amount) -> Option<u64> {
        let (tokens, per_ns) = self.rate.parts();
        // At most (2^63-1)·(2^64-1) + 2^64, and nothing below the beginning of the segment.
        let Ok(whole) = u64::try_from(amount.whole) else { return Some(self.start_ns) };
        let units = u128::from(whole) * u128::from(per_ns) + u128::from(amount.rest);
        let units = units.saturating_sub(u128::from(self.carry));
        if units == 0 {
            return Some(self.start_ns);
        }
        let elapsed = units.checked_add(u128::from(tokens).checked_sub(1)?)? / u128::from(tokens);
        self.start_ns.checked_add(u64::try_from(elapsed).ok()?)
    }

    /// Where a bucket stands that is full when `minted` has been.
    #[inline]
    fn floor_below(&self, minted: Amount) -> Amount {
        Amount { whole: self.floor(minted.whole), ..minted }
    }

    /// Bits of a fraction that do not fit a position.
    #[inline]
    fn grid(&self) -> u32 {
        let (_, per_ns) = self.rate.parts();
        u32::BITS.saturating_sub(per_ns.leading_zeros())
    }

    #[inline]
    fn amount(&self, Position { spent, part }: Position) -> Amount {
        Amount { whole: spent.wrapping_sub(self.minted).cast_signed(), rest: u64::from(part) << self.grid() }
    }

    /// The position there or the next one, against the bucket: where one stands that has taken tokens.
    #[inline]
    fn ahead_of(&self, Amount { whole, rest }: Amount) -> Position {
        let grid = self.grid();
        let (_, per_ns) = self.rate.parts();
        let part = (rest >> grid) + u64::from(rest & ((1 << grid) - 1) != 0);
        match u32::try_from(part) {
            Ok(part) if u64::from(part) << grid < per_ns => Position { spent: self.position(whole), part },
            _ => Position { spent: self.position(whole.saturating_add(1)), part: 0 },
        }
    }

    /// The position there or the one before: where one stands that is full, whom [`weigh_at`](Self::weigh_at)
    /// gives no more than a burst anyway.
    fn behind(&self, Amount { whole, rest }: Amount) -> Position {
        let part = u32::try_from(rest >> self.grid()).expect("below 2^32, as the grid was chosen");
        Position { spent: self.position(whole), part }
    }
}

/// Whole tokens from `spent` to `minted`, rounded down.
#[inline]
fn between(spent: Amount, minted: Amount) -> i64 {
    minted.whole.saturating_sub(spent.whole).saturating_sub(i64::from(minted.rest < spent.rest))
}

#[inline]
fn positive(tokens: i64) -> u64 {
    u64::try_from(tokens).unwrap_or(0)
}

#[cfg(test)]
mod tests;
