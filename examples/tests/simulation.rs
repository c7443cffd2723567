//! The push path on simulated disks, whole and from one seed: a distributor, three ingesters with a disk each, one
//! store, one querier, on a paused clock. Disks lose what was not synced, operations of disk and index fail, ingesters
//! die in the middle of a push and come back. Whatever happens, what was acknowledged is read back, each line once.
//!
//! `FOREBAY_SEEDS=1000 cargo test --release --test simulation` runs more seeds; a failure names its seed.

#![expect(clippy::unwrap_used, reason = "tests: a failure is a panic")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_chunk::Direction;
use forebay_circuit::Breaker;
use forebay_examples::client::IngesterClient;
use forebay_examples::clock::{Clock, monotonic_ns};
use forebay_examples::config::Config;
use forebay_examples::distributor::{Distributor, Outcome};
use forebay_examples::index::{ChunkRef, Index, IndexError, MemoryIndex, Span};
use forebay_examples::ingester::Ingester;
use forebay_examples::labels::Labels;
use forebay_examples::logql::{Logs, Matcher, Query};
use forebay_examples::members::Members;
use forebay_examples::pipeline::{distributor_options, ingester_options};
use forebay_examples::push::{LabelSet, Line, Stream};
use forebay_examples::query::{CountQuery, LogQuery, Querier};
use forebay_examples::storage::Storage;
use forebay_tenant::{Limits, Overrides};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::sim::{Fault, SimFs, Survive};
use forebay_wal::{Options, Time, Wal};
use object_store::memory::InMemory;

const TENANT: &str = "sim";
const START_NS: i64 = 1_772_884_800_000_000_000;
const NODES: usize = 3;

/// An index whose next appends fail, before or after they took effect.
#[derive(Default)]
struct FlakyIndex {
    inner: MemoryIndex,
    fail_before: AtomicU64,
    fail_after: AtomicU64,
}

fn take(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

#[async_trait]
impl Index for FlakyIndex {
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError> {
        if take(&self.fail_before) {
            return Err(IndexError::Unavailable("before".into()));
        }
        self.inner.append(tenant, chunks).await?;
        if take(&self.fail_after) { Err(IndexError::Unavailable("after".into())) } else { Ok(()) }
    }
    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.inner.chunks(tenant, matchers, span).await
    }
    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError> {
        self.inner.label_values(tenant, name, span).await
    }
    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        self.inner.scan(tenant, after, limit).await
    }
    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError> {
        self.inner.contains(tenant, keys).await
    }
    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError> {
        self.inner.drop_refs(tenant, keys).await
    }
    async fn tenants(&self) -> Result<Vec<String>, IndexError> {
        self.inner.tenants().await
    }
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

struct World {
    chance: Chance,
    config: Config,
    clock: Clock,
    overrides: Arc<Overrides>,
    index: Arc<FlakyIndex>,
    storage: Storage,
    members: Members,
    distributor: Distributor,
    disks: Vec<SimFs>,
    acked: BTreeMap<i64, String>,
    next: i64,
    /// Whatever could be told apart between two runs.
    history: Vec<u64>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.common.replication_factor = 3;
        config.ingester.chunk_block_size = 512;
        config.ingester.chunk_target_size = 2048;
        config.ingester.chunk_idle_period = Duration::from_secs(5);
        config.ingester.memory_limit = 1 << 20;
        let clock = Clock::simulated(START_NS);
        let overrides = Arc::new(Overrides::new(Limits {
            ingestion_rate_mb: 1e6,
            ingestion_burst_size_mb: 1e6,
            ..Limits::default()
        }));
        let index = Arc::new(FlakyIndex::default());
        let puts =
            Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64).unwrap();
        let storage = Storage::new(Arc::new(InMemory::new()), Arc::clone(&index) as Arc<dyn Index>, puts);
        let members = Members::new(3, false, clock).unwrap();
        let options = distributor_options(&config);
        let distributor = Distributor::new(members.clone(), Arc::clone(&overrides), clock, options).unwrap();
        let disks = (0..NODES as u64).map(|node| SimFs::new(seed ^ node)).collect();
        let (acked, history) = (BTreeMap::new(), Vec::new());
        let mut world = Self {
            chance: Chance(seed),
            config,
            clock,
            overrides,
            index,
            storage,
            members,
            distributor,
            disks,
            acked,
            next: 0,
            history,
        };
        for node in 0..NODES {
            world.start(node).await;
        }
        world
    }

    /// Starts ingester `node` on its disk. A disk that fails while the log is opened is tried again, as a supervisor
    /// would.
    async fn start(&mut self, node: usize) {
        let options = || Options {
            segment_bytes: 32 << 10,
            max_log_bytes: Some(512 << 10),
            salt_seed: Some(node as u64 + 1),
            time: Time::frozen(),
            ..Options::default()
        };
        let dir = Path::new("/wal");
        let (wal, _) = Wal::open_in(self.disks[node].clone(), dir, options()).unwrap();
        let (log, committer) = AsyncWal::unstarted(wal);
        tokio::spawn(committer.run_async());
        let options = ingester_options(&self.config).unwrap();
        let ingester =
            Ingester::start(log, self.storage.clone(), Arc::clone(&self.overrides), self.clock, options);
        let ingester: Arc<dyn IngesterClient> = Arc::new(ingester.await.unwrap());
        self.members.join(&format!("ingester-{node}"), "simulated", "", ingester).unwrap();
    }

    /// Pulls the plug of `node` and starts it again on what its disk kept.
    async fn crash(&mut self, node: usize) {
        let survive = match self.chance.below(4) {
            0 => Survive::Nothing,
            1 => Survive::Everything,
            _ => Survive::Seeded(self.chance.next()),
        };
        self.disks[node] = self.disks[node].crash(survive);
        self.start(node).await;
    }

    async fn push(&mut self) {
        let count = 1 + self.chance.below(30);
        let lines: Vec<(i64, String)> = (0..count)
            .map(|_| {
                self.next += 1;
                (START_NS + self.next, format!("line {} {:x}", self.next, self.chance.next()))
            })
            .collect();
        let streams = 1 + self.chance.below(4);
        let streams: Vec<Stream<'_>> = (0..streams)
            .map(|stream| {
                let app = self.chance.below(6).to_string();
                let part = lines
                    .iter()
                    .skip(usize::try_from(stream).unwrap())
                    .step_by(usize::try_from(streams).unwrap());
                Stream {
                    labels: LabelSet::Pairs(vec![(Cow::Borrowed("app"), Cow::Owned(app))]),
                    lines: part
                        .map(|(timestamp_ns, line)| Line {
                            timestamp_ns: *timestamp_ns,
                            line: Cow::Owned(line.clone().into_bytes()),
                            metadata: Vec::new(),
                        })
                        .collect(),
                }
            })
            .collect();
        match self.distributor.push(TENANT, streams).await {
            Outcome::Stored => {
                self.history.push(lines.len() as u64);
                self.acked.extend(lines);
            }
            Outcome::Unavailable { .. } => self.history.push(0),
            other => panic!("{other:?}"),
        }
    }

    async fn step(&mut self) {
        match self.chance.below(100) {
            0..70 => self.push().await,
            70..78 => {
                // The disk dies at some operation of the pushes that follow.
                let node = usize::try_from(self.chance.below(NODES as u64)).unwrap();
                let disk = self.disks[node].clone();
                disk.crash_at(disk.op_count() + self.chance.below(20));
                self.push().await;
                self.push().await;
                self.crash(node).await;
            }
            78..82 => {
                let node = usize::try_from(self.chance.below(NODES as u64)).unwrap();
                let disk = self.disks[node].clone();
                let kind = if self.chance.below(2) == 0 { ErrorKind::StorageFull } else { ErrorKind::Other };
                let fault = match self.chance.below(4) {
                    0 => Fault::Error(kind),
                    1 => Fault::Partial(kind),
                    2 => Fault::Late(kind),
                    _ => Fault::Short,
                };
                disk.fail_at(disk.op_count() + self.chance.below(10), fault);
                self.push().await;
                self.push().await;
                self.crash(node).await;
            }
            82..86 => {
                self.index.fail_before.fetch_add(self.chance.below(3), Ordering::Relaxed);
                self.index.fail_after.fetch_add(self.chance.below(3), Ordering::Relaxed);
            }
            86..90 => {
                let node = self.chance.below(NODES as u64);
                if let Some(client) = self.members.client(&format!("ingester-{node}")) {
                    tokio::spawn(async move { client.flush().await });
                }
            }
            _ => tokio::time::sleep(Duration::from_millis(self.chance.below(4000))).await,
        }
        if self.chance.below(4) == 0 {
            self.members.beat().await;
        }
    }

    async fn verify(&mut self) {
        self.members.beat().await;
        let querier = Querier::new(
            self.members.clone(),
            self.storage.clone(),
            distributor_options(&self.config).requirements,
        );
        let Query::Logs(logs) = Query::parse(r#"{app=~".+"}"#).unwrap() else { unreachable!() };
        let span = Span { from_ns: START_NS, through_ns: START_NS + self.next };
        let query = LogQuery { logs: logs.clone(), span, direction: Direction::Forward, limit: usize::MAX };
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
        assert_eq!(counted, found.len() as u64, "counts differ from lines");
        self.history.push(counted);
    }

    async fn count(&self, querier: &Querier, logs: Logs) -> u64 {
        let at = START_NS + self.next;
        let query = CountQuery {
            logs,
            range_ns: self.next.max(1),
            offset_ns: 0,
            start_ns: at,
            end_ns: at,
            step_ns: 1,
        };
        let counts = querier.counts(TENANT, query).await.unwrap();
        let _: Vec<&Labels> = counts.series.iter().map(|(labels, _)| labels).collect();
        counts.series.iter().flat_map(|(_, points)| points.iter().map(|(_, count)| *count)).sum()
    }
}

fn run(seed: u64) -> Vec<u64> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed).await;
        for _ in 0..60 {
            world.step().await;
        }
        world.verify().await;
        // Everything loses power at once, then everything is stored.
        for node in 0..NODES {
            world.crash(node).await;
        }
        world.verify().await;
        world.index.fail_before.store(0, Ordering::Relaxed);
        world.index.fail_after.store(0, Ordering::Relaxed);
        for client in world.members.clients() {
            client.flush().await.unwrap();
        }
        world.verify().await;
        world.history
    })
}

#[test]
fn what_was_acknowledged_is_read_back_once_whatever_fails() {
    let seeds = std::env::var("FOREBAY_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let mut acked = 0;
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        acked += outcome.unwrap_or_else(|_| panic!("seed {seed} fails")).iter().sum::<u64>();
    }
    assert!(acked > seeds * 100, "{acked} lines were acknowledged: the simulation does too little");
}

#[test]
fn one_seed_is_one_history() {
    assert_eq!(run(7), run(7));
}
