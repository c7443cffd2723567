//! A store without a server: nodes tell each other over UDP what they know (scuttlebutt, by `chitchat`).
//!
//! A node can write only a state of its own, so each keeps *its* last word on every key it ever wrote there: the value
//! or that it is deleted, and a number above all that it had seen. The record of a key is the word with the highest
//! number among all nodes' states, of dead ones too as long as they are kept. Invariant: nodes that heard of the same
//! states have the same records, and no two words of different nodes have the same number, but by a chance of 1 in
//! 2^24 where they are of the same moment; then their nodes' names decide.

use std::fmt;
use std::sync::{Arc, Weak};
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

mod hearing;
mod options;
mod view;
mod watcher;
mod word;

pub use hearing::{GossipError, Hearing};
use hearing::{Wait, mark};
pub use options::GossipOptions;
use word::{AUTHOR_BITS, MAX_GOSSIP_VALUE_BYTES, Word};

/// A [`Store`] among nodes that tell each other; a clone is the same node, which stops with the last of them.
///
/// A write is seen here at once and elsewhere later. Two nodes that write one key at a time may both succeed, and one of
/// them then wins everywhere. Every node holds everything, and a deletion leaves a word of some 20 bytes with whoever
/// deleted until it stops. Values are of at most 16 KiB, so that they fit into a datagram.
///
/// Its calls fail with [`StoreError::Unreachable`], the source of which is a [`GossipError`], until it has heard what the
/// others know, and once it has ceased to gossip.
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
    wait: Wait,
    /// Whether it has ceased to gossip.
    ended: watch::Receiver<bool>,
}

impl GossipStore {
    /// Begins to listen and to tell.
    ///
    /// # Errors
    ///
    /// If it cannot listen there, or [`GossipError::Refused`] as the source of [`StoreError::Unreachable`].
    pub async fn start(options: GossipOptions) -> Result<Self, StoreError> {
        options.check().map_err(StoreError::unreachable)?;
        let wait = Wait::new(&options);
        let GossipOptions { cluster, id, generation, listen, advertise, seeds, interval, keep_dead, .. } =
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
        let handle = spawn_chitchat(config, hearing::at_first(), &UdpTransport)
            .await
            .map_err(StoreError::unreachable)?;
        let written = watch::Sender::new(0);
        let (end, ended) = watch::channel(false);
        let termination = handle.termination_watcher();
        tokio::spawn(async move {
            // However it ended: nobody hears it any more.
            let _ = termination.await;
            end.send_replace(true);
        });
        let node = Arc::new(Node { handle, interval, author, written, wait, ended });
        tokio::spawn(end_wait(Arc::downgrade(&node), interval));
        Ok(Self { node })
    }

    /// What it knows of the others. Ask from time to time: one that goes on alone, or has ended, is worth a warning.
    pub async fn hearing(&self) -> Hearing {
        if *self.node.ended.borrow() {
            return Hearing::Ended;
        }
        let chitchat = self.node.handle.chitchat();
        self.node.wait.hearing(&mut *chitchat.lock().await)
    }

    /// How many lives of nodes it has heard of and not forgotten, its own included. From 2,000 on is time to act, as
    /// [`GossipOptions::keep_dead`] says.
    pub async fn lives(&self) -> usize {
        self.node.handle.chitchat().lock().await.node_states().len()
    }

    async fn with<T>(&self, call: impl FnOnce(&mut Chitchat) -> T) -> Result<T, StoreError> {
        if *self.node.ended.borrow() {
            return Err(StoreError::unreachable(GossipError::Ended));
        }
        let chitchat = self.node.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        self.node.wait.check(&mut chitchat).map_err(StoreError::unreachable)?;
        Ok(call(&mut chitchat))
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
            let own = chitchat.self_node_state();
            own.set(word::key_of(key), word.encode());
            mark(own);
            Ok(Revision(number))
        });
        let revision = said.await??;
        self.node.written.send_modify(|count| *count += 1);
        Ok(revision)
    }
}

/// Others have to hear that a node waits no longer, also where nobody calls it.
async fn end_wait(node: Weak<Node>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(node) = node.upgrade() else { return };
        let chitchat = node.handle.chitchat();
        if node.wait.check(&mut *chitchat.lock().await).is_ok() {
            return;
        }
    }
}

#[async_trait]
impl Store for GossipStore {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.with(|chitchat| view::listing(chitchat)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.with(|chitchat| view::record(chitchat, key)).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        check_value(&value, MAX_GOSSIP_VALUE_BYTES)?;
        self.say(key, Some(value), expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.say(key, None, expect).await.map(drop)
    }

    async fn watch(&self, _after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(watcher::GossipWatch::begin(self).await?))
    }
}

impl fmt::Debug for GossipStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipStore").field("node", self.node.handle.chitchat_id()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
