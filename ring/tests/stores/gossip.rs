//! Nodes on the loopback that gossip over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_ring::codec::decode_instance;
use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::{Driver, Home, Lifecycler, LifecyclerOptions, Phase, Watcher, WatcherOptions};
use forebay_ring::store::{
    Expect, GossipOptions, GossipStore, Hearing, News, PutError, Revision, Store, StoreError, conformance,
};
use forebay_ring::{Instance, State};

use super::run;

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a node that knows `seed`, and waits until it answers; where it listens.
async fn node(id: &str, generation: u64, seed: Option<SocketAddr>) -> (GossipStore, SocketAddr) {
    let (store, addr) = start(id, generation, seed).await;
    until("it has heard of the others", async || store.hearing().await != Hearing::Waiting).await;
    (store, addr)
}

async fn start(id: &str, generation: u64, seed: Option<SocketAddr>) -> (GossipStore, SocketAddr) {
    for _ in 0..10 {
        // A port that was free a moment ago; somebody else may be the first to take it.
        let addr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = GossipOptions {
            seeds: seed.iter().map(ToString::to_string).collect(),
            interval: Duration::from_millis(50),
            ..GossipOptions::new("test", id, generation, addr)
        };
        if let Ok(store) = GossipStore::start(options).await {
            return (store, addr);
        }
    }
    panic!("no free port in ten tries");
}

/// Nodes of a cluster that all know the first.
async fn nodes(count: usize) -> Vec<Arc<dyn Store>> {
    let (first, seed) = node("node-0", 1, None).await;
    let mut nodes: Vec<Arc<dyn Store>> = vec![Arc::new(first)];
    for number in 1..count {
        nodes.push(Arc::new(node(&format!("node-{number}"), 1, Some(seed)).await.0));
    }
    nodes
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

async fn value(store: &GossipStore, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap().map(|record| record.value)
}

#[test]
fn the_store_of_nodes_that_gossip_conforms() {
    run(async {
        conformance::eventual(&nodes(4).await).await;
    });
}

#[test]
fn instances_that_gossip_make_one_ring() {
    run(async {
        super::ring::instances_make_one_ring(nodes(3).await).await;
    });
}

#[test]
fn partitions_that_gossip_make_one_ring() {
    run(async {
        super::partitions::partitions_make_one_ring(nodes(3).await).await;
    });
}

#[test]
fn what_a_dead_node_said_is_told_to_those_who_come_later_and_its_next_life_goes_on_above_it() {
    run(async {
        let (first, seed) = node("first", 1, None).await;
        let (second, _) = node("second", 1, Some(seed)).await;
        for number in 0..5_u8 {
            second.put_if("k", Bytes::from(vec![number]), Expect::Any).await.unwrap();
        }
        until("the first hears it", async || value(&first, "k").await.as_deref() == Some(&[4])).await;
        drop(second);
        let (third, _) = node("third", 1, Some(seed)).await;
        until("the third hears it", async || value(&third, "k").await.as_deref() == Some(&[4])).await;
        let (again, _) = node("second", 2, Some(seed)).await;
        assert_eq!(value(&again, "k").await.as_deref(), Some(&[4][..]));
        again.put_if("k", Bytes::from_static(b"above"), Expect::Any).await.unwrap();
        until("it is the last word", async || value(&first, "k").await.as_deref() == Some(b"above")).await;
    });
}

#[test]
fn of_two_nodes_that_write_at_once_one_wins_everywhere() {
    run(async {
        let (a, seed) = node("a", 1, None).await;
        let (b, _) = node("b", 1, Some(seed)).await;
        // Neither has heard what the other says.
        let both = tokio::join!(
            a.put_if("k", Bytes::from_static(b"a"), Expect::Absent),
            b.put_if("k", Bytes::from_static(b"b"), Expect::Absent)
        );
        assert!(both.0.is_ok());
        until("both have the same", async || {
            let (a, b) = (a.get("k").await.unwrap(), b.get("k").await.unwrap());
            a.is_some() && a == b
        })
        .await;
        let won = a.get("k").await.unwrap().unwrap();
        let late = b.put_if("k", Bytes::new(), Expect::Absent).await;
        let Err(PutError::Lost { current }) = late else { panic!("{late:?}") };
        assert_eq!(current, Some(won));
    });
}

#[test]
fn a_value_that_fits_into_no_datagram_is_refused() {
    run(async {
        let (store, _) = node("a", 1, None).await;
        store.put_if("k", Bytes::from(vec![7; 16 << 10]), Expect::Any).await.unwrap();
        let large = store.put_if("k", Bytes::from(vec![7; (16 << 10) + 1]), Expect::Any).await;
        assert!(matches!(large, Err(PutError::Store(StoreError::TooLarge { .. }))), "{large:?}");
    });
}

/// What it was is told by others, and later than it starts: it was taken for a new one, and joined anew.
#[test]
fn an_instance_that_comes_back_to_a_seed_that_answers_late_is_what_it_was() {
    run(async {
        let (_first, seed) = node("first", 1, None).await;
        let (second, _) = node("second", 1, Some(seed)).await;
        let (third, _) = node("third", 1, Some(seed)).await;
        let disk = MemoryDisk::default();
        let life = Life::begin(Arc::new(third.clone()), &disk);
        life.driver.recovered();
        life.driver.wait_for(|status| status.ready).await;
        let before = instance(&third).await.unwrap();
        until("the second has heard of it", async || instance(&second).await.as_ref() == Some(&before)).await;
        drop((life, third));

        let late = UdpSocket::bind("127.0.0.1:0").unwrap();
        let again = start("third", 2, Some(late.local_addr().unwrap())).await.0;
        let mut watch = second.watch(Revision(0)).await.unwrap();
        let incarnation = before.version.incarnation + 1;
        let states = tokio::spawn(async move {
            let mut states = Vec::new();
            loop {
                let found = match watch.next().await.unwrap() {
                    News::Put(record) if &*record.key == KEY => vec![record],
                    News::Resync(listing) => listing.records.into_iter().filter(|r| &*r.key == KEY).collect(),
                    _ => Vec::new(),
                };
                for record in found {
                    let instance = decode_instance(&record.value).unwrap().instance;
                    states.push(instance.state);
                    if instance.version.incarnation == incarnation && instance.state == State::Active {
                        return states;
                    }
                }
            }
        });
        let life = Life::begin(Arc::new(again.clone()), &disk);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((life.driver.status().phase, again.hearing().await), (Phase::Loading, Hearing::Waiting));
        // Whoever hears of a node tells it.
        tokio::task::spawn_blocking(move || {
            let mut datagram = [0; 65_536];
            let (length, _) = late.recv_from(&mut datagram).unwrap();
            late.send_to(&datagram[..length], seed).unwrap();
        });
        life.driver.wait_for(|status| status.phase == Phase::Pending && status.heartbeat_ns.is_some()).await;
        until("the second sees it", async || instance(&second).await.unwrap().state == State::Pending).await;
        life.driver.recovered();
        let states = tokio::time::timeout(PATIENCE, states).await.unwrap().unwrap();
        assert!(!states.contains(&State::Joining), "{states:?}");
        assert_eq!(instance(&second).await.unwrap().registered_at_ns, before.registered_at_ns);
    });
}

const KEY: &str = "instances/m";

async fn instance(store: &GossipStore) -> Option<Instance> {
    let record = store.get(KEY).await.unwrap()?;
    Some(decode_instance(&record.value).unwrap().instance)
}

struct Life {
    driver: Driver,
    _watcher: Watcher,
}

impl Life {
    fn begin(store: Arc<dyn Store>, disk: &MemoryDisk) -> Self {
        let home = Home { disk: Arc::new(disk.clone()), ..super::ring::home(store) };
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let options = LifecyclerOptions {
            heartbeat_period: Duration::from_millis(500),
            observe: Duration::from_millis(500),
            min_ready: Duration::ZERO,
            ..LifecyclerOptions::new("m", "")
        };
        let driver = Driver::spawn(Lifecycler::new(options).unwrap(), home, watcher.members(), None);
        Self { driver, _watcher: watcher }
    }
}
