use std::collections::BTreeMap;
use std::path::Path;

use forebay_agent::clock::Clock;
use forebay_circuit::Breaker;
use forebay_tenant::{Limits, Overrides};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Time, Wal};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use object_store::memory::InMemory;

use super::*;
use crate::config::{ChunkFormat, Config};
use crate::index::{ChunkRef, Index, MemoryIndex, Span};
use crate::ingester::{Ingester, PushError};
use crate::labels::Labels;
use crate::members::Members;
use crate::pipeline::ingester_options;
use crate::record::Writer;
use crate::storage::Storage;

const SECOND: i64 = 1_000_000_000;

/// An ingester and what it has stored.
struct World {
    ingester: Ingester<SimFs>,
    index: Arc<MemoryIndex>,
}

impl World {
    async fn new(config: &Config, log_bytes: Option<u64>) -> Self {
        let options = forebay_wal::Options {
            segment_bytes: 8192,
            max_log_bytes: log_bytes,
            time: Time::frozen(),
            ..forebay_wal::Options::default()
        };
        let (log, committer) =
            AsyncWal::unstarted(Wal::open_in(SimFs::new(1), Path::new("/wal"), options).unwrap().0);
        tokio::spawn(committer.run_async());
        let puts =
            Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64).unwrap();
        let index = Arc::new(MemoryIndex::default());
        let storage = Storage::new(Arc::new(InMemory::new()), Arc::clone(&index) as _, puts);
        let overrides = Arc::new(Overrides::new(Limits::default()));
        let options = ingester_options(config).unwrap();
        let ingester = Ingester::start(log, storage, overrides, Clock::simulated(1), options).await.unwrap();
        Self { ingester, index }
    }

    /// Pushes a line, again and again while memory or log is full.
    async fn push(&self, app: &str, at_ns: i64, line: &str) {
        let mut writer = Writer::new("t", line.len());
        writer.begin(&[("app", app)]);
        writer.entry(at_ns, [line.as_bytes(), b""], &[]);
        writer.end();
        let record = writer.finish().record();
        loop {
            match self.ingester.push(record.clone()).await {
                Err(PushError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                pushed => {
                    pushed.unwrap();
                    return;
                }
            }
        }
    }

    /// The chunks of the store, by their time.
    async fn stored(&self) -> Vec<ChunkRef> {
        let mut stored = self.index.chunks("t", &[], Span::ALL).await.unwrap();
        stored.sort_by_key(|chunk| chunk.from_ns);
        stored
    }
}

fn config(change: impl FnOnce(&mut crate::config::Ingester)) -> Config {
    let mut config = Config::default();
    change(&mut config.ingester);
    config
}

/// How many chunks were stored for which reason.
fn reasons(recorded: &PrometheusHandle) -> BTreeMap<String, u64> {
    let text = recorded.render();
    let samples = text.lines().filter_map(|line| line.strip_prefix("forebay_chunks_flushed_total{reason=\""));
    let samples = samples.filter_map(|sample| sample.split_once("\"} "));
    samples.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).collect()
}

/// Of the same length and not to be compressed.
fn noise(seed: i64) -> String {
    let word = |n: i64| format!("{:016x}", (seed * 64 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64));
    (1..64).map(word).collect()
}

/// What is stored in the minutes that `work` takes.
fn stored_for<T>(work: impl Future<Output = T>) -> (T, BTreeMap<String, u64>) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded = recorder.handle();
    // The runtime has this thread alone.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let done = runtime.block_on(work);
    (done, reasons(&recorded))
}

fn only(reason: &str, count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(reason.to_owned(), count)])
}

#[test]
fn a_chunk_that_nothing_comes_to_is_stored_and_so_is_one_that_is_old_or_full_or_asked_for() {
    for chunk_format in [ChunkFormat::Loki, ChunkFormat::Columnar] {
        let idle =
            config(|i| (i.chunk_format, i.chunk_idle_period) = (chunk_format, Duration::from_secs(10)));
        let ((), reasons) = stored_for(async {
            let world = World::new(&idle, None).await;
            world.push("a", 1, "line").await;
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert_eq!(world.stored().await.len(), 0);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(world.stored().await.len(), 1);
        });
        assert_eq!(reasons, only("idle", 1));

        let old = config(|i| (i.chunk_format, i.max_chunk_age) = (chunk_format, Duration::from_secs(60)));
        let ((), reasons) = stored_for(async {
            let world = World::new(&old, None).await;
            for second in 0..65 {
                world.push("a", second, "line").await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            // By the times of its entries, whenever they came.
            world.push("b", 1, "line").await;
            world.push("b", 1 + 60 * SECOND, "line").await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(world.stored().await.len(), 2);
        });
        assert_eq!(reasons, only("max_age", 2));

        let small = config(|i| {
            (i.chunk_format, i.chunk_block_size, i.chunk_target_size) = (chunk_format, 4096, 16 << 10);
        });
        let ((), reasons) = stored_for(async {
            let world = World::new(&small, None).await;
            for line in 0..300 {
                world.push("a", line, &noise(line)).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(world.stored().await.len() >= 5);
            let before = world.stored().await.len();
            world.push("b", 1, "line").await;
            world.ingester.flush().await;
            assert!(world.stored().await.len() > before);
        });
        assert!(reasons["full"] >= 5 && reasons["forced"] >= 1, "{reasons:?}");
    }
}

#[test]
fn replicas_that_missed_different_lines_cut_at_the_same_ones() {
    let config = config(|i| (i.sync_period, i.sync_min_utilization) = (Duration::from_secs(10), 0.0));
    let bounds = |first: i64| {
        stored_for(async {
            let world = World::new(&config, None).await;
            for second in first..60 {
                world.push("a", second * SECOND, "line").await;
            }
            world.ingester.flush().await;
            let stored = world.stored().await;
            stored.iter().map(|chunk| (chunk.from_ns, chunk.through_ns)).collect::<Vec<_>>()
        })
    };
    let ((all, reasons), (late, _)) = (bounds(0), bounds(17));
    assert!((6..=7).contains(&all.len()), "{all:?}");
    assert_eq!(reasons["synced"], all.len() as u64 - 1);
    assert_eq!(all[all.len() - late.len() + 1..], late[1..], "all but what was missed lies in equal chunks");
}

#[test]
fn the_chunks_that_keep_a_log_from_being_truncated_are_stored() {
    let (log_limit, config) = (128 << 10, config(|i| i.flush_check_period = Duration::from_millis(100)));
    let ((), reasons) = stored_for(async {
        let world = World::new(&config, Some(log_limit)).await;
        world.push("slow", 1, "line").await;
        for line in 0..200 {
            world.push("fast", line, &noise(line)).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(world.stored().await.iter().any(|chunk| chunk.labels.to_string().contains("slow")));
    });
    assert!(reasons["wal_pinned"] >= 2, "{reasons:?}");
}

#[test]
fn the_largest_chunks_are_stored_where_memory_is_short() {
    let config = config(|i| i.memory_limit = 1 << 20);
    let ((), reasons) = stored_for(async {
        let world = World::new(&config, None).await;
        world.push("small", 1, "line").await;
        for line in 0..1500 {
            world.push("large", line, &noise(line)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let stored = world.stored().await;
        assert!(stored.iter().all(|chunk| chunk.labels.to_string().contains("large")), "{stored:?}");
    });
    assert!(reasons["pressure"] >= 1, "{reasons:?}");
}

#[test]
fn what_belongs_to_others_now_is_stored_once_nobody_sends_it_here_any_more() {
    let ring = Members::fixed(1, &["ingester-0", "ingester-1"]).unwrap().ring();
    let owned_by = |id: &str| {
        let is_its = |app: &String| {
            let labels = Labels::from_sorted(&[("app", app)]);
            ring.owner(token_for("t", labels.as_bytes())).is_some_and(|owner| &*owner.id == id)
        };
        (0..).map(|n: u32| n.to_string()).find(is_its).unwrap()
    };
    let (own, moved, late) = (owned_by("ingester-0"), owned_by("ingester-1"), "late");
    let ((), reasons) = stored_for(async {
        let world = World::new(&Config::default(), None).await;
        for app in [&own, &moved] {
            world.push(app, 1, "line").await;
        }
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert_eq!(world.stored().await.len(), 0, "it knows of no ring");
        // Whoever has not heard of the change sends on.
        world.push(&moved, 1, "line").await;
        world.ingester.set_ring(&ring);
        for _ in 0..10 {
            world.push(&moved, 1, "line").await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(world.stored().await.len(), 0);
        tokio::time::sleep(Duration::from_secs(80)).await;
        let stored = world.stored().await;
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].labels, Labels::from_sorted(&[("app", &moved)]));
        // Cut off it cannot tell: by a ring without it, everything would belong to others.
        world.ingester.set_ring(&Members::fixed(1, &["ingester-1"]).unwrap().ring());
        world.push(late, 1, "line").await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.stored().await.len(), 1);
    });
    assert_eq!(reasons, only("not_owned", 1));
}
