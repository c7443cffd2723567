//! The task of a watcher: lists, watches, and publishes what it hears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Ears, Shared, WatcherOptions};
use crate::error::BuildError;
use crate::lifecycle::home::Home;
use crate::lifecycle::observe::{Observer, Remark};
use crate::lifecycle::run::{Backoff, Report, sleep_until};
use crate::membership::Membership;
use crate::store::{Listing, News, Store, StoreError, Timed, Watch};

pub(super) struct Run {
    home: Home,
    options: WatcherOptions,
    store: Timed,
    shared: Arc<Shared>,
    members: watch::Sender<Arc<Membership>>,
    /// Whether the observer was told anything since the last snapshot.
    told: AtomicBool,
    /// Why no ring can be made of the members, as it was reported.
    unfit: Mutex<Option<BuildError>>,
}

impl Run {
    pub(super) fn new(
        home: &Home,
        options: WatcherOptions,
        shared: Arc<Shared>,
        members: watch::Sender<Arc<Membership>>,
    ) -> Self {
        let store = Timed::new(Arc::clone(&home.store), home.time_out);
        let (told, unfit) = (AtomicBool::new(false), Mutex::default());
        Self { home: home.clone(), options, store, shared, members, told, unfit }
    }

    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = self.watch(&mut backoff).await else { continue };
            self.hear(|ears, now_ns| *ears = Ears { watching_since_ns: None, failed_ns: Some(now_ns) });
            self.report(Report::Watch(error));
            // Nobody is heard of meanwhile, and all grow old.
            let pause = tokio::time::sleep(backoff.next((self.home.clock)()));
            let mut pause = std::pin::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    () = &mut pause => break,
                    () = tokio::time::sleep(self.options.refresh) => self.publish(),
                }
            }
        }
    }

    /// Lists, and takes news for as long as there are any.
    async fn watch(&self, backoff: &mut Backoff) -> Result<(), StoreError> {
        let listing = self.limited(self.store.list()).await?;
        // Before the watch, so that a store that cannot be watched is listed again and again.
        self.resync(&listing);
        self.publish();
        let mut watch = self.limited(self.store.watch(listing.revision)).await?;
        backoff.reset();
        self.hear(|ears, now_ns| ears.watching_since_ns = ears.watching_since_ns.or(Some(now_ns)));
        loop {
            let refresh_at_ns = self.after(self.options.refresh);
            let silent_at = tokio::time::sleep(self.options.silence);
            let mut silent_at = std::pin::pin!(silent_at);
            let mut publish_at_ns = refresh_at_ns;
            // One round ends with news: gathered until it is time to publish.
            let news = loop {
                tokio::select! {
                    biased;
                    news = watch.next() => break news?,
                    () = sleep_until(&self.home.clock, Some(publish_at_ns)) => {
                        self.publish();
                        publish_at_ns = self.after(self.options.refresh);
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
        let end = tokio::time::sleep(self.options.gather);
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                news = watch.next() => self.take(news?),
            }
        }
    }

    /// Waits for the store, and lets the snapshot grow old meanwhile.
    async fn limited<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                done = &mut call => return done,
                () = tokio::time::sleep(self.options.refresh) => self.publish(),
            }
        }
    }

    fn take(&self, news: News) {
        self.told.store(true, Ordering::Relaxed);
        let now_ns = (self.home.clock)().mono_ns;
        let remark = match news {
            News::Put(record) => self.observe(|observer| observer.put(&record.key, &record.value, now_ns)),
            News::Delete { key } => self.observe(|observer| {
                observer.delete(&key);
                None
            }),
            News::Resync(listing) => return self.resync(&listing),
        };
        remark.into_iter().for_each(|remark| self.remark(remark));
    }

    fn resync(&self, listing: &Listing) {
        self.told.store(true, Ordering::Relaxed);
        let now_ns = (self.home.clock)().mono_ns;
        let records = listing.records.iter().map(|record| (&*record.key, &*record.value));
        let remarks = self.observe(|observer| observer.resync(records, now_ns));
        remarks.into_iter().for_each(|remark| self.remark(remark));
    }

    fn observe<T>(&self, call: impl FnOnce(&mut Observer) -> T) -> T {
        call(&mut self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new snapshot in the place of the one before it, if there can be one.
    fn publish(&self) {
        let now_ns = (self.home.clock)().mono_ns;
        let keep_ns = u64::try_from(self.options.keep_vanished.as_nanos()).unwrap_or(u64::MAX);
        let members = self.observe(|observer| {
            let dropped = observer.drop_vanished(now_ns.saturating_sub(keep_ns));
            let told = self.told.swap(false, Ordering::Relaxed);
            (told || dropped > 0).then(|| Arc::new(observer.members().clone()))
        });
        if let Some(members) = members {
            self.members.send_replace(members);
        }
        let members = Arc::clone(&self.members.borrow());
        match self.shared.ring.load().updated(&members, now_ns) {
            Ok(ring) => {
                self.shared.ring.publish(ring);
                *self.unfit() = None;
            }
            Err(error) => {
                let heard = self.shared.ring.load().heard(&members, now_ns);
                self.shared.ring.publish(heard);
                if self.unfit().replace(error) != Some(error) {
                    self.report(Report::Ring(error));
                }
            }
        }
    }

    fn unfit(&self) -> MutexGuard<'_, Option<BuildError>> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, change: impl FnOnce(&mut Ears, u64)) {
        let now_ns = (self.home.clock)().mono_ns;
        change(&mut self.shared.ears.lock().unwrap_or_else(PoisonError::into_inner), now_ns);
    }

    fn after(&self, wait: Duration) -> u64 {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        (self.home.clock)().mono_ns.saturating_add(wait_ns)
    }

    fn remark(&self, remark: Remark) {
        self.report(Report::Remark(remark));
    }

    fn report(&self, report: Report) {
        (self.home.reporter)(report);
    }
}
