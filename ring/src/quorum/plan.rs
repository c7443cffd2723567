//! Who gets what: the replica sets of a batch, turned around into one call per instance.
//!
//! Invariant: an item is in the call of an instance exactly if the instance is a healthy member of the
//! item's replica set. Instances are told apart by id: two behind one address are two replicas.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::operation::Operation;
use crate::replication::Require;
use crate::ring::Ring;
use crate::token::Token;

/// One thing to write: where it goes, and how much it weighs.
///
/// Made from a bare key, which weighs nothing, or from a key and a size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Decides the replica set.
    pub key: Token,
    /// Counts against the bytes in flight to each replica.
    pub size_bytes: usize,
}

impl From<Token> for Item {
    fn from(key: Token) -> Self {
        Self { key, size_bytes: 0 }
    }
}

impl From<u32> for Item {
    fn from(key: u32) -> Self {
        Token(key).into()
    }
}

impl<K: Into<Token>> From<(K, usize)> for Item {
    fn from((key, size_bytes): (K, usize)) -> Self {
        Self { key: key.into(), size_bytes }
    }
}

/// The calls of a batch and what its items need of them.
pub(super) struct Plan {
    /// By ascending id of the instance.
    pub(super) calls: Vec<Call>,
    /// The items of all calls, one call after the other, each ascending.
    pub(super) items: Arc<[usize]>,
    /// For each item what it needs, or why it is in no call.
    pub(super) needs: Vec<Result<Need, Error>>,
}

/// One call to one instance.
pub(super) struct Call {
    pub(super) member: u16,
    /// Its items in [`Plan::items`].
    pub(super) items: Range<usize>,
    pub(super) size_bytes: usize,
}

/// How many calls carry an item, and how many must succeed.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub(super) calls: usize,
    pub(super) acks: usize,
}

impl Plan {
    pub(super) fn new<K>(ring: &Ring, op: Operation, require: Require, items: &[K]) -> Self
    where
        K: Copy + Into<Item>,
    {
        let mut loads = vec![(0_usize, 0_usize); ring.instances().len()];
        let mut pairs: Vec<(u16, usize)> = Vec::with_capacity(items.len() * 3);
        let mut needs = Vec::with_capacity(items.len());
        for (number, &item) in items.iter().enumerate() {
            let Item { key, size_bytes } = item.into();
            needs.push(ring.get_with(key, op, require).map(|set| {
                for &member in set.members() {
                    let (count, bytes) = &mut loads[usize::from(member)];
                    *count += 1;
                    *bytes = bytes.saturating_add(size_bytes);
                    pairs.push((member, number));
                }
                Need { calls: set.len(), acks: set.needed() }
            }));
        }
        let (calls, mut next) = lay_out(&loads);
        // A counting sort: each pair goes to the next free place of its instance, so items stay ascending.
        let mut sorted = vec![0; pairs.len()];
        for (member, number) in pairs {
            let place = &mut next[usize::from(member)];
            sorted[*place] = number;
            *place += 1;
        }
        Self { calls, items: sorted.into(), needs }
    }
}

/// The calls to the instances that have items, and where the items of each instance begin.
fn lay_out(loads: &[(usize, usize)]) -> (Vec<Call>, Vec<usize>) {
    let (mut calls, mut starts) = (Vec::new(), Vec::with_capacity(loads.len()));
    let mut start = 0;
    for (member, &(count, size_bytes)) in (0..).zip(loads) {
        starts.push(start);
        if count > 0 {
            calls.push(Call { member, items: start..start + count, size_bytes });
        }
        start += count;
    }
    (calls, starts)
}
