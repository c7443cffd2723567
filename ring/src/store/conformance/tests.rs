//! The suite passes a store that is right and fails stores that are wrong as others were.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::store::{MemoryStore, News, Revision, StoreError, Watch};

/// What a store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Versions count the writes of a key since it was created, as those of etcd named so do.
    VersionsBeginAnew,
    /// A watch tells what comes after it began, not after the listing.
    WatchBeginsNow,
    DeletionsAreNoNews,
}

#[derive(Debug)]
struct Wrong {
    store: MemoryStore,
    fault: Fault,
    /// The writes of a key since it was created, at each version.
    writes: Mutex<BTreeMap<(String, Revision), u64>>,
}

impl Wrong {
    fn told(&self, key: &str, version: Revision) -> Revision {
        match self.fault {
            Fault::VersionsBeginAnew => {
                Revision(*self.writes.lock().unwrap().get(&(key.into(), version)).unwrap())
            }
            _ => version,
        }
    }

    async fn meant(&self, key: &str, expect: Expect) -> Expect {
        let current = self.store.get(key).await.unwrap();
        match (self.fault, expect, current) {
            (Fault::VersionsBeginAnew, Expect::Version(told), Some(record)) => {
                let same = self.told(key, record.version) == told;
                Expect::Version(if same { record.version } else { Revision(u64::MAX) })
            }
            _ => expect,
        }
    }
}

#[async_trait]
impl Store for Wrong {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.store.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let record = self.store.get(key).await?;
        Ok(record.map(|record| Record { version: self.told(key, record.version), ..record }))
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        let before = self.store.get(key).await?;
        let expect = self.meant(key, expect).await;
        let put = self.store.put_if(key, value, expect).await;
        let mut writes = self.writes.lock().unwrap();
        let version = match put {
            Ok(version) => version,
            Err(PutError::Lost { current: Some(record) }) if self.fault == Fault::VersionsBeginAnew => {
                let version = Revision(writes[&(key.to_owned(), record.version)]);
                return Err(PutError::Lost { current: Some(Record { version, ..record }) });
            }
            Err(error) => return Err(error),
        };
        let count = before.map_or(0, |record| writes[&(key.to_owned(), record.version)]) + 1;
        writes.insert((key.into(), version), count);
        drop(writes);
        Ok(self.told(key, version))
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        let expect = self.meant(key, expect).await;
        self.store.delete_if(key, expect).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let after = match self.fault {
            Fault::WatchBeginsNow => self.store.list().await?.revision,
            _ => after,
        };
        let watch = self.store.watch(after).await?;
        Ok(if self.fault == Fault::DeletionsAreNoNews { Box::new(Deaf(watch)) } else { watch })
    }
}

struct Deaf(Box<dyn Watch>);

#[async_trait]
impl Watch for Deaf {
    async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            match self.0.next().await? {
                News::Delete { .. } => {}
                news => return Ok(news),
            }
        }
    }
}

fn check(store: Arc<dyn Store>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(linear(store));
}

fn check_wrong(fault: Fault) {
    check(Arc::new(Wrong { store: MemoryStore::default(), fault, writes: Mutex::default() }));
}

#[test]
fn the_store_in_memory_conforms() {
    check(Arc::new(MemoryStore::default()));
}

#[test]
#[should_panic(expected = "after")]
fn versions_that_begin_anew_do_not_conform() {
    check_wrong(Fault::VersionsBeginAnew);
}

#[test]
#[should_panic(expected = "news come in time")]
fn a_watch_that_begins_now_does_not_conform() {
    check_wrong(Fault::WatchBeginsNow);
}

#[test]
#[should_panic(expected = "news come in time")]
fn a_watch_that_tells_of_no_deletions_does_not_conform() {
    check_wrong(Fault::DeletionsAreNoNews);
}
