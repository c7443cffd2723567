use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::Clock;
use forebay_chunk::loki::Envelope;
use forebay_chunk::{Builder, BuilderOptions, Entry, Profile};
use forebay_circuit::Breaker;
use forebay_retention::store::{Change, Doomed, MemoryState, StateStore};
use forebay_retention::{Chunk, Hold, Scope, Selector};
use forebay_tenant::{Limits as TenantLimits, Overrides};
use object_store::memory::InMemory;

use super::*;
use crate::compactor::Options;
use crate::index::{ChunkRef, Index, MemoryIndex};
use crate::labels::Labels;
use crate::storage::{SCHEMA, Storage, path};

const TENANT: &str = "team-a";

struct World {
    chunks: BuilderOptions,
    objects: Arc<InMemory>,
    index: Arc<MemoryIndex>,
    state: Arc<MemoryState>,
}

/// One with chunks of Loki's format, and one with columnar ones.
fn worlds() -> [World; 2] {
    [BuilderOptions::default(), BuilderOptions::columnar(Profile::Fast)].map(|chunks| World {
        chunks,
        objects: Arc::default(),
        index: Arc::default(),
        state: Arc::new(MemoryState::new()),
    })
}

impl World {
    /// A compactor that lives `later` than the objects.
    fn compactor(&self, later: Duration) -> Compactor {
        let now_ns = Clock::System.wall_ns() + i64::try_from(later.as_nanos()).unwrap();
        let puts = Breaker::new(forebay_circuit::Options::default()).unwrap();
        let storage = Storage::new(Arc::clone(&self.objects) as _, Arc::clone(&self.index) as _, puts);
        let options = Options {
            retention_enabled: true,
            interval: Duration::from_secs(1),
            orphan_age: Duration::from_hours(24),
            objects_dir: None,
            sweep: forebay_retention::Options::default(),
        };
        let overrides = Arc::new(Overrides::new(TenantLimits::default()));
        Compactor::new(storage, Arc::clone(&self.state) as _, overrides, Clock::simulated(now_ns), options)
    }

    /// Stores the object of a chunk of `app`; what the index would say of it.
    async fn object(&self, app: &str) -> ChunkRef {
        let mut builder = Builder::new(self.chunks).unwrap();
        builder.append(Entry::new(7, app)).unwrap();
        let chunk = builder.finish().unwrap();
        let pairs = [("app", app)];
        let envelope = Envelope::new(TENANT, &pairs, &chunk);
        let object = envelope.encode(&chunk.bytes).unwrap();
        let key = object.key.text(SCHEMA);
        let stored_bytes = object.bytes.len() as u64;
        self.objects.put(&path(&key), object.bytes.into()).await.unwrap();
        ChunkRef {
            key,
            labels: Labels::from_sorted(&pairs),
            fingerprint: envelope.fingerprint,
            from_ns: 7,
            through_ns: 7,
            entries: 1,
            raw_bytes: 1,
            stored_bytes,
            ingested_at_ns: 0,
            tally: None,
        }
    }

    async fn has(&self, chunk: &ChunkRef) -> bool {
        self.objects.head(&path(&chunk.key)).await.is_ok()
    }
}

const LATER: Duration = Duration::from_hours(48);

#[tokio::test]
async fn only_old_chunks_without_a_reference_go() {
    for world in worlds() {
        let (orphan, known) = (world.object("orphan").await, world.object("known").await);
        world.index.append(TENANT, std::slice::from_ref(&known)).await.unwrap();
        world.objects.put(&path("notes/readme.txt"), "ours".into()).await.unwrap();
        assert_eq!(
            world.compactor(Duration::from_hours(1)).remove_orphans().await.unwrap(),
            0,
            "it is young"
        );
        assert_eq!(world.compactor(LATER).remove_orphans().await.unwrap(), 1);
        assert!(!world.has(&orphan).await && world.has(&known).await);
        assert!(world.objects.head(&path("notes/readme.txt")).await.is_ok());
    }
}

#[tokio::test]
async fn a_hold_keeps_an_object_that_nothing_refers_to() {
    for world in worlds() {
        let held = world.object("held").await;
        let compactor = world.compactor(LATER);
        let selector = Selector::parse_loki(r#"{app="held"}"#).unwrap();
        compactor
            .place(Hold::new("h", Scope::Tenant(TENANT.into()), selector, "case", "why", 1))
            .await
            .unwrap();
        assert_eq!(compactor.remove_orphans().await.unwrap(), 0);
        assert!(world.has(&held).await);
        compactor.release("h", "over".into()).await.unwrap();
        assert_eq!(compactor.remove_orphans().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_interrupted_deletion_is_left_to_the_sweep() {
    for world in worlds() {
        let doomed = world.object("doomed").await;
        let chunk = Chunk {
            tenant: TENANT.into(),
            id: doomed.key.clone(),
            labels: vec![("app".into(), "doomed".into())],
            range: TimeRange::covering(7, 7),
            size_bytes: doomed.stored_bytes,
        };
        let intent = Doomed { chunk, at_ns: 1, policy: "p".into(), keep_until_ns: 0 };
        world.state.commit(&[Change::Intend(intent)]).await.unwrap();
        let compactor = world.compactor(LATER);
        assert_eq!(compactor.remove_orphans().await.unwrap(), 0);
        assert!(world.has(&doomed).await);
        // No policy lets it go, so the sweep brings its reference back, although the index knew no tenant.
        let reports = compactor.sweep().await.unwrap();
        assert_eq!(reports.iter().map(|report| report.withheld).sum::<u64>(), 1, "{reports:?}");
        assert_eq!(world.index.contains(TENANT, std::slice::from_ref(&doomed.key)).await.unwrap(), [true]);
        assert_eq!(compactor.remove_orphans().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_kept() {
    for world in worlds() {
        let orphan = world.object("damaged").await;
        world.objects.put(&path(&orphan.key), "not what it was".into()).await.unwrap();
        assert_eq!(world.compactor(LATER).remove_orphans().await.unwrap(), 0);
        assert!(world.has(&orphan).await);
    }
}
