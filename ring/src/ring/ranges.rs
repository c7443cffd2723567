//! Which keys an instance holds, as ranges.
//!
//! Invariant: ranges ascend, do not touch each other, and have both ends in them; a range over the end of the key
//! space is two.

use std::fmt;

use super::Ring;
use super::topology::Topology;
use crate::replication::Members;
use crate::token::Token;

/// A set of keys.
///
/// ```
/// use forebay_ring::{Instance, Membership, Options, Ring};
///
/// let mut members = Membership::default();
/// for (id, token) in [("a", 10), ("b", 20)] {
///     members.observe(Instance { tokens: vec![token].into(), ..Instance::new(id, "") }, 0);
/// }
/// let ring = Ring::build(&Options { replication_factor: 1, ..Options::default() }, &members, 0)?;
/// let ranges = ring.token_ranges("a")?;
/// assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 9), (20, u32::MAX)]);
/// assert!(ranges.contains(9) && !ranges.contains(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TokenRanges {
    ranges: Vec<(u32, u32)>,
}

/// Why there are no ranges.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The snapshot has no such instance, or it has left.
    #[error("no such instance in the ring")]
    Unknown,
}

impl TokenRanges {
    /// Whether the key is in the set. O(log ranges).
    pub fn contains(&self, key: impl Into<Token>) -> bool {
        let key = key.into().0;
        let after = self.ranges.partition_point(|&(first, _)| first <= key);
        after.checked_sub(1).is_some_and(|at| key <= self.ranges[at].1)
    }

    /// How many keys there are, at most 2^32.
    pub fn keys(&self) -> u64 {
        self.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The first and the last key of each range, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().copied()
    }

    /// Adds a range behind all others.
    fn push(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end < first && *end + 1 == first => *end = last,
            _ => self.ranges.push((first, last)),
        }
    }
}

impl fmt::Display for TokenRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{first}..={last}")?;
        }
        Ok(())
    }
}

impl Topology {
    /// The keys between each two tokens, ascending: the first, the last, and the place of the token they belong to.
    /// The keys of the first token are in two pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u32, u32, usize)> + '_ {
        let rows = self.rows();
        let lasts = (0..rows.len()).filter_map(|at| Some((rows.token(at).checked_sub(1)?, at)));
        let rest = (rows.len() > 0).then_some((u32::MAX, 0));
        let mut first = Some(0);
        lasts.chain(rest).filter_map(move |(last, at)| {
            let from = first?;
            first = last.checked_add(1);
            (from <= last).then_some((from, last, at))
        })
    }

    /// The members selected for the keys of the token at this place if none extends.
    pub(super) fn selected(&self, at: usize, replicas: usize) -> Members {
        match self.rows().home(at) {
            Some(home) => Members::from_slice(home),
            None => {
                // The key right before the token; it is the first after it.
                let key = Token(self.rows().token(at).wrapping_sub(1));
                self.walk(key, at, replicas, 1, |_| false)
            }
        }
    }
}

impl Ring {
    /// The keys of which the instance is a replica as long as nobody extends the operation, whatever the number of
    /// replicas and zones. O(tokens · replicas) where replica sets are precomputed.
    ///
    /// # Errors
    ///
    /// If there is no such instance.
    pub fn token_ranges(&self, id: &str) -> Result<TokenRanges, RangeError> {
        let member = self.number_of(id).ok_or(RangeError::Unknown)?;
        let replicas = usize::from(self.options.replication_factor);
        Ok(self.ranges_of(|at| self.topology.selected(at, replicas).contains(&member)))
    }

    /// The keys of which the instance is the owner, the first replica. O(tokens).
    ///
    /// # Errors
    ///
    /// If there is no such instance.
    pub fn owned_ranges(&self, id: &str) -> Result<TokenRanges, RangeError> {
        let member = self.number_of(id).ok_or(RangeError::Unknown)?;
        Ok(self.ranges_of(|at| self.topology.rows().owner(at) == member))
    }

    fn ranges_of(&self, holds: impl Fn(usize) -> bool) -> TokenRanges {
        let mut ranges = TokenRanges::default();
        for (first, last, _) in self.topology.pieces().filter(|&(_, _, at)| holds(at)) {
            ranges.push(first, last);
        }
        ranges
    }
}
