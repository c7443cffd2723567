//! The ingesters of the ring, to be called: who they are is the ring's to say, here is how they are reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_agent::clock::monotonic_ns;
use forebay_ring::{
    DEFAULT_TOKENS, Error, Instance, Membership, Operation, Options, ReadSet, Require, Ring, SharedRing,
    State, random_tokens,
};
use parking_lot::Mutex;

use crate::client::IngesterClient;
use crate::rpc::RemoteIngester;

/// The ingesters that a process writes to and reads from. Cheap to clone.
#[derive(Clone)]
pub struct Members {
    ring: Arc<SharedRing>,
    clients: Arc<Mutex<BTreeMap<Arc<str>, Known>>>,
    /// Whether the ring is known well enough to read by it.
    heard: Arc<AtomicBool>,
}

/// How an ingester is reached.
#[derive(Clone)]
struct Known {
    client: Arc<dyn IngesterClient>,
    /// Where it was found; `None` if it is in this process, wherever others find it.
    addr: Option<Arc<str>>,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl Members {
    /// The ingesters of `ring`, whoever they are at a time.
    pub fn new(ring: Arc<SharedRing>) -> Self {
        Self { ring, clients: Arc::default(), heard: Arc::new(AtomicBool::new(true)) }
    }

    /// Ingesters in this process that never change and are ACTIVE for ever, for tests and simulations.
    ///
    /// # Errors
    /// More of them than a ring can have, or a replication factor of 0.
    pub fn fixed(replication_factor: u8, ids: &[&str]) -> anyhow::Result<Self> {
        let mut members = Membership::default();
        for id in ids {
            let tokens = random_tokens(id, "", 0, DEFAULT_TOKENS, &members.tokens())?;
            members.observe(
                Instance { state: State::Active, tokens, ..Instance::new(*id, *id) },
                monotonic_ns(),
            );
        }
        let heartbeat_timeout = std::time::Duration::MAX;
        let options = Options { replication_factor, heartbeat_timeout, ..Options::default() };
        Ok(Self::new(Arc::new(SharedRing::new(Ring::build(&options, &members, monotonic_ns())?))))
    }

    /// Notes that ingester `id` is in this process.
    pub fn serve(&self, id: &str, client: Arc<dyn IngesterClient>) {
        self.clients.lock().insert(id.into(), Known { client, addr: None });
    }

    /// The current ring.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.load()
    }

    /// How to reach an ingester.
    ///
    /// # Errors
    /// Its address is none.
    pub fn client(&self, instance: &Instance) -> anyhow::Result<Arc<dyn IngesterClient>> {
        let mut clients = self.clients.lock();
        let known = clients.get(&instance.id);
        let at_home = |known: &&Known| known.addr.as_ref().is_none_or(|addr| *addr == instance.addr);
        if let Some(known) = known.filter(at_home) {
            return Ok(Arc::clone(&known.client));
        }
        let client: Arc<dyn IngesterClient> = Arc::new(RemoteIngester::new(&instance.id, &instance.addr)?);
        // Whoever is gone has no connections any more.
        let ring = self.ring.load();
        clients.retain(|id, known| known.addr.is_none() || ring.instance(id).is_some());
        let addr = Some(Arc::clone(&instance.addr));
        clients.insert(Arc::clone(&instance.id), Known { client: Arc::clone(&client), addr });
        Ok(client)
    }

    /// All ingesters that may hold what the store does not: those that have not left, however silent. An error for each
    /// whose address is none.
    pub fn clients(&self) -> Vec<anyhow::Result<Arc<dyn IngesterClient>>> {
        self.ring().instances().map(|instance| self.client(instance)).collect()
    }

    /// How many ingesters get writes.
    pub fn healthy(&self) -> usize {
        self.ring().healthy(Operation::WRITE).count()
    }

    /// Notes whether the others were heard: until they were, nothing is read, as the lines of those who are not known yet
    /// would be missing.
    pub fn set_heard(&self, heard: bool) {
        self.heard.store(heard, Ordering::Release);
    }

    /// Whether the others were heard.
    pub fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// The ring as reads see it: nobody is too silent to be asked, since what only a silent ingester holds is missing
    /// otherwise, and one that is gone fails its call at once.
    pub fn reading(&self) -> Reading {
        Reading { ring: self.is_heard().then(|| self.ring().with_health(0)) }
    }
}

/// The ring at one moment, for one read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `None` before the others were heard.
    ring: Option<Ring>,
}

impl Reading {
    /// Whom to ask for lines that were acknowledged as `require` has it. Those that join are asked, too: they may have
    /// been forgotten with lines in their logs.
    ///
    /// # Errors
    /// As [`Ring::read_set`], and as if it was empty before the others were heard.
    pub fn set(&self, require: Require) -> Result<ReadSet<'_>, Error> {
        let find = match require {
            Require::One => Require::All,
            Require::All => Require::One,
            quorum => quorum,
        };
        self.ring.as_ref().ok_or(Error::Empty)?.read_set(Operation::REPORTING, find)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn instance(id: &str, addr: &str, state: State, zone: &str) -> Instance {
        let tokens = random_tokens(id, zone, 0, 4, &vec![].into()).unwrap();
        Instance { state, tokens, zone: zone.into(), ..Instance::new(id, addr) }
    }

    fn ring(instances: Vec<Instance>, now_ns: u64) -> Ring {
        let mut members = Membership::default();
        instances.into_iter().for_each(|instance| {
            members.observe(instance, 1);
        });
        let heartbeat_timeout = Duration::from_secs(60);
        let options = Options { heartbeat_timeout, zone_awareness: true, ..Options::default() };
        Ring::build(&options, &members, now_ns).unwrap()
    }

    #[tokio::test]
    async fn an_ingester_that_moved_is_called_where_it_is_now_and_one_that_is_gone_is_let_go() {
        let shared = Arc::new(SharedRing::new(ring(vec![], 0)));
        let members = Members::new(Arc::clone(&shared));
        let show = |instances: &[&Instance]| {
            shared.publish(ring(instances.iter().map(|i| (*i).clone()).collect(), 0));
        };
        let (a, b) = (instance("a", "h:1", State::Active, ""), instance("b", "h:2", State::Active, ""));
        show(&[&a, &b]);
        let first = members.client(&a).unwrap();
        assert!(Arc::ptr_eq(&first, &members.client(&a).unwrap()));
        members.client(&b).unwrap();
        let moved = Instance { addr: "h:3".into(), ..a };
        show(&[&moved]);
        assert!(!Arc::ptr_eq(&first, &members.client(&moved).unwrap()));
        assert_eq!(members.clients.lock().len(), 1, "b is let go");
        let nowhere = Instance { addr: "no where".into(), ..moved };
        assert!(members.client(&nowhere).is_err());
        show(&[&nowhere, &b]);
        let reached: Vec<_> = members.clients().iter().map(Result::is_ok).collect();
        assert_eq!(reached, [false, true]);
    }

    #[test]
    fn who_is_silent_or_joins_is_asked_and_who_left_is_not() {
        let instances =
            [("a", State::Active), ("b", State::Joining), ("c", State::Leaving), ("d", State::Left)];
        let instances = instances.map(|(id, state)| instance(id, id, state, "")).to_vec();
        let silent_ns = 61_000_000_000;
        let shared = Arc::new(SharedRing::new(ring(instances, silent_ns)));
        let members = Members::new(shared);
        assert_eq!(members.healthy(), 0);
        let reading = members.reading();
        let set = reading.set(Require::Quorum).unwrap();
        assert_eq!(set.iter().map(|instance| &*instance.id).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn nothing_is_read_before_the_others_were_heard() {
        let members =
            Members::new(Arc::new(SharedRing::new(ring(vec![instance("a", "a", State::Active, "")], 1))));
        members.set_heard(false);
        assert_eq!(members.reading().set(Require::Quorum).unwrap_err(), Error::Empty);
        members.set_heard(true);
        assert_eq!(members.reading().set(Require::Quorum).unwrap().len(), 1);
    }

    #[test]
    fn the_fewer_copies_a_push_needed_the_more_ingesters_a_read_needs() {
        let instances = ["a", "b", "c"].map(|id| instance(id, id, State::Active, id)).to_vec();
        let members = Members::new(Arc::new(SharedRing::new(ring(instances, 1))));
        let tolerated = |require| members.reading().set(require).unwrap().max_unavailable();
        assert_eq!([Require::One, Require::Quorum, Require::All].map(tolerated), [0, 1, 2]);
    }
}
