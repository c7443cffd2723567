//! Watches the records of all instances and keeps the ring. Invariants: it is the only one to publish it; whatever the
//! store does, the last good snapshot stays in use, and its health goes on: with what is heard of its members, or growing old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::Wish;
use super::driver::{Home, apply, sleep_until};
use super::event::Written;
use super::observe::{Observer, Remark};
use super::run::{Backoff, LEAST_PERIOD, Report};
use crate::error::BuildError;
use crate::membership::Membership;
use crate::ring::{Options, Ring};
use crate::shared::SharedRing;
use crate::store::{Listing, News, Store, StoreError, Timed, UpdateError, Watch};

/// How a ring is watched.
#[derive(Debug, Clone)]
pub struct WatcherOptions {
    /// What the ring is built with.
    pub ring: Options,
    /// The longest time between two snapshots. Default 1 s, at least 100 ms: who falls silent is unhealthy so much later.
    pub refresh: Duration,
    /// For how long changes are gathered into one snapshot. Default 100 ms.
    pub gather: Duration,
    /// How long no news at all are believed. Default 30 s, at least 100 ms: instances send heartbeats, so a watch that is silent for
    /// longer is broken, and everything is listed anew.
    pub silence: Duration,
    /// How long an instance that vanished from the store is kept after it was last heard of. Default 10 minutes, so that a
    /// store that loses everything does not empty the ring.
    pub keep_vanished: Duration,
}

impl Default for WatcherOptions {
    fn default() -> Self {
        Self {
            ring: Options::default(),
            refresh: Duration::from_secs(1),
            gather: Duration::from_millis(100),
            silence: Duration::from_secs(30),
            keep_vanished: Duration::from_secs(600),
        }
    }
}

/// The ring as a store shows it, kept in a task that ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    home: Home,
    shared: Arc<Shared>,
    members: watch::Receiver<Arc<Membership>>,
    _task: JoinSet<()>,
}

/// What the task shares with others.
#[derive(Debug)]
pub(super) struct Shared {
    ring: Arc<SharedRing>,
    ears: Mutex<Ears>,
    observer: Mutex<Observer>,
}

/// How well it hears: monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ears {
    /// Since when it has watched without a failure; `None` while it does not.
    pub watching_since_ns: Option<u64>,
    /// When the store last failed it.
    pub failed_ns: Option<u64>,
}

impl Watcher {
    /// Starts to watch the store of `home`.
    ///
    /// # Errors
    ///
    /// If a ring cannot have these options.
    pub fn spawn(home: &Home, options: WatcherOptions) -> Result<Self, BuildError> {
        let empty = Ring::build(&options.ring, &Membership::default(), (home.clock)().mono_ns)?;
        let shared = Arc::new(Shared {
            ring: Arc::new(SharedRing::new(empty)),
            ears: Mutex::default(),
            observer: Mutex::default(),
        });
        let (members, shown) = watch::channel(Arc::default());
        let options = WatcherOptions {
            refresh: options.refresh.max(LEAST_PERIOD),
            silence: options.silence.max(LEAST_PERIOD),
            ..options
        };
        let store = Timed::new(Arc::clone(&home.store), home.time_out);
        let told = AtomicBool::new(false);
        let run = Run {
            home: home.clone(),
            options,
            store,
            shared: Arc::clone(&shared),
            members,
            told,
            unfit: Mutex::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(run.run());
        Ok(Self { home: home.clone(), shared, members: shown, _task: task })
    }

    /// The ring, empty until the store was listed.
    pub fn ring(&self) -> Arc<SharedRing> {
        Arc::clone(&self.shared.ring)
    }

    /// The members, as of each snapshot: for a [`Driver`](super::Driver), and to wait for changes.
    pub fn members(&self) -> watch::Receiver<Arc<Membership>> {
        self.members.clone()
    }

    /// Waits until the members are as wanted.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Membership) -> bool) {
        let mut members = self.members.clone();
        // The task lives as long as this does.
        let _ = members.wait_for(|members| wanted(members)).await;
    }

    /// How well it hears.
    pub fn ears(&self) -> Ears {
        self.shared.ears()
    }

    /// Has an instance forgotten at the version known here: its record becomes LEFT. `false` if it is not known, or was
    /// heard of meanwhile.
    ///
    /// # Errors
    ///
    /// If it is not known whether the record was written.
    pub async fn forget(&self, id: &str) -> Result<bool, UpdateError> {
        let known = self.members.borrow().member(id).map(|member| member.instance.version);
        let Some(seen) = known else { return Ok(false) };
        let written = apply(&self.home, id, &Wish::Bury { seen }).await?;
        Ok(matches!(written, Written::Done { .. }))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(super) fn ears(&self) -> Ears {
        *self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of what is left of those who left and were last heard of before then.
    pub(super) fn expired(&self, heard_before_ns: u64) -> Vec<String> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner).expired(heard_before_ns)
    }
}

struct Run {
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
    async fn run(self) {
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

#[cfg(test)]
mod tests;
