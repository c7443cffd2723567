//! Partitions on a store that is real.

use std::sync::Arc;
use std::time::Duration;

use forebay_ring::partition::{
    LifecycleOptions, Partition, PartitionDriver, PartitionDriverOptions, PartitionLifecycler,
    PartitionState, PartitionWatcher, PartitionWatcherOptions, Partitions, WishError,
};
use forebay_ring::store::Store;

use super::ring::home;

struct Process {
    watcher: PartitionWatcher,
    driver: PartitionDriver,
}

impl Process {
    fn begin(store: Arc<dyn Store>, number: u32, count: u32) -> Self {
        let watcher = PartitionWatcher::spawn(&home(store), PartitionWatcherOptions::default());
        let wait = Duration::from_millis(500);
        let options = LifecycleOptions { owners_to_activate: 2, activate_after: wait, delete_after: None };
        let own = [number, (number + 1) % count];
        let life = PartitionLifecycler::new(format!("instance-{number}"), own, options);
        let options = PartitionDriverOptions { period: wait, ..PartitionDriverOptions::default() };
        let driver = PartitionDriver::spawn(&watcher, life, options);
        Self { watcher, driver }
    }

    fn begin_all(stores: Vec<Arc<dyn Store>>) -> Vec<Self> {
        let count = u32::try_from(stores.len()).unwrap();
        (0..count).zip(stores).map(|(number, store)| Self::begin(store, number, count)).collect()
    }
}

async fn all(processes: &[Process], what: &str, wanted: impl Fn(&Partitions) -> bool) {
    for process in processes {
        let wait = process.watcher.wait_for(&wanted);
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("{what}, in time: {:?}", process.watcher.partitions()));
    }
}

fn zero(view: &Partitions) -> Partition {
    *view.partition(0).unwrap()
}

/// Each on a store of its own, three or more: they create partitions, own and activate them; a state and a lock that are
/// wished at once are both kept or one is refused; who stops is owner of nothing any more, and who comes back moves no key.
pub(crate) async fn partitions_make_one_ring(stores: Vec<Arc<dyn Store>>) {
    let mut processes = Process::begin_all(stores.clone());
    let count = processes.len();
    all(&processes, "all are ACTIVE and have two owners", |view| {
        let ready = |partition: &&Partition| {
            partition.state == PartitionState::Active && view.owners(partition.number).count() == 2
        };
        view.partitions().filter(ready).count() == count
    })
    .await;
    for key in (0..u32::MAX).step_by(1 << 26) {
        let found = processes[0].watcher.ring().load().partition_for(key);
        assert!(processes.iter().all(|process| process.watcher.ring().load().partition_for(key) == found));
    }

    let (one, two) = (&processes[0].watcher, &processes[1].watcher);
    let (stopped, locked) = tokio::join!(one.change(0, PartitionState::Inactive), two.lock(0, true));
    locked.unwrap();
    let was_first = match &stopped {
        Ok(()) => true,
        Err(WishError::Refused { number: 0 }) => false,
        Err(error) => panic!("{error}"),
    };
    all(&processes, "the lock is known, and the state if it was granted", |view| {
        zero(view).lock.locked && (zero(view).state == PartitionState::Inactive) == was_first
    })
    .await;
    if !was_first {
        processes[2].watcher.lock(0, false).await.unwrap();
        all(&processes, "it is open", |view| !zero(view).lock.locked).await;
        processes[2].watcher.change(0, PartitionState::Inactive).await.unwrap();
    }
    all(&processes, "it is INACTIVE", |view| zero(view).state == PartitionState::Inactive).await;

    assert_eq!(processes[0].driver.stop(), [0; 0], "somebody else owns what is ACTIVE");
    processes[0].driver.wait_for(|status| status.stopping && status.settled).await;
    all(&processes, "it owns nothing", |view| {
        [0, 1].iter().all(|&number| view.owners(number).all(|owner| &*owner.instance != "instance-0"))
    })
    .await;

    let last = processes.pop().unwrap();
    let ring = last.watcher.ring().load();
    drop(last);
    let number = u32::try_from(count - 1).unwrap();
    let again = Process::begin(stores[count - 1].clone(), number, u32::try_from(count).unwrap());
    tokio::time::timeout(Duration::from_secs(60), again.driver.wait_for(|status| status.settled))
        .await
        .unwrap();
    let now = again.watcher.ring().load();
    assert!(now.partitions().eq(ring.partitions()), "{now:?} after {ring:?}");
}
