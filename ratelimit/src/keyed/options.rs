//! How many keys are held, and what becomes of those beyond.

use crate::quota::Quota;

/// How many keys, and what happens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedOptions {
    /// Most buckets held at once; 1,048,576 by default, and never more than 2^32-1. A bucket takes 18 bytes
    /// and the key, in a table that is two thirds to seven eighths full; a quota that is in use takes 90 in each
    /// of the shards. Too few, and keys in debt shut new ones out; keys whose bucket is full never do.
    pub max_keys: usize,
    /// What happens to a new key when every bucket looked at is in use; by default it is refused.
    pub over_cap: OverCap,
    /// Locks the keys are spread over, rounded up to a power of two, at most 1,024; 64 by default. More let
    /// more threads in at once and make each table smaller, which stalls its requests when it grows; at 256
    /// bytes each.
    pub shards: usize,
}

impl Default for KeyedOptions {
    fn default() -> Self {
        Self { max_keys: 1 << 20, over_cap: OverCap::DenyNew, shards: 64 }
    }
}

/// What happens to a new key when the table is full. A full bucket is evicted first, under each of these.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverCap {
    /// It is refused, with [`Bound::Keys`](crate::Bound::Keys) and the time after which a slot may be free.
    #[default]
    DenyNew,
    /// It shares one bucket of this quota with all others in its place, until a slot is free. Its own quota
    /// needs a slot to be counted and holds for the size of each request only: so this quota bounds what all
    /// of them pass together, and what a single one of them passes. Choose it no larger than one key may have.
    Shared(Quota),
    /// It takes the slot of the bucket that will be full soonest among those looked at. The last 1,024 buckets
    /// that had to go are kept aside as they are (210 KiB): their keys come back to them, whatever the quota is by
    /// then, and so do tokens that are given back.
    ///
    /// Of those before them is known when they will be full under the quota they had, in a sketch of 32 KiB
    /// (count-min with maxima instead of sums): their keys come back as buckets that are full then and not
    /// earlier. Under an unchanged quota no debt is forgotten and no key ever passes more than that. A quota that
    /// changed meanwhile changes the debt with the rate, one whose rate has become zero is forgotten with its debt,
    /// and tokens given back meanwhile are lost.
    ///
    /// A sketch errs upwards: once about a thousand keys are in it in debt at the same time, new keys begin to
    /// pay for strangers, for as long as those would. Never evicted are keys with the rate zero.
    EvictIndebted,
}
