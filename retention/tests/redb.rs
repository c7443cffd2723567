//! The embedded state store conforms, survives its process, and stops deletion when it is damaged.

#[path = "support/world.rs"]
mod world;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use forebay_retention::store::redb::RedbState;
use forebay_retention::store::{MemoryChunks, Outcome, Phase, StateStore, conformance};
use forebay_retention::{Error, Release, Sweeper, hold as holds};
use redb::{Database, StorageBackend, TableDefinition};
use world::{at, chunk, compiled, hold, keep, options};

#[tokio::test]
async fn the_embedded_state_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut n = 0;
    conformance::state_store(|| {
        n += 1;
        RedbState::open(directory.path().join(format!("{n}.redb"))).unwrap()
    })
    .await;
}

#[tokio::test]
async fn holds_marks_journal_and_progress_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    let chunks = MemoryChunks::new();
    for (id, app) in [("1", "a"), ("2", "b"), ("3", "a")] {
        chunks.insert(chunk("t", id, app, 0, 10));
    }
    let policies = || compiled(&[keep("p", "{}", 100)]);

    let state = RedbState::open(&path).unwrap();
    holds::place(&state, hold("h", r#"{app="b"}"#)).await.unwrap();
    let report =
        Sweeper::new(chunks.clone(), state, policies, options(60)).sweep("t", || at(200)).await.unwrap();
    assert_eq!((report.marked, report.census.held.chunks, report.deleted.chunks), (2, 1, 0));

    let state = RedbState::open(&path).unwrap();
    assert_eq!(state.holds().await.unwrap(), [hold("h", r#"{app="b"}"#)]);
    assert_eq!(state.marks("t", None, None, 9).await.unwrap().len(), 2);
    assert_eq!(state.progress("t").await.unwrap().unwrap().phase, Phase::Finished);
    assert_eq!(state.watermark().await.unwrap(), Some(200 * world::S));
    let sweeper = Sweeper::new(chunks.clone(), state, policies, options(60));
    assert_eq!(sweeper.sweep("t", || at(260)).await.unwrap().deleted.chunks, 2);
    assert_eq!(chunks.objects(), [("t".to_owned(), "2".to_owned())]);
    holds::release(sweeper.state(), "h", Release { at_ns: 5, reason: "settled".into() }).await.unwrap();
    drop(sweeper);

    let state = RedbState::open(&path).unwrap();
    let journal = state.journal(0, 9).await.unwrap();
    let outcomes: Vec<_> = journal.iter().map(|intent| intent.closed.clone().unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Deleted, Outcome::Deleted]);
    assert!(!state.holds().await.unwrap()[0].is_active());
}

#[tokio::test]
async fn a_hold_that_does_not_parse_stops_deletion() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    drop(RedbState::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    const HOLDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("holds");
    txn.open_table(HOLDS).unwrap().insert("h", br#"{"id":"h","scope":"all"}"#.as_slice()).unwrap();
    txn.commit().unwrap();

    let chunks = MemoryChunks::new();
    chunks.insert(chunk("t", "1", "a", 0, 10));
    drop(database);
    let state = RedbState::open(&path).unwrap();
    let sweeper = Sweeper::new(chunks.clone(), state, || compiled(&[keep("p", "{}", 1)]), options(0));
    match sweeper.sweep("t", || at(200)).await {
        Err(Error::Unreadable { what: "hold", key, .. }) => assert_eq!(key, "h"),
        other => panic!("{other:?}"),
    }
    assert_eq!(chunks.objects().len(), 1);
}

#[tokio::test]
async fn an_open_intent_that_is_not_in_the_journal_is_damage_and_stops_deletion() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    drop(RedbState::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    const OPEN: TableDefinition<'static, (&str, &str), u64> = TableDefinition::new("open_intents");
    txn.open_table(OPEN).unwrap().insert(("t", "1"), 7).unwrap();
    txn.commit().unwrap();
    drop(database);

    let chunks = MemoryChunks::new();
    chunks.insert(chunk("t", "1", "a", 0, 10));
    let state = RedbState::open(&path).unwrap();
    let sweeper = Sweeper::new(chunks.clone(), state, || compiled(&[keep("p", "{}", 1)]), options(0));
    match sweeper.sweep("t", || at(200)).await {
        Err(Error::Unreadable { what: "intent", key, .. }) => assert_eq!(key, "7"),
        other => panic!("{other:?}"),
    }
    assert_eq!(chunks.objects().len(), 1);
}

#[test]
fn another_format_is_refused_with_both_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    drop(RedbState::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
    txn.open_table(META).unwrap().insert("format", 2).unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = RedbState::open(&path).unwrap_err();
    assert_eq!(error.to_string(), "state has format 2, this build reads format 1");
}

/// A disk in memory that outlives the databases on it, and fails when told to.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), io::Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        change(&mut self.bytes.lock().expect("no test panics here"));
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("the disk is small")
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.bytes.lock().expect("no test panics here").len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        out.copy_from_slice(&self.bytes.lock().expect("no test panics here")[index(offset)..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.change(|bytes| bytes.resize(index(len), 0))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.change(|_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(|bytes| bytes[index(offset)..][..data.len()].copy_from_slice(data))
    }
}

#[tokio::test]
async fn a_disk_that_was_full_takes_holds_again_without_a_restart() {
    let disk = Disk::default();
    let backend = disk.clone();
    let state = RedbState::with(move || Database::builder().create_with_backend(backend.clone())).unwrap();
    holds::place(&state, hold("before", "{}")).await.unwrap();
    disk.full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = holds::place(&state, hold("refused", "{}")).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }
    disk.full.store(false, Ordering::Relaxed);
    holds::place(&state, hold("after", "{}")).await.unwrap();
    let ids: Vec<_> = state.holds().await.unwrap().into_iter().map(|hold| hold.id).collect();
    assert_eq!(ids, ["after", "before"]);
}
