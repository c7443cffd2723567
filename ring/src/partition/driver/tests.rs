//! Partitions of processes that come and go, on stores that hang, lose and forget, in paused time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::disk::MemoryDisk;
use crate::lifecycle::Remark;
use crate::lifecycle::driver::tests::{Place, paused};
use crate::partition::{
    LifecycleOptions, Owner, Partition, PartitionRecord, PartitionState, PartitionWatcherOptions,
};
use crate::store::{
    Change, Expect, Listing, MemoryStore, PutError, Record, Revision, Store, StoreError, Trouble, Watch,
    update,
};

struct Process {
    watcher: PartitionWatcher,
    driver: PartitionDriver,
}

impl Process {
    fn begin(home: &Home, instance: &str, own: impl IntoIterator<Item = u32>) -> Self {
        let options = LifecycleOptions { delete_after: Some(Duration::from_secs(60)), ..Default::default() };
        Self::with(home, PartitionLifecycler::new(instance, own, options))
    }

    fn with(home: &Home, life: PartitionLifecycler) -> Self {
        let watcher = PartitionWatcher::spawn(home, PartitionWatcherOptions::default());
        let options = PartitionDriverOptions { keep_deleted: Duration::from_secs(300), ..Default::default() };
        let driver = PartitionDriver::spawn(&watcher, life, options);
        Self { watcher, driver }
    }

    async fn settled(&self) {
        self.driver.wait_for(|status| status.settled && !status.stopping).await;
    }

    async fn gone(&self) {
        self.driver.wait_for(|status| status.settled && status.stopping).await;
    }

    async fn active(&self, numbers: &[u32]) {
        let is_active = |view: &Partitions, number: &u32| {
            view.partition(*number).is_some_and(|partition| partition.state == PartitionState::Active)
        };
        self.watcher.wait_for(|view| numbers.iter().all(|number| is_active(view, number))).await;
    }

    fn owners(&self, number: u32) -> Vec<String> {
        self.watcher.ring().load().owners(number).map(ToString::to_string).collect()
    }
}

fn home(place: &Place) -> Home {
    place.home(&MemoryDisk::default())
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn stored(place: &Place, number: u32) -> Option<Partition> {
    let record = place.store.get(&format!("partitions/{number}")).await.unwrap()?;
    match PartitionRecord::decode(&record.value).unwrap() {
        PartitionRecord::Partition(partition) => Some(partition),
        owner @ PartitionRecord::Owner(_) => panic!("the key of a partition holds {owner:?}"),
    }
}

async fn keys(place: &Place) -> Vec<String> {
    place.store.list().await.unwrap().records.iter().map(|record| record.key.to_string()).collect()
}

#[test]
fn instances_that_join_own_their_partitions_and_all_take_a_key_to_the_same_one() {
    paused(async {
        let place = Place::new();
        let own = [("a", [0, 1]), ("b", [1, 2]), ("c", [2, 0])];
        let processes = own.map(|(instance, own)| Process::begin(&home(&place), instance, own));
        let reader = PartitionWatcher::spawn(&home(&place), PartitionWatcherOptions::default());
        for process in &processes {
            process.settled().await;
            process.active(&[0, 1, 2]).await;
        }
        seconds(1).await;
        let ring = reader.ring().load();
        for (number, owners) in [["a", "c"], ["a", "b"], ["b", "c"]].into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            assert!(ring.owners(number).map(|owner| &**owner).eq(owners), "of {number}");
        }
        for key in (0..u32::MAX).step_by(1 << 24) {
            let found = ring.partition_for(key).unwrap();
            assert!(processes.iter().all(|p| p.watcher.ring().load().partition_for(key) == Ok(found)));
        }
        assert_eq!(place.count(|_| true), 0);
    });
}

#[test]
fn one_that_comes_back_writes_nothing_and_moves_no_key() {
    paused(async {
        let place = Place::new();
        let other = Process::begin(&home(&place), "b", [0, 1]);
        let process = Process::begin(&home(&place), "a", [0, 1]);
        process.active(&[0, 1]).await;
        other.settled().await;
        drop(process);
        let before = place.store.list().await.unwrap();
        let process = Process::begin(&home(&place), "a", [0, 1]);
        process.settled().await;
        seconds(120).await;
        assert_eq!(place.store.list().await.unwrap(), before);
    });
}

#[test]
fn many_that_want_one_partition_at_once_create_it_once() {
    paused(async {
        let place = Place::new();
        let processes: Vec<_> =
            (0..20).map(|number| Process::begin(&home(&place), &format!("i{number}"), [7])).collect();
        for process in &processes {
            process.settled().await;
            process.active(&[7]).await;
        }
        assert_eq!(stored(&place, 7).await.unwrap().version, 1, "PENDING, then ACTIVE");
        seconds(1).await;
        assert_eq!(processes[0].owners(7).len(), 20);
        assert_eq!(place.count(|_| true), 0);
    });
}

#[test]
fn nothing_is_written_before_the_store_was_listed_and_a_stop_does_not_wait_for_one_that_hangs() {
    paused(async {
        let place = Place::new();
        for trouble in [Trouble::Hangs, Trouble::Fails] {
            place.store.set_trouble(trouble);
            let process = Process::begin(&home(&place), "a", [0]);
            seconds(60).await;
            assert_eq!(process.driver.status(), PartitionStatus::default());
            assert!(place.count(|report| matches!(report, Report::Watch(_))) > 5);
            assert_eq!(place.count(|report| matches!(report, Report::Write(_))), 0);
            place.store.set_trouble(Trouble::None);
            process.active(&[0]).await;
            place.store.set_trouble(trouble);
            seconds(60).await;
            assert_eq!(process.watcher.ring().load().partition_for(7), Ok(0), "the last one stays in use");
            assert_eq!(process.driver.stop(), [0]);
            seconds(60).await;
            assert!(!process.driver.status().settled, "it is not known yet");
            assert!(place.count(|report| matches!(report, Report::Write(_))) > 5);
            place.store.set_trouble(Trouble::None);
            process.gone().await;
            assert!(process.owners(0).is_empty());
            place.reports.lock().unwrap().clear();
            place.store.lose_everything();
        }
    });
}

/// A store that a process stops to reach in the middle of a write.
#[derive(Debug)]
struct Dies {
    store: MemoryStore,
    /// Writes until the one at which it does.
    left: AtomicU32,
    takes_effect: bool,
    dead: AtomicBool,
}

impl Dies {
    async fn write<T>(&self, write: impl Future<Output = Result<T, PutError>>) -> Result<T, PutError> {
        let alive =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if alive {
            return write.await;
        }
        if !self.dead.swap(true, Ordering::Relaxed) && self.takes_effect {
            drop(write.await);
        }
        std::future::pending().await
    }
}

#[async_trait]
impl Store for Dies {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.store.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.store.get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.write(self.store.put_if(key, value, expect)).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.write(self.store.delete_if(key, expect)).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(after).await
    }
}

/// A process that joins, loses its records, gives its partitions up and cleans, until it dies at a write; and the one that
/// is started after it. Whether the first one died.
async fn die_at(writes: u32, takes_effect: bool) -> bool {
    let place = Place::new();
    let left = AtomicU32::new(writes);
    let dead = AtomicBool::new(false);
    let store = Arc::new(Dies { store: place.store.clone(), left, takes_effect, dead });
    let process = Process::begin(&Home { store: store.clone(), ..home(&place) }, "a", [0, 1]);
    seconds(40).await;
    place.store.lose_everything();
    seconds(10).await;
    // Two that are ACTIVE, for the last one would stay so.
    let is_last = process.watcher.change(1, PartitionState::Inactive).await.is_err();
    assert!(!is_last || store.dead.load(Ordering::Relaxed));
    let _ = process.driver.stop();
    seconds(400).await;
    let known = process.watcher.partitions().borrow().partition(0).copied();
    drop(process);

    let next = Process::begin(&home(&place), "a", [0, 1]);
    next.settled().await;
    next.active(&[0]).await;
    seconds(30).await;
    assert!(next.owners(0) == ["a"] && next.owners(1) == ["a"], "{writes} writes");
    let (zero, one) = (stored(&place, 0).await.unwrap(), stored(&place, 1).await.unwrap());
    assert!(
        known.is_none_or(|known| zero.version >= known.version),
        "{writes} writes: {zero:?} after {known:?}"
    );
    assert!(
        matches!(one.state, PartitionState::Active | PartitionState::Inactive),
        "{writes} writes: {one:?}"
    );
    store.dead.load(Ordering::Relaxed)
}

#[test]
fn a_process_that_ends_before_or_after_any_write_is_taken_up_by_the_next() {
    let mut deaths = 0;
    for takes_effect in [false, true] {
        deaths += (0..).take_while(|&writes| paused(die_at(writes, takes_effect))).count();
    }
    // Two created, owned and activated; four put back; one stopped; two given up, and their tombstones deleted.
    assert!(deaths >= 2 * 15, "{deaths}");
}

#[test]
fn a_store_that_loses_everything_is_given_back_what_was_known_and_no_key_moves() {
    paused(async {
        let place = Place::new();
        let processes = [("a", 0), ("b", 1)].map(|(id, own)| Process::begin(&home(&place), id, [own]));
        for process in &processes {
            process.active(&[0, 1]).await;
        }
        processes[0].watcher.lock(1, true).await.unwrap();
        seconds(1).await;
        let (before, ring) = (keys(&place).await, processes[0].watcher.ring().load());
        let partitions = [stored(&place, 0).await, stored(&place, 1).await];
        place.store.lose_everything();
        // A process that knew nothing is the first to write.
        let late = Process::begin(&home(&place), "c", [1]);
        late.settled().await;
        seconds(10).await;
        assert_eq!([stored(&place, 0).await, stored(&place, 1).await], partitions);
        let found = keys(&place).await;
        assert!(before.iter().all(|key| found.contains(key)), "{found:?}");
        let now = processes[0].watcher.ring().load();
        assert!(now.shares_topology(&ring), "no key moved");
        assert_eq!(late.watcher.ring().load().partition_for(7), ring.partition_for(7));
    });
}

#[test]
fn who_owned_what_was_lost_and_never_came_back_is_forgotten_at_last() {
    paused(async {
        let place = Place::new();
        let process = Process::begin(&home(&place), "a", [0]);
        let other = Process::begin(&home(&place), "b", [0]);
        process.active(&[0]).await;
        other.settled().await;
        drop(other);
        place.store.lose_everything();
        seconds(500).await;
        assert_eq!(process.owners(0), ["a", "b"]);
        seconds(200).await;
        assert_eq!((process.owners(0), keys(&place).await.len()), (vec!["a".to_owned()], 2));
    });
}

#[test]
fn what_nobody_owns_is_deleted_then_its_tombstones_are_and_it_can_be_created_again() {
    paused(async {
        let place = Place::new();
        let first = Process::begin(&home(&place), "a", [0]);
        let second = Process::begin(&home(&place), "b", [1]);
        first.active(&[0, 1]).await;
        second.settled().await;
        first.watcher.change(1, PartitionState::Inactive).await.unwrap();
        seconds(1).await;
        assert_eq!(second.driver.stop(), [0; 0]);
        second.gone().await;
        drop(second);
        seconds(90).await;
        assert_eq!(stored(&place, 1).await.unwrap().state, PartitionState::Deleted);
        seconds(250).await;
        assert_eq!(stored(&place, 1).await.unwrap().state, PartitionState::Deleted, "kept for a while");
        seconds(200).await;
        assert_eq!(keys(&place).await, ["owners/a%2F0", "partitions/0"]);
        assert_eq!(first.watcher.partitions().borrow().records().count(), 2);
        let again = Process::begin(&home(&place), "b", [1]);
        again.active(&[1]).await;
        assert_eq!(stored(&place, 1).await.unwrap().version, 1);
    });
}

#[test]
fn the_last_owner_that_stops_is_told_and_two_that_stop_at_once_are_reported() {
    paused(async {
        let place = Place::new();
        let unread = |place: &Place| {
            place.count(|report| matches!(report, Report::Unread { partitions } if *partitions == [0]))
        };
        let one = Process::begin(&home(&place), "a", [0]);
        let two = Process::begin(&home(&place), "b", [0]);
        one.active(&[0]).await;
        two.settled().await;
        seconds(1).await;
        assert_eq!((one.driver.stop(), two.driver.stop()), (vec![], vec![]), "each sees the other");
        one.gone().await;
        two.gone().await;
        seconds(60).await;
        assert_eq!(unread(&place), 2, "once each");
        let three = Process::begin(&home(&place), "c", [0]);
        three.settled().await;
        assert_eq!((three.driver.stop(), three.driver.sole_owner_of()), (vec![0], vec![0]));
        three.gone().await;
        assert_eq!(unread(&place), 3);
    });
}

/// A store in which an operator locks a partition just before it is activated.
#[derive(Debug)]
struct LocksFirst(MemoryStore, AtomicBool);

#[async_trait]
impl Store for LocksFirst {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.0.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.0.get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        let activates = matches!(
            PartitionRecord::decode(&value),
            Ok(PartitionRecord::Partition(Partition { state: PartitionState::Active, .. }))
        );
        if activates && !self.1.swap(true, Ordering::Relaxed) {
            let lock = |current: Option<&Record>| {
                let mut view = Partitions::default();
                view.observe(PartitionRecord::decode(&current.unwrap().value).unwrap()).unwrap();
                let mut bytes = Vec::new();
                view.lock(0, true, 1).unwrap().unwrap().after.encode(&mut bytes).unwrap();
                Change::Put(bytes.into())
            };
            update(&self.0, key, lock).await.unwrap();
        }
        self.0.put_if(key, value, expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.0.delete_if(key, expect).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.0.watch(after).await
    }
}

#[test]
fn a_lock_that_crosses_an_activation_holds_until_it_is_opened() {
    paused(async {
        let place = Place::new();
        let store = Arc::new(LocksFirst(place.store.clone(), AtomicBool::new(false)));
        let process = Process::begin(&Home { store, ..home(&place) }, "a", [0]);
        process.settled().await;
        seconds(120).await;
        let known = stored(&place, 0).await.unwrap();
        assert_eq!((known.state, known.lock.locked), (PartitionState::Pending, true));
        process.watcher.lock(0, false).await.unwrap();
        process.active(&[0]).await;
    });
}

#[test]
fn what_cannot_be_read_is_reported_and_left_alone_and_the_rest_goes_on() {
    paused(async {
        let place = Place::new();
        let garbage = Bytes::from_static(b"garbage");
        place.store.put_if("partitions/0", garbage.clone(), Expect::Any).await.unwrap();
        let process = Process::begin(&home(&place), "a", [0, 1]);
        process.active(&[1]).await;
        seconds(60).await;
        assert_eq!(place.store.get("partitions/0").await.unwrap().unwrap().value, garbage);
        assert!(!process.driver.status().settled);
        let undecodable = |report: &Report| matches!(report, Report::Remark(Remark::Undecodable { .. }));
        assert!(place.count(undecodable) > 0);
        place.store.delete_if("partitions/0", Expect::Any).await.unwrap();
        process.active(&[0]).await;
    });
}

#[test]
fn an_owner_whose_id_no_record_takes_is_reported_and_not_written() {
    paused(async {
        let place = Place::new();
        let process = Process::begin(&home(&place), &"x".repeat(300), [0]);
        seconds(60).await;
        let too_long = |report: &Report| report.to_string().contains("instance of 300");
        assert!((5..60).contains(&place.count(too_long)));
        assert!(!process.driver.status().settled);
    });
}

#[test]
fn it_ends_with_its_watcher_and_whoever_waits_for_it_goes_on() {
    paused(async {
        let place = Place::new();
        let Process { watcher, driver } = Process::begin(&home(&place), "a", [0]);
        driver.wait_for(|status| status.settled).await;
        drop(watcher);
        driver.wait_for(|status| status.stopping).await;
        assert!(driver.status().settled, "the last status stands");
        assert_eq!(driver.stop(), [0; 0]);
    });
}

/// What another node says of an owner comes later than what is known here.
#[test]
fn a_store_that_says_less_than_is_known_is_completed_by_whoever_runs_on_it() {
    paused(async {
        let place = Place::new();
        let process = Process::begin(&home(&place), "a", [0]);
        process.active(&[0]).await;
        let old = PartitionRecord::from(Partition::new(0, 0));
        let mut bytes = Vec::new();
        old.encode(&mut bytes).unwrap();
        place.store.put_if(&old.key(), bytes.into(), Expect::Any).await.unwrap();
        let known = process.watcher.partitions().borrow().partition(0).copied();
        seconds(2).await;
        assert_eq!(stored(&place, 0).await, known);
        let stranger = PartitionRecord::from(Owner::new("b", 0, 0));
        let mut bytes = Vec::new();
        stranger.encode(&mut bytes).unwrap();
        place.store.put_if(&stranger.key(), bytes.into(), Expect::Any).await.unwrap();
        seconds(2).await;
        assert_eq!(process.owners(0), ["a", "b"]);
    });
}
