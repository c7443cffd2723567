//! One seed's cluster, step by step, and what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_ring::State;
use forebay_ring::codec::{RecordKind, decode_instance};
use forebay_ring::lifecycle::{Driver, Phase};
use forebay_ring::store::{Expect, Store};
use tokio::time::Instant;

use super::chance::Chance;
use super::client::{Client, Found, Weather};
use super::counts::Counts;
use super::link::Turns;
use super::node::{Node, Peer, Place};

const DAY_NS: i64 = 86_400_000_000_000;
const STEPS: u32 = 160;
const CLIENTS: usize = 3;
pub(super) const MOST_NODES: usize = 12;
const WRITES_AT_A_TIME: u32 = 3;

pub(crate) struct World {
    pub(super) seed: u64,
    chance: Chance,
    pub(super) place: Place,
    turns: Turns,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    /// Writes whose writer was told that they are kept.
    acknowledged: BTreeSet<u32>,
    next_write: u32,
    /// What was drained to where everybody can read it.
    drained: Arc<Mutex<BTreeSet<u32>>>,
    /// What is amiss, and until when.
    amiss: Vec<(Instant, Amiss)>,
    phases: BTreeMap<usize, Phase>,
    pub(crate) counts: Counts,
    history: DefaultHasher,
}

#[derive(Debug, Clone, Copy, Hash)]
enum Amiss {
    StoreStalls,
    NodeIsCut(usize),
    NodeIsDeaf(usize),
    ClientIsCut(usize),
    ClientIsDeaf(usize),
}

impl World {
    /// Runs a seed to its end; a hash of all that happened, and how often what did.
    pub(crate) fn run(seed: u64, tell: bool) -> (u64, Counts) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut world = World::new(seed, tell);
            for _ in 0..3 + world.chance.below(4) {
                world.join();
            }
            for _ in 0..STEPS {
                world.step().await;
            }
            world.settle().await;
            let records = world.place.server.store.list().await.unwrap().records;
            for record in records {
                (record.key, record.value, record.version).hash(&mut world.history);
            }
            (world.history.finish(), world.counts)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of a test goes as tokio's, which is paused")]
    fn new(seed: u64, tell: bool) -> Self {
        let began = Instant::now();
        let place = Place { seed, began, server: Arc::default(), zones: seed % 3 != 2, tell };
        Self {
            seed,
            chance: Chance::of(seed, "world"),
            turns: Turns::new(began, 63),
            nodes: Vec::new(),
            clients: (0..CLIENTS).map(|number| Client::new(&place, number, MOST_NODES)).collect(),
            place,
            acknowledged: BTreeSet::new(),
            next_write: 0,
            drained: Arc::default(),
            amiss: Vec::new(),
            phases: BTreeMap::new(),
            counts: Counts::default(),
            history: DefaultHasher::new(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.place.began + self.place.began.elapsed()
    }

    pub(super) fn note(&mut self, what: &str, of: usize) {
        let at_ms = self.place.began.elapsed().as_millis();
        (at_ms, what, of).hash(&mut self.history);
        if self.place.tell {
            println!("{at_ms:>9} ms  {what} {of}");
        }
    }

    async fn step(&mut self) {
        let turns = 1 + self.chance.below(6);
        self.turns.pass(turns).await;
        self.mend();
        // Trouble comes seldom enough for reads to succeed between.
        if self.chance.one_in(5) {
            self.trouble().await;
        }
        self.look_after_nodes();
        let shows_left = self.listed().await.values().any(|state| *state == State::Left);
        self.counts.shows_left += u32::from(shows_left);
        self.write_and_read(Weather::Rough).await;
    }

    /// Whether each of the clients acknowledged its writes and read.
    pub(super) async fn write_and_read(&mut self, weather: Weather) -> Vec<(bool, bool)> {
        let peers: Arc<[Arc<Peer>]> = self.nodes.iter().map(|node| Arc::clone(&node.peer)).collect();
        let before = self.acknowledged.clone();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, mut client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let writes: Vec<u32> = (self.next_write..).take(WRITES_AT_A_TIME as usize).collect();
            self.next_write += WRITES_AT_A_TIME;
            let (peers, drained) = (Arc::clone(&peers), Arc::clone(&self.drained));
            tasks.spawn(async move {
                let kept = client.write(&peers, &writes, weather).await;
                let found = client.read(&peers, weather).await;
                // As a query does: the instances first, the storage right after.
                let drained = drained.lock().unwrap().clone();
                (number, client, kept, found, drained)
            });
        }
        let mut done = tasks.join_all().await;
        done.sort_by_key(|(number, ..)| *number);
        let mut went = Vec::new();
        for (number, client, kept, found, drained) in done {
            (number, &kept, matches!(found, Found::Nothing)).hash(&mut self.history);
            let all = u32::try_from(kept.len()).unwrap();
            self.counts.acknowledged += all;
            self.counts.refused_writes += WRITES_AT_A_TIME - all;
            went.push((all == WRITES_AT_A_TIME, self.judge(number, &found, &drained, &before)));
            self.acknowledged.extend(kept);
            self.clients.push(client);
        }
        went
    }

    /// Whether a read succeeded; one that did has to have found all that was acknowledged before it began.
    fn judge(
        &mut self,
        client: usize,
        found: &Found,
        drained: &BTreeSet<u32>,
        before: &BTreeSet<u32>,
    ) -> bool {
        let Found::Writes(found) = found else {
            self.counts.failed_reads += 1;
            return false;
        };
        self.counts.reads += 1;
        let missing = before.iter().find(|write| !found.contains(write) && !drained.contains(write));
        let at_ms = self.place.began.elapsed().as_millis();
        assert_eq!(missing, None, "seed {}: missing for client {client} at {at_ms} ms", self.seed);
        true
    }

    pub(super) fn look_after_nodes(&mut self) {
        for at in 0..self.nodes.len() {
            let now = self.now();
            if self.nodes[at].recover(now) {
                self.note("has replayed", at);
            }
            let phase = self.nodes[at].peer.phase();
            if phase != self.phases.get(&at).copied() {
                match phase {
                    Some(phase) => drop(self.phases.insert(at, phase)),
                    None => drop(self.phases.remove(&at)),
                }
                self.counts.joined += u32::from(phase == Some(Phase::Active));
                self.note(&format!("{phase:?}"), at);
                self.on_phase(at, phase);
            }
            if phase == Some(Phase::Stopped) {
                self.nodes[at].stop();
                self.counts.stopped += 1;
            }
        }
    }

    /// Trouble at the worst moments.
    fn on_phase(&mut self, at: usize, phase: Option<Phase>) {
        if self.place.server.calm.load(Ordering::Relaxed) {
            return;
        }
        match phase {
            // Its log may not be replayed yet.
            Some(Phase::Pending) if self.chance.one_in(5) => self.shut_down(at),
            // Some do not hear of it.
            Some(Phase::Joining | Phase::Active) if self.chance.one_in(3) => {
                let client = self.chance.index(CLIENTS);
                self.begin(Amiss::ClientIsCut(client));
            }
            _ => {}
        }
    }

    fn join(&mut self) {
        let number = self.nodes.len();
        let rate = 900 + self.chance.below(201);
        let skew_ns = i64::try_from(self.chance.below(2 * DAY_NS.unsigned_abs())).unwrap() - DAY_NS;
        let mut node = Node::new(&self.place, number, rate, skew_ns);
        node.start(&self.place, &self.drained);
        self.nodes.push(node);
        self.note("starts", number);
    }

    pub(super) fn comes_back(&mut self, at: usize) {
        self.nodes[at].start(&self.place, &self.drained);
        self.note("comes back", at);
    }

    fn is_amiss(&self, which: impl Fn(Amiss) -> bool) -> bool {
        self.amiss.iter().any(|&(_, amiss)| which(amiss))
    }

    fn begin(&mut self, amiss: Amiss) {
        let most_ms = if matches!(amiss, Amiss::StoreStalls) { 15_000 } else { 25_000 };
        let until = self.now() + Duration::from_millis(self.chance.below(most_ms));
        self.set(amiss, true);
        self.amiss.push((until, amiss));
    }

    pub(super) fn mend(&mut self) {
        let now = self.now();
        let mut over = Vec::new();
        self.amiss.retain(|&(until, amiss)| {
            let is_over = until <= now;
            over.extend(is_over.then_some(amiss));
            !is_over
        });
        over.into_iter().for_each(|amiss| self.set(amiss, false));
    }

    pub(super) fn mend_all(&mut self) {
        for (_, amiss) in std::mem::take(&mut self.amiss) {
            self.set(amiss, false);
        }
    }

    fn set(&mut self, amiss: Amiss, is: bool) {
        let flag = |flag: &AtomicBool| flag.store(is, Ordering::Relaxed);
        match amiss {
            Amiss::StoreStalls => flag(&self.place.server.stalls),
            Amiss::NodeIsCut(at) => flag(&self.nodes[at].line.cut),
            Amiss::NodeIsDeaf(at) => flag(&self.nodes[at].line.deaf),
            Amiss::ClientIsCut(at) => flag(&self.clients[at].line.cut),
            Amiss::ClientIsDeaf(at) => flag(&self.clients[at].line.deaf),
        }
        self.note(&format!("{amiss:?}"), usize::from(is));
    }

    async fn trouble(&mut self) {
        let at = self.chance.index(self.nodes.len());
        let client = self.chance.index(CLIENTS);
        let is_up = self.nodes[at].is_up();
        let down = self.nodes.iter().position(|node| !node.is_up());
        let up = self.nodes.iter().filter(|node| node.is_up()).count();
        match self.chance.below(30) {
            0 | 1 if up < 9 && self.nodes.len() < MOST_NODES => self.join(),
            2..=5 if is_up && up > 4 => self.shut_down(at),
            6 if is_up => {
                self.nodes[at].tell(Driver::cancel_shutdown);
                self.note("stays", at);
            }
            7..=9 if is_up => self.crash(at),
            // The dead come back sooner than others die.
            10..=19 => match down {
                Some(down) if self.chance.one_in(5) => self.forget(down).await,
                Some(down) => self.comes_back(down),
                None => {}
            },
            20 | 21 => {
                let of_node = self.chance.one_in(2);
                self.begin(if of_node { Amiss::NodeIsCut(at) } else { Amiss::ClientIsCut(client) });
            }
            22 => {
                let of_node = self.chance.one_in(2);
                self.begin(if of_node { Amiss::NodeIsDeaf(at) } else { Amiss::ClientIsDeaf(client) });
            }
            23 if !self.is_amiss(|amiss| matches!(amiss, Amiss::StoreStalls)) => {
                self.begin(Amiss::StoreStalls);
                self.counts.stalls += 1;
            }
            24..=26 => {
                self.lose_tokens(at).await;
                if self.chance.one_in(2) {
                    self.begin_to_read(client).await;
                }
            }
            27 => self.lose_everything().await,
            28 | 29 => self.begin_to_read(client).await,
            _ => {}
        }
    }

    fn shut_down(&mut self, at: usize) {
        let unregister = [None, Some(false), Some(true)][self.chance.index(3)];
        self.nodes[at].tell(|driver| driver.shut_down(unregister));
        self.note("shuts down", at);
    }

    fn crash(&mut self, at: usize) {
        self.nodes[at].crash(&mut self.chance);
        self.counts.crashed += 1;
        self.note("crashes", at);
        if self.chance.one_in(6) {
            self.nodes[at].lose_file();
            self.note("loses its file", at);
        }
    }

    pub(super) async fn lose_tokens(&mut self, at: usize) {
        let key = RecordKind::Tokens.key(self.nodes[at].id());
        if self.place.server.store.get(&key).await.unwrap().is_some() {
            self.place.server.store.delete_if(&key, Expect::Any).await.unwrap();
            self.counts.tokens_lost += 1;
            self.note("the store loses the tokens of", at);
        }
    }

    /// Who is in the store.
    async fn listed(&self) -> BTreeMap<String, State> {
        let records = self.place.server.store.list().await.unwrap().records;
        let instances = records.iter().filter(|record| record.key.starts_with("instances/"));
        let decoded = instances.map(|record| decode_instance(&record.value).unwrap().instance);
        decoded.map(|instance| (instance.id.to_string(), instance.state)).collect()
    }

    async fn lose_everything(&mut self) {
        let listed = self.listed().await;
        let all_know = self.clients.iter().all(|client| listed.keys().all(|id| client.knows(id)));
        if all_know && !self.is_amiss(|amiss| matches!(amiss, Amiss::ClientIsCut(_) | Amiss::ClientIsDeaf(_)))
        {
            self.place.server.store.lose_everything();
            self.counts.losses += 1;
            self.note("the store loses everything", 0);
        }
    }

    /// A new client in the place of another, while all who hold something are in the store.
    async fn begin_to_read(&mut self, client: usize) {
        let listed = self.listed().await;
        let drained = self.drained.lock().unwrap().clone();
        let holds = |node: &&Node| node.peer.holds_more_than(&drained);
        if self.nodes.iter().filter(holds).all(|node| listed.contains_key(node.id())) {
            self.amiss.retain(|(_, amiss)| {
                !matches!(amiss, Amiss::ClientIsCut(at) | Amiss::ClientIsDeaf(at) if *at == client)
            });
            self.clients[client] = Client::new(&self.place, client, MOST_NODES);
            self.counts.late += 1;
            self.note("another begins to read", client);
        }
    }

    /// An operator forgets one that is down, if nothing is lost by that.
    async fn forget(&mut self, at: usize) {
        let drained = self.drained.lock().unwrap().clone();
        let Some(other) = self.nodes.iter().position(Node::is_up) else { return };
        if !self.nodes[at].peer.holds_more_than(&drained) {
            let forgotten = self.nodes[other].forget(self.nodes[at].id()).await;
            self.counts.forgotten += u32::from(forgotten);
            self.note("is forgotten", at);
        }
    }
}
