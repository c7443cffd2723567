//! A store without a server: nodes tell each other over UDP what they know (scuttlebutt, by `chitchat`).
//!
//! A node can write only a state of its own, so each keeps *its* last word on every key it ever wrote there: the value
//! or that it is deleted, and a number above all that it had seen. The record of a key is the word with the highest
//! number among all nodes' states, of dead ones too as long as they are kept. Invariant: nodes that heard of the same
//! states have the same records, and no two words of different nodes have the same number, but by a chance of 1 in
//! 2^24 where they are of the same moment; then their nodes' names decide.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::UdpTransport;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Expect, Listing, PutError, Record, Revision, Store, StoreError, Watch, check_value};

mod view;
mod watcher;
mod word;

use word::{AUTHOR_BITS, MAX_GOSSIP_VALUE_BYTES, Word};

/// Who a node is and whom it tells first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipOptions {
    /// Nodes of different clusters do not listen to each other.
    pub cluster: String,
    /// The name of the node, as that of its instance.
    pub id: Arc<str>,
    /// Higher than at its last start: seconds since 1970 will do.
    pub generation: u64,
    /// Where it listens, UDP. Nobody is authenticated there: let no stranger reach it.
    pub listen: SocketAddr,
    /// Where others reach it. Default where it listens.
    pub advertise: SocketAddr,
    /// Some that are always there, as `host:port`. One that answers is enough.
    pub seeds: Vec<String>,
    /// How often it tells three others. Default 1 s; news are everywhere after some log3(nodes) of these.
    pub interval: Duration,
    /// For how long the words of a node that is dead are kept. Default 24 h.
    pub keep_dead: Duration,
}

impl GossipOptions {
    /// The defaults of a node that knows nobody.
    pub fn new(
        cluster: impl Into<String>,
        id: impl Into<Arc<str>>,
        generation: u64,
        listen: SocketAddr,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            id: id.into(),
            generation,
            listen,
            advertise: listen,
            seeds: Vec::new(),
            interval: Duration::from_secs(1),
            keep_dead: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A [`Store`] among nodes that tell each other; a clone is the same node, which stops with the last of them.
///
/// A write is seen here at once and elsewhere later. Two nodes that write one key at a time may both succeed, and one of
/// them then wins everywhere. Every node holds everything, and a deletion leaves a word of some 20 bytes with whoever
/// deleted until it stops. Values are of at most 16 KiB, so that they fit into a datagram.
///
/// It answers from its start on by what it has heard, which is nothing at first, and goes on to do so if its socket has
/// failed; see the limits on the front page.
#[derive(Clone)]
pub struct GossipStore {
    node: Arc<Node>,
}

struct Node {
    handle: ChitchatHandle,
    interval: Duration,
    /// The low bits of its numbers.
    author: u64,
    /// Counts its own writes, for its own watches.
    written: watch::Sender<u64>,
}

impl GossipStore {
    /// Begins to listen and to tell.
    ///
    /// # Errors
    ///
    /// If it cannot listen there.
    pub async fn start(options: GossipOptions) -> Result<Self, StoreError> {
        let GossipOptions { cluster, id, generation, listen, advertise, seeds, interval, keep_dead } =
            options;
        let author = xxh3_64_with_seed(id.as_bytes(), generation) >> (u64::BITS - AUTHOR_BITS);
        let detector =
            FailureDetectorConfig { dead_node_grace_period: keep_dead, ..FailureDetectorConfig::default() };
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(id, generation, advertise),
            cluster_id: cluster,
            gossip_interval: interval,
            listen_addr: listen,
            seed_nodes: seeds,
            failure_detector_config: detector,
            // Keys are never deleted: a word says so.
            marked_for_deletion_grace_period: keep_dead,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let handle =
            spawn_chitchat(config, Vec::new(), &UdpTransport).await.map_err(StoreError::unreachable)?;
        let written = watch::Sender::new(0);
        Ok(Self { node: Arc::new(Node { handle, interval, author, written }) })
    }

    async fn with<T>(&self, call: impl FnOnce(&mut Chitchat) -> T) -> T {
        let chitchat = self.node.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        call(&mut chitchat)
    }

    /// Says something on a key if what is there is as expected.
    async fn say(&self, key: &str, value: Option<Bytes>, expect: Expect) -> Result<Revision, PutError> {
        let said = self.with(|chitchat| {
            let current = view::record(chitchat, key);
            if !expect.is_met_by(current.as_ref().map(|record| record.version)) {
                return Err(PutError::Lost { current });
            }
            let highest = view::highest(chitchat);
            if value.is_none() && current.is_none() {
                return Ok(Revision(highest));
            }
            let exhausted = || StoreError::Broken { what: format!("number {highest} is among the last") };
            let moment = (highest >> AUTHOR_BITS) + 1;
            let number = moment.checked_mul(1 << AUTHOR_BITS).ok_or_else(exhausted)? | self.node.author;
            let word = Word { number, value };
            chitchat.self_node_state().set(word::key_of(key), word.encode());
            Ok(Revision(number))
        });
        let revision = said.await?;
        self.node.written.send_modify(|count| *count += 1);
        Ok(revision)
    }
}

#[async_trait]
impl Store for GossipStore {
    async fn list(&self) -> Result<Listing, StoreError> {
        Ok(self.with(|chitchat| view::listing(chitchat)).await)
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.with(|chitchat| view::record(chitchat, key)).await)
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        check_value(&value, MAX_GOSSIP_VALUE_BYTES)?;
        self.say(key, Some(value), expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.say(key, None, expect).await.map(drop)
    }

    async fn watch(&self, _after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(watcher::GossipWatch::begin(self).await))
    }
}

impl fmt::Debug for GossipStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipStore").field("node", self.node.handle.chitchat_id()).finish_non_exhaustive()
    }
}
