//! Instances on a store that is real.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::{
    Driver, Home, Lifecycler, LifecyclerOptions, Now, Tokens, Watcher, WatcherOptions,
};
use forebay_ring::store::Store;
use forebay_ring::{Options, State};

#[expect(clippy::disallowed_methods, reason = "the clock of a test goes as tokio's")]
pub(crate) fn home(store: Arc<dyn Store>) -> Home {
    let began = tokio::time::Instant::now();
    let clock = move || {
        let mono_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
        Now { mono_ns, unix_ns: 1_700_000_000_000_000_000 + i64::try_from(mono_ns).unwrap() }
    };
    Home {
        store,
        disk: Arc::new(MemoryDisk::default()),
        token_file: "/tokens".into(),
        time_out: Duration::from_secs(5),
        clock: Arc::new(clock),
        reporter: Arc::new(|report| println!("{report}")),
    }
}

/// Each on a store of its own: they join, all see all, and one that leaves is gone for the others.
pub(crate) async fn instances_make_one_ring(stores: Vec<Arc<dyn Store>>) {
    let mut all = Vec::new();
    for (number, store) in stores.into_iter().enumerate() {
        let home = home(store);
        let options = LifecyclerOptions {
            tokens: Tokens::Random { count: NonZeroUsize::new(32).unwrap() },
            heartbeat_period: Duration::from_millis(500),
            observe: Duration::from_millis(500),
            min_ready: Duration::ZERO,
            ..LifecyclerOptions::new(format!("instance-{number}"), "")
        };
        let ring = Options { replication_factor: 1, ..Options::default() };
        let watcher = Watcher::spawn(&home, WatcherOptions { ring, ..WatcherOptions::default() }).unwrap();
        let driver = Driver::spawn(Lifecycler::new(options).unwrap(), home, watcher.members(), None);
        driver.recovered();
        all.push((driver, watcher));
    }
    let count = all.len();
    let patience = Duration::from_secs(60);
    let agree = async {
        for (driver, watcher) in &all {
            driver.wait_for(|status| status.ready).await;
            let serves = |members: &forebay_ring::Membership| {
                let active = members.iter().filter(|member| member.instance.state == State::Active);
                active.filter(|member| member.instance.tokens.len() == 32).count() == count
            };
            watcher.wait_for(serves).await;
        }
    };
    tokio::time::timeout(patience, agree).await.unwrap();
    let leaves = async {
        all[0].0.shut_down(Some(true));
        all[0].0.stopped().await;
        for (_, watcher) in &all {
            let left = |members: &forebay_ring::Membership| {
                members.member("instance-0").unwrap().instance.state == State::Left
            };
            watcher.wait_for(left).await;
        }
    };
    tokio::time::timeout(patience, leaves).await.unwrap();
}
