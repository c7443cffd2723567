use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use forebay_wal::fs::sim::SimFs;
use object_store::{Error, Result};
use parking_lot::Mutex;

use super::*;
use crate::index::{Index, MemoryIndex};
use crate::ingester::tests::{ingester_in, log, record_of};
use crate::storage::judging::Judging;

/// How long anything may take, on a clock that passes by waiting only.
const PATIENCE: Duration = Duration::from_secs(60);

/// An ingester whose store judges by `judge`, and its index.
async fn ingester(
    judge: impl Fn(&str) -> Result<()> + Send + Sync + 'static,
) -> (Ingester<SimFs>, Arc<MemoryIndex>) {
    let index = Arc::new(MemoryIndex::default());
    (ingester_in(log(SimFs::new(1)), Arc::new(Judging::new(judge)), Arc::clone(&index)).await, index)
}

async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// It held up those of all tenants, which were written again and again.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_cannot_be_stored_holds_up_no_other_and_is_stored_once_it_can_be() {
    let (puts, works) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (seen, is_mended, bad) = (Arc::clone(&puts), Arc::clone(&works), OnceLock::new());
    let (ingester, index) = ingester(move |key| {
        seen.lock().push(key.to_owned());
        let bad = bad.get_or_init(|| key.to_owned());
        if key != bad || is_mended.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::Generic { store: "judging", source: "not this one".into() })
    })
    .await;
    let stored = async || {
        let mut found = 0;
        for tenant in ["a", "b", "c"] {
            found += index.scan(tenant, None, 10).await.unwrap().len();
        }
        found
    };
    for (tenant, app) in [("a", "x"), ("a", "y"), ("b", "x")] {
        ingester.push(record_of(tenant, app, "line")).await.unwrap();
    }
    let flush = |ingester: &Ingester<SimFs>| {
        let ingester = ingester.clone();
        tokio::spawn(async move { ingester.flush().await })
    };
    let first = flush(&ingester);
    until("the other two are stored", || async { stored().await == 2 }).await;
    ingester.push(record_of("c", "x", "line")).await.unwrap();
    let second = flush(&ingester);
    until("so is what comes later", || async { stored().await == 3 }).await;
    let held = ingester.health().memory_bytes;
    assert!(held > 0 && !first.is_finished() && !second.is_finished(), "one is in memory still");
    works.store(true, Ordering::Relaxed);
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!((stored().await, ingester.health().memory_bytes), (4, 0));
    let puts = puts.lock();
    let others: Vec<&String> = puts.iter().filter(|key| **key != puts[0]).collect();
    let distinct: std::collections::BTreeSet<_> = others.iter().collect();
    assert_eq!((others.len(), distinct.len()), (3, 3), "each was written once: {puts:?}");
}

/// Nothing was stored any more, and nobody knew.
#[tokio::test(start_paused = true)]
async fn an_ingester_that_stores_nothing_any_more_says_so() {
    let (ingester, _) = ingester(|_| panic!("as a store with a fault does")).await;
    ingester.push(record_of("a", "x", "line")).await.unwrap();
    assert_eq!(ingester.health().failure, "");
    let flushing = ingester.clone();
    let flushing = tokio::spawn(async move { flushing.flush().await });
    until("it says so", || async { !ingester.health().failure.is_empty() }).await;
    let told = "background task write_chunks panicked: as a store with a fault does";
    assert_eq!(ingester.health().failure, told);
    ingester.push(record_of("a", "x", "another")).await.unwrap();
    ingester.shared.close_all();
    flushing.abort();
}
