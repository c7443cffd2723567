//! What a watch has to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{PATIENCE, bytes, list};
use crate::store::{Expect, Listing, News, Store, Watch};

/// What a watch has told so far.
type Seen = BTreeMap<Arc<str>, Bytes>;

fn take(seen: &mut Seen, news: News) {
    match news {
        News::Put(record) => drop(seen.insert(record.key, record.value)),
        News::Delete { key } => drop(seen.remove(&key)),
        News::Resync(listing) => *seen = values(listing),
    }
}

fn values(listing: Listing) -> Seen {
    listing.records.into_iter().map(|record| (record.key, record.value)).collect()
}

async fn next(watch: &mut dyn Watch) -> News {
    let news = tokio::time::timeout(PATIENCE, watch.next()).await;
    news.expect("news come in time").expect("the watch goes on")
}

/// Listens until it knows what is there.
async fn catch_up(seen: &mut Seen, watch: &mut dyn Watch, store: &dyn Store) {
    loop {
        let there = values(list(store).await);
        if *seen == there {
            return;
        }
        take(seen, next(watch).await);
    }
}

pub(super) async fn a_watch_after_a_listing_misses_nothing(store: &Arc<dyn Store>) {
    let key = |number: u32| format!("conformance/race/{}", number % 5);
    let write = async |number: u32| {
        if number % 7 == 6 {
            store.delete_if(&key(number), Expect::Any).await.map(drop)
        } else {
            store.put_if(&key(number), bytes(&number.to_string()), Expect::Any).await.map(drop)
        }
        .expect("anything is there");
    };
    write(0).await;
    let listing = list(&**store).await;
    // Between the listing and the watch.
    for number in 1..20 {
        write(number).await;
    }
    let after = listing.revision;
    let mut seen = values(listing);
    let mut watch = store.watch(after).await.expect("the store answers");
    catch_up(&mut seen, &mut *watch, &**store).await;
    // While it watches.
    let writes = async {
        for number in 20..60 {
            write(number).await;
            tokio::task::yield_now().await;
        }
    };
    let listens = async {
        // However many of them are told.
        for _ in 0..3 {
            let news = next(&mut *watch).await;
            take(&mut seen, news);
        }
    };
    tokio::join!(writes, listens);
    catch_up(&mut seen, &mut *watch, &**store).await;
}

pub(super) async fn a_deletion_is_news(store: &dyn Store) {
    let key = "conformance/gone";
    store.put_if(key, bytes("here"), Expect::Any).await.expect("anything is there");
    let listing = list(store).await;
    let mut watch = store.watch(listing.revision).await.expect("the store answers");
    store.delete_if(key, Expect::Any).await.expect("anything is there");
    let mut seen = values(listing);
    while seen.contains_key(key) {
        take(&mut seen, next(&mut *watch).await);
    }
}

pub(super) async fn a_watch_that_is_dropped_while_it_waits_loses_nothing(store: &dyn Store) {
    let key = "conformance/cancel";
    let listing = list(store).await;
    let mut watch = store.watch(listing.revision).await.expect("the store answers");
    let mut seen = values(listing);
    for number in 0..20_u32 {
        let write = store.put_if(key, bytes(&number.to_string()), Expect::Any);
        // Whichever is first, the other one is dropped or goes on.
        let mut write = std::pin::pin!(write);
        let written = tokio::select! {
            biased;
            news = watch.next() => {
                take(&mut seen, news.expect("the watch goes on"));
                write.await
            }
            written = &mut write => written,
        };
        written.expect("anything is there");
    }
    catch_up(&mut seen, &mut *watch, store).await;
    assert_eq!(seen.get(key), Some(&bytes("19")));
}
