//! Watches the records of all instances and keeps the ring. Invariants: it is the only one to publish it; whatever the
//! store does, the last good snapshot stays in use, and its health goes on: with what is heard of its members, or growing old.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::Wish;
use super::driver::apply;
use super::event::Written;
use super::follow::{Ears, Pace, follow};
use super::home::Home;
use super::observe::Observer;
use crate::error::BuildError;
use crate::instance::Version;
use crate::membership::Membership;
use crate::ring::{Options, Ring};
use crate::shared::SharedRing;
use crate::store::UpdateError;

mod task;

use task::Keeper;

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
        let WatcherOptions { refresh, gather, silence, keep_vanished, .. } = options;
        let keeper = Keeper::new(Arc::clone(&shared), members, keep_vanished, Arc::clone(&home.reporter));
        let mut task = JoinSet::new();
        task.spawn(follow(home.clone(), Pace { refresh, gather, silence }, keeper));
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

    /// Has an instance forgotten that was `seen` at a version: its record becomes LEFT. `false` if there is none of it, or it
    /// was heard of since then.
    ///
    /// # Errors
    ///
    /// If it is not known whether the record was written.
    pub async fn forget(&self, id: &str, seen: Version) -> Result<bool, UpdateError> {
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

#[cfg(test)]
mod tests;
