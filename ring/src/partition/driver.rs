//! Runs what an instance does for its partitions on a store. Invariants: nothing is written before the store was listed,
//! and no write hangs for longer than its time-out; a process that ends at any moment leaves nothing behind that the next
//! one does not take up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::lifecycle::PartitionLifecycler;
use super::view::Partitions;
use super::watcher::{PartitionWatcher, Shared};
use super::write::{apply, clean, restore};
use crate::lifecycle::Home;
use crate::lifecycle::run::{Backoff, LEAST_PERIOD, Report};
use crate::store::UpdateError;

/// How partitions are looked after.
#[derive(Debug, Clone)]
pub struct PartitionDriverOptions {
    /// The longest time between two looks, beside those at all that is heard. Default 5 s, at least 100 ms: what waits for
    /// a time is late by it.
    pub period: Duration,
    /// How long tombstones are kept, from when this heard of them. Default 24 hours; longer than anybody may be cut off
    /// from the store, for what comes back from one after that is taken as new.
    pub keep_deleted: Duration,
}

impl Default for PartitionDriverOptions {
    fn default() -> Self {
        Self { period: Duration::from_secs(5), keep_deleted: Duration::from_secs(24 * 60 * 60) }
    }
}

/// How far an instance is with its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionStatus {
    /// Whether the store is known to have all that the instance wants for its own partitions
    /// ([`PartitionLifecycler::is_settled`]).
    pub settled: bool,
    /// Whether it gives them up.
    pub stopping: bool,
}

/// An instance's part in the life of partitions, in a task that ends when this or the watcher is dropped, as in a crash.
/// Beside what its lifecycler wants it puts back what the store has lost or says less of than is known, and deletes old
/// tombstones. What two of them do at once is done once.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use forebay_ring::disk::MemoryDisk;
/// use forebay_ring::lifecycle::{Home, Now};
/// use forebay_ring::partition::{
///     LifecycleOptions, PartitionDriver, PartitionDriverOptions, PartitionLifecycler, PartitionState, PartitionWatcher,
///     PartitionWatcherOptions,
/// };
/// use forebay_ring::store::MemoryStore;
///
/// let began = tokio::time::Instant::now();
/// let home = Home {
///     store: Arc::new(MemoryStore::default()),
///     disk: Arc::new(MemoryDisk::default()),
///     token_file: "/tokens".into(),
///     time_out: Duration::from_secs(2),
///     clock: Arc::new(move || {
///         let mono_ns = began.elapsed().as_nanos() as u64;
///         Now { mono_ns, unix_ns: 1_700_000_000_000_000_000 + mono_ns as i64 }
///     }),
///     reporter: Arc::new(|report| eprintln!("{report}")),
/// };
/// let watcher = PartitionWatcher::spawn(&home, PartitionWatcherOptions::default());
/// let life = PartitionLifecycler::new("ingester-0", [0, 1], LifecycleOptions::default());
/// let driver = PartitionDriver::spawn(&watcher, life, PartitionDriverOptions::default());
/// driver.wait_for(|status| status.settled).await;
/// watcher.wait_for(|view| view.partitions().all(|partition| partition.state == PartitionState::Active)).await;
///
/// let key = forebay_ring::token_for("team-a", br#"{app="api"}"#);
/// let ring = watcher.ring().load();
/// assert_eq!(ring.owners(ring.partition_for(key)?).next().map(|owner| &**owner), Some("ingester-0"));
///
/// // Nobody else reads them: first no more keys are to be written there.
/// assert_eq!(driver.sole_owner_of(), [0, 1]);
/// watcher.change(1, PartitionState::Inactive).await?;
/// assert_eq!(driver.stop(), [0], "the last one that is ACTIVE stays so");
/// driver.wait_for(|status| status.stopping && status.settled).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct PartitionDriver {
    life: PartitionLifecycler,
    shared: Arc<Shared>,
    stop: mpsc::UnboundedSender<()>,
    status: watch::Receiver<PartitionStatus>,
    _task: JoinSet<()>,
}

impl PartitionDriver {
    /// Starts in a task, by what `watcher` knows.
    pub fn spawn(
        watcher: &PartitionWatcher,
        life: PartitionLifecycler,
        options: PartitionDriverOptions,
    ) -> Self {
        let (stop, inbox) = mpsc::unbounded_channel();
        let (status, shown) = watch::channel(PartitionStatus::default());
        let shared = Arc::clone(watcher.shared());
        let run = Run {
            life: life.clone(),
            home: watcher.home().clone(),
            shared: Arc::clone(&shared),
            options,
            inbox,
            status,
            backoff: Backoff::default(),
            unread: BTreeSet::new(),
        };
        let mut task = JoinSet::new();
        task.spawn(run.run(watcher.partitions()));
        Self { life, shared, stop, status: shown, _task: task }
    }

    /// Gives the partitions up, for good: from now on it only takes its name off them. Without this an instance that stops
    /// stays their owner, as one that comes back should; then drop it.
    ///
    /// Returns those that are ACTIVE and, by what is known now, owned by nobody else: keys go on being written there that
    /// nobody reads, until they are made INACTIVE. They are reported, too, and so are those of which others turn out to
    /// have ceased to be owners at the same time ([`Report::Unread`]).
    #[must_use = "what is ACTIVE and has no owner is written and not read"]
    pub fn stop(&self) -> Vec<u32> {
        let unread = self.sole_owner_of();
        // A task that has ended heeds nothing.
        let _ = self.stop.send(());
        unread
    }

    /// The partitions that [`stop`](Self::stop) would return.
    pub fn sole_owner_of(&self) -> Vec<u32> {
        self.life.sole_owner_of(self.shared.observer().view()).collect()
    }

    /// How far it is.
    pub fn status(&self) -> PartitionStatus {
        *self.status.borrow()
    }

    /// Waits until it is so far.
    pub async fn wait_for(&self, mut reached: impl FnMut(&PartitionStatus) -> bool) {
        let mut status = self.status.clone();
        // Of a task that has ended, with its watcher, the last status stands.
        let _ = status.wait_for(|status| reached(status)).await;
    }
}

struct Run {
    life: PartitionLifecycler,
    home: Home,
    shared: Arc<Shared>,
    options: PartitionDriverOptions,
    inbox: mpsc::UnboundedReceiver<()>,
    status: watch::Sender<PartitionStatus>,
    backoff: Backoff,
    /// What was reported.
    unread: BTreeSet<u32>,
}

impl Run {
    async fn run(mut self, mut view: watch::Receiver<Arc<Partitions>>) {
        // Nothing is known before the store was listed.
        let mut hears = true;
        let mut wait = Duration::MAX;
        let mut known = None;
        loop {
            tokio::select! {
                biased;
                told = self.inbox.recv() => match told {
                    Some(()) => self.life.stop(),
                    None => return,
                },
                changed = view.changed(), if hears => match changed {
                    Ok(()) => known = Some(Arc::clone(&view.borrow_and_update())),
                    Err(_) => return,
                },
                () = tokio::time::sleep(wait) => {}
            }
            let Some(known) = &known else { continue };
            let looked = loop {
                let looked = self.look(known).await;
                self.show(known);
                if !matches!(looked, Ok(Looked::Told)) {
                    break looked;
                }
            };
            hears = looked.is_ok();
            wait = match looked {
                Ok(_) => {
                    self.backoff.reset();
                    self.options.period.max(LEAST_PERIOD)
                }
                Err(error) => {
                    (self.home.reporter)(Report::Write(error));
                    self.backoff.next((self.home.clock)())
                }
            };
        }
    }

    /// Writes what is due, one by one, until something fails or it is told to stop.
    async fn look(&mut self, view: &Partitions) -> Result<Looked, UpdateError> {
        let now = (self.home.clock)();
        let keep_ns = u64::try_from(self.options.keep_deleted.as_nanos()).unwrap_or(u64::MAX);
        let (missing, expired) = {
            let observer = self.shared.observer();
            let expired = observer.expired(now.mono_ns.saturating_sub(keep_ns));
            (observer.missing(self.life.instance()), expired)
        };
        // What is lost first: a change of it is refused until it is back.
        for record in &missing {
            restore(&self.home, record).await?;
            if self.is_told() {
                return Ok(Looked::Told);
            }
        }
        for change in &self.life.reconcile(view, now) {
            apply(&self.home, change).await?;
            if self.is_told() {
                return Ok(Looked::Told);
            }
        }
        for tombstone in &expired {
            clean(&self.home, tombstone).await?;
            if self.is_told() {
                return Ok(Looked::Told);
            }
        }
        Ok(Looked::Done)
    }

    fn is_told(&mut self) -> bool {
        let told = self.inbox.try_recv().is_ok();
        if told {
            self.life.stop();
        }
        told
    }

    fn show(&mut self, view: &Partitions) {
        let stopping = self.life.is_stopping();
        if stopping {
            let sole = self.life.sole_owner_of(view);
            let partitions: Vec<u32> = sole.filter(|&number| self.unread.insert(number)).collect();
            if !partitions.is_empty() {
                (self.home.reporter)(Report::Unread { partitions });
            }
        }
        let status = PartitionStatus { settled: self.life.is_settled(view), stopping };
        self.status.send_if_modified(|shown| std::mem::replace(shown, status) != status);
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Done,
    /// With a word to stop: look again.
    Told,
}

#[cfg(test)]
mod tests;
