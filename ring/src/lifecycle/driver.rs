//! Runs a life on a store, a disk and a clock. Invariant: no heartbeat waits for a drain, and none for a store or a disk
//! that hangs for longer than its time-out.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::event::Phase;
use super::home::Home;
use super::machine::Lifecycler;
use crate::membership::Membership;

mod task;
mod work;

use task::Run;
pub(super) use work::apply;

/// What a process does when its instance is to leave.
#[async_trait]
pub trait Drain: Send + Sync {
    /// Hands over or stores away what the instance holds, as [`Action::Drain`](super::Action::Drain) has it. Dropped if the driver is, or if
    /// the stop is called off; there is never more than one at a time. If it panics, that is reported and the instance
    /// stays LEAVING: call the stop off, or drop the driver.
    async fn drain(&self);
}

/// Where the life of an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its phase.
    pub phase: Phase,
    /// Whether others may count on it: for a readiness probe.
    pub ready: bool,
    /// Whether it was in the ring with these tokens before it started, ACTIVE or LEAVING, so that it need not join. Known
    /// from Pending on.
    pub returning: bool,
    /// When the store last took its record, monotonic nanoseconds.
    pub heartbeat_ns: Option<u64>,
}

/// A life that runs in a task of its own, until it is over or this is dropped, as in a crash.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use forebay_ring::{Options, Ring, Membership};
/// use forebay_ring::disk::MemoryDisk;
/// use forebay_ring::lifecycle::{Driver, Home, Lifecycler, LifecyclerOptions, Now, Watcher, WatcherOptions};
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
/// let watcher = Watcher::spawn(&home, WatcherOptions::default())?;
/// let life = Lifecycler::new(LifecyclerOptions::new("ingester-0", "10.0.0.1:9095"))?;
/// let driver = Driver::spawn(life, home, watcher.members(), None);
/// driver.recovered();
/// driver.wait_for(|status| status.ready).await;
/// assert_eq!(watcher.ring().load().owner(7).map(|owner| &*owner.id), Some("ingester-0"));
/// driver.shut_down(Some(true));
/// driver.stopped().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Driver {
    id: Arc<str>,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum Command {
    Recovered,
    Shutdown(Option<bool>),
    CancelShutdown,
    ReadOnly(bool),
}

impl Driver {
    /// Starts the life in a task. `view` is that of a [`Watcher`](super::Watcher); `drain` is what to do before it
    /// leaves, nothing if `None`.
    pub fn spawn(
        life: Lifecycler,
        home: Home,
        view: watch::Receiver<Arc<Membership>>,
        drain: Option<Arc<dyn Drain>>,
    ) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let phase = life.phase();
        let (status, shown) =
            watch::channel(Status { phase, ready: false, returning: false, heartbeat_ns: None });
        let id = Arc::clone(life.id());
        let mut task = JoinSet::new();
        task.spawn(Run::new(life, home, drain, status).run(inbox, view));
        Self { id, commands, status: shown, _task: task }
    }

    /// The log is replayed: it can serve.
    pub fn recovered(&self) {
        self.tell(Command::Recovered);
    }

    /// Leaves, and unregisters or not, or as its options say; then [`stopped`](Self::stopped).
    pub fn shut_down(&self, unregister: Option<bool>) {
        self.tell(Command::Shutdown(unregister));
    }

    /// Stays after all, unless it has drained.
    pub fn cancel_shutdown(&self) {
        self.tell(Command::CancelShutdown);
    }

    /// Takes no new tenants, or takes them again.
    pub fn set_read_only(&self, enabled: bool) {
        self.tell(Command::ReadOnly(enabled));
    }

    /// Where it is now.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Waits until it is somewhere, or is over; where it is then.
    pub async fn wait_for(&self, mut reached: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        // Of one that is over, the last status stands.
        let _ = status.wait_for(|status| reached(status) || status.phase == Phase::Stopped).await;
        *status.borrow()
    }

    /// Waits until its life is over.
    pub async fn stopped(&self) {
        self.wait_for(|_| false).await;
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    fn tell(&self, command: Command) {
        // One that has stopped heeds nothing.
        let _ = self.commands.send(command);
    }
}

#[cfg(test)]
pub(crate) mod tests;
