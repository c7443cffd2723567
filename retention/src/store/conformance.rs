//! What every store must do, as functions that panic where one does not. Run them on your own implementation, on
//! a runtime of your choice:
//!
//! ```
//! # fn block_on<F: Future>(f: F) -> F::Output {
//! #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
//! # }
//! use forebay_retention::store::{MemoryState, conformance};
//!
//! block_on(conformance::state_store(MemoryState::new));
//! ```

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::{
    Access, Change, ChunkStore, Closed, Deletion, Doomed, Mark, Outcome, Phase, Progress, StateStore,
};
use crate::chunk::{Chunk, TimeRange};
use crate::error::Error;
use crate::hold::{Hold, Release};
use crate::policy::Scope;
use crate::selector::Selector;

/// Checks a [`StateStore`]; `make` gives an empty one each time.
pub async fn state_store<S: StateStore>(mut make: impl FnMut() -> S) {
    holds_are_created_once_and_released_once(&make()).await;
    a_refused_commit_leaves_no_trace(&make()).await;
    marks_are_paged_within_their_tenant(&make()).await;
    intents_are_numbered_and_closed_once(&make()).await;
    changes_of_one_commit_apply_in_order(&make()).await;
    open_intents_are_paged_by_tenant_and_chunk(&make()).await;
    progress_and_watermark_are_replaced(&make()).await;
    the_fence_keeps_an_exclusive_holder_alone(&make()).await;
}

/// Checks a [`ChunkStore`]; `make` gives one that holds exactly these chunks, objects and references.
pub async fn chunk_store<C: ChunkStore>(mut make: impl FnMut(&[Chunk]) -> C) {
    let chunks = [chunk("a", "1"), chunk("b", "1"), chunk("b", "2"), chunk("b", "30"), chunk("c", "1")];
    listing_is_ascending_paged_and_within_its_tenant(&make(&chunks), &chunks).await;
    references_go_and_come_back_without_the_object(&make(&chunks), &chunks).await;
    objects_go_and_stay_gone(&make(&chunks), &chunks).await;
}

fn chunk(tenant: &str, id: &str) -> Chunk {
    Chunk {
        tenant: tenant.to_owned(),
        id: id.to_owned(),
        labels: vec![("app".to_owned(), "a \"quoted\" näme".to_owned()), ("empty".to_owned(), String::new())],
        range: TimeRange::covering(-5, 1_700_000_000_000_000_000),
        size_bytes: 7,
    }
}

fn hold(id: &str) -> Hold {
    let selector = Selector::parse_loki(r#"{app=~"a|b"}"#).expect("the selector is well formed");
    Hold::new(id, Scope::Tenant("t".to_owned()), selector, "case 7", "asked by the court", 5)
        .within(TimeRange::covering(1, 2))
}

fn mark(tenant: &str, id: &str, at_ns: i64) -> Mark {
    Mark { chunk: chunk(tenant, id), at_ns, policy: "p".to_owned(), cleared: at_ns > 1 }
}

fn intend(tenant: &str, id: &str) -> Change {
    let policy = "p".to_owned();
    Change::Intend(Doomed { chunk: chunk(tenant, id), at_ns: 10, policy, keep_until_ns: 9 })
}

fn close(seq: u64, outcome: Outcome) -> Change {
    Change::Close { seq, closed: Closed { at_ns: 11, outcome } }
}

async fn commit(store: &impl StateStore, changes: &[Change]) -> Vec<u64> {
    store.commit(changes).await.expect("the changes are legal")
}

async fn holds_are_created_once_and_released_once(store: &impl StateStore) {
    let holds = || async { store.holds().await.expect("holds can be read") };
    let epoch = || async { store.hold_epoch().await.expect("the epoch can be read") };
    assert!(holds().await.is_empty());
    let empty = epoch().await;
    commit(store, &[Change::CreateHold(hold("b")), Change::CreateHold(hold("a"))]).await;
    assert_eq!(holds().await, [hold("a"), hold("b")], "holds are listed by id, as they were created");
    let created = epoch().await;
    assert_ne!(created, empty, "creating a hold changes the epoch");

    let twice = store.commit(&[Change::CreateHold(hold("a"))]).await;
    assert!(matches!(twice, Err(Error::HoldExists { id }) if id == "a"), "an id is taken once");

    let release = |id: &str, at_ns| {
        let release = Release { at_ns, reason: "settled".to_owned() };
        Change::ReleaseHold { id: id.to_owned(), release }
    };
    commit(store, &[release("a", 20)]).await;
    let released = Release { at_ns: 20, reason: "settled".to_owned() };
    assert_eq!(
        holds().await,
        [Hold { released: Some(released), ..hold("a") }, hold("b")],
        "a released hold stays"
    );
    assert_ne!(epoch().await, created, "releasing a hold changes the epoch");
    let again = store.commit(&[release("a", 21)]).await;
    assert!(matches!(again, Err(Error::HoldReleased { at_ns: 20, .. })), "the first release stands");
    let unknown = store.commit(&[release("c", 20)]).await;
    assert!(matches!(unknown, Err(Error::HoldUnknown { id }) if id == "c"));
}

async fn a_refused_commit_leaves_no_trace(store: &impl StateStore) {
    commit(store, &[intend("t", "open")]).await;
    let changes = [
        Change::CreateHold(hold("h")),
        Change::PutMark(mark("t", "1", 1)),
        intend("t", "1"),
        Change::SetWatermark(5),
        close(1, Outcome::Deleted),
        Change::SetProgress { tenant: "t".to_owned(), progress: Progress::start(1) },
        close(99, Outcome::Deleted),
    ];
    let refused = store.commit(&changes).await;
    assert!(matches!(refused, Err(Error::IntentNotOpen { seq: 99 })));
    let refused = store.commit(&[Change::CreateHold(hold("h")), intend("t", "open")]).await;
    let named = matches!(&refused, Err(Error::IntentOpen { tenant, chunk, seq: 1 }) if tenant == "t" && chunk == "open");
    assert!(named, "{refused:?}");
    let twice = store.commit(&[intend("t", "x"), intend("t", "x")]).await;
    assert!(matches!(twice, Err(Error::IntentOpen { .. })), "changes of one commit see each other");
    let twice = store.commit(&[close(1, Outcome::Deleted), close(1, Outcome::Deleted)]).await;
    assert!(matches!(twice, Err(Error::IntentNotOpen { seq: 1 })));

    assert!(store.holds().await.expect("holds can be read").is_empty());
    assert!(store.marks("t", None, None, 9).await.expect("marks can be read").is_empty());
    assert_eq!(store.watermark().await.expect("the watermark can be read"), None);
    assert_eq!(store.progress("t").await.expect("progress can be read"), None);
    let journal = store.journal(0, 9).await.expect("the journal can be read");
    assert_eq!(journal.len(), 1);
    assert!(journal.iter().all(|intent| intent.closed.is_none()));
}

async fn marks_are_paged_within_their_tenant(store: &impl StateStore) {
    let marks = ["1", "10", "2", "3"].map(|id| mark("t", id, 1));
    let others = [mark("s", "1", 1), mark("t\0", "1", 1), mark("u", "1", 1)];
    let all: Vec<_> = marks.iter().chain(&others).cloned().map(Change::PutMark).collect();
    commit(store, &all).await;
    let ids = |after, through, limit| async move {
        let found = store.marks("t", after, through, limit).await.expect("marks can be read");
        found.into_iter().map(|mark| mark.chunk.id).collect::<Vec<_>>()
    };
    assert_eq!(
        store.marks("t", None, None, 99).await.expect("marks can be read"),
        marks,
        "marks come back as put"
    );
    assert_eq!(ids(None, None, 2).await, ["1", "10"], "ascending in byte order, at most the limit");
    assert_eq!(ids(Some("10"), None, 99).await, ["2", "3"], "strictly after");
    assert_eq!(ids(Some("1"), Some("2"), 99).await, ["10", "2"], "through is included");
    assert_eq!(ids(Some("100"), Some("199"), 99).await, [""; 0]);

    let remove = |chunk: &str| Change::RemoveMark { tenant: "t".to_owned(), chunk: chunk.to_owned() };
    commit(store, &[remove("10"), remove("absent"), Change::PutMark(mark("t", "2", 8))]).await;
    let left = store.marks("t", None, None, 99).await.expect("marks can be read");
    assert_eq!(left, [mark("t", "1", 1), mark("t", "2", 8), mark("t", "3", 1)], "a mark can be replaced");
}

async fn intents_are_numbered_and_closed_once(store: &impl StateStore) {
    assert_eq!(commit(store, &[intend("t", "a"), Change::SetWatermark(1), intend("u", "a")]).await, [1, 2]);
    assert_eq!(commit(store, &[intend("t", "b")]).await, [3]);
    commit(store, &[close(1, Outcome::Deleted), close(3, Outcome::Withheld { hold: Some("h".to_owned()) })])
        .await;
    let again = store.commit(&[close(1, Outcome::AlreadyGone)]).await;
    assert!(matches!(again, Err(Error::IntentNotOpen { seq: 1 })), "an intent has one outcome");
    assert_eq!(
        commit(store, &[intend("t", "b")]).await,
        [4],
        "a chunk whose intent is closed can be intended again"
    );

    let journal = store.journal(0, 99).await.expect("the journal can be read");
    let outcomes: Vec<_> =
        journal.iter().map(|i| (i.seq, i.closed.as_ref().map(|closed| &closed.outcome))).collect();
    let withheld = Outcome::Withheld { hold: Some("h".to_owned()) };
    assert_eq!(outcomes, [(1, Some(&Outcome::Deleted)), (2, None), (3, Some(&withheld)), (4, None)]);
    assert!(journal.first().is_some_and(|first| {
        first.chunk == chunk("t", "a") && (first.at_ns, first.keep_until_ns) == (10, 9) && first.policy == "p"
    }));
    let page = store.journal(1, 2).await.expect("the journal can be read");
    assert_eq!(
        page.iter().map(|intent| intent.seq).collect::<Vec<_>>(),
        [2, 3],
        "strictly after, at most the limit"
    );
    assert!(store.journal(4, 2).await.expect("the journal can be read").is_empty());
}

async fn changes_of_one_commit_apply_in_order(store: &impl StateStore) {
    let open = || async {
        let found = store.open_intents(None, None, 99).await.expect("open intents can be read");
        found.into_iter().map(|intent| intent.seq).collect::<Vec<_>>()
    };
    let both = commit(store, &[intend("t", "a"), close(1, Outcome::Deleted)]).await;
    assert_eq!(both, [1], "an intent can be opened and closed at once");
    assert_eq!(open().await, [0; 0]);
    commit(store, &[intend("t", "a")]).await;
    let again = commit(store, &[close(2, Outcome::Deleted), intend("t", "a")]).await;
    assert_eq!(again, [3], "a chunk can be intended again where its intent is closed");
    assert_eq!(open().await, [3]);
    let early = store.commit(&[close(4, Outcome::Deleted), intend("t", "b")]).await;
    assert!(matches!(early, Err(Error::IntentNotOpen { seq: 4 })), "but not closed before it is opened");
    let twice = store.commit(&[close(3, Outcome::Deleted), intend("t", "a"), intend("t", "a")]).await;
    assert!(matches!(twice, Err(Error::IntentOpen { seq: 4, .. })), "nor opened twice");
    assert_eq!(open().await, [3]);
}

async fn open_intents_are_paged_by_tenant_and_chunk(store: &impl StateStore) {
    commit(
        store,
        &[intend("t", "2"), intend("u", "1"), intend("t", "1"), intend("s", "9"), intend("t", "3")],
    )
    .await;
    commit(store, &[close(5, Outcome::Deleted)]).await;
    let open = |tenant, after, limit| async move {
        let found = store.open_intents(tenant, after, limit).await.expect("open intents can be read");
        found.into_iter().map(|intent| intent.seq).collect::<Vec<_>>()
    };
    assert_eq!(open(None, None, 99).await, [4, 3, 1, 2]);
    assert_eq!(open(None, Some(("t", "1")), 1).await, [1]);
    assert_eq!(open(Some("t"), None, 99).await, [3, 1]);
    assert_eq!(open(Some("t"), Some(("t", "1")), 99).await, [1]);
    assert_eq!(open(Some("t"), Some(("s", "9")), 99).await, [3, 1]);
    assert_eq!(open(Some("t"), Some(("t", "2")), 99).await, [0; 0]);
    assert_eq!(open(Some("x"), None, 99).await, [0; 0]);
}

async fn progress_and_watermark_are_replaced(store: &impl StateStore) {
    let set = |phase| {
        let mut progress = Progress::start(3);
        progress.phase = phase;
        progress.census.listed.add(TimeRange::covering(-1, 5), 9);
        progress.fresh.add(&chunk("t", "a"));
        progress
    };
    for phase in
        [Phase::Marking { after: Some("c".to_owned()) }, Phase::Deleting { after: None }, Phase::Finished]
    {
        let progress = set(phase);
        let change = Change::SetProgress { tenant: "t".to_owned(), progress: progress.clone() };
        commit(store, &[change]).await;
        assert_eq!(store.progress("t").await.expect("progress can be read"), Some(progress));
    }
    assert_eq!(store.progress("u").await.expect("progress can be read"), None);
    for at_ns in [7, i64::MIN, i64::MAX] {
        commit(store, &[Change::SetWatermark(at_ns)]).await;
        assert_eq!(store.watermark().await.expect("the watermark can be read"), Some(at_ns));
    }
}

async fn the_fence_keeps_an_exclusive_holder_alone(store: &impl StateStore) {
    let fence = |access| async move { store.fence(access).await.expect("the fence can be taken") };
    let shared = (fence(Access::Shared).await, fence(Access::Shared).await);
    let mut exclusive = pin!(fence(Access::Exclusive));
    assert!(is_waiting(exclusive.as_mut()).await, "an exclusive holder waits for shared ones");
    drop(shared);
    let alone = exclusive.await;
    let mut late = pin!(fence(Access::Shared));
    assert!(is_waiting(late.as_mut()).await, "a shared holder waits for an exclusive one");
    drop(alone);
    drop(late.await);
    drop(fence(Access::Exclusive).await);
}

async fn is_waiting<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

async fn listing_is_ascending_paged_and_within_its_tenant(store: &impl ChunkStore, chunks: &[Chunk]) {
    let of_b: Vec<_> = chunks.iter().filter(|chunk| chunk.tenant == "b").cloned().collect();
    let mut found: Vec<Chunk> = Vec::new();
    loop {
        let after = found.last().map(|chunk| chunk.id.as_str());
        let page = store.list("b", after, 2).await.expect("chunks can be listed");
        assert!(page.len() <= 2, "a page has at most the limit");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, of_b, "ascending by id, as they were stored");
    assert!(store.list("nobody", None, 9).await.expect("chunks can be listed").is_empty());
}

async fn references_go_and_come_back_without_the_object(store: &impl ChunkStore, chunks: &[Chunk]) {
    let gone: Vec<_> = chunks.iter().filter(|chunk| chunk.id == "2").cloned().collect();
    let listed = || async { store.list("b", None, 9).await.expect("chunks can be listed") };
    let before = listed().await;
    for _ in 0..2 {
        store.drop_refs(&gone).await.expect("references can be dropped, once and again");
        let ids: Vec<_> = listed().await.into_iter().map(|chunk| chunk.id).collect();
        assert_eq!(ids, ["1", "30"]);
        assert!(matches!(store.head(&gone).await.as_slice(), [Ok(true)]), "the object stays");
    }
    for _ in 0..2 {
        store.restore_refs(&gone).await.expect("references can be restored, once and again");
        assert_eq!(listed().await, before, "they come back with all they were");
    }
}

async fn objects_go_and_stay_gone(store: &impl ChunkStore, chunks: &[Chunk]) {
    let doomed: Vec<_> = chunks.iter().filter(|chunk| chunk.id == "1").cloned().collect();
    let deleted = store.delete(&doomed).await;
    assert!(deleted.iter().all(|answer| matches!(answer, Ok(Deletion::Deleted))), "{deleted:?}");
    assert_eq!(deleted.len(), doomed.len(), "one answer per chunk");
    let present: Vec<_> =
        store.head(chunks).await.into_iter().map(|answer| answer.expect("it can tell")).collect();
    assert_eq!(present, [false, false, true, true, false], "the answers are in order");
    let again = store.delete(&doomed).await;
    assert!(again.iter().all(Result::is_ok), "an object that is not there is no error");
}
