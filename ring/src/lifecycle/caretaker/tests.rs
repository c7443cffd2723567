//! Who is forgotten, and who is not after an outage.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::disk::MemoryDisk;
use crate::lifecycle::WatcherOptions;
use crate::lifecycle::driver::tests::{Place, life, paused};
use crate::store::{Listing, Record, Revision, Trouble, Watch};

async fn minutes(minutes: u64) {
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
}

/// Instances that run, each with a watcher and a caretaker of its own.
async fn cluster(place: &Place) -> Vec<(Driver, Watcher, Caretaker)> {
    let mut all = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let home = place.home(&MemoryDisk::default());
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let driver = Driver::spawn(life(id), home.clone(), watcher.members(), None);
        let keep_left = Duration::from_secs(900);
        let options = CaretakerOptions { forget: Some(Forget::default()), keep_left, ..Default::default() };
        let caretaker = Caretaker::spawn(home, &watcher, Some(&driver), options);
        driver.recovered();
        driver.wait_for(|status| status.ready).await;
        all.push((driver, watcher, caretaker));
    }
    all
}

fn forgotten(place: &Place) -> usize {
    place.count(|report| matches!(report, Report::Forgotten { .. }))
}

#[test]
fn who_is_silent_for_long_is_forgotten_once_and_later_its_records_are_deleted() {
    paused(async {
        let place = Place::new();
        let mut all = cluster(&place).await;
        minutes(15).await;
        drop(all.remove(2));
        minutes(9).await;
        assert_eq!(place.record("c").await.unwrap().state, State::Active);
        minutes(3).await;
        assert_eq!(place.record("c").await.unwrap().state, State::Left);
        assert_eq!(forgotten(&place), 1, "by one of three");
        assert!(place.store.get("tokens/c").await.unwrap().is_some());
        minutes(17).await;
        assert_eq!(place.record("c").await, None);
        assert_eq!(place.store.get("tokens/c").await.unwrap(), None);
        assert!(all[0].1.members().borrow().member("c").is_none());
        assert_eq!(
            place.store.list().await.unwrap().records.len(),
            6,
            "of those who are there nothing is deleted"
        );
    });
}

#[test]
fn after_an_outage_of_the_store_nobody_is_forgotten_for_as_long_as_silence_may_be() {
    for trouble in [Trouble::Hangs, Trouble::Fails] {
        paused(async {
            let place = Place::new();
            let mut all = cluster(&place).await;
            minutes(15).await;
            place.store.set_trouble(trouble);
            minutes(20).await;
            // One of them died meanwhile. It is silent for longer than it may be, and few enough are to forget it.
            drop(all.remove(3));
            place.store.set_trouble(Trouble::None);
            minutes(9).await;
            assert_eq!(forgotten(&place), 0, "{trouble:?}");
            assert_eq!(place.record("d").await.unwrap().state, State::Active);
            minutes(4).await;
            assert_eq!(place.record("d").await.unwrap().state, State::Left);
            assert_eq!(forgotten(&place), 1, "{trouble:?}");
        });
    }
}

/// A store in which, just before its tokens are deleted, an instance comes back up to its record.
struct ComesBack {
    place: Place,
    back: Mutex<Option<(Driver, Watcher)>>,
}

impl std::fmt::Debug for ComesBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComesBack").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for ComesBack {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.place.store.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.place.store.get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.place.store.put_if(key, value, expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        if key == "tokens/c" && self.back.lock().unwrap().is_none() {
            let home = self.place.home(&MemoryDisk::default());
            let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
            let driver = Driver::spawn(life("c"), home, watcher.members(), None);
            driver.wait_for(|status| status.heartbeat_ns.is_some()).await;
            *self.back.lock().unwrap() = Some((driver, watcher));
        }
        self.place.store.delete_if(key, expect).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.place.store.watch(after).await
    }
}

#[test]
fn who_comes_back_while_its_records_are_deleted_keeps_its_tokens() {
    paused(async {
        let place = Place::new();
        let home = place.home(&MemoryDisk::default());
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let driver = Driver::spawn(life("c"), home.clone(), watcher.members(), None);
        driver.recovered();
        driver.wait_for(|status| status.ready).await;
        driver.shut_down(Some(true));
        driver.stopped().await;
        assert_eq!(place.record("c").await.unwrap().state, State::Left);
        let store = Arc::new(ComesBack { place, back: Mutex::default() });
        let options = CaretakerOptions { keep_left: Duration::from_secs(60), ..Default::default() };
        let home = Home { store: store.clone(), ..home };
        let _caretaker = Caretaker::spawn(home, &watcher, None, options);
        while store.back.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Before it looks by itself.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(store.get("tokens/c").await.unwrap().is_some());
    });
}
