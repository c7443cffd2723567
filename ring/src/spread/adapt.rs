//! Even shares for a ring as it is. Invariants: one that joins takes from others and moves nothing between them;
//! when one leaves, only what it owned moves.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;

use super::carve::{self, Range, Share, deficits, nearest_free};
use super::{MAX_ZONES, SpreadError};
use crate::generate::MAX_TOKENS_PER_INSTANCE;
use crate::token::TokenSet;

/// An instance of the zone that is looked at, or of the whole ring where zones do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub id: Arc<str>,
    /// How large its share is to be, beside those of the others.
    pub weight: NonZeroU8,
    /// What it holds.
    pub tokens: TokenSet,
}

/// Tokens for one more instance of `weight`, taken from those that own most for their weight: if shares were even
/// they are so again, each key that moves moves to the newcomer, and no more move than its share. In a ring of
/// random tokens the largest shares are cut first.
///
/// `taken` are tokens that must not be used, those of the other zones. A pure function: observers of one ring
/// get the same. O(tokens · log tokens) of all holders.
///
/// # Errors
///
/// If the ranges there are cannot be divided further, or `tokens · weight` is more than an instance may have.
///
/// ```
/// use std::num::{NonZeroU8, NonZeroU16};
/// use forebay_ring::TokenSet;
/// use forebay_ring::spread::{Holder, join};
///
/// let one = NonZeroU8::MIN;
/// let holder = Holder { id: "a".into(), weight: one, tokens: vec![0, 1 << 31].into() };
/// let tokens = join(&[holder], one, NonZeroU16::new(2).unwrap(), &TokenSet::default())?;
/// // Half of each of a's two ranges.
/// assert_eq!(*tokens, [1 << 30, 3 << 30]);
/// # Ok::<(), forebay_ring::spread::SpreadError>(())
/// ```
pub fn join(
    holders: &[Holder],
    weight: NonZeroU8,
    tokens: NonZeroU16,
    taken: &TokenSet,
) -> Result<TokenSet, SpreadError> {
    let wanted = usize::from(tokens.get()) * usize::from(weight.get());
    if wanted > MAX_TOKENS_PER_INSTANCE {
        return Err(SpreadError::TooMany { wanted, max: MAX_TOKENS_PER_INSTANCE });
    }
    let circle = Circle::of(holders);
    let mut shares = circle.shares(holders);
    let free = |at| !taken.contains(circle.token(at));
    let share = carve::newcomer(&mut shares, weight.get().into(), wanted, circle.space, free)
        .ok_or(SpreadError::Crowded { wanted })?;
    Ok(share.ends(circle.space).map(|at| circle.token(at)).collect())
}

/// The holders whose tokens change so that shares are even when `leaver` is gone, with their new tokens; nobody
/// if it is the last, or unknown. Each of them announces its own. Only keys of the leaver move; whoever owns the
/// ranges beside them takes them where it has too little, so that few tokens are added.
///
/// `taken` are tokens that must not be used, those of the other zones. A pure function. O(tokens · log tokens) of
/// all holders.
///
/// # Errors
///
/// If a holder would have more tokens than an instance may have.
pub fn leave(holders: &[Holder], leaver: &str, taken: &TokenSet) -> Result<Vec<Holder>, SpreadError> {
    let circle = Circle::of(holders);
    let mut moves = Moves::new(&circle, holders, leaver, taken);
    let mut rest = Vec::new();
    for mut gap in moves.gaps() {
        moves.give_back(&mut gap);
        moves.give_front(&mut gap);
        rest.extend((gap.len > 0).then_some(gap));
    }
    for gap in rest {
        moves.give_to_any(gap);
    }
    moves.finish()
}

/// The key space, or the eighth of it that all tokens are in: then new ones stay in it too, and clear of those of
/// other zones.
struct Circle {
    step: u32,
    offset: u32,
    space: u64,
    /// Every position of a token with its holder's place, ascending; of several claims the first holder's.
    claims: Vec<(u64, usize)>,
}

impl Circle {
    fn of(holders: &[Holder]) -> Self {
        let zones = u32::from(MAX_ZONES);
        let mut tokens = holders.iter().flat_map(|holder| holder.tokens.iter());
        let offset = tokens.next().map_or(0, |token| token % zones);
        let (step, offset) =
            if tokens.all(|token| token % zones == offset) { (zones, offset) } else { (1, 0) };
        let position = |token: u32| u64::from((token - offset) / step);
        let mut claims: Vec<(u64, usize)> = Vec::new();
        for (at, holder) in holders.iter().enumerate() {
            claims.extend(holder.tokens.iter().map(|&token| (position(token), at)));
        }
        claims.sort_unstable();
        claims.dedup_by_key(|claim| claim.0);
        Self { step, offset, space: (1 << 32) / u64::from(step), claims }
    }

    fn token(&self, position: u64) -> u32 {
        u32::try_from(position).expect("a position on the circle") * self.step + self.offset
    }

    /// Positions from one to another, the whole circle if they are the same.
    fn distance(&self, from: u64, to: u64) -> u64 {
        if to > from { to - from } else { to + self.space - from }
    }

    fn shares(&self, holders: &[Holder]) -> Vec<Share> {
        let mut ranges = vec![Vec::new(); holders.len()];
        let mut previous = self.claims.last().map_or(0, |claim| claim.0);
        for &(end, holder) in &self.claims {
            ranges[holder].push(Range { len: self.distance(previous, end), start: Reverse(previous) });
            previous = end;
        }
        let weighted = holders.iter().zip(ranges);
        weighted.map(|(holder, ranges)| Share::new(holder.weight.get().into(), ranges)).collect()
    }
}

/// A run of positions that the leaver owns, between tokens of others.
struct Gap {
    start: u64,
    len: u64,
    /// Whose token stands at its start, and whose is the next after its end.
    before: usize,
    after: usize,
}

/// What everybody gains.
struct Moves<'a> {
    circle: &'a Circle,
    holders: &'a [Holder],
    taken: &'a TokenSet,
    /// The leaver's place, if it is there.
    leaver: Option<usize>,
    /// How many positions each is to gain.
    deficits: Vec<u64>,
    /// Positions of tokens that each gains and loses.
    gained: BTreeMap<usize, Vec<u64>>,
    lost: BTreeMap<usize, Vec<u64>>,
}

impl<'a> Moves<'a> {
    fn new(circle: &'a Circle, holders: &'a [Holder], leaver: &str, taken: &'a TokenSet) -> Self {
        let leaver = holders.iter().position(|holder| *holder.id == *leaver);
        let mut deficits = vec![0; holders.len()];
        if let Some(leaver) = leaver {
            let mut shares = circle.shares(holders);
            let given = shares.remove(leaver).owned;
            if !shares.is_empty() {
                let mut found = self::deficits(&shares, given);
                found.insert(leaver, 0);
                deficits = found;
            }
        }
        Self { circle, holders, taken, leaver, deficits, gained: BTreeMap::new(), lost: BTreeMap::new() }
    }

    /// All that the leaver owns; nothing if nobody else has a token.
    fn gaps(&self) -> Vec<Gap> {
        let Some(leaver) = self.leaver else { return Vec::new() };
        let (theirs, others): (Vec<_>, Vec<_>) =
            self.circle.claims.iter().copied().partition(|&(_, holder)| holder == leaver);
        let mut gaps: BTreeMap<usize, Gap> = BTreeMap::new();
        for (end, _) in theirs {
            let next = others.partition_point(|&(token, _)| token <= end);
            let Some(&(start, before)) = others.get(next.wrapping_sub(1)).or(others.last()) else { continue };
            let Some(&(_, after)) = others.get(next).or(others.first()) else { continue };
            let len = self.circle.distance(start, end);
            let gap = gaps.entry(next % others.len()).or_insert(Gap { start, len, before, after });
            gap.len = gap.len.max(len);
        }
        gaps.into_values().collect()
    }

    /// Who has the next token takes the back of the gap without a further token.
    fn give_back(&mut self, gap: &mut Gap) {
        let back = self.deficits[gap.after].min(gap.len);
        if back == 0 {
            return;
        }
        gap.len = if back == gap.len { 0 } else { self.cut(gap, gap.len - back).unwrap_or(0) };
        self.deficits[gap.after] -= back;
    }

    /// Who has the token at the start takes the front by moving that token to its end.
    fn give_front(&mut self, gap: &mut Gap) {
        let front = self.deficits[gap.before].min(gap.len);
        if front == 0 {
            return;
        }
        let front = if front == gap.len { front } else { self.cut(gap, front).unwrap_or(gap.len) };
        self.lost.entry(gap.before).or_default().push(gap.start);
        self.give(gap, gap.before, front);
    }

    /// Whoever still has too little takes a part, each with a token at its end.
    fn give_to_any(&mut self, mut gap: Gap) {
        while gap.len > 0 {
            let needy = self.deficits.iter().enumerate().max_by_key(|&(at, &deficit)| (deficit, Reverse(at)));
            // What rounding left falls to whoever has the next token.
            let Some((to, &part)) = needy.filter(|needy| *needy.1 > 0) else { return };
            let part = if part >= gap.len { gap.len } else { self.cut(&gap, part).unwrap_or(gap.len) };
            self.give(&mut gap, to, part);
        }
    }

    /// Gives the front of a gap away.
    fn give(&mut self, gap: &mut Gap, to: usize, len: u64) {
        gap.start = (gap.start + len) % self.circle.space;
        gap.len -= len;
        self.deficits[to] = self.deficits[to].saturating_sub(len);
        self.gained.entry(to).or_default().push(gap.start);
    }

    /// Where the gap can be cut, near `len`.
    fn cut(&self, gap: &Gap, len: u64) -> Option<u64> {
        let free = |at| !self.taken.contains(self.circle.token(at));
        nearest_free(gap.start, len, gap.len, self.circle.space, free)
    }

    fn finish(mut self) -> Result<Vec<Holder>, SpreadError> {
        let mut changed = Vec::new();
        for (at, gained) in std::mem::take(&mut self.gained) {
            let lost: TokenSet =
                self.lost.remove(&at).into_iter().flatten().map(|at| self.circle.token(at)).collect();
            let holder = &self.holders[at];
            let kept = holder.tokens.iter().copied().filter(|&token| !lost.contains(token));
            let tokens: TokenSet = kept.chain(gained.into_iter().map(|at| self.circle.token(at))).collect();
            if tokens.len() > MAX_TOKENS_PER_INSTANCE {
                return Err(SpreadError::TooMany { wanted: tokens.len(), max: MAX_TOKENS_PER_INSTANCE });
            }
            changed.push(Holder { tokens, ..holder.clone() });
        }
        Ok(changed)
    }
}
