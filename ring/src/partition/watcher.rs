//! Watches the records of partitions and owners and keeps the ring of them. Invariant: whatever the store does, what was
//! known last stays in use; a store that loses everything moves no keys, and records of instances cost no new ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::{ChangeError, PartitionChange};
use super::observe::PartitionObserver;
use super::snapshot::PartitionRing;
use super::state::PartitionState;
use super::view::Partitions;
use super::write::{Written, apply};
use crate::codec::DecodeError;
use crate::lifecycle::follow::{Ears, Follower, Pace, follow};
use crate::lifecycle::run::{Report, Reporter};
use crate::lifecycle::{Home, Remark};
use crate::shared::SharedRing;
use crate::store::{Listing, Record, UpdateError};

/// How partitions are watched.
#[derive(Debug, Clone)]
pub struct PartitionWatcherOptions {
    /// For how long changes are gathered into one ring. Default 100 ms.
    pub gather: Duration,
    /// How long no news at all are believed. Default 30 s, at least 100 ms: after that everything is listed anew.
    pub silence: Duration,
    /// How long what vanished from the store is kept if nobody puts it back. Default 10 minutes.
    pub keep_vanished: Duration,
}

impl Default for PartitionWatcherOptions {
    fn default() -> Self {
        let (gather, silence) = (Duration::from_millis(100), Duration::from_secs(30));
        Self { gather, silence, keep_vanished: Duration::from_secs(600) }
    }
}

/// Partitions as a store shows them, kept in a task that ends when this is dropped.
#[derive(Debug)]
pub struct PartitionWatcher {
    home: Home,
    shared: Arc<Shared>,
    view: watch::Receiver<Arc<Partitions>>,
    _task: JoinSet<()>,
}

/// What the task shares with others.
#[derive(Debug)]
pub(super) struct Shared {
    ring: Arc<SharedRing<PartitionRing>>,
    ears: Mutex<Ears>,
    observer: Mutex<PartitionObserver>,
}

/// Why an operator's wish was not granted.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// By what is known of the partition.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// Somebody changed the partition meanwhile. Ask again when that is heard of.
    #[error("partition {number} was changed meanwhile")]
    Refused {
        /// The partition.
        number: u32,
    },
    /// What the store has of the partition cannot be read, and was left alone.
    #[error("what the store has of partition {number} cannot be read")]
    Unreadable {
        /// The partition.
        number: u32,
        /// Why.
        source: DecodeError,
    },
    /// It is not known whether the record was written.
    #[error(transparent)]
    Store(#[from] UpdateError),
}

impl PartitionWatcher {
    /// Starts to watch the store of `home`, which may hold the records of instances, too.
    pub fn spawn(home: &Home, options: PartitionWatcherOptions) -> Self {
        let empty = PartitionRing::build(&Partitions::default()).expect("an empty ring is within all limits");
        let shared = Arc::new(Shared {
            ring: Arc::new(SharedRing::new(empty)),
            ears: Mutex::default(),
            observer: Mutex::default(),
        });
        let (view, shown) = watch::channel(Arc::default());
        let PartitionWatcherOptions { gather, silence, keep_vanished } = options;
        let reporter = Arc::clone(&home.reporter);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            view,
            keep_vanished,
            reporter,
            listed: AtomicBool::new(false),
        };
        let pace = Pace { refresh: Duration::from_secs(1), gather, silence };
        let mut task = JoinSet::new();
        task.spawn(follow(home.clone(), pace, keeper));
        Self { home: home.clone(), shared, view: shown, _task: task }
    }

    /// The ring, empty until the store was listed.
    pub fn ring(&self) -> Arc<SharedRing<PartitionRing>> {
        Arc::clone(&self.shared.ring)
    }

    /// What is known, as of each ring, and to wait for changes.
    pub fn partitions(&self) -> watch::Receiver<Arc<Partitions>> {
        self.view.clone()
    }

    /// Waits until the partitions are as wanted.
    pub async fn wait_for(&self, mut wanted: impl FnMut(&Partitions) -> bool) {
        let mut view = self.view.clone();
        // The task lives as long as this does.
        let _ = view.wait_for(|view| wanted(view)).await;
    }

    /// How well it hears.
    pub fn ears(&self) -> Ears {
        *self.shared.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operator's wish for the state of a partition, by what is known here and what the store has. N3 goes by what is
    /// known: two wishes in different processes at once do not see each other, and after one of which it is not known
    /// whether it was granted, wait until it is.
    ///
    /// # Errors
    ///
    /// If it may not become that ([`Partitions::change`]), was changed meanwhile, or is not known to be written.
    pub async fn change(&self, number: u32, state: PartitionState) -> Result<(), WishError> {
        let unix_ns = (self.home.clock)().unix_ns;
        let change = self.shared.observer().view().change(number, state, unix_ns)?;
        self.grant(number, &change).await
    }

    /// An operator's wish to keep a partition in its state, or to let it go.
    ///
    /// # Errors
    ///
    /// If it is not known, was locked or opened meanwhile, or is not known to be written.
    pub async fn lock(&self, number: u32, locked: bool) -> Result<(), WishError> {
        let unix_ns = (self.home.clock)().unix_ns;
        let change = self.shared.observer().view().lock(number, locked, unix_ns)?;
        match change {
            Some(change) => self.grant(number, &change).await,
            None => Ok(()),
        }
    }

    async fn grant(&self, number: u32, change: &PartitionChange) -> Result<(), WishError> {
        match apply(&self.home, change).await? {
            Written::Put(record) => {
                // The next wish is judged by it, before the store tells. What there is no room for is not known either.
                let _ = self.shared.observer().learn(record, (self.home.clock)().mono_ns);
                Ok(())
            }
            Written::Same => Ok(()),
            Written::Refused => Err(WishError::Refused { number }),
            Written::Unreadable(source) => Err(WishError::Unreadable { number, source }),
        }
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(super) fn observer(&self) -> MutexGuard<'_, PartitionObserver> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the ring by what is heard.
struct Keeper {
    shared: Arc<Shared>,
    view: watch::Sender<Arc<Partitions>>,
    keep_vanished: Duration,
    reporter: Reporter,
    /// Whether the store was listed since, so that whoever waits for that is told, were it empty.
    listed: AtomicBool,
}

impl Follower for Keeper {
    fn put(&self, record: &Record, now_ns: u64) -> Option<Remark> {
        self.shared.observer().put(&record.key, &record.value, now_ns)
    }

    fn delete(&self, key: &str, now_ns: u64) {
        self.shared.observer().delete(key, now_ns);
    }

    fn resync(&self, listing: &Listing, now_ns: u64) -> Vec<Remark> {
        let records = listing.records.iter().map(|record| (&*record.key, &*record.value));
        self.listed.store(true, Ordering::Relaxed);
        self.shared.observer().resync(records, now_ns)
    }

    fn publish(&self, now_ns: u64) {
        let keep_ns = u64::try_from(self.keep_vanished.as_nanos()).unwrap_or(u64::MAX);
        let view = {
            let mut observer = self.shared.observer();
            observer.drop_vanished(now_ns.saturating_sub(keep_ns));
            (observer.take_news() | self.listed.swap(false, Ordering::Relaxed))
                .then(|| Arc::new(observer.view().clone()))
        };
        let Some(view) = view else { return };
        if *view != **self.view.borrow() {
            match self.shared.ring.load().updated(&view) {
                Ok(ring) => self.shared.ring.publish(ring),
                Err(error) => (self.reporter)(Report::Ring(error)),
            }
        }
        self.view.send_replace(view);
    }

    fn ears(&self) -> &Mutex<Ears> {
        &self.shared.ears
    }
}

#[cfg(test)]
mod tests;
