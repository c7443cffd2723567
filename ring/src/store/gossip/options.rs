//! Who a node is and whom it tells.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::GossipError;

/// Who a node is and whom it tells first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipOptions {
    /// Nodes of different clusters do not listen to each other.
    pub cluster: String,
    /// The name of the node, as that of its instance.
    pub id: Arc<str>,
    /// Another one at each start: nanoseconds since 1970 will do. A clock that was set back does no harm.
    pub generation: u64,
    /// Where it listens, UDP. Nobody is authenticated there: let no stranger reach it.
    pub listen: SocketAddr,
    /// Where others reach it. Default where it listens.
    pub advertise: SocketAddr,
    /// Some that are always there, as `host:port`. One that answers is enough, and its own address counts for nothing.
    /// Without others it waits for ten intervals to be called, and is the first of a cluster if nobody does: give each
    /// node two others, since a name that means another address than before is looked up again only every minute.
    pub seeds: Vec<String>,
    /// How long it waits to hear what the others know before it answers all the same. Default 30 s. Too short, and
    /// an instance that restarts joins anew, since what it was is not there yet. Nodes that wait themselves do not count as
    /// others: if all of a cluster with mutual seeds start at once, all wait for so long.
    pub patience: Duration,
    /// How often it tells three others, 10 ms to 1 h. Default 1 s; news are everywhere after some log3(nodes) of these.
    pub interval: Duration,
    /// For how long the words of a node that is dead are kept, a minute to a year. Default 24 h. An instance that is down for
    /// longer joins anew, and its record is gone meanwhile: reads do not know then that it may hold something.
    ///
    /// Each node tells of a life that has ended for half of this time since it first heard of it itself, so a life is passed
    /// on from one new node to the next, and forgotten only after such a half in which no node has started. Nodes can
    /// tell each other of some 3,000 lives, and with some thousands more they end. Where
    /// [`lives`](super::GossipStore::lives) comes near that, give all nodes a shorter time, of less than twice the longest
    /// pause between starts.
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
            patience: Duration::from_secs(30),
            interval: Duration::from_secs(1),
            keep_dead: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// Others would have the node panic, or forget whom it has just heard of.
    pub(super) fn check(&self) -> Result<(), GossipError> {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let bounds = [
            ("interval", self.interval, Duration::from_millis(10), minutes(60)),
            ("keep_dead", self.keep_dead, minutes(1), minutes(366 * 24 * 60)),
        ];
        for (option, found, least, most) in bounds {
            if !(least..=most).contains(&found) {
                return Err(GossipError::Refused { option, found, least, most });
            }
        }
        Ok(())
    }
}
