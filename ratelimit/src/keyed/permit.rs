//! The way back to the bucket of a key.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Keyed, Lookup};
use crate::permit::{Permit, Release};

/// Tokens taken for a key. It borrows the key, so that taking tokens for a known key allocates nothing.
pub type KeyedPermit<'a, K, Q, C = fn() -> u64, S = RandomState> = Permit<OfKey<&'a Keyed<K, C, S>, &'a Q>>;

/// Tokens taken for a key, with the key and the table in hand.
pub type OwnedKeyedPermit<K, Q = K, C = fn() -> u64, S = RandomState> =
    Permit<OfKey<Arc<Keyed<K, C, S>>, OwnedKey<Q>>>;

/// A key that is not borrowed.
#[derive(Clone, Copy, Debug)]
pub struct OwnedKey<Q>(pub(super) Q);

impl<Q> Deref for OwnedKey<Q> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.0
    }
}

/// The bucket of a key in a table.
#[derive(Clone, Copy)]
pub struct OfKey<T, Q> {
    keyed: T,
    key: Q,
    source: Source,
}

/// Where the tokens were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The key's own bucket.
    Own,
    /// The bucket that keys without slot share.
    Shared,
    /// Nowhere yet: the key is new and was not to be stored.
    Unstored,
    /// The quota is unlimited, or zero tokens were asked for.
    Nothing,
}

/// What was taken, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) granted: u64,
    pub(crate) source: Source,
}

impl Taken {
    pub(crate) fn permit<R: Release<Tokens = u64>>(self, way: impl FnOnce(Source) -> R) -> Permit<R> {
        let Self { granted, source } = self;
        Permit::new(way(source), granted, if source == Source::Nothing { 0 } else { granted })
    }
}

impl<T, Q: fmt::Debug> fmt::Debug for OfKey<T, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, .. } = self;
        f.debug_struct("OfKey").field("key", key).field("source", source).finish_non_exhaustive()
    }
}

impl<T, Q> OfKey<T, Q> {
    pub(super) fn new(keyed: T, key: Q, source: Source) -> Self {
        Self { keyed, key, source }
    }
}

impl<T, Q, K, C, S> Release for OfKey<T, Q>
where
    T: Deref<Target = Keyed<K, C, S>>,
    Q: Deref<Target: Lookup<K>>,
    K: Eq + Hash,
    C: Fn() -> u64,
    S: BuildHasher,
{
    type Tokens = u64;

    fn give_back(&self, tokens: u64) {
        self.keyed.put_back(&*self.key, tokens, self.source);
    }
}

impl<T, Q> Permit<OfKey<T, Q>>
where
    OfKey<T, Q>: Release,
{
    /// Whether the key had no slot and the tokens came from the bucket that such keys share.
    pub fn is_shared(&self) -> bool {
        self.source().source == Source::Shared
    }
}
