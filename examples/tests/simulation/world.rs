//! Ingesters on simulated disks that live in a ring, what is pushed at them, and what must come back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::logproto::{EntryAdapter, PushRequest, StreamAdapter, Timestamp};
use forebay_chunk::Direction;
use forebay_circuit::Breaker;
use forebay_examples::client::IngesterClient;
use forebay_examples::config::{ChunkFormat, Config};
use forebay_examples::distributor::{Distributor, Outcome};
use forebay_examples::index::{Index, Span};
use forebay_examples::ingester::Ingester;
use forebay_examples::logql::{Logs, Metric, Query, RangeAggregation, RangeFunction};
use forebay_examples::pipeline::{distributor_options, ingester_options, querier_options};
use forebay_examples::push::{Body, LabelSet, Line, Stream};
use forebay_examples::query::{Grid, LogQuery, MetricQuery, Querier, Split, reads};
use forebay_examples::ring::{self, Cluster};
use forebay_examples::storage::{Storage, path};
use forebay_ring::disk::MemoryDisk;
use forebay_ring::store::{MemoryStore, Trouble};
use forebay_tenant::{Limits, Overrides};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::sim::{Fault, SimFs, Survive};
use forebay_wal::{Options, Time, Wal};
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use prost::Message;

use crate::store::{Life, NodeIndex, NodeObjects, Shared};

const TENANT: &str = "sim";
const START_NS: i64 = 1_772_884_800_000_000_000;
pub(crate) const NODES: usize = IDS.len();
const IDS: [&str; 3] = ["ingester-0", "ingester-1", "ingester-2"];

/// The application that makes a stream, and its lines.
type Made = (String, Vec<(i64, String)>);

fn stream((app, lines): &Made) -> Stream<'_> {
    let line = |(timestamp_ns, line): &'_ (i64, String)| Line {
        timestamp_ns: *timestamp_ns,
        line: Cow::Owned(line.clone().into_bytes()),
        metadata: Vec::new(),
    };
    let labels = LabelSet::Pairs(vec![(Cow::Borrowed("app"), Cow::Borrowed(app))]);
    Stream { labels, lines: lines.iter().map(line).collect() }
}

/// As a client sends it.
fn body(push: &[Made]) -> Body {
    let entry = |(timestamp_ns, line): &(i64, String)| EntryAdapter {
        timestamp: Some(Timestamp::from_ns(*timestamp_ns)),
        line: line.clone().into(),
        structured_metadata: Vec::new(),
    };
    let stream = |(app, lines): &Made| StreamAdapter {
        labels: format!("{{app=\"{app}\"}}"),
        entries: lines.iter().map(entry).collect(),
    };
    let request = PushRequest { streams: push.iter().map(stream).collect() };
    Body::Protobuf(request.encode_to_vec().into())
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// An ingester's life in the ring, and who looks after its log. Dropped, both end as in a crash.
struct Member {
    _cluster: Cluster,
    _life: ring::Life<SimFs>,
    minds_log: tokio::task::JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.minds_log.abort();
    }
}

pub(crate) struct World {
    chance: Chance,
    config: Config,
    clock: Clock,
    overrides: Arc<Overrides>,
    shared: Arc<Shared>,
    /// Where the records of the ring are.
    ring: MemoryStore,
    /// The ring as who sends and asks knows it.
    cluster: Cluster,
    /// The current ones.
    ingesters: Vec<Arc<dyn IngesterClient>>,
    /// How they live in the ring; `None` while one is started.
    members: Vec<Option<Member>>,
    /// Where their tokens are.
    token_disks: Vec<MemoryDisk>,
    distributor: Distributor,
    disks: Vec<SimFs>,
    /// The current one of each ingester.
    pub(crate) lives: Vec<Arc<Life>>,
    acked: BTreeMap<i64, String>,
    next: i64,
    starts: u64,
    /// Whatever could be told apart between two runs.
    pub(crate) history: Vec<u64>,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let mut config = Config::default();
        // With one copy nothing makes up for what an ingester loses; with three, repeats must be found.
        let copies = if seed.is_multiple_of(2) { 3 } else { 1 };
        config.common.replication_factor = copies;
        config.ingester.chunk_block_size = 512;
        config.ingester.chunk_target_size = 2048;
        config.ingester.chunk_idle_period = Duration::from_secs(5);
        config.ingester.flush_check_period = Duration::from_millis(200);
        config.ingester.lifecycler.tokens_file_path = Some("/tokens".into());
        // Little memory: chunks are stored while the log is replayed, and pushes are refused.
        config.ingester.memory_limit = if seed.is_multiple_of(3) { 16 << 10 } else { 1 << 20 };
        let clock = Clock::simulated(START_NS);
        let overrides = Arc::new(Overrides::new(Limits {
            ingestion_rate_mb: 1e6,
            ingestion_burst_size_mb: 1e6,
            ..Limits::default()
        }));
        let ring = MemoryStore::default();
        let disk = Arc::new(MemoryDisk::default());
        let cluster = Cluster::simulated(Arc::new(ring.clone()), disk, &config, clock).unwrap();
        let options = distributor_options(&config);
        let members = cluster.members().clone();
        let distributor = Distributor::new(members, Arc::clone(&overrides), clock, options).unwrap();
        let disks: Vec<_> = (0..NODES as u64).map(|node| SimFs::new(seed ^ node)).collect();
        let lives = disks.iter().map(|disk| Life::new(disk.clone())).collect();
        let (acked, history) = (BTreeMap::new(), Vec::new());
        let ingesters = Vec::new();
        let mut world = Self {
            chance: Chance(seed),
            config,
            clock,
            overrides,
            shared: Arc::default(),
            ring,
            cluster,
            ingesters,
            members: (0..NODES).map(|_| None).collect(),
            token_disks: (0..NODES).map(|_| MemoryDisk::default()).collect(),
            distributor,
            disks,
            lives,
            acked,
            next: 0,
            starts: 0,
            history,
        };
        for node in 0..NODES {
            world.start(node).await;
        }
        world.until_all_take_writes().await;
        world
    }

    /// Waits until the ring is as if nothing had been.
    pub(crate) async fn until_all_take_writes(&self) {
        self.ring.set_trouble(Trouble::None);
        for id in IDS {
            assert!(self.cluster.until_active(id, None, Duration::from_secs(60)).await, "{id} is not back");
        }
    }

    /// The store as it is reached in `life`.
    fn storage(&self, life: &Arc<Life>) -> Storage {
        let (shared, life) = (Arc::clone(&self.shared), Arc::clone(life));
        let index = Arc::new(NodeIndex { shared: Arc::clone(&shared), life: Arc::clone(&life) });
        let puts = Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64);
        Storage::new(Arc::new(NodeObjects { shared, life }), index, puts.unwrap())
    }

    /// Starts ingester `node` on its disk.
    async fn start(&mut self, node: usize) {
        let mut config = self.config.clone();
        config.common.instance_id = IDS[node].to_owned();
        let (ring, disk) = (Arc::new(self.ring.clone()), Arc::new(self.token_disks[node].clone()));
        let cluster = Cluster::simulated(ring, disk, &config, self.clock).unwrap();
        let life = ring::Life::begin(&cluster, &config, IDS[node]).unwrap();
        let options = || Options {
            segment_bytes: 8 << 10,
            max_log_bytes: Some(256 << 10),
            salt_seed: Some(node as u64 + 1),
            time: Time::frozen(),
            ..Options::default()
        };
        let dir = Path::new("/wal");
        let (wal, _) = Wal::open_in(self.disks[node].clone(), dir, options()).unwrap();
        let (log, committer) = AsyncWal::unstarted(wal);
        tokio::spawn(committer.run_async());
        // Each life writes the other format than the one before: both are in the store, and what one has logged another
        // makes chunks of.
        self.starts += 1;
        self.config.ingester.chunk_format =
            if self.starts.is_multiple_of(2) { ChunkFormat::Loki } else { ChunkFormat::Columnar };
        let options = ingester_options(&self.config).unwrap();
        let storage = self.storage(&self.lives[node]);
        let ingester = Ingester::start(log, storage, Arc::clone(&self.overrides), self.clock, options);
        let ingester = ingester.await.unwrap();
        life.recovered(ingester.clone());
        let minds_log = tokio::spawn(life.clone().mind_log());
        self.members[node] = Some(Member { _cluster: cluster, _life: life, minds_log });
        let ingester: Arc<dyn IngesterClient> = Arc::new(ingester);
        self.cluster.members().serve(IDS[node], Arc::clone(&ingester));
        match self.ingesters.get_mut(node) {
            Some(before) => *before = ingester,
            None => self.ingesters.push(ingester),
        }
    }

    /// Pulls the plug of `node` and starts it again on what its disk kept.
    pub(crate) async fn crash(&mut self, node: usize) {
        let survive = match self.chance.below(4) {
            0 => Survive::Nothing,
            1 => Survive::Everything,
            _ => Survive::Seeded(self.chance.next()),
        };
        self.lives[node].end();
        self.members[node] = None;
        self.disks[node] = self.disks[node].crash(survive);
        self.lives[node] = Life::new(self.disks[node].clone());
        self.start(node).await;
    }

    /// Lines with times of their own, in some of the streams.
    fn make(&mut self) -> Vec<Made> {
        let streams = 1 + self.chance.below(4);
        let mut made: Vec<Made> =
            (0..streams).map(|_| (self.chance.below(6).to_string(), Vec::new())).collect();
        for line in 0..=self.chance.below(30) {
            self.next += 1;
            let text = format!("line {} {:x}", self.next, self.chance.next());
            made[usize::try_from(line % streams).unwrap()].1.push((START_NS + self.next, text));
        }
        made
    }

    /// With its labels in pairs, as OTLP has them, or else in a body with these as text.
    async fn send(&self, in_pairs: bool, push: &[Made]) -> Outcome {
        let mut room = self.distributor.intake().enter(1 << 20);
        let pushed = if in_pairs {
            let pushed = self.distributor.push(TENANT, 0, &mut room, |_, take| {
                push.iter().for_each(|made| take(&stream(made)));
                Ok(())
            });
            pushed.await
        } else {
            self.distributor.push_body(TENANT, body(push), &mut room).await
        };
        pushed.unwrap()
    }

    /// Pushes `pushes` times at once.
    pub(crate) async fn push(&mut self, pushes: u64) {
        let made: Vec<(bool, Vec<Made>)> =
            (0..pushes).map(|_| (self.chance.below(4) == 0, self.make())).collect();
        let sent = made.iter().map(|(in_pairs, push)| self.send(*in_pairs, push));
        let outcomes = futures_util::future::join_all(sent).await;
        for ((_, push), outcome) in made.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Stored => {
                    let before = self.acked.len();
                    self.acked.extend(push.into_iter().flat_map(|(_, lines)| lines));
                    self.history.push((self.acked.len() - before) as u64);
                }
                Outcome::Unavailable { .. } => self.history.push(0),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn step(&mut self) {
        match self.chance.below(100) {
            0..60 => self.push(1).await,
            60..70 => {
                let node = self.node();
                self.start_flush(node);
                self.push(20).await;
                self.crash(node).await;
            }
            70..78 => {
                // The disk dies at some operation of the pushes that follow.
                let node = self.node();
                let disk = self.disks[node].clone();
                disk.crash_at(disk.op_count() + self.chance.below(20));
                self.push(1).await;
                self.push(1).await;
                self.crash(node).await;
            }
            78..82 => {
                let node = self.node();
                let disk = self.disks[node].clone();
                let kind = if self.chance.below(2) == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
                let fault = match self.chance.below(4) {
                    0 => Fault::Error(kind),
                    1 => Fault::Partial(kind),
                    2 => Fault::Late(kind),
                    _ => Fault::Short,
                };
                disk.fail_at(disk.op_count() + self.chance.below(10), fault);
                self.push(1).await;
                self.push(1).await;
                self.crash(node).await;
            }
            82..86 => {
                let node = self.node();
                self.lives[node].fail(self.chance.below(12), self.chance.below(3));
            }
            86..90 => {
                let node = self.node();
                self.start_flush(node);
            }
            90..93 => {
                let node = self.node();
                self.lives[node].die_after(self.chance.below(8), self.chance.below(2) == 0);
                self.start_flush(node);
                self.push(1).await;
                tokio::time::sleep(Duration::from_millis(self.chance.below(1000))).await;
                self.crash(node).await;
            }
            93..95 => {
                // The ring's store is away, for long enough at times that all are silent.
                let trouble = if self.chance.below(2) == 0 { Trouble::Fails } else { Trouble::Hangs };
                self.ring.set_trouble(trouble);
                tokio::time::sleep(Duration::from_secs(self.chance.below(100))).await;
                self.push(1).await;
                self.until_all_take_writes().await;
            }
            _ => tokio::time::sleep(Duration::from_millis(self.chance.below(4000))).await,
        }
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.chance.below(NODES as u64)).unwrap()
    }

    fn start_flush(&self, node: usize) {
        let client = Arc::clone(&self.ingesters[node]);
        tokio::spawn(async move { client.flush().await });
    }

    /// Stores everything, once nothing fails any more.
    pub(crate) async fn flush(&self) {
        for life in &self.lives {
            life.fail(0, 0);
            life.die_after(u64::MAX, false);
        }
        self.flush_all().await;
    }

    pub(crate) async fn flush_all(&self) {
        for client in &self.ingesters {
            client.flush().await.unwrap();
        }
    }

    /// How many chunks are in the object store, and how many in the index.
    pub(crate) async fn stored(&self) -> (usize, usize) {
        let objects: Vec<_> = self.shared.objects.list(None).try_collect().await.unwrap();
        let indexed = self.shared.index.scan(TENANT, None, usize::MAX).await.unwrap();
        for chunk in &indexed {
            self.shared.objects.head(&path(&chunk.key)).await.expect("an index entry leads to an object");
        }
        (objects.len(), indexed.len())
    }

    pub(crate) async fn verify(&mut self) {
        self.stored().await;
        let querier = Querier::new(
            self.cluster.members().clone(),
            self.storage(&Life::new(SimFs::new(0))),
            distributor_options(&self.config).requirements,
            querier_options(&self.config),
        );
        let Query::Logs(logs) = Query::parse(r#"{app=~".+"}"#).unwrap() else { panic!("it selects lines") };
        let span = Span { from_ns: START_NS, through_ns: START_NS + self.next };
        let query = LogQuery {
            logs: logs.clone(),
            span,
            direction: Direction::Forward,
            limit: usize::MAX,
            max_bytes: u64::MAX,
            split: Split::default(),
        };
        let lines = querier.lines(TENANT, query).await.unwrap();
        let mut found: BTreeMap<i64, String> = BTreeMap::new();
        for answered in lines.entries {
            let line = String::from_utf8(answered.found.line.to_vec()).unwrap();
            assert_eq!(found.insert(answered.found.timestamp_ns, line), None, "a line came twice");
        }
        for (timestamp_ns, line) in &self.acked {
            assert_eq!(found.get(timestamp_ns), Some(line), "acknowledged and not found");
        }
        let counted = self.count(&querier, logs).await;
        assert_eq!(counted, found.len() as f64, "counts differ from lines");
        self.history.push(found.len() as u64);
    }

    async fn count(&self, querier: &Querier, logs: Logs) -> f64 {
        let at = START_NS + self.next;
        let function = RangeFunction::CountOverTime;
        let range = RangeAggregation { function, logs, range_ns: self.next.max(1), offset_ns: 0 };
        let (metric, grid) = (Metric::Range(range), Grid::instant(at));
        let query = MetricQuery {
            span: reads(&metric, grid),
            metric,
            grid,
            max_series: usize::MAX,
            max_bytes: u64::MAX,
            split: Split::default(),
        };
        let counted = querier.metric(TENANT, &query).await.unwrap();
        counted.series.iter().flat_map(|(_, points)| points.iter().map(|(_, count)| count)).sum()
    }
}
