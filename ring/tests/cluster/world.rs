//! One seed's cluster, step by step.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::AddAssign;

use forebay_ring::lifecycle::{Event, Phase};

use super::client::Client;
use super::node::Node;
use super::store::Store;

const DAY_NS: i64 = 86_400_000_000_000;
const STEPS: u32 = 900;

#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u32,
    pub(crate) refused_writes: u32,
    pub(crate) reads: u32,
    pub(crate) failed_reads: u32,
    pub(crate) joined: u32,
    pub(crate) left: u32,
    pub(crate) crashed: u32,
    pub(crate) stalls: u32,
    pub(crate) losses: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused_writes += other.refused_writes;
        self.reads += other.reads;
        self.failed_reads += other.failed_reads;
        self.joined += other.joined;
        self.left += other.left;
        self.crashed += other.crashed;
        self.stalls += other.stalls;
        self.losses += other.losses;
    }
}

pub(crate) struct World {
    chance: Chance,
    true_ns: u64,
    store: Store,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Writes whose writer was told that they are kept.
    acknowledged: BTreeSet<u32>,
    next_write: u32,
    /// What was drained to where everybody can read it.
    drained: BTreeSet<u32>,
    stall_ends_ns: u64,
    pub(crate) counts: Counts,
    history: DefaultHasher,
    tell: bool,
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    fn one_of(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }
}

impl World {
    pub(crate) fn run(seed: u64, tell: bool) -> Self {
        let mut world = Self {
            chance: Chance(seed),
            true_ns: 10_000_000_000,
            store: Store::default(),
            nodes: Vec::new(),
            clients: (0..3).map(|_| Client::new()).collect(),
            acknowledged: BTreeSet::new(),
            next_write: 0,
            drained: BTreeSet::new(),
            stall_ends_ns: 0,
            counts: Counts::default(),
            history: DefaultHasher::new(),
            tell,
        };
        for _ in 0..3 + world.chance.below(4) {
            world.join();
        }
        for _ in 0..STEPS {
            world.step(seed);
        }
        world
    }

    pub(crate) fn history(&self) -> u64 {
        self.history.finish()
    }

    fn note(&mut self, what: &str, of: usize) {
        (self.true_ns, what, of).hash(&mut self.history);
        if self.tell {
            println!("{:>9} ms  {what} {of}", self.true_ns / 1_000_000);
        }
    }

    fn step(&mut self, seed: u64) {
        self.true_ns += 50_000_000 + self.chance.below(400_000_000);
        if self.store.stalled && self.true_ns >= self.stall_ends_ns {
            self.store.stalled = false;
            self.note("store answers", 0);
        }
        // Trouble comes seldom enough for reads to succeed between.
        if self.chance.below(12) == 0 {
            self.trouble();
        }
        for at in 0..self.nodes.len() {
            let latency_ns = self.chance.below(300_000_000);
            let before = self.nodes[at].phase();
            self.nodes[at].step(&mut self.store, self.true_ns, latency_ns);
            self.drain(at, latency_ns);
            let after = self.nodes[at].phase();
            if before != after {
                self.counts.joined += u32::from(after == Some(Phase::Active));
                self.note(&format!("{after:?}"), at);
            }
            if self.nodes[at].stopped && self.nodes[at].life.take().is_some() {
                self.counts.left += 1;
            }
        }
        for at in 0..self.clients.len() {
            // A watch hears of changes when it does, not at once.
            if self.chance.below(3) > 0 {
                self.clients[at].poll(&self.store, self.true_ns);
            }
        }
        self.write();
        for client in 0..self.clients.len() {
            self.read(client, seed);
        }
    }

    fn drain(&mut self, at: usize, latency_ns: u64) {
        let node = &mut self.nodes[at];
        while let Some((_, number, stored)) = node.drains.pop_front_if(|drain| drain.0 <= self.true_ns) {
            self.drained.extend(stored);
            node.on(Event::Drained(number), self.true_ns, latency_ns);
        }
    }

    fn join(&mut self) {
        let number = self.nodes.len();
        let rate = 900 + self.chance.below(201);
        let skew_ns = i64::try_from(self.chance.below(2 * DAY_NS.unsigned_abs())).unwrap() - DAY_NS;
        let mut node = Node::new(number, rate, skew_ns);
        node.start(self.true_ns, 0);
        self.nodes.push(node);
        self.note("starts", number);
    }

    fn trouble(&mut self) {
        let at = self.chance.one_of(self.nodes.len());
        let latency_ns = self.chance.below(300_000_000);
        let alive = self.nodes[at].life.is_some();
        let live = self.nodes.iter().filter(|node| node.life.is_some()).count();
        match self.chance.below(12) {
            0 | 4 if live < 9 => self.join(),
            1 if alive && live > 4 => {
                let unregister = [None, Some(false), Some(true)][self.chance.one_of(3)];
                self.nodes[at].on(Event::Shutdown { unregister }, self.true_ns, latency_ns);
                self.note("shuts down", at);
            }
            2 if alive => {
                self.nodes[at].on(Event::CancelShutdown, self.true_ns, latency_ns);
                self.note("stays", at);
            }
            3 if alive => {
                let happens = self.chance.below(2) == 0;
                self.nodes[at].crash(&mut self.store, happens);
                self.counts.crashed += 1;
                self.note("crashes", at);
            }
            // The dead come back sooner than others die.
            5..=7 => {
                let Some(dead) = self.nodes.iter().position(|node| node.life.is_none()) else { return };
                self.nodes[dead].start(self.true_ns, latency_ns);
                self.note("comes back", dead);
            }
            8 if alive => {
                self.nodes[at].cut_off = !self.nodes[at].cut_off;
                self.note("is cut off or back", at);
            }
            9 => {
                let client = self.chance.one_of(self.clients.len());
                self.clients[client].cut_off = !self.clients[client].cut_off;
                self.note("client is cut off or back", client);
            }
            10 if !self.store.stalled => {
                self.store.stalled = true;
                self.stall_ends_ns = self.true_ns + self.chance.below(20_000_000_000);
                self.counts.stalls += 1;
                self.note("store stalls", 0);
            }
            11 if self.chance.below(2) == 0 && !self.store.stalled => {
                if self.clients.iter().any(|client| client.cut_off) {
                    return;
                }
                for client in &mut self.clients {
                    client.poll(&self.store, self.true_ns);
                }
                self.store.lose_everything();
                self.counts.losses += 1;
                self.note("store loses everything", 0);
            }
            _ => {}
        }
    }

    fn write(&mut self) {
        let client = self.chance.one_of(self.clients.len());
        let (write, key) = (self.next_write, u32::try_from(self.chance.below(1 << 32)).unwrap());
        self.next_write += 1;
        let (chance, nodes) = (&mut self.chance, &mut self.nodes);
        let done = self.clients[client].write(key, self.true_ns, |instance| {
            let node = &mut nodes[instance.addr.parse::<usize>().unwrap()];
            // One call in three does not come through, so that many writes have no copy to spare.
            let takes = node.phase() == Some(Phase::Active) && chance.below(3) > 0;
            if takes {
                node.stored.insert(write);
            }
            takes
        });
        if done {
            self.acknowledged.insert(write);
            self.counts.acknowledged += 1;
        } else {
            self.counts.refused_writes += 1;
        }
        (write, key, done).hash(&mut self.history);
    }

    fn read(&mut self, client: usize, seed: u64) {
        let (chance, nodes) = (&mut self.chance, &self.nodes);
        let answers = self.clients[client].read(self.true_ns, |instance| {
            let node = &nodes[instance.addr.parse::<usize>().unwrap()];
            // What is in the log is read only after it was replayed.
            let answers = node.life.is_some() && node.recovered_at_ns.is_none() && chance.below(20) > 0;
            answers.then_some(&node.stored)
        });
        let Some(answers) = answers else {
            self.counts.failed_reads += 1;
            return;
        };
        self.counts.reads += 1;
        for write in &self.acknowledged {
            let found = self.drained.contains(write) || answers.iter().any(|stored| stored.contains(write));
            assert!(found, "seed {seed}: write {write} is missing at {} ms", self.true_ns / 1_000_000);
        }
    }
}
