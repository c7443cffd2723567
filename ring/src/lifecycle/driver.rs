//! Runs a life on a store, a disk and a clock. Invariant: no heartbeat waits for a drain, and none for a store or a disk
//! that hangs for longer than its time-out.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use super::event::{Action, Event, Phase};
use super::machine::Lifecycler;
use super::run::{Clock, Report, Reporter};
use crate::disk::Disk;
use crate::membership::Membership;
use crate::store::Store;

mod work;

pub(super) use work::apply;
use work::{Done, Work};

/// What an instance runs on.
#[derive(Clone)]
pub struct Home {
    /// Where its records are.
    pub store: Arc<dyn Store>,
    /// Where its token file is.
    pub disk: Arc<dyn Disk>,
    /// The token file, in a directory that exists.
    pub token_file: PathBuf,
    /// How long a write to the store or the disk may take. 2 s is well below a heartbeat timeout;
    /// with 0 every one fails.
    pub time_out: Duration,
    /// Tells the time.
    pub clock: Clock,
    /// Where reports go.
    pub reporter: Reporter,
}

/// What a process does when its instance is to leave.
#[async_trait]
pub trait Drain: Send + Sync {
    /// Hands over or stores away what the instance holds, as [`Action::Drain`] has it. Dropped if the driver is, or if
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
        let (status, shown) = watch::channel(Status { phase, ready: false, heartbeat_ns: None });
        let id = Arc::clone(life.id());
        let work = Work::new(home.clone(), Arc::clone(&id));
        let run =
            Run { life, home, work, drain, status, wake_at_ns: None, drains: JoinSet::new(), out: None };
        let mut task = JoinSet::new();
        task.spawn(run.run(inbox, view));
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

struct Run {
    life: Lifecycler,
    home: Home,
    work: Work,
    drain: Option<Arc<dyn Drain>>,
    status: watch::Sender<Status>,
    wake_at_ns: Option<u64>,
    drains: JoinSet<u64>,
    /// What is to be answered by an event.
    out: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
}

impl Run {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut view: watch::Receiver<Arc<Membership>>,
    ) {
        self.on(Event::Start);
        let mut watched = true;
        while self.life.phase() != Phase::Stopped {
            let Self { out, drains, home, wake_at_ns, .. } = &mut self;
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                done = answer(out) => self.done(done),
                Some(drained) = drains.join_next() => self.drained(drained),
                changed = view.changed(), if watched => {
                    watched = changed.is_ok();
                    let members = Arc::clone(&view.borrow_and_update());
                    self.on(Event::View(&members));
                }
                () = sleep_until(&home.clock, *wake_at_ns) => self.on(Event::Tick),
            }
        }
    }

    fn on(&mut self, event: Event<'_>) {
        let now = (self.home.clock)();
        if matches!(event, Event::Tick) {
            self.wake_at_ns = None;
        }
        for action in self.life.on(event, now) {
            match action {
                Action::WakeAt(at_ns) => self.wake_at_ns = Some(at_ns),
                Action::Ready(_) | Action::Stopped => {}
                Action::Drain(number) => self.begin_drain(number),
                Action::Report(notice) => (self.home.reporter)(Report::Notice(notice)),
                action => self.out = self.work.begin(action),
            }
        }
        let (phase, ready) = (self.life.phase(), self.life.is_ready());
        self.status.send_if_modified(|status| {
            let before = *status;
            (status.phase, status.ready) = (phase, ready);
            *status != before
        });
    }

    fn command(&mut self, command: Command) {
        let cancels = matches!(command, Command::CancelShutdown);
        self.on(match command {
            Command::Recovered => Event::Recovered,
            Command::Shutdown(unregister) => Event::Shutdown { unregister },
            Command::CancelShutdown => Event::CancelShutdown,
            Command::ReadOnly(enabled) => Event::ReadOnly(enabled),
        });
        if cancels && !matches!(self.life.phase(), Phase::Leaving | Phase::Lingering) {
            self.drains.abort_all();
        }
    }

    fn done(&mut self, done: Done) {
        self.out = None;
        if done.is_heartbeat() {
            let now_ns = (self.home.clock)().mono_ns;
            self.status.send_modify(|status| status.heartbeat_ns = Some(now_ns));
        }
        self.on(done.into_event());
    }

    fn begin_drain(&mut self, number: u64) {
        let drain = self.drain.clone();
        let mut called_off = std::mem::take(&mut self.drains);
        self.drains.spawn(async move {
            called_off.shutdown().await;
            if let Some(drain) = drain {
                drain.drain().await;
            }
            number
        });
    }

    /// One that panicked has not drained: the instance stays LEAVING, with what it holds, until somebody looks.
    fn drained(&mut self, drained: Result<u64, JoinError>) {
        match drained {
            Ok(number) => self.on(Event::Drained(number)),
            Err(error) if error.is_panic() => (self.home.reporter)(Report::DrainLost),
            Err(_) => {}
        }
    }
}

async fn answer(out: &mut Option<Pin<Box<dyn Future<Output = Done> + Send>>>) -> Done {
    match out {
        Some(out) => out.await,
        None => std::future::pending().await,
    }
}

pub(super) async fn sleep_until(clock: &Clock, at_ns: Option<u64>) {
    match at_ns {
        Some(at_ns) => tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(clock().mono_ns))).await,
        None => std::future::pending().await,
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { store, disk, token_file, time_out, .. } = self;
        f.debug_struct("Home")
            .field("store", store)
            .field("disk", disk)
            .field("token_file", token_file)
            .field("time_out", time_out)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(in crate::lifecycle) mod tests;
