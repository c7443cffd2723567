//! The way from one task to the store: slow, cut off at times, and deaf to watches at others. Invariant: each task
//! reaches the store in milliseconds of its own, so that what happens does not depend on whom the runtime polls first.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_ring::store::{
    Expect, Listing, MemoryStore, News, PutError, Record, Revision, Store, StoreError, Watch,
};
use tokio::time::Instant;

use super::chance::Chance;

/// Milliseconds from one turn of a task to its next, and how many tasks there can be.
const ROUND: u64 = 64;

/// Turns that come round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    began: Instant,
    place: u64,
}

impl Turns {
    pub(crate) fn new(began: Instant, place: usize) -> Self {
        let place = place as u64;
        assert!(place < ROUND, "a turn of its own");
        Self { began, place }
    }

    /// Waits for so many turns, of which none is now.
    pub(crate) async fn pass(&self, count: u64) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        let here_ms = now_ms - now_ms % ROUND + self.place;
        let next_ms = if here_ms > now_ms { here_ms } else { here_ms + ROUND };
        let at_ms = next_ms + count.saturating_sub(1) * ROUND;
        tokio::time::sleep_until(self.began + Duration::from_millis(at_ms)).await;
    }
}

/// The store, and whether it answers.
#[derive(Debug, Default)]
pub(crate) struct Server {
    pub(crate) store: MemoryStore,
    pub(crate) stalls: AtomicBool,
    /// No write is too slow any more.
    pub(crate) calm: AtomicBool,
}

/// The line of a process.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) cut: AtomicBool,
    /// Streams do not come through, though calls do.
    pub(crate) deaf: AtomicBool,
}

/// What a task of a process uses as its store.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) server: Arc<Server>,
    pub(crate) line: Arc<Line>,
    pub(crate) turns: Turns,
    pub(crate) chance: Arc<Mutex<Chance>>,
}

impl Link {
    /// Waits until a message has come through.
    async fn cross(&self) {
        let turns = 1 + self.chance.lock().unwrap().below(3);
        self.turns.pass(turns).await;
        while self.line.cut.load(Ordering::Relaxed) || self.server.stalls.load(Ordering::Relaxed) {
            self.turns.pass(1).await;
        }
    }

    /// Some writes are so slow that they are given up before they happen.
    async fn write<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, PutError>> + Send + 'static,
    ) -> Result<T, PutError> {
        let slow = self.chance.lock().unwrap().one_in(12) && !self.server.calm.load(Ordering::Relaxed);
        let link = self.clone();
        let there = async move {
            link.cross().await;
            if slow {
                link.turns.pass(30).await;
            }
            write.await
        };
        let written = if slow { tokio::spawn(there).await.unwrap() } else { there.await };
        self.cross().await;
        written
    }
}

#[async_trait]
impl Store for Link {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.cross().await;
        let listing = self.server.store.list().await;
        self.cross().await;
        listing
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.cross().await;
        let record = self.server.store.get(key).await;
        self.cross().await;
        record
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        let (store, key) = (self.server.store.clone(), key.to_owned());
        self.write(async move { store.put_if(&key, value, expect).await }).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        let (store, key) = (self.server.store.clone(), key.to_owned());
        self.write(async move { store.delete_if(&key, expect).await }).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.cross().await;
        let watch = self.server.store.watch(after).await?;
        let watch = LinkWatch { link: self.clone(), watch, came: VecDeque::new(), crossed: false };
        watch.check()?;
        Ok(Box::new(watch))
    }
}

struct LinkWatch {
    link: Link,
    watch: Box<dyn Watch>,
    came: VecDeque<News>,
    /// Whether what came is through.
    crossed: bool,
}

impl LinkWatch {
    fn check(&self) -> Result<(), StoreError> {
        if self.link.line.deaf.load(Ordering::Relaxed) {
            return Err(StoreError::unreachable("streams do not come through"));
        }
        Ok(())
    }
}

#[async_trait]
impl Watch for LinkWatch {
    async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            if self.crossed {
                if let Some(news) = self.came.pop_front() {
                    return Ok(news);
                }
                self.crossed = false;
            }
            if self.came.is_empty() {
                let news = self.watch.next().await?;
                self.came.push_back(news);
            }
            self.link.cross().await;
            self.check()?;
            // All that is there by now comes with it.
            while let Poll::Ready(news) =
                pin!(self.watch.next()).poll(&mut Context::from_waker(Waker::noop()))
            {
                self.came.push_back(news?);
            }
            self.crossed = true;
        }
    }
}
