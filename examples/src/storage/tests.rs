use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_agent::clock::monotonic_ns;
use forebay_circuit::{Options, State};
use object_store::local::LocalFileSystem;
use object_store::{Error, PutMode, PutOptions, Result};

use super::judging::Judging;
use super::*;
use crate::index::MemoryIndex;
use crate::labels::Labels;

fn slow_down(seconds: u64) -> Error {
    let retry_after = Some(Duration::from_secs(seconds));
    Error::Generic { store: "remote", source: Box::new(SlowDown { retry_after }) }
}

fn no_route() -> Error {
    Error::Generic { store: "remote", source: "no route".into() }
}

/// Storage in a store whose first so many puts fail with `error`.
fn storage(refusals: usize, error: fn() -> Error) -> Storage {
    let breaker = Breaker::with_clock(Options::default(), monotonic_ns as fn() -> u64).unwrap();
    let left = AtomicUsize::new(refusals);
    let objects = Judging::new(move |_: &str| {
        let refused = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if refused.is_ok() { Err(error()) } else { Ok(()) }
    });
    Storage::new(Arc::new(objects), Arc::new(MemoryIndex::default()), breaker)
}

fn chunk(key: &str) -> NewChunk {
    let chunk = ChunkRef {
        key: key.to_owned(),
        labels: Labels::from_sorted(&[("app", "a")]),
        fingerprint: 1,
        from_ns: 1,
        through_ns: 1,
        entries: 1,
        raw_bytes: 1,
        stored_bytes: 1,
        ingested_at_ns: 1,
        tally: None,
    };
    NewChunk { chunk, object: Bytes::from_static(b"x") }
}

/// What became of the first of `chunks` that is not stored.
async fn put(storage: &Storage, chunks: &[NewChunk]) -> Result<(), StorageError> {
    storage.put("t", chunks).await.into_iter().collect()
}

/// The state of the breaker after so many puts that fail with `error`.
async fn after(puts: usize, error: fn() -> Error) -> State {
    let storage = storage(puts, error);
    for _ in 0..puts {
        let error = put(&storage, &[chunk("k")]).await.unwrap_err();
        assert!(matches!(error, StorageError::Object { .. }), "{error}");
    }
    storage.puts.state()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_asks_for_time_gets_it_and_one_that_fails_gets_the_usual() {
    let asked = after(5, || slow_down(7)).await;
    assert_eq!(asked, State::Open { retry_after: Some(Duration::from_secs(7)) });
    let failed = after(5, no_route).await;
    let State::Open { retry_after: Some(wait) } = failed else { panic!("{failed}") };
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    let ours = after(50, || Error::InvalidPath { source: Path::parse("a//b").unwrap_err() }).await;
    assert_eq!(ours, State::Closed);
}

/// The first chunk too many took the probes before it along, and the breaker never heard how these ended.
#[tokio::test(start_paused = true)]
async fn a_store_that_works_again_gets_all_however_many_chunks_wait_for_it() {
    let storage = storage(5, no_route);
    let chunks: Vec<NewChunk> = (0..20).map(|n| chunk(&format!("k{n}"))).collect();
    let failed = put(&storage, &chunks).await.unwrap_err();
    assert!(matches!(failed, StorageError::Object { .. }), "{failed}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (stored, refused): (Vec<_>, Vec<_>) =
        storage.put("t", &chunks).await.into_iter().enumerate().partition(|(_, put)| put.is_ok());
    let only_some = refused.into_iter().next().unwrap().1.unwrap_err();
    assert!(matches!(only_some, StorageError::Open { .. }), "{only_some}");
    assert_eq!(storage.puts.state(), State::Closed);
    let keys: Vec<String> = chunks.iter().map(|new| new.chunk.key.clone()).collect();
    let known = storage.index.contains("t", &keys).await.unwrap();
    let found: Vec<usize> = (0..).zip(known).filter(|(_, known)| *known).map(|(number, _)| number).collect();
    assert_eq!(found, stored.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), "those are found");
    put(&storage, &chunks).await.unwrap();
}

#[tokio::test]
async fn what_a_store_says_is_heard_wherever_it_stands() {
    let asked = Outcome::Throttled(Some(Duration::from_secs(7)));
    assert_eq!(heard(&slow_down(7)), asked);
    let as_refusal =
        Error::PermissionDenied { path: "k".to_owned(), source: Box::new(SlowDown { retry_after: None }) };
    assert_eq!(heard(&as_refusal), Outcome::Throttled(None));
    let twice = Error::Generic { store: "layer", source: Box::new(slow_down(7)) };
    assert_eq!(heard(&twice), asked);
}

#[tokio::test]
async fn the_errors_of_a_directory_are_failures() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    let at = Path::from("below/object");
    let missing = store.get(&at).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    assert_eq!(heard(&missing), Outcome::Failure);
    store.put(&Path::from("below"), PutPayload::new()).await.unwrap();
    let not_a_directory = store.put(&at, PutPayload::new()).await.unwrap_err();
    assert!(matches!(not_a_directory, Error::Generic { .. }), "{not_a_directory}");
    assert_eq!(heard(&not_a_directory), Outcome::Failure);
    let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let there = store.put_opts(&Path::from("below"), PutPayload::new(), create).await.unwrap_err();
    assert!(matches!(there, Error::AlreadyExists { .. }), "{there}");
    assert_eq!(heard(&there), Outcome::Failure);
}
