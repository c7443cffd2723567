//! Who gives which part of its ranges to a newcomer. Invariants: ranges never overlap and together cover the
//! circle; nobody's number of ranges changes but the newcomer's; only the newcomer gains.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What one instance owns of a circle of `space` positions.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) weight: u64,
    pub(super) owned: u64,
    ranges: BinaryHeap<Range>,
}

/// The positions from `start` on, `len` of them, wrapping; ordered by length, and of equal ones the first is the
/// greatest. A token stands at the end, which is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) len: u64,
    pub(super) start: Reverse<u64>,
}

impl Share {
    pub(super) fn new(weight: u64, ranges: impl IntoIterator<Item = Range>) -> Self {
        let ranges: BinaryHeap<Range> = ranges.into_iter().collect();
        Self { weight, owned: ranges.iter().map(|range| range.len).sum(), ranges }
    }

    /// Where its tokens stand, in no order.
    pub(super) fn ends(&self, space: u64) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().map(move |range| (range.start.0 + range.len) % space)
    }
}

/// The share of one more instance in `pieces` ranges, taken from those that have most of the circle for their
/// weight; their shares become smaller. `None` if there are no `pieces` positions for tokens that are `free`; the
/// shares are then useless.
pub(super) fn newcomer(
    shares: &mut [Share],
    weight: u64,
    pieces: usize,
    space: u64,
    free: impl Fn(u64) -> bool,
) -> Option<Share> {
    let all: u64 = shares.iter().map(|share| share.weight).sum();
    let whole: u64 = shares.iter().map(|share| share.owned).sum();
    if whole == 0 {
        return first(weight, pieces, space, free);
    }
    let want = mul_div(space, weight, all + weight);
    let excess = excesses(shares, want);
    let mut taken = if excess.iter().filter(|&&excess| excess > 0).count() > pieces {
        from_those_with_most(shares, want, pieces, space, &free)
    } else {
        from_all(shares, &excess, pieces, space, &free)
    };
    // Where ranges are too short to be cut, tokens within its own ranges make up the number.
    while taken.len() < pieces {
        let range = taken.pop()?;
        let len = nearest_free(range.start.0, range.len / 2, range.len, space, &free)?;
        taken.extend([Range { len, ..range }, range.after(len, space)]);
    }
    Some(Share::new(weight, taken))
}

/// More can give than there are pieces: each is of equal length and comes from whoever has most by then. Shares
/// that were within such a piece of each other stay so.
fn from_those_with_most(
    shares: &mut [Share],
    want: u64,
    pieces: usize,
    space: u64,
    free: &impl Fn(u64) -> bool,
) -> BinaryHeap<Range> {
    let per_weight = |share: &Share| (u128::from(share.owned) << 32) / u128::from(share.weight);
    let mut order: BinaryHeap<_> =
        shares.iter().enumerate().map(|(at, share)| (per_weight(share), Reverse(at))).collect();
    let (mut left, mut taken) = (want, BinaryHeap::with_capacity(pieces));
    while taken.len() < pieces {
        let Some((_, Reverse(at))) = order.pop() else { break };
        let share = &mut shares[at];
        let Some(range) = share.ranges.pop() else { continue };
        if let Some(given) = share.give(range, left / (pieces - taken.len()) as u64, space, free) {
            left = left.saturating_sub(given.len);
            taken.push(given);
            order.push((per_weight(share), Reverse(at)));
        }
    }
    taken
}

/// Each gives its excess, so that all shares are even afterwards, but for what ranges are too short for.
fn from_all(
    shares: &mut [Share],
    excess: &[u64],
    pieces: usize,
    space: u64,
    free: &impl Fn(u64) -> bool,
) -> BinaryHeap<Range> {
    let mut taken = BinaryHeap::with_capacity(pieces);
    for mut donor in Donor::choose(shares, excess, pieces) {
        for range in donor.cut {
            let len = mul_div(donor.excess, range.len, donor.sum);
            donor.sum -= range.len;
            if let Some(given) = shares[donor.at].give(range, len, space, free) {
                donor.excess = donor.excess.saturating_sub(given.len);
                taken.push(given);
            }
        }
    }
    taken
}

impl Share {
    /// Gives away the front of a range that was taken out of its own, `len` positions or about as many, and keeps
    /// the rest; the whole range if no token may stand within it.
    fn give(&mut self, range: Range, len: u64, space: u64, free: impl Fn(u64) -> bool) -> Option<Range> {
        let Some(len) = nearest_free(range.start.0, len, range.len, space, free) else {
            self.ranges.push(range);
            return None;
        };
        self.owned -= len;
        self.ranges.push(range.after(len, space));
        Some(Range { len, ..range })
    }
}

impl Range {
    /// What is left of it behind its first `len` positions.
    fn after(self, len: u64, space: u64) -> Self {
        Self { len: self.len - len, start: Reverse((self.start.0 + len) % space) }
    }
}

/// One that gives, and the ranges it gives a part of.
struct Donor {
    at: usize,
    excess: u64,
    cut: Vec<Range>,
    /// The length of all of those.
    sum: u64,
}

impl Donor {
    /// Those with an excess, with the longest ranges of each; `pieces` ranges in all, such that the part of a range
    /// that is given, the same in all ranges of a donor, is as small as it can be.
    fn choose(shares: &mut [Share], excess: &[u64], pieces: usize) -> Vec<Self> {
        let mut donors: Vec<Self> = Vec::new();
        for (at, &excess) in excess.iter().enumerate().filter(|(_, excess)| **excess > 0) {
            let mut donor = Self { at, excess, cut: Vec::new(), sum: 0 };
            if donor.take_next(shares) {
                donors.push(donor);
            }
        }
        // By the part, of equal ones the first.
        let mut order: BinaryHeap<_> =
            donors.iter().enumerate().map(|(rank, donor)| (donor.part(), Reverse(rank))).collect();
        let mut chosen = donors.len();
        while chosen < pieces {
            let Some((_, Reverse(rank))) = order.pop() else { break };
            if donors[rank].take_next(shares) {
                chosen += 1;
                order.push((donors[rank].part(), Reverse(rank)));
            }
        }
        donors
    }

    /// Takes the longest range that is left, if it can be cut.
    fn take_next(&mut self, shares: &mut [Share]) -> bool {
        let ranges = &mut shares[self.at].ranges;
        let Some(range) = ranges.peek().copied().filter(|range| range.len > 1) else { return false };
        ranges.pop();
        self.sum += range.len;
        self.cut.push(range);
        true
    }

    /// What it gives of each position in its ranges, in 1/2^24.
    fn part(&self) -> u64 {
        mul_div(self.excess, 1 << 24, self.sum.max(1))
    }
}

/// The length of a front part of `0 < len < of` positions, as near as possible to `len`, at whose end a token may
/// stand.
pub(super) fn nearest_free(
    start: u64,
    len: u64,
    of: u64,
    space: u64,
    free: impl Fn(u64) -> bool,
) -> Option<u64> {
    let most = of.checked_sub(1).filter(|&most| most > 0)?;
    let len = len.clamp(1, most);
    let around = (0..most).flat_map(|by| [len.checked_sub(by), by.checked_add(len).filter(|_| by > 0)]);
    let inner = around.flatten().filter(|len| (1..=most).contains(len));
    // A taken position has few taken neighbours: tokens of other zones, or of none.
    inner.into_iter().find(|len| free((start + len) % space))
}

/// The first of all gets ranges of equal length.
fn first(weight: u64, pieces: usize, space: u64, free: impl Fn(u64) -> bool) -> Option<Share> {
    let mut ends: Vec<u64> = Vec::with_capacity(pieces);
    for piece in 0..pieces as u64 {
        let next = mul_div(space, piece, pieces as u64);
        ends.push((next..space).find(|&end| free(end) && ends.last().is_none_or(|&last| last < end))?);
    }
    let range = |(&start, &end): (&u64, &u64)| {
        let len = if end > start { end - start } else { end + space - start };
        Range { len, start: Reverse(start) }
    };
    let next = ends.iter().skip(1).chain(ends.first());
    Some(Share::new(weight, ends.iter().zip(next).map(range)))
}

/// What each has above a common level of positions for its weight, the level at which it is `want` together.
fn excesses(shares: &[Share], want: u64) -> Vec<u64> {
    let mut order: Vec<&Share> = shares.iter().collect();
    order.sort_unstable_by(|a, b| (b.per(a)).cmp(&a.per(b)));
    let (mut owned, mut weight) = (0_u64, 0_u64);
    for (at, share) in order.iter().enumerate() {
        owned += share.owned;
        weight += share.weight;
        let next = order.get(at + 1).map_or(0, |next| mul_div(next.owned, weight, next.weight));
        if owned.saturating_sub(want) >= next {
            break;
        }
    }
    let level = owned.saturating_sub(want);
    shares.iter().map(|share| share.owned.saturating_sub(mul_div(level, share.weight, weight))).collect()
}

/// What each has below a common level of positions for its weight, the level at which it is `give` together.
pub(super) fn deficits(shares: &[Share], give: u64) -> Vec<u64> {
    let mut order: Vec<&Share> = shares.iter().collect();
    order.sort_unstable_by(|a, b| (a.per(b)).cmp(&b.per(a)));
    let (mut owned, mut weight) = (0_u64, 0_u64);
    for (at, share) in order.iter().enumerate() {
        owned += share.owned;
        weight += share.weight;
        let Some(next) = order.get(at + 1) else { break };
        if owned + give <= mul_div(next.owned, weight, next.weight) {
            break;
        }
    }
    let level = |share: &Share| mul_div(owned + give, share.weight, weight);
    shares.iter().map(|share| level(share).saturating_sub(share.owned)).collect()
}

impl Share {
    /// Compares owned positions for weight with another's without dividing.
    fn per(&self, other: &Share) -> u128 {
        u128::from(self.owned) * u128::from(other.weight)
    }
}

fn mul_div(a: u64, b: u64, by: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(by)).expect("a part of a circle of 2^32")
}
