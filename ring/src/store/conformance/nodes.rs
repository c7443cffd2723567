//! What nodes that tell each other have to come to.

use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, bytes, get, list};
use crate::store::{Expect, Record, Store};

pub(super) async fn all_nodes_come_to_the_same_records(nodes: &[Arc<dyn Store>]) {
    // Everybody its own, and all of them one.
    for (number, node) in nodes.iter().enumerate() {
        let own = format!("conformance/node/{number}");
        node.put_if(&own, bytes(&own), Expect::Any).await.expect("anything is there");
        node.put_if("conformance/all", bytes(&own), Expect::Any).await.expect("anything is there");
    }
    let same = async {
        loop {
            let mut views = Vec::new();
            for node in nodes {
                views.push(list(&**node).await.records);
            }
            let own =
                |view: &Vec<Record>| view.iter().filter(|r| r.key.starts_with("conformance/node/")).count();
            if own(&views[0]) == nodes.len() && views.iter().all(|view| *view == views[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, same).await.expect("all nodes agree in time");
    // What one of them deletes is gone for all.
    nodes[0].delete_if("conformance/all", Expect::Any).await.expect("anything is there");
    for node in nodes {
        let gone = async {
            while get(&**node, "conformance/all").await.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("a deletion comes in time");
    }
}
