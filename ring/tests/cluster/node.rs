//! A process with an instance: its driver, its watcher and its caretaker on the store, its disk, what it took, and
//! clocks of its own.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forebay_ring::disk::{MemoryDisk, Survive};
use forebay_ring::lifecycle::{
    Caretaker, CaretakerOptions, Clock, Drain, Driver, Home, Lifecycler, LifecyclerOptions, Now, Phase,
    Reporter, Tokens, Watcher,
};
use tokio::time::Instant;

use super::chance::Chance;
use super::client::watching;
use super::link::{Line, Link, Server, Turns};

const WALL_NS: i64 = 1_700_000_000_000_000_000;

pub(crate) const TOKENS: usize = 16;

/// What all share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    pub(crate) server: Arc<Server>,
    /// Whether zones count.
    pub(crate) zones: bool,
    /// Whether to tell what is reported.
    pub(crate) tell: bool,
}

impl Place {
    /// What a task runs on, by a clock of this rate in 1/1,000 and with a wall clock that is so far off.
    pub(crate) fn home(&self, turn: usize, line: &Arc<Line>, disk: &MemoryDisk, clock: Clock) -> Home {
        let link = Link {
            server: Arc::clone(&self.server),
            line: Arc::clone(line),
            turns: Turns::new(self.began, turn),
            chance: Arc::new(Mutex::new(Chance::of(self.seed, ("link", turn, self.began.elapsed())))),
        };
        let tell = self.tell;
        let reporter: Reporter = Arc::new(move |report| {
            if tell {
                println!("             task {turn}: {report}");
            }
        });
        Home {
            store: Arc::new(link),
            disk: Arc::new(disk.clone()),
            token_file: "/tokens".into(),
            time_out: Duration::from_secs(1),
            clock,
            reporter,
        }
    }

    pub(crate) fn clock(&self, rate: u64, skew_ns: i64) -> Clock {
        let began = self.began;
        Arc::new(move || {
            let true_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
            let unix_ns = WALL_NS + skew_ns + i64::try_from(true_ns).unwrap();
            Now { mono_ns: 1_000_000_000 + true_ns / 1_000 * rate, unix_ns }
        })
    }
}

/// An instance as its callers reach it.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    driver: Mutex<Option<Driver>>,
    replayed: AtomicBool,
    /// What it took, by the number of the write; synced before it is acknowledged. No restart takes it away.
    stored: Mutex<BTreeSet<u32>>,
}

impl Peer {
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.driver.lock().unwrap().as_ref().map(|driver| driver.status().phase)
    }

    /// Whether it took these writes.
    pub(crate) fn take(&self, writes: &[u32]) -> bool {
        let takes = self.phase() == Some(Phase::Active);
        if takes {
            self.stored.lock().unwrap().extend(writes);
        }
        takes
    }

    /// All it took, once its log is replayed.
    pub(crate) fn stored(&self) -> Option<BTreeSet<u32>> {
        let answers = self.phase().is_some() && self.replayed.load(Ordering::Relaxed);
        answers.then(|| self.stored.lock().unwrap().clone())
    }

    pub(crate) fn holds_more_than(&self, drained: &BTreeSet<u32>) -> bool {
        !self.stored.lock().unwrap().is_subset(drained)
    }
}

/// Stores away what an instance holds.
struct Storage {
    peer: Arc<Peer>,
    drained: Arc<Mutex<BTreeSet<u32>>>,
}

#[async_trait]
impl Drain for Storage {
    async fn drain(&self) {
        // What was not replayed is not drained.
        let stored = self.peer.stored().unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(4)).await;
        self.drained.lock().unwrap().extend(stored);
    }
}

pub(crate) struct Node {
    options: LifecyclerOptions,
    pub(crate) peer: Arc<Peer>,
    pub(crate) line: Arc<Line>,
    number: usize,
    disk: MemoryDisk,
    clock: Clock,
    recovers_at: Option<Instant>,
    /// While it runs, beside its driver.
    rest: Option<(Watcher, Caretaker)>,
}

impl Node {
    /// Tasks of a node.
    pub(crate) const TASKS: usize = 3;

    pub(crate) fn new(place: &Place, number: usize, rate: u64, skew_ns: i64) -> Self {
        let zone = if place.zones { ["a", "b", "c"][number % 3] } else { "" };
        let options = LifecyclerOptions {
            tokens: Tokens::Random { count: NonZeroUsize::new(TOKENS).unwrap() },
            zone: zone.into(),
            heartbeat_period: Duration::from_secs(1),
            // For longer than the view of a reader may be old.
            observe: Duration::from_secs(8),
            min_ready: Duration::from_secs(1),
            ..LifecyclerOptions::new(format!("node-{number}"), number.to_string())
        };
        Self {
            options,
            peer: Arc::default(),
            line: Arc::default(),
            number,
            disk: MemoryDisk::default(),
            clock: place.clock(rate, skew_ns),
            recovers_at: None,
            rest: None,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.options.id
    }

    pub(crate) fn is_up(&self) -> bool {
        self.rest.is_some()
    }

    pub(crate) fn start(&mut self, place: &Place, drained: &Arc<Mutex<BTreeSet<u32>>>) {
        let home = |task| {
            place.home(self.number * Self::TASKS + task, &self.line, &self.disk, Arc::clone(&self.clock))
        };
        let watcher = Watcher::spawn(&home(0), watching(place)).unwrap();
        let life = Lifecycler::new(self.options.clone()).unwrap();
        let storage = Storage { peer: Arc::clone(&self.peer), drained: Arc::clone(drained) };
        let driver = Driver::spawn(life, home(1), watcher.members(), Some(Arc::new(storage)));
        let keep_left = Duration::from_secs(60);
        let options = CaretakerOptions { forget: None, keep_left, period: Duration::from_secs(5) };
        let caretaker = Caretaker::spawn(home(2), &watcher, Some(&driver), options);
        *self.peer.driver.lock().unwrap() = Some(driver);
        self.rest = Some((watcher, caretaker));
        self.recovers_at = Some(place.began + place.began.elapsed() + Duration::from_secs(3));
    }

    /// Whether it has just replayed its log.
    pub(crate) fn recover(&mut self, now: Instant) -> bool {
        let due = self.recovers_at.take_if(|at| *at <= now).is_some();
        if due {
            self.peer.replayed.store(true, Ordering::Relaxed);
            self.tell(Driver::recovered);
        }
        due
    }

    pub(crate) fn tell(&self, command: impl FnOnce(&Driver)) {
        if let Some(driver) = &*self.peer.driver.lock().unwrap() {
            command(driver);
        }
    }

    /// Loses all but what it took and, on its disk, what was synced at least. What is under way to the store may happen
    /// yet.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        self.stop();
        self.disk = self.disk.restart(Survive::ALL[chance.index(3)]);
    }

    pub(crate) fn stop(&mut self) {
        (self.rest, self.recovers_at) = (None, None);
        *self.peer.driver.lock().unwrap() = None;
        self.peer.replayed.store(false, Ordering::Relaxed);
    }

    pub(crate) fn lose_file(&mut self) {
        self.disk = MemoryDisk::default();
    }

    /// Has an instance forgotten, as an operator does by its page.
    pub(crate) async fn forget(&self, id: &str) -> bool {
        let Some((watcher, _)) = &self.rest else { return false };
        let seen = watcher.members().borrow().member(id).map(|member| member.instance.version);
        let Some(seen) = seen else { return false };
        watcher.forget(id, seen).await.unwrap_or(false)
    }
}
