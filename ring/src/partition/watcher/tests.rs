//! What a reader of partitions keeps, and what an operator is told.

use std::sync::atomic::AtomicU32;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::disk::MemoryDisk;
use crate::instance::Instance;
use crate::lifecycle::driver::tests::{Place, paused};
use crate::partition::{
    LifecycleOptions, Partition, PartitionDriver, PartitionDriverOptions, PartitionLifecycler,
    PartitionRecord,
};
use crate::store::{Expect, MemoryStore, PutError, Revision, Store, StoreError, Trouble, Watch};

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn home(place: &Place) -> Home {
    place.home(&MemoryDisk::default())
}

async fn write(store: &MemoryStore, record: impl Into<PartitionRecord>) {
    let (record, mut bytes) = (record.into(), Vec::new());
    record.encode(&mut bytes).unwrap();
    store.put_if(&record.key(), bytes.into(), Expect::Any).await.unwrap();
}

fn active(number: u32) -> Partition {
    Partition { state: PartitionState::Active, version: 1, ..Partition::new(number, 1) }
}

/// A watcher that knows of two that are ACTIVE.
async fn two_actives(place: &Place) -> PartitionWatcher {
    write(&place.store, active(0)).await;
    write(&place.store, active(1)).await;
    let watcher = PartitionWatcher::spawn(&home(place), PartitionWatcherOptions::default());
    watcher.wait_for(|view| view.partitions().len() == 2).await;
    watcher
}

#[test]
fn heartbeats_and_listings_anew_cost_no_new_ring() {
    paused(async {
        let place = Place::new();
        let watcher = two_actives(&place).await;
        let ring = watcher.ring().load();
        for sequence in 0..100 {
            let mut record = Vec::new();
            let version = crate::instance::Version { incarnation: 1, sequence };
            crate::codec::encode_instance(&Instance { version, ..Instance::new("a", "") }, 0, &mut record)
                .unwrap();
            place.store.put_if("instances/a", record.into(), Expect::Any).await.unwrap();
            seconds(1).await;
        }
        assert!(Arc::ptr_eq(&ring, &watcher.ring().load()));
        write(&place.store, active(2)).await;
        seconds(1).await;
        assert!(!Arc::ptr_eq(&ring, &watcher.ring().load()));
    });
}

#[test]
fn while_the_store_fails_the_last_ring_stays_in_use() {
    for trouble in [Trouble::Fails, Trouble::Hangs] {
        paused(async {
            let place = Place::new();
            let watcher = two_actives(&place).await;
            assert!(watcher.ears().watching_since_ns.is_some());
            place.store.set_trouble(trouble);
            seconds(3_600).await;
            assert!(watcher.ears().watching_since_ns.is_none());
            assert!(watcher.ring().load().partition_for(7).is_ok());
            place.store.set_trouble(Trouble::None);
            write(&place.store, active(2)).await;
            watcher.wait_for(|view| view.partitions().len() == 3).await;
            assert_eq!(watcher.ring().load().partitions().len(), 3);
        });
    }
}

#[test]
fn what_is_lost_and_put_back_by_nobody_is_kept_for_a_while() {
    paused(async {
        let place = Place::new();
        let watcher = two_actives(&place).await;
        place.store.lose_everything();
        seconds(590).await;
        assert_eq!(watcher.ring().load().partitions().len(), 2);
        seconds(20).await;
        assert_eq!(watcher.ring().load().partitions().len(), 0);
    });
}

#[test]
fn a_wish_is_judged_by_the_one_before_it_though_the_store_has_not_told() {
    paused(async {
        let place = Place::new();
        let watcher = two_actives(&place).await;
        watcher.change(0, PartitionState::Inactive).await.unwrap();
        let last = watcher.change(1, PartitionState::Inactive).await;
        assert!(matches!(last, Err(WishError::Change(ChangeError::LastActive { number: 1 }))), "{last:?}");
        let unknown = watcher.lock(7, true).await;
        assert!(matches!(unknown, Err(WishError::Change(ChangeError::Unknown { number: 7 }))));
        watcher.lock(0, true).await.unwrap();
        watcher.lock(0, true).await.unwrap();
        let locked = watcher.change(0, PartitionState::Active).await;
        assert!(matches!(locked, Err(WishError::Change(ChangeError::Locked { number: 0 }))));
        seconds(1).await;
        let known = watcher.ring().load().partition(0).copied().unwrap();
        assert_eq!((known.state, known.lock.version), (PartitionState::Inactive, 1));
    });
}

#[test]
fn an_operator_is_told_what_stood_in_the_way() {
    paused(async {
        let place = Place::new();
        let watcher = two_actives(&place).await;
        let other = PartitionWatcher::spawn(&home(&place), PartitionWatcherOptions::default());
        other.wait_for(|view| view.partitions().len() == 2).await;
        other.lock(0, true).await.unwrap();
        let refused = watcher.change(0, PartitionState::Inactive).await;
        assert!(matches!(refused, Err(WishError::Refused { number: 0 })), "{refused:?}");
        place.store.put_if("partitions/1", Bytes::from_static(b"garbage"), Expect::Any).await.unwrap();
        let unreadable = watcher.lock(1, true).await;
        assert!(matches!(unreadable, Err(WishError::Unreadable { number: 1, .. })), "{unreadable:?}");
        place.store.set_trouble(Trouble::Hangs);
        let hangs = watcher.change(1, PartitionState::Inactive).await;
        assert!(matches!(hangs, Err(WishError::Store(_))), "{hangs:?}");
    });
}

/// A store whose calls are counted.
#[derive(Debug)]
struct Counted(MemoryStore, AtomicU32);

impl Counted {
    fn count(&self) -> &MemoryStore {
        // Who spins would not let time go on.
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < 1_000, "a thousand calls");
        &self.0
    }
}

#[async_trait]
impl Store for Counted {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.count().list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.count().get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.count().put_if(key, value, expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.count().delete_if(key, expect).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.count().watch(after).await
    }
}

#[test]
fn options_of_0_do_not_make_it_spin() {
    paused(async {
        let place = Place::new();
        let store = Arc::new(Counted(place.store.clone(), AtomicU32::new(0)));
        let zero = Duration::ZERO;
        let options = PartitionWatcherOptions { gather: zero, silence: zero, ..Default::default() };
        let watcher = PartitionWatcher::spawn(&Home { store: store.clone(), ..home(&place) }, options);
        let life = LifecycleOptions { owners_to_activate: 0, activate_after: zero, delete_after: Some(zero) };
        let life = PartitionLifecycler::new("a", [0], life);
        let options = PartitionDriverOptions { period: zero, keep_deleted: zero };
        let driver = PartitionDriver::spawn(&watcher, life, options);
        driver.wait_for(|status| status.settled).await;
        seconds(1).await;
        store.1.store(0, Ordering::Relaxed);
        seconds(10).await;
        let calls = store.1.load(Ordering::Relaxed);
        assert!((20..=220).contains(&calls), "{calls} calls in ten seconds, to list and to watch");
    });
}
