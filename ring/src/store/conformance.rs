//! What every [`Store`] has to pass. Each sentence is a function that panics where the store differs; [`linear`] and
//! [`eventual`] run all of them. They write keys of their own that begin with `conformance/`.
#![expect(clippy::panic, reason = "that is how a suite of tests tells what it found")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Change, Expect, Listing, PutError, Record, Store, Updated, update};

mod nodes;
mod watches;

use nodes::all_nodes_come_to_the_same_records;
use watches::{
    a_deletion_is_news, a_watch_after_a_listing_misses_nothing,
    a_watch_that_is_dropped_while_it_waits_loses_nothing,
};

/// How long anything may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// For a store in which a write is seen by whoever reads after it.
pub async fn linear(store: Arc<dyn Store>) {
    a_value_comes_back_to_the_byte(&*store).await;
    a_put_that_expects_nothing_is_lost_to_an_earlier_one(&*store).await;
    versions_rise_over_deletion_and_creation_anew(&*store).await;
    a_deletion_expects_as_a_put_does(&*store).await;
    many_keys_come_in_one_listing(&*store).await;
    an_update_is_decided_by_what_is_there(&*store).await;
    many_writers_lose_no_increment(&store).await;
    a_watch_after_a_listing_misses_nothing(&store).await;
    a_deletion_is_news(&*store).await;
    a_watch_that_is_dropped_while_it_waits_loses_nothing(&*store).await;
}

/// For the nodes of a store in which a write is seen by all at some time. Writes of one node are seen by it at once.
pub async fn eventual(nodes: &[Arc<dyn Store>]) {
    let one = &nodes[0];
    a_value_comes_back_to_the_byte(&**one).await;
    a_put_that_expects_nothing_is_lost_to_an_earlier_one(&**one).await;
    versions_rise_over_deletion_and_creation_anew(&**one).await;
    a_deletion_expects_as_a_put_does(&**one).await;
    many_keys_come_in_one_listing(&**one).await;
    an_update_is_decided_by_what_is_there(&**one).await;
    many_writers_lose_no_increment(one).await;
    a_watch_after_a_listing_misses_nothing(one).await;
    a_deletion_is_news(&**one).await;
    a_watch_that_is_dropped_while_it_waits_loses_nothing(&**one).await;
    all_nodes_come_to_the_same_records(nodes).await;
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn get(store: &dyn Store, key: &str) -> Option<Record> {
    store.get(key).await.expect("the store answers")
}

async fn list(store: &dyn Store) -> Listing {
    store.list().await.expect("the store answers")
}

/// The current record of a put that has to lose.
fn lost<T: std::fmt::Debug>(result: Result<T, PutError>) -> Option<Record> {
    match result {
        Err(PutError::Lost { current }) => current,
        other => panic!("it should have lost, but: {other:?}"),
    }
}

async fn a_value_comes_back_to_the_byte(store: &dyn Store) {
    let key = "conformance/bytes";
    assert_eq!(get(store, key).await, None, "what was never written");
    let all: Vec<u8> = (0..=255).cycle().take(4_000).collect();
    for value in [Bytes::new(), Bytes::from(all), bytes("short")] {
        let version = store.put_if(key, value.clone(), Expect::Any).await.expect("anything is there");
        assert_eq!(get(store, key).await, Some(Record { key: key.into(), value, version }));
    }
}

async fn a_put_that_expects_nothing_is_lost_to_an_earlier_one(store: &dyn Store) {
    let key = "conformance/absent";
    let version = store.put_if(key, bytes("first"), Expect::Absent).await.expect("nothing is there");
    let there = Some(Record { key: key.into(), value: bytes("first"), version });
    assert_eq!(lost(store.put_if(key, bytes("second"), Expect::Absent).await), there);
    assert_eq!(get(store, key).await, there);
    let next = store.put_if(key, bytes("third"), Expect::Version(version)).await.expect("it is unchanged");
    assert!(next > version);
    let there = Some(Record { key: key.into(), value: bytes("third"), version: next });
    assert_eq!(lost(store.put_if(key, bytes("fourth"), Expect::Version(version)).await), there);
    let absent = "conformance/never";
    assert_eq!(lost(store.put_if(absent, bytes("x"), Expect::Version(version)).await), None);
    assert_eq!(get(store, absent).await, None);
}

async fn versions_rise_over_deletion_and_creation_anew(store: &dyn Store) {
    let key = "conformance/anew";
    let mut known = None;
    for _ in 0..3 {
        let version = store.put_if(key, bytes("same"), Expect::Absent).await.expect("nothing is there");
        assert!(known.is_none_or(|known| known < version), "{version:?} after {known:?}");
        if let Some(known) = known {
            lost(store.put_if(key, bytes("late"), Expect::Version(known)).await);
            lost(store.delete_if(key, Expect::Version(known)).await);
        }
        known = Some(version);
        store.delete_if(key, Expect::Version(version)).await.expect("it is unchanged");
    }
}

async fn a_deletion_expects_as_a_put_does(store: &dyn Store) {
    let key = "conformance/delete";
    store.delete_if(key, Expect::Any).await.expect("none there is is well");
    let old = store.put_if(key, bytes("old"), Expect::Absent).await.expect("nothing is there");
    let new = store.put_if(key, bytes("new"), Expect::Version(old)).await.expect("it is unchanged");
    let there = Some(Record { key: key.into(), value: bytes("new"), version: new });
    assert_eq!(lost(store.delete_if(key, Expect::Version(old)).await), there);
    store.delete_if(key, Expect::Version(new)).await.expect("it is unchanged");
    assert_eq!(get(store, key).await, None);
    assert_eq!(lost(store.delete_if(key, Expect::Version(new)).await), None);
}

async fn many_keys_come_in_one_listing(store: &dyn Store) {
    let keys: Vec<String> = (0..120).map(|number| format!("conformance/many/{number:03}")).collect();
    let mut last = list(store).await.revision;
    for key in &keys {
        last = last.max(store.put_if(key, bytes(key), Expect::Any).await.expect("anything is there"));
    }
    let listing = list(store).await;
    assert!(listing.records.is_sorted_by(|a, b| a.key < b.key));
    let many = listing.records.iter().filter(|record| record.key.starts_with("conformance/many/"));
    let listed: Vec<&str> =
        many.inspect(|record| assert_eq!(*record.value, *record.key.as_bytes())).map(|r| &*r.key).collect();
    assert_eq!(listed, keys);
    assert!(listing.revision >= last);
    for key in &keys {
        store.delete_if(key, Expect::Any).await.expect("anything is there");
    }
}

async fn an_update_is_decided_by_what_is_there(store: &dyn Store) {
    let key = "conformance/update";
    let put = |value: &'static str| move |_: Option<&Record>| Change::Put(bytes(value));
    let first = update(store, key, put("first")).await.expect("the store answers");
    assert!(matches!(first, Updated::Put(_)));
    // Somebody writes between its reading and its writing: it is asked again, and writes once.
    let mut seen = Vec::new();
    let mut behind = get(store, key).await;
    store.put_if(key, bytes("between"), Expect::Any).await.expect("anything is there");
    let late = store.put_if(key, bytes("late"), Expect::unchanged(behind.as_ref())).await;
    behind = lost(late);
    assert_eq!(behind.map(|record| record.value), Some(bytes("between")));
    let kept = update(store, key, |record| {
        seen.extend(record.map(|record| record.value.clone()));
        Change::Keep
    });
    assert_eq!(kept.await.expect("the store answers"), Updated::Kept);
    assert_eq!(seen, [bytes("between")]);
    assert_eq!(update(store, key, |_| Change::Delete).await.expect("the store answers"), Updated::Deleted);
    assert_eq!(update(store, key, |_| Change::Delete).await.expect("the store answers"), Updated::Kept);
}

async fn many_writers_lose_no_increment(store: &Arc<dyn Store>) {
    const WRITERS: u32 = 4;
    const EACH: u32 = 10;
    let key = "conformance/counter";
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(store);
        writers.spawn(async move {
            for _ in 0..EACH {
                let increment =
                    |record: Option<&Record>| Change::Put(bytes(&(count(record) + 1).to_string()));
                update(&*store, key, increment).await.expect("nobody loses so often");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.expect("a writer is done");
    }
    assert_eq!(count(get(&**store, key).await.as_ref()), WRITERS * EACH);
}

fn count(record: Option<&Record>) -> u32 {
    let text = record.map_or("0", |record| std::str::from_utf8(&record.value).expect("it is a number"));
    text.parse().expect("it is a number")
}

#[cfg(test)]
mod tests;
