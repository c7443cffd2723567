//! The streams of all tenants by their canonical labels.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;

use forebay_chunk::TimeRange;
use forebay_tenant::streams::{Admission, Streams};
use hashbrown::HashMap;
use parking_lot::RwLock;

use super::stream::{Expected, Stream};
use crate::labels::Labels;
use crate::logql::{Matcher, all_match};
use crate::record::Record;

/// Locks that the streams are spread over, so that pushes of one tenant rarely wait for each other.
const SHARDS: usize = 32;

type Hasher = foldhash::quality::FixedState;
type Shards = [RwLock<Shard>; SHARDS];
type Shard = HashMap<Labels, Arc<Stream>, Hasher>;

/// Streams by tenant and labels, and how many each tenant has.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    tenants: RwLock<HashMap<Arc<str>, Arc<Shards>, Hasher>>,
    active: Streams,
}

/// The streams of a record, in the order of its sections.
#[derive(Debug)]
pub(super) struct Opened {
    /// `None` for a section that was refused.
    pub(super) streams: Vec<Option<Expected>>,
    pub(super) refused: Vec<Overrun>,
}

/// A section of a stream that would have been one too many.
#[derive(Debug)]
pub(super) struct Overrun {
    pub(super) section: usize,
    pub(super) active: usize,
    pub(super) limit: usize,
}

impl Tenants {
    /// Finds the streams of `record`, making those that are new and within `limit`.
    pub(super) fn open(
        &self,
        record: &Record,
        now_ns: u64,
        limit: impl Fn(&str) -> Option<NonZeroUsize>,
    ) -> Opened {
        let (tenant, shards) = self.tenant(record.tenant());
        let mut opened = Opened { streams: Vec::with_capacity(record.sections().len()), refused: Vec::new() };
        for (index, section) in record.sections().enumerate() {
            let hash = Hasher::default().hash_one(section.labels);
            let shard = &shards[usize::try_from(hash % SHARDS as u64).expect("below SHARDS")];
            let found = shard.read().get(section.labels).map(Stream::expect);
            let stream = found.map_or_else(
                || self.create(&tenant, shard, section.labels, hash, now_ns, limit(record.tenant())),
                Ok,
            );
            opened.streams.push(match stream {
                Ok(stream) => Some(stream),
                Err((active, limit)) => {
                    opened.refused.push(Overrun { section: index, active, limit });
                    None
                }
            });
        }
        opened
    }

    fn create(
        &self,
        tenant: &Arc<str>,
        shard: &RwLock<Shard>,
        labels: &[u8],
        hash: u64,
        now_ns: u64,
        limit: Option<NonZeroUsize>,
    ) -> Result<Expected, (usize, usize)> {
        let mut shard = shard.write();
        if let Some(stream) = shard.get(labels) {
            return Ok(stream.expect());
        }
        if let Admission::Refused { active, limit } = self.active.admit(tenant, hash, now_ns, limit) {
            return Err((active, limit));
        }
        let labels = Labels::from_canonical(labels).expect("a record holds canonical labels");
        let stream = Arc::new(Stream::new(Arc::clone(tenant), labels.clone(), now_ns));
        let expected = stream.expect();
        shard.insert(labels, stream);
        Ok(expected)
    }

    fn tenant(&self, name: &str) -> (Arc<str>, Arc<Shards>) {
        if let Some((name, shards)) = self.tenants.read().get_key_value(name) {
            return (Arc::clone(name), Arc::clone(shards));
        }
        let mut tenants = self.tenants.write();
        let name: Arc<str> =
            tenants.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        let shards = tenants.entry(Arc::clone(&name)).or_default();
        (name, Arc::clone(shards))
    }

    /// Every stream there is.
    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let tenants: Vec<_> = self.tenants.read().values().cloned().collect();
        let shards = tenants.iter().flat_map(|shards| shards.iter());
        shards.flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// The streams of `tenant` that match and may hold entries in `range`, by their labels.
    pub(super) fn matching(&self, tenant: &str, matchers: &[Matcher], range: TimeRange) -> Vec<Arc<Stream>> {
        let Some(shards) = self.tenants.read().get(tenant).cloned() else { return Vec::new() };
        let mut found: Vec<Arc<Stream>> = Vec::new();
        for shard in shards.iter() {
            let shard = shard.read();
            let matching =
                shard.values().filter(|s| all_match(matchers, &s.labels.pairs()) && s.overlaps(range));
            found.extend(matching.cloned());
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Forgets streams that hold nothing and had no push since `idle_before_ns`, and tenants without streams.
    pub(super) fn forget_idle(&self, idle_before_ns: u64) {
        let tenants: Vec<_> =
            self.tenants.read().iter().map(|(name, shards)| (name.clone(), shards.clone())).collect();
        for (tenant, shards) in tenants {
            for shard in shards.iter() {
                shard.write().retain(|labels, stream| {
                    let idle = stream.is_idle(idle_before_ns);
                    if idle {
                        self.active.remove(&tenant, Hasher::default().hash_one(labels.as_bytes()));
                    }
                    !idle
                });
            }
        }
        // Whoever is about to make a stream holds the shards, and took them under this lock.
        self.tenants.write().retain(|_, shards| {
            Arc::strong_count(shards) > 1 || shards.iter().any(|shard| !shard.read().is_empty())
        });
    }

    /// Active streams of all tenants.
    pub(super) fn len(&self) -> usize {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    /// Active streams of each tenant.
    pub(super) fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let tenants: Vec<_> =
            self.tenants.read().iter().map(|(name, shards)| (name.clone(), shards.clone())).collect();
        tenants
            .into_iter()
            .map(|(name, shards)| (name, shards.iter().map(|s| s.read().len()).sum()))
            .collect()
    }
}
