//! Which keys move from whom to whom between two snapshots: what has to be handed over.
//!
//! Invariant: a key is in a move exactly if its replica set is another one; the order in a set does not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Ring;
use crate::replication::Members;

/// Keys whose replica sets change alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The first key.
    pub first: u32,
    /// The last.
    pub last: u32,
    /// Who held them and does not any longer, in the order of the walk.
    pub lost: Vec<Arc<str>>,
    /// Who holds them now and did not before, in the order of the walk.
    pub gained: Vec<Arc<str>>,
}

/// All that changes from one snapshot to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeDiff {
    moves: Vec<Move>,
}

/// From whom and to whom; `None` for a copy that is made where there was none, or given up.
pub type FromTo = (Option<Arc<str>>, Option<Arc<str>>);

impl RangeDiff {
    /// The moves, ascending and disjoint.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// How many keys have another replica set, at most 2^32.
    pub fn keys(&self) -> u64 {
        self.moves.iter().map(Move::keys).sum()
    }

    /// How many keys each instance hands to each other. Where several change at once, the first that lost is taken to
    /// hand over to the first that gained, and so on.
    pub fn totals(&self) -> BTreeMap<FromTo, u64> {
        let mut totals = BTreeMap::new();
        for moved in &self.moves {
            for at in 0..moved.lost.len().max(moved.gained.len()) {
                let pair = (moved.lost.get(at).cloned(), moved.gained.get(at).cloned());
                *totals.entry(pair).or_default() += moved.keys();
            }
        }
        totals
    }
}

impl Move {
    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// The replica sets of a ring by the last key they are for, with instances numbered as in the other.
struct Sets<'r> {
    ring: &'r Ring,
    pieces: Box<dyn Iterator<Item = (u32, u32, usize)> + 'r>,
    current: Option<(u32, Members)>,
}

impl<'r> Sets<'r> {
    fn of(ring: &'r Ring) -> Self {
        Self { ring, pieces: Box::new(ring.topology.pieces()), current: None }
    }

    /// The set for this key and the last key it is for; none and the end if there are no tokens.
    fn at(&mut self, key: u32) -> (u32, Members) {
        if self.current.as_ref().is_none_or(|(last, _)| *last < key) {
            let replicas = usize::from(self.ring.options.replication_factor);
            let piece = self.pieces.find(|&(_, last, _)| last >= key);
            self.current = piece.map(|(_, last, at)| (last, self.ring.topology.selected(at, replicas)));
        }
        self.current.clone().unwrap_or((u32::MAX, Members::new()))
    }
}

impl Ring {
    /// The keys whose replica sets are others in `newer`, while nobody extends the operation. Numbers of replicas and
    /// zones may differ too. O((tokens here + tokens there) · replicas²).
    pub fn diff(&self, newer: &Ring) -> RangeDiff {
        if self.shares_topology(newer) {
            return RangeDiff::default();
        }
        let there: Vec<Option<u16>> =
            self.instances().map(|instance| newer.number_of(&instance.id)).collect();
        let here: Vec<Option<u16>> = newer.instances().map(|instance| self.number_of(&instance.id)).collect();
        let (mut old_sets, mut new_sets) = (Sets::of(self), Sets::of(newer));
        let mut diff = RangeDiff::default();
        let mut next = Some(0);
        while let Some(first) = next {
            let (old_last, old) = old_sets.at(first);
            let (new_last, new) = new_sets.at(first);
            let last = old_last.min(new_last);
            next = last.checked_add(1);
            let stays =
                |member: &u16| there[usize::from(*member)].is_some_and(|number| new.contains(&number));
            let stayed =
                |member: &u16| here[usize::from(*member)].is_some_and(|number| old.contains(&number));
            let lost: Vec<u16> = old.iter().copied().filter(|member| !stays(member)).collect();
            let gained: Vec<u16> = new.iter().copied().filter(|member| !stayed(member)).collect();
            if lost.is_empty() && gained.is_empty() {
                continue;
            }
            let ids = |ring: &Ring, members: &[u16]| -> Vec<Arc<str>> {
                members.iter().map(|&member| Arc::clone(&ring.instance_at(member).id)).collect()
            };
            let moved = Move { first, last, lost: ids(self, &lost), gained: ids(newer, &gained) };
            match diff.moves.last_mut() {
                Some(before) if before.continues_with(&moved) => before.last = last,
                _ => diff.moves.push(moved),
            }
        }
        diff
    }
}

impl Move {
    fn continues_with(&self, next: &Move) -> bool {
        self.last.checked_add(1) == Some(next.first) && self.lost == next.lost && self.gained == next.gained
    }
}
