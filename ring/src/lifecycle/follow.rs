//! Follows a store: lists it, takes what changes, and lists anew whenever there may be a gap. Invariant: whatever the store
//! does, what is published goes on, at least as often as it is to be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::home::Home;
use super::observe::Remark;
use super::run::{Backoff, LEAST_PERIOD, Report, sleep_until};
use crate::store::{Listing, News, Record, Store, StoreError, Timed, Watch};

/// How well a store is heard: monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ears {
    /// Since when it has been watched without a failure; `None` while it is not.
    pub watching_since_ns: Option<u64>,
    /// When the store last failed.
    pub failed_ns: Option<u64>,
}

/// Who takes what is heard.
pub(crate) trait Follower {
    fn put(&self, record: &Record, now_ns: u64) -> Option<Remark>;

    fn delete(&self, key: &str, now_ns: u64);

    /// Takes all there is in the place of what was missed.
    fn resync(&self, listing: &Listing, now_ns: u64) -> Vec<Remark>;

    /// Shows others what is known by now.
    fn publish(&self, now_ns: u64);

    fn ears(&self) -> &Mutex<Ears>;
}

/// How a store is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The longest time between two publications, at least 100 ms.
    pub(crate) refresh: Duration,
    /// For how long changes are gathered into one.
    pub(crate) gather: Duration,
    /// How long no news at all are believed, at least 100 ms.
    pub(crate) silence: Duration,
}

/// Follows the store of `home` for as long as it is polled.
pub(crate) async fn follow(home: Home, pace: Pace, follower: impl Follower) {
    let store = Timed::new(home.store.clone(), home.time_out);
    let (refresh, silence) = (pace.refresh.max(LEAST_PERIOD), pace.silence.max(LEAST_PERIOD));
    let run = Run { home, store, pace: Pace { refresh, silence, ..pace }, follower };
    let mut backoff = Backoff::default();
    loop {
        let Err(error) = run.watch(&mut backoff).await else { continue };
        run.hear(|ears, now_ns| *ears = Ears { watching_since_ns: None, failed_ns: Some(now_ns) });
        (run.home.reporter)(Report::Watch(error));
        // Nobody is heard of meanwhile, and all grow old.
        run.publishing(tokio::time::sleep(backoff.next((run.home.clock)()))).await;
    }
}

struct Run<F> {
    home: Home,
    pace: Pace,
    store: Timed,
    follower: F,
}

impl<F: Follower> Run<F> {
    /// Lists, and takes news for as long as there are any.
    async fn watch(&self, backoff: &mut Backoff) -> Result<(), StoreError> {
        let listing = self.publishing(self.store.list()).await?;
        // Before the watch, so that a store that cannot be watched is listed again and again.
        self.resync(&listing);
        self.publish();
        let mut watch = self.publishing(self.store.watch(listing.revision)).await?;
        backoff.reset();
        self.hear(|ears, now_ns| ears.watching_since_ns = ears.watching_since_ns.or(Some(now_ns)));
        loop {
            let silent_at = tokio::time::sleep(self.pace.silence);
            let mut silent_at = std::pin::pin!(silent_at);
            let mut publish_at_ns = self.after(self.pace.refresh);
            // One round ends with news: gathered until it is time to publish.
            let news = loop {
                tokio::select! {
                    biased;
                    news = watch.next() => break news?,
                    () = sleep_until(&self.home.clock, Some(publish_at_ns)) => {
                        self.publish();
                        publish_at_ns = self.after(self.pace.refresh);
                    }
                    () = &mut silent_at => return Ok(()),
                }
            };
            self.take(news);
            self.gather(&mut *watch).await?;
            self.publish();
        }
    }

    /// Takes what comes within a moment after the first of it.
    async fn gather(&self, watch: &mut dyn Watch) -> Result<(), StoreError> {
        let end = tokio::time::sleep(self.pace.gather);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                news = watch.next() => self.take(news?),
            }
        }
    }

    /// Waits for something, and publishes meanwhile.
    async fn publishing<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                done = &mut call => return done,
                () = tokio::time::sleep(self.pace.refresh) => self.publish(),
            }
        }
    }

    fn take(&self, news: News) {
        match news {
            News::Put(record) => {
                self.follower.put(&record, self.now_ns()).into_iter().for_each(|r| self.remark(r))
            }
            News::Delete { key } => self.follower.delete(&key, self.now_ns()),
            News::Resync(listing) => self.resync(&listing),
        }
    }

    fn resync(&self, listing: &Listing) {
        self.follower.resync(listing, self.now_ns()).into_iter().for_each(|remark| self.remark(remark));
    }

    fn publish(&self) {
        self.follower.publish(self.now_ns());
    }

    fn hear(&self, change: impl FnOnce(&mut Ears, u64)) {
        let now_ns = self.now_ns();
        change(&mut self.follower.ears().lock().unwrap_or_else(PoisonError::into_inner), now_ns);
    }

    fn now_ns(&self) -> u64 {
        (self.home.clock)().mono_ns
    }

    fn after(&self, wait: Duration) -> u64 {
        self.now_ns().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    fn remark(&self, remark: Remark) {
        (self.home.reporter)(Report::Remark(remark));
    }
}
