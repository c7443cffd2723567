//! What a watcher does with what it hears: keeps the members, and publishes the ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use crate::error::BuildError;
use crate::lifecycle::follow::{Ears, Follower};
use crate::lifecycle::observe::{Observer, Remark};
use crate::lifecycle::run::{Report, Reporter};
use crate::membership::Membership;
use crate::store::{Listing, Record};

pub(super) struct Keeper {
    shared: Arc<Shared>,
    members: watch::Sender<Arc<Membership>>,
    keep_vanished: Duration,
    reporter: Reporter,
    /// Whether the observer was told anything since the last snapshot.
    told: AtomicBool,
    /// Why no ring can be made of the members, as it was reported.
    unfit: Mutex<Option<BuildError>>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        members: watch::Sender<Arc<Membership>>,
        keep_vanished: Duration,
        reporter: Reporter,
    ) -> Self {
        let (told, unfit) = (AtomicBool::new(false), Mutex::default());
        Self { shared, members, keep_vanished, reporter, told, unfit }
    }

    fn observe<T>(&self, call: impl FnOnce(&mut Observer) -> T) -> T {
        self.told.store(true, Ordering::Relaxed);
        call(&mut self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unfit(&self) -> MutexGuard<'_, Option<BuildError>> {
        self.unfit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Keeper {
    fn put(&self, record: &Record, now_ns: u64) -> Option<Remark> {
        self.observe(|observer| observer.put(&record.key, &record.value, now_ns))
    }

    fn delete(&self, key: &str, _now_ns: u64) {
        self.observe(|observer| observer.delete(key));
    }

    fn resync(&self, listing: &Listing, now_ns: u64) -> Vec<Remark> {
        let records = listing.records.iter().map(|record| (&*record.key, &*record.value));
        self.observe(|observer| observer.resync(records, now_ns))
    }

    /// Puts a new snapshot in the place of the one before it, if there can be one.
    fn publish(&self, now_ns: u64) {
        let keep_ns = u64::try_from(self.keep_vanished.as_nanos()).unwrap_or(u64::MAX);
        let told = self.told.swap(false, Ordering::Relaxed);
        let members = {
            let mut observer = self.shared.observer.lock().unwrap_or_else(PoisonError::into_inner);
            let dropped = observer.drop_vanished(now_ns.saturating_sub(keep_ns));
            (told || dropped > 0).then(|| Arc::new(observer.members().clone()))
        };
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
                    (self.reporter)(Report::Ring(error));
                }
            }
        }
    }

    fn ears(&self) -> &Mutex<Ears> {
        &self.shared.ears
    }
}
