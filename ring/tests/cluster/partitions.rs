//! Partitions from one seed: drivers that join, crash, come back and give up, and an operator, on a store that stalls, that
//! some cannot reach or only list, that takes writes after they were given up, and loses everything. In the store nothing
//! but a wish makes an ACTIVE partition INACTIVE, a locked one keeps its state, and what was lost is put back as it was;
//! once one is ACTIVE a key has a partition for whoever watches; and when all is over everybody, a late reader and one
//! without a watch too, sees every partition owned by those who want it.
//!
//! What an operator has to keep for the last ACTIVE partition to stay so, and what this one does: there is one, and after a
//! wish of which it is not known whether it was granted it waits before the next.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::Clock;
use forebay_ring::partition::{
    LifecycleOptions, Partition, PartitionDriver, PartitionDriverOptions, PartitionLifecycler,
    PartitionRecord, PartitionState, PartitionWatcher, PartitionWatcherOptions, WishError,
};
use forebay_ring::store::Store;
use tokio::time::Instant;

use super::chance::Chance;
use super::link::{Line, Turns};
use super::node::Place;

const STEPS: u32 = 160;
const NODES: usize = 6;
const PARTITIONS: u32 = 4;
/// Who only watches: an operator, and a reader.
const READERS: usize = 2;
/// Longer than a write takes that was given up.
const CALM: Duration = Duration::from_secs(5);

struct Node {
    line: Arc<Line>,
    clock: Clock,
    running: Option<(PartitionWatcher, PartitionDriver)>,
}

struct Reader {
    line: Arc<Line>,
    watcher: PartitionWatcher,
    /// Whether it has seen one that is ACTIVE.
    seen: bool,
}

pub(crate) struct World {
    seed: u64,
    chance: Chance,
    place: Place,
    turns: Turns,
    nodes: Vec<Node>,
    readers: Vec<Reader>,
    amiss: Vec<(Instant, Arc<Line>)>,
    stalls_until: Instant,
    /// After a wish of which nothing is known: not before, and not before the operator knows what the store has.
    wishes_from: Option<Instant>,
    wished_inactive: BTreeSet<u32>,
    /// The store as it was.
    stored: BTreeMap<u32, Partition>,
    pub(crate) counts: Counts,
    history: DefaultHasher,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) granted: u32,
    pub(crate) refused: u32,
    pub(crate) unknown: u32,
    pub(crate) crashed: u32,
    pub(crate) gave_up: u32,
    pub(crate) stalls: u32,
    pub(crate) losses: u32,
    pub(crate) changes: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.granted += other.granted;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.crashed += other.crashed;
        self.gave_up += other.gave_up;
        self.stalls += other.stalls;
        self.losses += other.losses;
        self.changes += other.changes;
    }
}

/// The partitions of a node.
fn own(number: usize) -> [u32; 2] {
    let number = u32::try_from(number).unwrap();
    [number % PARTITIONS, (number + 1) % PARTITIONS]
}

fn watch(place: &Place, turn: usize, line: &Arc<Line>, clock: Clock) -> PartitionWatcher {
    let (gather, silence) = (Duration::from_millis(400), Duration::from_secs(10));
    let options = PartitionWatcherOptions { gather, silence, ..PartitionWatcherOptions::default() };
    PartitionWatcher::spawn(&place.home(turn, line, &MemoryDisk::default(), clock), options)
}

/// Whether a watcher knows the partitions that the store has. Of owners that are away it may know more.
fn knows(watcher: &PartitionWatcher, stored: &[PartitionRecord]) -> bool {
    let is_of_partition = |record: &&PartitionRecord| matches!(record, PartitionRecord::Partition(_));
    let view = watcher.partitions();
    let view = view.borrow();
    view.partitions().copied().map(PartitionRecord::from).eq(stored.iter().filter(is_of_partition).cloned())
}

fn reader(place: &Place, number: usize) -> Reader {
    let line = Arc::<Line>::default();
    let watcher = watch(place, NODES + number, &line, place.clock(1_000, 0));
    Reader { line, watcher, seen: false }
}

impl World {
    /// Runs a seed to its end; a hash of all that happened, and how often what did.
    pub(crate) fn run(seed: u64, tell: bool) -> (u64, Counts) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(seed, tell);
            for _ in 0..STEPS {
                world.step().await;
            }
            world.settle().await;
            world.place.server.store.list().await.unwrap().records.iter().for_each(|record| {
                (&record.key, &record.value, record.version).hash(&mut world.history);
            });
            (world.history.finish(), world.counts)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of a test goes as tokio's, which is paused")]
    fn new(seed: u64, tell: bool) -> Self {
        let began = Instant::now();
        let place = Place { seed, began, server: Arc::default(), zones: false, tell };
        let mut chance = Chance::of(seed, "partitions");
        let mut node = |_| {
            let skew_ns = i64::try_from(chance.below(1 << 40)).unwrap() - (1 << 39);
            let clock = place.clock(900 + chance.below(201), skew_ns);
            Node { line: Arc::default(), clock, running: None }
        };
        Self {
            seed,
            nodes: (0..NODES).map(&mut node).collect(),
            readers: (0..READERS).map(|number| reader(&place, number)).collect(),
            chance,
            turns: Turns::new(began, 63),
            place,
            amiss: Vec::new(),
            stalls_until: began,
            wishes_from: None,
            wished_inactive: BTreeSet::new(),
            stored: BTreeMap::new(),
            counts: Counts::default(),
            history: DefaultHasher::new(),
        }
    }

    fn now(&self) -> Instant {
        self.place.began + self.place.began.elapsed()
    }

    fn note(&mut self, what: &str, of: usize) {
        let at_ms = self.place.began.elapsed().as_millis();
        (at_ms, what, of).hash(&mut self.history);
        if self.place.tell {
            println!("{at_ms:>9} ms  {what} {of}");
        }
    }

    async fn step(&mut self) {
        let turns = 1 + self.chance.below(20);
        self.turns.pass(turns).await;
        self.mend(false);
        self.trouble().await;
        self.look().await;
    }

    fn mend(&mut self, all: bool) {
        let now = self.now();
        self.amiss.retain(|(until, line)| {
            let is_over = all || *until <= now;
            if is_over {
                line.cut.store(false, Ordering::Relaxed);
                line.deaf.store(false, Ordering::Relaxed);
            }
            !is_over
        });
        let stalls = !all && self.stalls_until > now;
        self.place.server.stalls.store(stalls, Ordering::Relaxed);
    }

    fn start(&mut self, at: usize) {
        let Node { line, clock, running } = &mut self.nodes[at];
        let watcher = watch(&self.place, at, line, Arc::clone(clock));
        let options = LifecycleOptions { owners_to_activate: 1 + at % 2, ..LifecycleOptions::default() };
        let life = PartitionLifecycler::new(format!("node-{at}"), own(at), options);
        let options = PartitionDriverOptions { period: Duration::from_secs(2), ..Default::default() };
        let driver = PartitionDriver::spawn(&watcher, life, options);
        *running = Some((watcher, driver));
        self.note("starts", at);
    }

    async fn trouble(&mut self) {
        let at = self.chance.index(NODES);
        let until = self.now() + Duration::from_millis(self.chance.below(20_000));
        let is_up = self.nodes[at].running.is_some();
        match self.chance.below(20) {
            0..=4 if !is_up => self.start(at),
            5 if is_up => {
                self.nodes[at].running = None;
                self.counts.crashed += 1;
                self.note("crashes", at);
            }
            6 => {
                if let Some((_, driver)) = &self.nodes[at].running {
                    let unread = driver.stop();
                    self.counts.gave_up += 1;
                    self.note(&format!("gives up {unread:?}"), at);
                }
            }
            7 | 8 => {
                let lines = self.nodes.iter().map(|node| &node.line);
                let lines: Vec<_> =
                    lines.chain(self.readers.iter().map(|reader| &reader.line)).cloned().collect();
                let line = Arc::clone(&lines[self.chance.index(lines.len())]);
                let flag = if self.chance.one_in(2) { &line.cut } else { &line.deaf };
                flag.store(true, Ordering::Relaxed);
                self.amiss.push((until, line));
                self.note("is cut off or deaf until it is not", self.amiss.len());
            }
            9 => {
                self.stalls_until = until;
                self.counts.stalls += 1;
                self.note("the store stalls", 0);
            }
            10..=14 => self.wish().await,
            15 => self.lose_everything().await,
            _ => {}
        }
    }

    /// An operator wishes something.
    async fn wish(&mut self) {
        if !self.is_sure().await {
            return;
        }
        let number = u32::try_from(self.chance.below(PARTITIONS.into())).unwrap();
        let operator = &self.readers[0].watcher;
        let wished = match self.chance.below(6) {
            0 | 1 => {
                self.wished_inactive.insert(number);
                operator.change(number, PartitionState::Inactive).await
            }
            2 | 3 => operator.change(number, PartitionState::Active).await,
            _ => operator.lock(number, self.chance.one_in(3)).await,
        };
        self.note(&format!("wished {wished:?} of"), number as usize);
        match wished {
            Ok(()) => self.counts.granted += 1,
            Err(WishError::Store(_)) => {
                self.wishes_from = Some(self.now() + CALM);
                self.counts.unknown += 1;
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    /// Whether the operator knows what became of its last wish. What was given up may happen as long as something is amiss.
    async fn is_sure(&mut self) -> bool {
        let now = self.now();
        let Some(from) = self.wishes_from else { return true };
        if !self.amiss.is_empty() || self.stalls_until > now {
            self.wishes_from = Some(now + CALM);
            return false;
        }
        let is_sure = from <= now && knows(&self.readers[0].watcher, &self.records().await);
        self.wishes_from = self.wishes_from.filter(|_| !is_sure);
        is_sure
    }

    /// The store loses everything, while nothing is amiss and those who run know it all, who put it back.
    async fn lose_everything(&mut self) {
        self.mend(true);
        self.stalls_until = self.now();
        self.pause(15).await;
        let records = self.records().await;
        let mut running = self.nodes.iter().filter_map(|node| node.running.as_ref()).peekable();
        if running.peek().is_none() || !running.all(|(watcher, _)| knows(watcher, &records)) {
            return;
        }
        self.place.server.store.lose_everything();
        self.counts.losses += 1;
        self.note("the store loses everything", 0);
        self.pause(30).await;
        let found = self.records().await;
        let lost = self.stored.values().find(|was| !found.contains(&PartitionRecord::from(**was)));
        assert_eq!(lost, None, "seed {}", self.seed);
    }

    async fn pause(&mut self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.look().await;
        }
    }

    /// What the store has, those of partitions first.
    async fn records(&self) -> Vec<PartitionRecord> {
        let records = self.place.server.store.list().await.unwrap().records;
        let mut records: Vec<PartitionRecord> =
            records.iter().map(|record| PartitionRecord::decode(&record.value).unwrap()).collect();
        records.sort_by_key(|record| match record {
            PartitionRecord::Partition(partition) => (0, partition.number, None),
            PartitionRecord::Owner(owner) => (1, owner.partition, Some(owner.instance.clone())),
        });
        records
    }

    /// Whether the store and all who watch it are as they may be.
    async fn look(&mut self) {
        let seed = self.seed;
        for record in self.records().await {
            let PartitionRecord::Partition(is) = record else { continue };
            let Some(was) = self.stored.insert(is.number, is) else { continue };
            self.counts.changes += u32::from(was != is);
            assert!(
                is.version >= was.version && is.lock.version >= was.lock.version,
                "seed {seed}: {is:?} after {was:?}"
            );
            let stopped = was.state == PartitionState::Active && is.state == PartitionState::Inactive;
            assert!(
                !stopped || self.wished_inactive.contains(&is.number),
                "seed {seed}: nobody wished {is:?}"
            );
            let is_kept = was.lock.locked && was.lock == is.lock;
            assert!(!is_kept || was.version == is.version, "seed {seed}: {is:?} was locked as {was:?}");
        }
        for reader in &mut self.readers {
            let ring = reader.watcher.ring().load();
            let found = ring.partition_for(self.chance.key());
            assert!(found.is_ok() || !reader.seen, "seed {seed}: {found:?} of {ring:?}");
            reader.seen |= found.is_ok();
        }
    }

    async fn settle(&mut self) {
        self.note("peace", 0);
        self.place.server.calm.store(true, Ordering::Relaxed);
        self.mend(true);
        for at in 0..NODES {
            // One that gave up is started anew.
            self.nodes[at].running = None;
            self.start(at);
        }
        let deaf = reader(&self.place, READERS);
        deaf.line.deaf.store(true, Ordering::Relaxed);
        self.pause(30).await;
        for number in 0..PARTITIONS {
            self.readers[0].watcher.lock(number, false).await.unwrap();
        }
        self.pause(60).await;
        let late = reader(&self.place, READERS + 1);
        self.pause(15).await;
        let records = self.records().await;
        let drivers = self.nodes.iter().map(|node| node.running.as_ref().unwrap());
        assert!(drivers.clone().all(|(_, driver)| driver.status().settled), "seed {}", self.seed);
        let watchers = drivers.map(|(watcher, _)| watcher);
        let readers = self.readers.iter().chain([&deaf, &late]).map(|reader| &reader.watcher);
        for (number, watcher) in watchers.chain(readers).enumerate() {
            let view = watcher.partitions();
            let found: Vec<PartitionRecord> = view.borrow().records().collect();
            assert_eq!(found, records, "seed {}: of watcher {number}", self.seed);
            let ring = watcher.ring().load();
            for partition in 0..PARTITIONS {
                let state = ring.partition(partition).unwrap().state;
                let stays = state == PartitionState::Inactive && self.wished_inactive.contains(&partition);
                assert!(
                    state == PartitionState::Active || stays,
                    "seed {}: {partition} is {state}",
                    self.seed
                );
                let wanted = (0..NODES).filter(|&node| own(node).contains(&partition));
                let wanted: Vec<String> = wanted.map(|node| format!("node-{node}")).collect();
                assert!(ring.owners(partition).map(ToString::to_string).eq(wanted), "seed {}", self.seed);
            }
        }
    }
}
