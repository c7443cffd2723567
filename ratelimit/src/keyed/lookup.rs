//! How a key that a caller has at hand finds the key that is stored, and becomes one.

use std::borrow::Borrow;
use std::hash::Hash;

/// A form in which the key `K` of a [`Keyed`](super::Keyed) table can be asked for without making one: `str`
/// for `String` and [`Name`](super::Name), and every `K: Clone` for itself.
///
/// It must hash as the key that it finds, as with [`Borrow`].
pub trait Lookup<K>: Hash {
    /// Whether `key` is the one that is asked for.
    fn finds(&self, key: &K) -> bool;

    /// The key to be stored. Only called for a key whose first request was admitted.
    fn to_key(&self) -> K;
}

impl<K: Borrow<Q>, Q: Eq + Hash + ToOwned<Owned = K> + ?Sized> Lookup<K> for Q {
    #[inline]
    fn finds(&self, key: &K) -> bool {
        key.borrow() == self
    }

    fn to_key(&self) -> K {
        self.to_owned()
    }
}
