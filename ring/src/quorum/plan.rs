//! Who gets what: a [`BatchPlan`] with what each call weighs.
//!
//! Instances are told apart by id: two behind one address are two replicas.

use std::sync::Arc;

use super::batch::Items;
use crate::error::Error;
use crate::instance::Instance;
use crate::operation::Operation;
use crate::replication::GetOptions;
use crate::ring::{BatchPlan, Need, Ring};
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

impl From<Item> for Token {
    fn from(item: Item) -> Self {
        item.key
    }
}

/// The calls of a batch and what its items need of them.
pub(super) struct Plan {
    items: Vec<Item>,
    batch: BatchPlan,
    /// The items of all calls, one call after the other, each ascending.
    of_all_calls: Arc<[usize]>,
}

/// One call to one instance.
pub(super) struct Call<'p> {
    pub(super) instance: &'p Arc<Instance>,
    pub(super) items: Items,
    pub(super) size_bytes: usize,
}

impl Plan {
    pub(super) fn new<K>(ring: &Ring, op: Operation, options: GetOptions, items: &[K]) -> Self
    where
        K: Copy + Into<Item>,
    {
        let items: Vec<Item> = items.iter().map(|&item| item.into()).collect();
        let mut batch = BatchPlan::default();
        ring.plan_batch(&items, op, options, &mut batch);
        let of_all_calls = batch.keys_of_all_calls().iter().map(|&item| item as usize).collect();
        Self { items, batch, of_all_calls }
    }

    /// For each item what it needs, or why it is in no call.
    pub(super) fn needs(&self) -> &[Result<Need, Error>] {
        self.batch.needs()
    }

    /// By ascending id of the instance.
    pub(super) fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        let mut start = 0;
        self.batch.calls().map(move |(instance, items)| {
            let sizes = items.iter().map(|&item| self.items[item as usize].size_bytes);
            let size_bytes = sizes.fold(0, usize::saturating_add);
            let range = start..start + items.len();
            start = range.end;
            Call { instance, items: Items::new(&self.of_all_calls, range), size_bytes }
        })
    }
}
