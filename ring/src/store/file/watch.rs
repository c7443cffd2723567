//! Looks at the revision again and again, and at all records when it changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;

use super::FileStore;
use crate::store::{Listing, News, Record, Revision, Store, StoreError, Watch};

pub(super) struct FileWatch {
    store: FileStore,
    /// The version of each record as it was told.
    seen: BTreeMap<Arc<str>, Revision>,
    revision: Revision,
    news: VecDeque<News>,
}

impl FileWatch {
    pub(super) async fn begin(store: FileStore, after: Revision) -> Result<Self, StoreError> {
        let listing = store.list().await?;
        let mut watch =
            Self { store, seen: BTreeMap::new(), revision: listing.revision, news: VecDeque::new() };
        watch.seen = versions(&listing);
        if listing.revision != after {
            watch.news.push_back(News::Resync(listing));
        }
        Ok(watch)
    }

    /// Notes what is different in a listing.
    fn take(&mut self, listing: Listing) {
        let there = versions(&listing);
        let gone = self.seen.keys().filter(|key| !there.contains_key(*key));
        self.news.extend(gone.map(|key| News::Delete { key: Arc::clone(key) }));
        let is_new = |record: &Record| self.seen.get(&record.key) != Some(&record.version);
        self.news.extend(listing.records.into_iter().filter(is_new).map(News::Put));
        (self.seen, self.revision) = (there, listing.revision);
    }
}

fn versions(listing: &Listing) -> BTreeMap<Arc<str>, Revision> {
    listing.records.iter().map(|record| (Arc::clone(&record.key), record.version)).collect()
}

#[async_trait]
impl Watch for FileWatch {
    async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            // Read without the lock: it is replaced at once, and before the record is.
            let revision = self.store.blocking(|dir| dir.stored_revision()).await?;
            if revision == Some(self.revision.0) || (revision.is_none() && self.revision.0 == 0) {
                tokio::time::sleep(self.store.poll).await;
                continue;
            }
            let listing = self.store.list().await?;
            self.take(listing);
            if self.news.is_empty() {
                // A number that a crash burned, or one that cannot be read.
                tokio::time::sleep(self.store.poll).await;
            }
        }
    }
}
