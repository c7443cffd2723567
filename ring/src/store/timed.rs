//! A store that answers in time or not at all. Invariant: no call hangs, whatever the store does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Expect, Listing, PutError, Record, Revision, Store, StoreError, Watch};

/// A store whose calls are given up after a while. A watch that was begun may wait for its next change for ever.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use forebay_ring::store::{MemoryStore, Store, StoreError, Timed, Trouble};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let store = Arc::new(MemoryStore::default());
/// let timed = Timed::new(store.clone(), Duration::from_secs(2));
/// store.set_trouble(Trouble::Hangs);
/// assert!(matches!(timed.get("instances/a").await, Err(StoreError::TimedOut { .. })));
/// store.set_trouble(Trouble::None);
/// assert_eq!(timed.get("instances/a").await.unwrap(), None);
/// # })
/// ```
#[derive(Debug, Clone)]
pub struct Timed {
    store: Arc<dyn Store>,
    limit: Duration,
}

impl Timed {
    /// Gives each call to `store` this long.
    pub fn new(store: Arc<dyn Store>, limit: Duration) -> Self {
        Self { store, limit }
    }

    async fn limit<T, E: From<StoreError>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let timed_out = StoreError::TimedOut { after: self.limit };
        tokio::time::timeout(self.limit, call).await.unwrap_or_else(|_| Err(timed_out.into()))
    }
}

#[async_trait]
impl Store for Timed {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.limit(self.store.list()).await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.limit(self.store.get(key)).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.limit(self.store.put_if(key, value, expect)).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.limit(self.store.delete_if(key, expect)).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.limit(self.store.watch(after)).await
    }
}
