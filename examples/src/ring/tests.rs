//! The ring as the pipeline uses it, on a store in memory and a paused clock.

use std::path::Path;

use forebay_agent::clock::Deadline;
use forebay_circuit::Breaker;
use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::Phase;
use forebay_ring::store::{MemoryStore, Trouble};
use forebay_tenant::{Limits, Overrides};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::sim::{Fault, SimFs};
use forebay_wal::{Time, Wal};
use object_store::memory::InMemory;

use super::*;
use crate::index::MemoryIndex;
use crate::ingester::Ingester;
use crate::pipeline::ingester_options;
use crate::storage::Storage;

pub(super) const MINUTE: Duration = Duration::from_mins(1);
/// Nobody answers there.
pub(super) const HERE: &str = "127.0.0.1:1";

pub(super) fn cluster(store: &MemoryStore) -> Cluster {
    watch(store, false)
}

fn watch(store: &MemoryStore, autoforget: bool) -> Cluster {
    let home = Home {
        store: Arc::new(store.clone()),
        disk: Arc::new(MemoryDisk::default()),
        token_file: "/tokens".into(),
        time_out: STORE_TIMEOUT,
        clock: Arc::new(|| Now { mono_ns: monotonic_ns(), unix_ns: 1 }),
        reporter: Arc::new(|_| {}),
    };
    Cluster::watch(home, Options { replication_factor: 1, ..Options::default() }, autoforget, None).unwrap()
}

fn config(id: &str) -> Config {
    let mut config = Config::default();
    config.common.instance_id = id.to_owned();
    config
}

async fn ingester(disk: &SimFs) -> Ingester<SimFs> {
    let options = forebay_wal::Options { time: Time::frozen(), ..forebay_wal::Options::default() };
    let (log, committer) =
        AsyncWal::unstarted(Wal::open_in(disk.clone(), Path::new("/wal"), options).unwrap().0);
    tokio::spawn(committer.run_async());
    let puts = Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64).unwrap();
    let storage = Storage::new(Arc::new(InMemory::new()), Arc::new(MemoryIndex::default()), puts);
    let options = ingester_options(&Config::default()).unwrap();
    let overrides = Arc::new(Overrides::new(Limits::default()));
    Ingester::start(log, storage, overrides, Clock::simulated(1), options).await.unwrap()
}

/// An ingester that is in the ring.
async fn begin(cluster: &Cluster, id: &str) -> Life<SimFs> {
    begin_as(cluster, id, &config(id)).await
}

async fn begin_as(cluster: &Cluster, id: &str, config: &Config) -> Life<SimFs> {
    let life = Life::begin(cluster, config, HERE).unwrap();
    life.recovered(ingester(&SimFs::new(1)).await);
    assert!(cluster.until_active(id, Some(HERE), MINUTE).await);
    life
}

fn state(cluster: &Cluster, id: &str) -> Option<String> {
    let members = cluster.shared.watcher.members();
    let members = members.borrow();
    members.member(id).map(|member| member.instance.state.to_string())
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_stops_is_left_once_it_has_stored_what_it_had() {
    let cluster = cluster(&MemoryStore::default());
    let life = begin(&cluster, "a").await;
    assert!(life.status().ready);
    life.leave(Deadline::after(MINUTE)).await.unwrap();
    cluster.until(MINUTE, |ring| ring.instance("a").is_none()).await;
    assert_eq!(state(&cluster, "a").as_deref(), Some("LEFT"));
    assert_eq!(cluster.members().healthy(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_lingers_is_left_at_last() {
    let cluster = cluster(&MemoryStore::default());
    let mut config = config("a");
    config.ingester.lifecycler.final_sleep = Duration::from_secs(5);
    let life = begin_as(&cluster, "a", &config).await;
    life.leave(Deadline::after(MINUTE)).await.unwrap();
    assert!(cluster.until(Duration::from_secs(1), |ring| ring.instance("a").is_none()).await);
    assert_eq!(state(&cluster, "a").as_deref(), Some("LEFT"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_while_it_waits_to_join_leaves() {
    let cluster = cluster(&MemoryStore::default());
    let mut config = config("a");
    config.ingester.lifecycler.join_after = MINUTE * 60;
    let life = Life::begin(&cluster, &config, HERE).unwrap();
    life.recovered(ingester(&SimFs::new(1)).await);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(state(&cluster, "a").as_deref(), Some("PENDING"));
    life.leave(Deadline::after(MINUTE)).await.unwrap();
    assert!(cluster.until(Duration::from_secs(1), |ring| ring.instance("a").is_none()).await);
    assert_eq!(state(&cluster, "a").as_deref(), Some("LEFT"));
}

#[tokio::test(start_paused = true)]
async fn only_one_that_joins_waits_to_join() {
    let store = MemoryStore::default();
    let cluster = cluster(&store);
    let mut config = config("a");
    config.ingester.lifecycler.join_after = MINUTE * 10;
    let begin = async || {
        let life = Life::begin(&cluster, &config, HERE).unwrap();
        life.recovered(ingester(&SimFs::new(1)).await);
        life
    };
    let life = begin().await;
    assert!(!cluster.until_active("a", Some(HERE), MINUTE * 9).await);
    assert!(cluster.until_active("a", Some(HERE), MINUTE * 2).await);
    // As in a crash.
    drop(life);
    let life = begin().await;
    cluster.until(MINUTE, |_| life.status().heartbeat_ns.is_some()).await;
    assert!(cluster.until(MINUTE, |_| life.status().phase == Phase::Active).await);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_whose_store_is_away_stops_all_the_same() {
    let store = MemoryStore::default();
    let cluster = cluster(&store);
    let life = begin(&cluster, "a").await;
    store.set_trouble(Trouble::Hangs);
    let deadline = Deadline::after(Duration::from_secs(10));
    life.leave(deadline).await.unwrap();
    assert!(!deadline.left().is_zero());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_before_its_log_is_replayed_stays_in_the_ring() {
    let cluster = cluster(&MemoryStore::default());
    let life: Life<SimFs> = Life::begin(&cluster, &config("a"), HERE).unwrap();
    cluster.until(MINUTE, |ring| ring.instance("a").is_some()).await;
    life.leave(Deadline::after(MINUTE)).await.unwrap();
    assert_eq!(state(&cluster, "a").as_deref(), Some("PENDING"));
}

#[tokio::test(start_paused = true)]
async fn an_ingester_whose_log_failed_gets_no_writes_and_is_read_still() {
    let cluster = cluster(&MemoryStore::default());
    let life: Life<SimFs> = Life::begin(&cluster, &config("a"), HERE).unwrap();
    let disk = SimFs::new(1);
    let ingester = ingester(&disk).await;
    life.recovered(ingester.clone());
    assert!(cluster.until_active("a", None, MINUTE).await);
    let minds = tokio::spawn(life.clone().mind_log());
    let mut writer = crate::record::Writer::new("t", 0);
    writer.begin(&[("app", "a")]);
    writer.entry(1, [b"x", b""], &[]);
    writer.end();
    let record = writer.finish().record();
    // Some of the next operations is the sync.
    for ahead in 0..20 {
        disk.fail_at(disk.op_count() + ahead, Fault::Error(std::io::ErrorKind::Other));
        if ingester.push(record.clone()).await.is_err() && ingester.log_failure().is_some() {
            break;
        }
    }
    assert!(ingester.log_failure().is_some());
    minds.await.unwrap();
    assert!(
        cluster
            .until(MINUTE, |ring| ring.instance("a").is_some_and(|i| i.state.to_string() == "LEAVING"))
            .await
    );
    tokio::time::sleep(MINUTE * 5).await;
    assert_eq!(state(&cluster, "a").as_deref(), Some("LEAVING"), "until it is stopped");
    let reading = cluster.members().reading();
    assert!(reading.set(forebay_ring::Require::Quorum).unwrap().contains("a"));
}

#[tokio::test(start_paused = true)]
async fn who_lives_is_not_forgotten_and_who_is_silent_is_and_may_come_back() {
    let store = MemoryStore::default();
    let cluster = cluster(&store);
    let (_a, b) = (begin(&cluster, "a").await, begin(&cluster, "b").await);
    assert!(matches!(cluster.forget("c").await, Err(ForgetError::Unknown(_))));
    assert!(matches!(cluster.forget("b").await, Err(ForgetError::Alive { .. })));
    drop(b);
    tokio::time::sleep(MINUTE / 2).await;
    assert!(
        matches!(cluster.forget("b").await, Err(ForgetError::Alive { .. })),
        "it may be about to be back"
    );
    tokio::time::sleep(MINUTE).await;
    assert_eq!(cluster.members().healthy(), 1);
    store.set_trouble(Trouble::Fails);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(cluster.forget("b").await, Err(ForgetError::Deaf(_))));
    store.set_trouble(Trouble::None);
    tokio::time::sleep(MINUTE * 2).await;
    cluster.forget("b").await.unwrap();
    assert_eq!(state(&cluster, "b").as_deref(), Some("LEFT"));
    assert!(matches!(cluster.forget("b").await, Err(ForgetError::Unknown(_))));
    let _b = begin(&cluster, "b").await;
    assert_eq!(cluster.members().healthy(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_write_to_the_store_and_answers_is_not_forgotten() {
    let cluster = cluster(&MemoryStore::default());
    let (_a, b) = (begin(&cluster, "a").await, begin(&cluster, "b").await);
    cluster.members().serve("b", Arc::new(ingester(&SimFs::new(1)).await));
    // Its records stay as they are, and it does not.
    drop(b);
    tokio::time::sleep(MINUTE * 2).await;
    assert!(matches!(cluster.forget("b").await, Err(ForgetError::Answers(_))));
    let view = cluster.view().await;
    assert!(view.iter().all(|member| !member.silent), "the page offers it to nobody");
    assert_eq!(state(&cluster, "b").as_deref(), Some("ACTIVE"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_forgotten_by_one_that_has_just_begun_to_hear_again() {
    let store = MemoryStore::default();
    let cluster = cluster(&store);
    drop(begin(&cluster, "a").await);
    store.set_trouble(Trouble::Fails);
    tokio::time::sleep(MINUTE * 2).await;
    store.set_trouble(Trouble::None);
    assert!(cluster.until_heard(MINUTE).await);
    assert!(matches!(cluster.forget("a").await, Err(ForgetError::Deaf(_))));
    tokio::time::sleep(MINUTE * 2).await;
    cluster.forget("a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_silent_are_forgotten_by_themselves_only_where_that_is_configured() {
    for autoforget in [false, true] {
        let cluster = watch(&MemoryStore::default(), autoforget);
        let lives = [begin(&cluster, "a").await, begin(&cluster, "b").await];
        let c = begin(&cluster, "c").await;
        let _caretaker = cluster.care(Some(lives[0].driver()));
        tokio::time::sleep(MINUTE * 2).await;
        drop(c);
        tokio::time::sleep(MINUTE * 2).await;
        assert_eq!(state(&cluster, "c").as_deref(), Some(if autoforget { "LEFT" } else { "ACTIVE" }));
        assert_eq!(cluster.members().healthy(), 2);
    }
}

#[tokio::test]
async fn a_name_that_no_record_can_have_is_refused_with_its_setting() {
    let cluster = cluster(&MemoryStore::default());
    let told = Life::<SimFs>::begin(&cluster, &config(&"x".repeat(100_000)), HERE).unwrap_err().to_string();
    assert!(told.starts_with("common.instance_id is \"xxx") && told.contains("100000"), "{told}");
    assert!(told.len() < 300, "{told}");
}

#[test]
fn heartbeats_that_do_not_fit_their_timeout_are_refused_with_both() {
    let told = check_heartbeats(Duration::from_secs(5), Duration::from_secs(9)).unwrap_err().to_string();
    assert!(told.contains("heartbeat_period is 5s") && told.contains("9s"), "{told}");
    check_heartbeats(Duration::from_secs(5), Duration::from_secs(10)).unwrap();
}

#[test]
fn a_sleep_that_does_not_fit_the_stop_is_refused_with_both() {
    let told = check_final_sleep(Duration::from_secs(30), Duration::from_secs(10)).unwrap_err().to_string();
    assert!(told.contains("final_sleep is 30s") && told.contains("10s"), "{told}");
    check_final_sleep(Duration::from_secs(5), Duration::from_secs(10)).unwrap();
}

#[test]
fn an_ingester_is_reached_where_it_listens_or_where_it_says() {
    let mut config = Config::default();
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(advertised(&config, at("127.0.0.1:9095")).unwrap(), "127.0.0.1:9095");
    let told = advertised(&config, at("0.0.0.0:9095")).unwrap_err().to_string();
    assert!(told.contains("ingester.lifecycler.address is empty"), "{told}");
    config.ingester.lifecycler.address = "ingester-0.local".to_owned();
    assert_eq!(advertised(&config, at("0.0.0.0:9095")).unwrap(), "ingester-0.local:9095");
    config.ingester.lifecycler.port = 1;
    assert_eq!(advertised(&config, at("0.0.0.0:9095")).unwrap(), "ingester-0.local:1");
    for (address, told) in [("2001:db8::1", "[2001:db8::1]:1"), ("10.0.0.5", "10.0.0.5:1")] {
        config.ingester.lifecycler.address = address.to_owned();
        assert_eq!(advertised(&config, at("0.0.0.0:9095")).unwrap(), told);
    }
    for address in ["a b", "a/b:", "http://a"] {
        config.ingester.lifecycler.address = address.to_owned();
        let told = advertised(&config, at("0.0.0.0:9095")).unwrap_err().to_string();
        assert!(
            told.contains("ingester.lifecycler.address is \"") && told.contains("nobody can call"),
            "{told}"
        );
    }
}
