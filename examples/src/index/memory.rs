//! The in-memory twin: the whole index in one map, for tests and simulations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{ChunkRef, Index, IndexError, Span};
use crate::logql::{Matcher, all_match};

type Chunks = BTreeMap<String, ChunkRef>;

/// An index that lives and dies with its process.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    tenants: Mutex<BTreeMap<String, Chunks>>,
}

impl MemoryIndex {
    fn read<T>(&self, tenant: &str, f: impl FnOnce(&Chunks) -> T) -> Result<T, IndexError> {
        Ok(f(self.tenants.lock().get(tenant).unwrap_or(&Chunks::new())))
    }
}

#[async_trait]
impl Index for MemoryIndex {
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError> {
        let mut tenants = self.tenants.lock();
        let known = tenants.entry(tenant.to_owned()).or_default();
        known.extend(chunks.iter().map(|chunk| (chunk.key.clone(), chunk.clone())));
        Ok(())
    }

    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.read(tenant, |chunks| {
            let found =
                chunks.values().filter(|c| span.overlaps(c) && all_match(matchers, &c.labels.pairs()));
            found.cloned().collect()
        })
    }

    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError> {
        self.read(tenant, |chunks| {
            let mut found = BTreeSet::new();
            for chunk in chunks.values().filter(|c| span.overlaps(c)) {
                for (label, value) in chunk.labels.pairs() {
                    match name {
                        None => found.insert(label.to_owned()),
                        Some(name) => name == label && found.insert(value.to_owned()),
                    };
                }
            }
            found
        })
    }

    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.read(tenant, |chunks| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            chunks
                .range::<str, _>((from, Bound::Unbounded))
                .take(limit)
                .map(|(_, chunk)| chunk.clone())
                .collect()
        })
    }

    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError> {
        self.read(tenant, |chunks| keys.iter().map(|key| chunks.contains_key(key)).collect())
    }

    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError> {
        let mut tenants = self.tenants.lock();
        if let Some(chunks) = tenants.get_mut(tenant) {
            keys.iter().for_each(|key| drop(chunks.remove(key)));
            if chunks.is_empty() {
                tenants.remove(tenant);
            }
        }
        Ok(())
    }

    async fn tenants(&self) -> Result<Vec<String>, IndexError> {
        Ok(self.tenants.lock().keys().cloned().collect())
    }
}
