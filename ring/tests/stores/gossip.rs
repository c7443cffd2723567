//! Nodes on the loopback that gossip over UDP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_ring::store::{Expect, GossipOptions, GossipStore, PutError, Store, StoreError, conformance};

use super::run;

/// Starts a node that knows `seed`; where it listens.
async fn node(id: &str, generation: u64, seed: Option<SocketAddr>) -> (GossipStore, SocketAddr) {
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
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("{what}, in time"));
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
        // It knows nothing yet, so what it writes at first is below what it said before.
        let (again, _) = node("second", 2, Some(seed)).await;
        let _ = again.put_if("k", Bytes::from_static(b"again"), Expect::Any).await;
        until("all have the same", async || {
            let (a, b, c) =
                (first.get("k").await.unwrap(), third.get("k").await.unwrap(), again.get("k").await.unwrap());
            a.is_some() && a == b && b == c
        })
        .await;
        again.put_if("k", Bytes::from_static(b"above"), Expect::Any).await.unwrap();
        until("it is the last word", async || value(&first, "k").await.as_deref() == Some(b"above")).await;
    });
}

#[test]
fn of_two_nodes_that_write_at_once_one_wins_everywhere() {
    run(async {
        let (a, seed) = node("a", 1, None).await;
        let (b, _) = node("b", 1, Some(seed)).await;
        // Neither has heard of the other.
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
