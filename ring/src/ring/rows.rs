//! Tokens, each with its owner and the members that a walk from it selects.
//!
//! Invariant: rows are sorted by token, no token twice. Where sets are small the token and its set share a cache
//! line, so that a lookup misses the cache for the index and once more.

use super::few::Few;
use super::index::Index;

/// Larger replica sets are not precomputed: walks find them at a cost that is small beside that of using them.
const LARGEST_HOME: usize = 16;

/// Members in all precomputed sets together, at 2 bytes each. Beyond these 512 MiB none are precomputed, lest a
/// factor that fits a small ring cost gigabytes on the largest.
const MAX_HOME_ENTRIES: usize = 1 << 28;

/// A token and what a walk from it selects if nobody extends, its owner first.
#[derive(Clone, Copy)]
pub(super) struct Row<const N: usize> {
    token: u32,
    home: [u16; N],
}

impl<const N: usize> Row<N> {
    #[inline]
    pub(super) fn owner(&self) -> u16 {
        #[cfg(test)]
        tests::LOOKED_AT.with(|count| count.set(count.get() + 1));
        self.home[0]
    }
}

/// All rows, with as many members each as a walk selects.
pub(super) enum Rows {
    /// Up to two members.
    Two(Box<[Row<2>]>, usize),
    /// Up to four.
    Four(Box<[Row<4>]>, usize),
    /// More, or none known beforehand.
    Apart {
        tokens: Box<[u32]>,
        /// Empty if there are homes, which begin with the owner.
        owners: Box<[u16]>,
        /// `len` members for each token.
        homes: Box<[u16]>,
        len: usize,
    },
}

impl Rows {
    /// Rows of sorted tokens and their owners, of which a walk `selects` so many, one of each `group`.
    pub(super) fn build(
        tokens: Box<[u32]>,
        owners: Box<[u16]>,
        selects: usize,
        group: impl Fn(u16) -> u16,
    ) -> Self {
        match home_len(tokens.len(), selects) {
            0 => Rows::Apart { tokens, owners, homes: Box::default(), len: 0 },
            len @ 1..=2 => Rows::Two(pack(&tokens, &owners, len, group), len),
            len @ 3..=4 => Rows::Four(pack(&tokens, &owners, len, group), len),
            len => {
                let mut homes = vec![0; owners.len() * len];
                each_home(&owners, len, group, |at, home| homes[at * len..][..len].copy_from_slice(home));
                Rows::Apart { tokens, owners: Box::default(), homes: homes.into(), len }
            }
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::Two(rows, _) => rows.len(),
            Rows::Four(rows, _) => rows.len(),
            Rows::Apart { tokens, .. } => tokens.len(),
        }
    }

    #[inline]
    pub(super) fn token(&self, at: usize) -> u32 {
        match self {
            Rows::Two(rows, _) => rows[at].token,
            Rows::Four(rows, _) => rows[at].token,
            Rows::Apart { tokens, .. } => tokens[at],
        }
    }

    #[inline]
    pub(super) fn owner(&self, at: usize) -> u16 {
        match self {
            Rows::Two(rows, _) => rows[at].owner(),
            Rows::Four(rows, _) => rows[at].owner(),
            Rows::Apart { owners, len: 0, .. } => owners[at],
            Rows::Apart { homes, len, .. } => homes[at * len],
        }
    }

    /// The members selected from the token at this place on if none of them extends; `None` if that is not known
    /// beforehand.
    #[inline]
    pub(super) fn home(&self, at: usize) -> Option<&[u16]> {
        match self {
            Rows::Two(rows, len) => Some(&rows[at].home[..*len]),
            Rows::Four(rows, len) => Some(&rows[at].home[..*len]),
            Rows::Apart { len: 0, .. } => None,
            Rows::Apart { homes, len, .. } => Some(&homes[at * len..][..*len]),
        }
    }

    /// The same, if they are at most four.
    #[inline]
    pub(super) fn few(&self, at: usize) -> Option<Few> {
        match self {
            Rows::Two(rows, len) => Some(Few::of(rows[at].home, *len)),
            Rows::Four(rows, len) => Some(Few::of(rows[at].home, *len)),
            Rows::Apart { .. } => None,
        }
    }

    /// The place of the first token after `key`, and the members selected from there on, if they are small sets known
    /// beforehand. What [`home`](Self::home) of the successor is, without a branch on what the key decides, so that the
    /// caches' misses of many lookups overlap.
    #[inline]
    pub(super) fn home_after(&self, index: &Index, key: u32) -> Option<(usize, Few)> {
        match self {
            Rows::Two(rows, len) => {
                let at = place_after(rows, |row| row.token, index, key);
                Some((at, Few::of(rows[at].home, *len)))
            }
            Rows::Four(rows, len) => {
                let at = place_after(rows, |row| row.token, index, key);
                Some((at, Few::of(rows[at].home, *len)))
            }
            Rows::Apart { .. } => None,
        }
    }

    /// The owner of the first token after `key`, wrapping; there is one.
    #[inline]
    pub(super) fn owner_after(&self, index: &Index, key: u32) -> u16 {
        match self {
            Rows::Two(rows, _) => rows[place_after(rows, |row| row.token, index, key)].owner(),
            Rows::Four(rows, _) => rows[place_after(rows, |row| row.token, index, key)].owner(),
            Rows::Apart { tokens, .. } => self.owner(place_after(tokens, |token| *token, index, key)),
        }
    }

    /// The place of the first token after `key`, wrapping; there is one.
    #[inline]
    pub(super) fn place_after(&self, index: &Index, key: u32) -> usize {
        match self {
            Rows::Two(rows, _) => place_after(rows, |row| row.token, index, key),
            Rows::Four(rows, _) => place_after(rows, |row| row.token, index, key),
            Rows::Apart { tokens, .. } => place_after(tokens, |token| *token, index, key),
        }
    }

    /// Tokens with their owners, ascending.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u16)> + '_ {
        (0..self.len()).map(|at| (self.token(at), self.owner(at)))
    }
}

/// Counted without a branch that the key decides: a run is rarely longer, and what follows it is greater than the key.
const WINDOW: usize = 4;

#[inline]
fn place_after<T>(rows: &[T], token: impl Fn(&T) -> u32, index: &Index, key: u32) -> usize {
    let start = index.start(key);
    let at = start + at_most(rows, token, start, || index.end(key), key);
    if at == rows.len() { 0 } else { at }
}

/// How many tokens from `start` on are at most `key`; those from `end` on are not.
#[inline]
fn at_most<T>(
    rows: &[T],
    token: impl Fn(&T) -> u32,
    start: usize,
    end: impl FnOnce() -> usize,
    key: u32,
) -> usize {
    let Some(window) = rows[start..].first_chunk::<WINDOW>() else {
        return rows[start..].iter().take_while(|row| token(row) <= key).count();
    };
    let count: usize = window.iter().map(|row| usize::from(token(row) <= key)).sum();
    if count < WINDOW {
        return count;
    }
    WINDOW + rows[start + WINDOW..end()].partition_point(|row| token(row) <= key)
}

fn pack<const N: usize>(
    tokens: &[u32],
    owners: &[u16],
    len: usize,
    group: impl Fn(u16) -> u16,
) -> Box<[Row<N>]> {
    let mut rows: Vec<Row<N>> = tokens.iter().map(|&token| Row { token, home: [0; N] }).collect();
    each_home(owners, len, group, |at, home| rows[at].home[..len].copy_from_slice(home));
    rows.into()
}

/// Goes backwards over the tokens: the walk from a token is its owner followed by the walk from the next token
/// without the owner's group. One pass, however far apart the groups lie.
fn each_home(owners: &[u16], len: usize, group: impl Fn(u16) -> u16, mut put: impl FnMut(usize, &[u16])) {
    // One place more than is kept, for what is pushed out.
    let (mut home, mut found) = ([0_u16; LARGEST_HOME + 1], 0);
    for &owner in owners {
        if found == len {
            break;
        }
        if !home[..found].iter().any(|&member| group(member) == group(owner)) {
            home[found] = owner;
            found += 1;
        }
    }
    for (at, &owner) in owners.iter().enumerate().rev() {
        let of = group(owner);
        // Moves all before its group's place, or all, one back.
        let place = home[..len].iter().position(|&member| group(member) == of).unwrap_or(len);
        home.copy_within(0..place, 1);
        home[0] = owner;
        put(at, &home[..len]);
    }
}

/// How many members of each token's replica set are precomputed: all that a walk `selects`, or none.
fn home_len(tokens: usize, selects: usize) -> usize {
    if selects > LARGEST_HOME || tokens * selects > MAX_HOME_ENTRIES { 0 } else { selects }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::instance::{Instance, State};
    use crate::membership::Membership;
    use crate::operation::Operation;
    use crate::ring::{Options, Ring};

    thread_local! {
        /// Owners of tokens that were asked for.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_lookup_looks_at_no_more_tokens_the_more_of_them_extend() {
        let mut members = Membership::default();
        for number in 0..900_u32 {
            let zone = ["a", "b", "c"][number as usize % 3];
            let tokens = crate::random_tokens(&number.to_string(), zone, 0, 16, &Default::default()).unwrap();
            let state = if zone == "b" { State::Leaving } else { State::Active };
            members.observe(
                Instance { state, zone: zone.into(), tokens, ..Instance::new(number.to_string(), "") },
                0,
            );
        }
        for zone_awareness in [true, false] {
            let options = Options { zone_awareness, ..Options::default() };
            let ring = Ring::build(&options, &members, 0).unwrap();
            for key in (0..u32::MAX).step_by(1 << 24) {
                for op in [Operation::WRITE, Operation::READ, Operation::WRITE_NO_EXTEND] {
                    LOOKED_AT.set(0);
                    drop(ring.get(key, op));
                    assert!(LOOKED_AT.get() <= 64, "{} tokens for key {key}", LOOKED_AT.get());
                }
            }
        }
    }

    #[test]
    fn a_cluster_of_tokens_in_one_run_is_searched_in_halves() {
        let tokens: Vec<u32> = (0..100_000).collect();
        for key in [0, 3, 4, 50_000, 99_998, 99_999] {
            let compared = Cell::new(0);
            let token = |token: &u32| {
                compared.set(compared.get() + 1);
                *token
            };
            assert_eq!(at_most(&tokens, token, 0, || tokens.len(), key), key as usize + 1);
            assert!(compared.get() <= 22, "{} comparisons for key {key}", compared.get());
        }
    }

    #[test]
    fn precomputed_sets_never_take_more_than_half_a_gibibyte() {
        assert_eq!(home_len(Ring::MAX_TOKENS, 3), 3);
        assert_eq!(home_len(Ring::MAX_TOKENS, 4), 4);
        assert_eq!(home_len(Ring::MAX_TOKENS, 5), 0);
        assert_eq!(home_len(Ring::MAX_TOKENS / 4, 16), 16);
        assert_eq!(home_len(1, 17), 0);
        for selects in 0..=255 {
            for tokens in (0..=Ring::MAX_TOKENS).step_by(1 << 18) {
                assert!(tokens * home_len(tokens, selects) * size_of::<u16>() <= 512 << 20);
            }
        }
    }

    #[test]
    fn rows_of_every_width_hold_the_walk_from_each_token() {
        let owners: Box<[u16]> = (0..200).map(|at: u16| at.wrapping_mul(31) % 23).collect();
        let tokens: Box<[u32]> = (0..200).map(|at| at * 7 + 3).collect();
        let group = |member: u16| member % 19;
        for selects in 0..=19_usize {
            let rows = Rows::build(tokens.clone(), owners.clone(), selects, group);
            assert_eq!(rows.len(), 200);
            for at in 0..200 {
                let mut walk: Vec<u16> = Vec::new();
                for place in (at..200).chain(0..at) {
                    if !walk.iter().any(|&member| group(member) == group(owners[place])) {
                        walk.push(owners[place]);
                    }
                }
                assert_eq!((rows.token(at), rows.owner(at)), (tokens[at], owners[at]));
                let known = (1..=16).contains(&selects);
                assert_eq!(rows.home(at), known.then_some(&walk[..selects]), "{selects} from {at}");
                let copied = rows.home_after(&Index::build(&tokens), tokens[at].wrapping_sub(1));
                let known = rows.home(at).filter(|home| home.len() <= 4);
                assert_eq!(
                    copied.map(|(at, home)| (at, home.members().to_vec())),
                    known.map(|home| (at, home.to_vec()))
                );
                assert_eq!(rows.owner_after(&Index::build(&tokens), tokens[at].wrapping_sub(1)), owners[at]);
            }
        }
    }

    #[test]
    fn a_run_is_counted_wherever_it_begins_and_however_long_it_is() {
        let tokens: Box<[u32]> = (0..40).map(|at| at * 2).collect();
        for start in 0..=40_usize {
            for key in 0..84_u32 {
                let end = tokens.partition_point(|&token| token <= key).max(start);
                let count = at_most(&tokens, |token| *token, start, || end, key);
                assert_eq!(count, end - start, "from {start}, key {key}");
            }
        }
    }
}
