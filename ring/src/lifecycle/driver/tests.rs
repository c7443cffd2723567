//! Lives on a store, a disk and a drain that hang, in paused time.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::codec::{RecordKind, decode_instance};
use crate::disk::{Disk, MemoryDisk};
use crate::instance::{Instance, State};
use crate::lifecycle::{Clock, LifecyclerOptions, Now, Report, Tokens, Unsaved, Watcher, WatcherOptions};
use crate::store::{Expect, MemoryStore, Store, Trouble};

/// A store, a disk and what was reported.
pub(crate) struct Place {
    pub(crate) store: MemoryStore,
    pub(crate) reports: Arc<Mutex<Vec<Report>>>,
    pub(crate) clock: Clock,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "the clock of a test goes as tokio's, which is paused")]
    pub(crate) fn new() -> Self {
        let began = tokio::time::Instant::now();
        let clock = move || {
            let mono_ns = u64::try_from(began.elapsed().as_nanos()).unwrap();
            Now { mono_ns, unix_ns: 1_700_000_000_000_000_000 + i64::try_from(mono_ns).unwrap() }
        };
        Self { store: MemoryStore::default(), reports: Arc::default(), clock: Arc::new(clock) }
    }

    pub(crate) fn home(&self, disk: &(impl Disk + Clone + 'static)) -> Home {
        let reports = Arc::clone(&self.reports);
        Home {
            store: Arc::new(self.store.clone()),
            disk: Arc::new(disk.clone()),
            token_file: "/tokens".into(),
            time_out: Duration::from_secs(2),
            clock: Arc::clone(&self.clock),
            reporter: Arc::new(move |report| reports.lock().unwrap().push(report)),
        }
    }

    pub(crate) fn count(&self, which: impl Fn(&Report) -> bool) -> usize {
        self.reports.lock().unwrap().iter().filter(|report| which(report)).count()
    }

    /// What the store holds, whatever trouble it has.
    pub(crate) async fn record(&self, id: &str) -> Option<Instance> {
        let record = self.store.get(&RecordKind::Instance.key(id)).await.unwrap()?;
        Some(decode_instance(&record.value).unwrap().instance)
    }
}

pub(crate) fn life(id: &str) -> Lifecycler {
    let tokens = Tokens::Random { count: NonZeroUsize::new(16).unwrap() };
    Lifecycler::new(LifecyclerOptions { tokens, ..LifecyclerOptions::new(id, "addr") }).unwrap()
}

pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Begun, and dropped again.
#[derive(Default)]
struct Endless(AtomicU32, AtomicU32);

struct Dropped<'d>(&'d AtomicU32);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Drain for Endless {
    async fn drain(&self) {
        let running = self.0.fetch_add(1, Ordering::Relaxed) - self.1.load(Ordering::Relaxed);
        assert_eq!(running, 0, "one at a time");
        let _dropped = Dropped(&self.1);
        std::future::pending().await
    }
}

struct Panics;

#[async_trait]
impl Drain for Panics {
    async fn drain(&self) {
        panic!("a drain that does not work");
    }
}

#[test]
fn a_drain_that_panics_is_reported_and_the_instance_stays() {
    paused(async {
        let place = Place::new();
        let (driver, _watcher) = served(&place.home(&MemoryDisk::default()), Some(Arc::new(Panics))).await;
        driver.shut_down(Some(true));
        seconds(60).await;
        assert_eq!(place.count(|report| matches!(report, Report::DrainLost)), 1);
        assert_eq!(place.record("m").await.unwrap().state, State::Leaving);
        driver.cancel_shutdown();
        driver.wait_for(|status| status.ready).await;
    });
}

#[test]
fn the_drain_of_a_stop_that_is_called_off_is_dropped() {
    paused(async {
        let (place, drain) = (Place::new(), Arc::new(Endless::default()));
        let (driver, _watcher) = served(&place.home(&MemoryDisk::default()), Some(drain.clone())).await;
        let counts = || (drain.0.load(Ordering::Relaxed), drain.1.load(Ordering::Relaxed));
        driver.shut_down(None);
        seconds(1).await;
        assert_eq!(counts(), (1, 0));
        driver.cancel_shutdown();
        seconds(1).await;
        assert_eq!(counts(), (1, 1));
        // All at once.
        driver.shut_down(None);
        driver.cancel_shutdown();
        driver.shut_down(None);
        seconds(1).await;
        let (begun, dropped) = counts();
        assert_eq!(begun - dropped, 1);
        assert_eq!(place.count(|report| matches!(report, Report::DrainLost)), 0);
    });
}

/// It serves, and a watcher shows it.
async fn served(home: &Home, drain: Option<Arc<dyn Drain>>) -> (Driver, Watcher) {
    let watcher = Watcher::spawn(home, WatcherOptions::default()).unwrap();
    let driver = Driver::spawn(life("m"), home.clone(), watcher.members(), drain);
    driver.recovered();
    driver.wait_for(|status| status.ready).await;
    (driver, watcher)
}

#[test]
fn an_instance_starts_serves_comes_back_and_leaves() {
    paused(async {
        let (place, disk) = (Place::new(), MemoryDisk::default());
        let (driver, watcher) = served(&place.home(&disk), None).await;
        let first = place.record("m").await.unwrap();
        assert_eq!((first.state, first.version.incarnation), (State::Active, 1));
        let ring = watcher.ring().load();
        assert_eq!((ring.instances().len(), ring.token_count()), (1, 16));
        // A crash.
        drop(driver);
        seconds(60).await;
        assert_eq!(place.record("m").await.unwrap().version.incarnation, 1);
        let (driver, watcher) = served(&place.home(&disk), None).await;
        let second = place.record("m").await.unwrap();
        assert_eq!((second.state, second.version.incarnation), (State::Active, 2));
        assert_eq!(second.registered_at_ns, first.registered_at_ns);
        driver.shut_down(None);
        driver.stopped().await;
        assert_eq!(place.record("m").await.unwrap().state, State::Left);
        watcher
            .wait_for(|members| members.member("m").is_some_and(|m| m.instance.state == State::Left))
            .await;
        assert_eq!(place.count(|_| true), 0, "{:?}", place.reports.lock());
    });
}

#[test]
fn heartbeats_go_on_while_a_drain_takes_for_ever_and_it_can_be_called_off() {
    paused(async {
        let (place, drain) = (Place::new(), Arc::new(Endless::default()));
        let (driver, _watcher) = served(&place.home(&MemoryDisk::default()), Some(drain.clone())).await;
        driver.shut_down(None);
        seconds(1).await;
        let before = place.record("m").await.unwrap();
        assert_eq!(before.state, State::Leaving);
        seconds(60).await;
        let after = place.record("m").await.unwrap();
        assert!(
            after.version.sequence >= before.version.sequence + 11,
            "{} {}",
            before.version,
            after.version
        );
        assert_eq!((after.state, drain.0.load(Ordering::Relaxed)), (State::Leaving, 1));
        driver.cancel_shutdown();
        seconds(1).await;
        assert_eq!(place.record("m").await.unwrap().state, State::Active);
    });
}

#[test]
fn tokens_that_are_lost_or_overwritten_alone_are_put_there_again() {
    for other in [None, Some(Bytes::from_static(b"another's"))] {
        paused(async {
            let place = Place::new();
            let (_driver, watcher) = served(&place.home(&MemoryDisk::default()), None).await;
            let before = place.store.get("tokens/m").await.unwrap().unwrap();
            match &other {
                None => place.store.delete_if("tokens/m", Expect::Any).await.unwrap(),
                Some(other) => {
                    place.store.put_if("tokens/m", other.clone(), Expect::Any).await.map(drop).unwrap()
                }
            }
            seconds(10).await;
            assert_eq!(watcher.ring().load().token_count(), 16, "who watches already keeps what it knew");
            seconds(110).await;
            let after = place.store.get("tokens/m").await.unwrap().map(|record| record.value);
            assert_eq!(after.as_ref(), Some(&before.value), "{other:?}");
            // And what is there stays as it is.
            let version = place.store.get("tokens/m").await.unwrap().unwrap().version;
            seconds(180).await;
            assert_eq!(place.store.get("tokens/m").await.unwrap().unwrap().version, version);
        });
    }
}

#[test]
fn a_store_that_hangs_or_fails_costs_each_heartbeat_its_time_and_the_next_is_tried() {
    for trouble in [Trouble::Hangs, Trouble::Fails] {
        paused(async {
            let place = Place::new();
            let (driver, _watcher) = served(&place.home(&MemoryDisk::default()), None).await;
            place.store.set_trouble(trouble);
            seconds(60).await;
            let tries = place.count(|report| matches!(report, Report::Write(_)));
            assert!(tries >= 15, "{trouble:?}: {tries} tries in a minute");
            let heard_ns = driver.status().heartbeat_ns.unwrap();
            place.store.set_trouble(Trouble::None);
            seconds(10).await;
            assert!(driver.status().heartbeat_ns.unwrap() > heard_ns + 50_000_000_000);
            assert_eq!(place.record("m").await.unwrap().state, State::Active);
        });
    }
}

#[test]
fn one_that_starts_while_the_store_is_away_waits_for_it() {
    paused(async {
        let place = Place::new();
        place.store.set_trouble(Trouble::Hangs);
        let home = place.home(&MemoryDisk::default());
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let driver = Driver::spawn(life("m"), home, watcher.members(), None);
        driver.recovered();
        seconds(120).await;
        assert_eq!(driver.status().phase, Phase::Loading);
        place.store.set_trouble(Trouble::None);
        driver.wait_for(|status| status.ready).await;
    });
}

/// A disk on which a write waits for as long as it is told to.
#[derive(Debug, Clone, Default)]
struct Stuck {
    disk: MemoryDisk,
    /// And a read.
    unread: Arc<(Mutex<bool>, Condvar)>,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Disk for Stuck {
    fn read(&self, path: &Path, most: usize) -> std::io::Result<Option<Vec<u8>>> {
        let (unread, opened) = &*self.unread;
        drop(opened.wait_while(unread.lock().unwrap(), |unread| *unread).unwrap());
        self.disk.read(path, most)
    }

    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let (closed, opened) = &*self.closed;
        drop(opened.wait_while(closed.lock().unwrap(), |closed| *closed).unwrap());
        self.disk.write_synced(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path, hold: crate::disk::Hold) -> std::io::Result<Box<dyn crate::disk::Guard>> {
        self.disk.lock(path, hold)
    }
}

#[test]
fn a_disk_that_hangs_at_the_start_is_reported_and_waited_for() {
    paused(async {
        let (place, disk) = (Place::new(), Stuck::default());
        let (unread, opened) = &*disk.unread;
        *unread.lock().unwrap() = true;
        let home = place.home(&disk);
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let driver = Driver::spawn(life("m"), home, watcher.members(), None);
        driver.recovered();
        for _ in 0..300 {
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        let phase = driver.status().phase;
        let timed_out = |report: &Report| matches!(report, Report::NotLoaded(error) if error.kind() == std::io::ErrorKind::TimedOut);
        let reports = place.count(timed_out);
        // The runtime waits for the thread.
        *unread.lock().unwrap() = false;
        opened.notify_all();
        assert_eq!(phase, Phase::Loading);
        assert!(reports >= 5, "{reports} reports");
        driver.wait_for(|status| status.ready).await;
    });
}

#[test]
fn a_disk_that_hangs_silences_nobody() {
    paused(async {
        let (place, disk) = (Place::new(), Stuck::default());
        let (driver, _watcher) = served(&place.home(&disk), None).await;
        let before = place.record("m").await.unwrap();
        let (closed, opened) = &*disk.closed;
        *closed.lock().unwrap() = true;
        driver.set_read_only(true);
        // Time that is paused does not go on by itself while a thread is blocked.
        for _ in 0..300 {
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        let after = place.record("m").await.unwrap();
        // The runtime waits for the thread.
        *closed.lock().unwrap() = false;
        opened.notify_all();
        // Each waits for its period, the attempt that is under way and the pause after it: 5 + 2 + 1 seconds.
        assert!(
            after.version.sequence >= before.version.sequence + 7,
            "{} {}",
            before.version,
            after.version
        );
        assert!(after.read_only.enabled);
        let timed_out = |report: &Report| matches!(report, Report::NotSaved(Unsaved::TimedOut { .. }));
        assert!(place.count(timed_out) >= 5);
    });
}
