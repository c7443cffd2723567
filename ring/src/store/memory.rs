//! A store in memory, for one process and for tests: it fails and hangs when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Expect, Listing, MAX_VALUE_BYTES, News, PutError, Record, Revision, Store, StoreError, Watch, check_value,
};

/// A watch that is further behind begins anew.
const MAX_LOG: usize = 1_024;

/// A [`Store`] in memory; a clone is the same store.
#[derive(Debug, Clone)]
pub struct MemoryStore(Arc<Shared>);

/// What goes wrong with a [`MemoryStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Calls fail at once, and so does each watch.
    Fails,
    /// Calls do not return, and a watch hears nothing, until there is other trouble or none.
    Hangs,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The revision last written.
    changed: watch::Sender<u64>,
    trouble: watch::Sender<Trouble>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<Arc<str>, (Bytes, u64)>,
    revision: u64,
    /// The latest changes, with their revisions: written or deleted.
    log: VecDeque<(u64, Arc<str>, Option<Bytes>)>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            trouble: watch::Sender::default(),
        }))
    }
}

impl MemoryStore {
    /// Lets something go wrong from now on, or well again.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.0.trouble.send_replace(trouble);
    }

    /// Loses all records. Watches begin anew; revisions go on rising.
    pub fn lose_everything(&self) {
        let mut state = self.0.state();
        state.records.clear();
        state.log.clear();
        state.revision += 1;
        let revision = state.revision;
        drop(state);
        self.0.changed.send_replace(revision);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it does not hang.
    async fn answer(&self) -> Result<(), StoreError> {
        let mut trouble = self.trouble.subscribe();
        let trouble = trouble.wait_for(|trouble| *trouble != Trouble::Hangs).await;
        match trouble.as_deref() {
            Ok(Trouble::None) => Ok(()),
            _ => Err(StoreError::unreachable("the store in memory was told to fail")),
        }
    }

    /// Writes or deletes if what is there is as expected.
    fn write(&self, key: &str, value: Option<Bytes>, expect: Expect) -> Result<Revision, PutError> {
        let mut state = self.state();
        let current = state.record(key);
        if !expect.is_met_by(current.as_ref().map(|record| record.version)) {
            return Err(PutError::Lost { current });
        }
        if value.is_none() && current.is_none() {
            return Ok(Revision(state.revision));
        }
        state.revision += 1;
        let (revision, key) = (state.revision, current.map_or_else(|| Arc::from(key), |record| record.key));
        match &value {
            Some(value) => drop(state.records.insert(Arc::clone(&key), (value.clone(), revision))),
            None => drop(state.records.remove(&key)),
        }
        state.log.push_back((revision, key, value));
        if state.log.len() > MAX_LOG {
            state.log.pop_front();
        }
        drop(state);
        self.changed.send_replace(revision);
        Ok(Revision(revision))
    }
}

impl State {
    fn record(&self, key: &str) -> Option<Record> {
        let (key, (value, version)) = self.records.get_key_value(key)?;
        Some(Record { key: Arc::clone(key), value: value.clone(), version: Revision(*version) })
    }

    fn listing(&self) -> Listing {
        let record = |(key, (value, version)): (&Arc<str>, &(Bytes, u64))| Record {
            key: Arc::clone(key),
            value: value.clone(),
            version: Revision(*version),
        };
        Listing { records: self.records.iter().map(record).collect(), revision: Revision(self.revision) }
    }

    /// What came after a revision, and its own.
    fn news(&self, after: u64) -> Option<(News, u64)> {
        if after == self.revision {
            return None;
        }
        // Each change has the revision after the one before it, and the last one has the last.
        let first =
            self.log.front().filter(|(first, ..)| after < self.revision && after.saturating_add(1) >= *first);
        let at = first.and_then(|(first, ..)| usize::try_from(after + 1 - first).ok());
        Some(match at.and_then(|at| self.log.get(at)) {
            Some((revision, key, Some(value))) => {
                let (key, version) = (Arc::clone(key), Revision(*revision));
                (News::Put(Record { key, value: value.clone(), version }), *revision)
            }
            Some((revision, key, None)) => (News::Delete { key: Arc::clone(key) }, *revision),
            None => (News::Resync(self.listing()), self.revision),
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.0.answer().await?;
        Ok(self.0.state().listing())
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.0.answer().await?;
        Ok(self.0.state().record(key))
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.0.answer().await?;
        check_value(&value, MAX_VALUE_BYTES)?;
        self.0.write(key, Some(value), expect)
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.0.answer().await?;
        self.0.write(key, None, expect).map(drop)
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.0.answer().await?;
        Ok(Box::new(MemoryWatch {
            shared: Arc::clone(&self.0),
            after: after.0,
            changed: self.0.changed.subscribe(),
        }))
    }
}

struct MemoryWatch {
    shared: Arc<Shared>,
    after: u64,
    changed: watch::Receiver<u64>,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<News, StoreError> {
        let mut trouble = self.shared.trouble.subscribe();
        loop {
            // Before looking, so that nothing that changes meanwhile is missed.
            trouble.mark_unchanged();
            self.changed.mark_unchanged();
            self.shared.answer().await?;
            let news = self.shared.state().news(self.after);
            if let Some((news, revision)) = news {
                self.after = revision;
                return Ok(news);
            }
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = trouble.changed() => {}
            }
        }
    }
}
