//! Looks at what the words of all nodes make when a node has said something new.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::{ChitchatId, NodeState};
use tokio::sync::watch;

use super::GossipStore;
use crate::store::{News, Record, Revision, Store, StoreError, Watch};

pub(super) struct GossipWatch {
    store: GossipStore,
    /// Tells of what live nodes said.
    nodes: watch::Receiver<BTreeMap<ChitchatId, NodeState>>,
    written: watch::Receiver<u64>,
    ended: watch::Receiver<bool>,
    /// Nothing tells of what the dead had said and others pass on.
    interval: Duration,
    seen: Option<BTreeMap<Arc<str>, Revision>>,
    news: VecDeque<News>,
}

impl GossipWatch {
    pub(super) async fn begin(store: &GossipStore) -> Result<Self, StoreError> {
        let nodes = store.with(|chitchat| chitchat.live_nodes_watcher()).await?;
        let (written, ended) = (store.node.written.subscribe(), store.node.ended.clone());
        let (store, interval) = (store.clone(), store.node.interval);
        Ok(Self { store, nodes, written, ended, interval, seen: None, news: VecDeque::new() })
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let listing = self.store.list().await?;
        let there: BTreeMap<Arc<str>, Revision> =
            listing.records.iter().map(|record| (Arc::clone(&record.key), record.version)).collect();
        match &self.seen {
            // Which words made an earlier listing, no number tells.
            None => self.news.push_back(News::Resync(listing)),
            Some(seen) => {
                let gone = seen.keys().filter(|key| !there.contains_key(*key));
                self.news.extend(gone.map(|key| News::Delete { key: Arc::clone(key) }));
                let is_new = |record: &Record| seen.get(&record.key) != Some(&record.version);
                self.news.extend(listing.records.into_iter().filter(is_new).map(News::Put));
            }
        }
        self.seen = Some(there);
        Ok(())
    }
}

#[async_trait]
impl Watch for GossipWatch {
    async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            self.nodes.mark_unchanged();
            self.written.mark_unchanged();
            self.look().await?;
            if self.news.is_empty() {
                // The senders are the store's, which is here.
                tokio::select! {
                    _ = self.nodes.changed() => {}
                    _ = self.written.changed() => {}
                    _ = self.ended.changed() => {}
                    () = tokio::time::sleep(self.interval) => {}
                }
            }
        }
    }
}
