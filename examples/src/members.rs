//! The ingesters: who they are, where, and whether they answer. The ring is rebuilt from what their heartbeats say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_ring::{
    DEFAULT_TOKENS, Instance, Membership, Operation, Options, Require, Ring, SharedRing, State, random_tokens,
};
use parking_lot::Mutex;
use serde::Serialize;

use crate::client::IngesterClient;
use crate::clock::{Clock, monotonic_ns};
use crate::wire::Health;

/// How often every ingester is asked how it is.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long an ingester may stay silent and still get writes.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one heartbeat may take.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(2);

/// The ingesters that a process writes to and reads from. Cheap to clone.
#[derive(Clone)]
pub struct Members {
    shared: Arc<Shared>,
}

struct Shared {
    ring: SharedRing,
    options: Options,
    clock: Clock,
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    membership: Membership,
    clients: BTreeMap<Arc<str>, Arc<dyn IngesterClient>>,
    health: BTreeMap<Arc<str>, Health>,
}

/// One ingester, as `/ring` shows it.
#[derive(Debug, Serialize)]
pub struct MemberView {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub addr: String,
    /// Its failure domain.
    pub zone: String,
    /// Its state.
    pub state: String,
    /// Whether it gets writes now.
    pub healthy: bool,
    /// Seconds since it was last heard of.
    pub heartbeat_age_seconds: f64,
    /// How many tokens it has.
    pub tokens: usize,
    /// Which part of the keys is its own.
    pub ownership: f64,
    /// Streams in its memory.
    pub streams: u64,
    /// Bytes of lines in its memory.
    pub memory_bytes: u64,
    /// Bytes of its log.
    pub wal_bytes: u64,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Members {
    /// No ingesters yet; each key will have `replication_factor` copies.
    ///
    /// # Errors
    /// A replication factor of 0.
    pub fn new(replication_factor: u8, zone_awareness: bool, clock: Clock) -> anyhow::Result<Self> {
        let options = Options { replication_factor, zone_awareness, heartbeat_timeout: HEARTBEAT_TIMEOUT };
        let ring = SharedRing::new(Ring::build(&options, &Membership::default(), monotonic_ns())?);
        Ok(Self { shared: Arc::new(Shared { ring, options, clock, state: Mutex::default() }) })
    }

    /// Adds or replaces an ingester. It gets writes at once.
    ///
    /// # Errors
    /// More ingesters or tokens than a ring can have.
    pub fn join(
        &self,
        id: &str,
        addr: &str,
        zone: &str,
        client: Arc<dyn IngesterClient>,
    ) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock();
        let taken: Vec<u32> = state
            .membership
            .iter()
            .filter(|m| &*m.instance.id != id)
            .flat_map(|m| m.instance.tokens.to_vec())
            .collect();
        let version =
            state.membership.member(id).map_or_else(Default::default, |m| m.instance.version.restarted());
        let instance = Instance {
            zone: zone.into(),
            state: State::Active,
            tokens: random_tokens(id, zone, 0, DEFAULT_TOKENS, &taken.into())?,
            version,
            registered_at_ns: self.shared.clock.wall_ns(),
            ..Instance::new(id, addr)
        };
        state.membership.observe(instance, monotonic_ns());
        state.clients.insert(id.into(), client);
        self.publish(&state)
    }

    /// Notes that an ingester is about to stop: it gets no more writes.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn leave(&self, id: &str) -> anyhow::Result<()> {
        self.update(id, |instance| instance.state = State::Leaving)
    }

    /// The current ring.
    pub fn ring(&self) -> Arc<Ring> {
        self.shared.ring.load()
    }

    /// The ingester with that id.
    pub fn client(&self, id: &str) -> Option<Arc<dyn IngesterClient>> {
        self.shared.state.lock().clients.get(id).cloned()
    }

    /// All ingesters, healthy or not.
    pub fn clients(&self) -> Vec<Arc<dyn IngesterClient>> {
        self.shared.state.lock().clients.values().cloned().collect()
    }

    /// How many ingesters there are, healthy or not.
    pub fn len(&self) -> usize {
        self.shared.state.lock().clients.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many ingesters may stay silent without a read missing a line that was acknowledged as `require` has it.
    pub fn tolerated_reads(&self, require: Require) -> usize {
        let copies = usize::from(self.shared.options.replication_factor);
        match require {
            Require::One => 0,
            Require::All => copies - 1,
            _ => copies / 2,
        }
    }

    /// How many ingesters get writes.
    pub fn healthy(&self) -> usize {
        let ring = self.ring();
        ring.instances().filter(|instance| ring.is_healthy(&instance.id, Operation::WRITE)).count()
    }

    /// Asks every ingester once how it is and rebuilds the ring from the answers.
    pub async fn beat(&self) {
        if self.is_empty() {
            return;
        }
        let healthy = self.healthy();
        let clients: Vec<_> =
            self.shared.state.lock().clients.iter().map(|(id, c)| (id.clone(), c.clone())).collect();
        let asked = clients.into_iter().map(|(id, client)| async move {
            let health = tokio::time::timeout(HEARTBEAT_DEADLINE, client.health(healthy)).await;
            (id, health.ok().and_then(Result::ok))
        });
        for (id, health) in futures_util::future::join_all(asked).await {
            if let Some(health) = health {
                self.shared.state.lock().health.insert(Arc::clone(&id), health);
                if let Err(error) = self.update(&id, |_| {}) {
                    tracing::error!(%error, "ring not rebuilt");
                }
            }
        }
        let state = self.shared.state.lock();
        if let Err(error) = self.publish(&state) {
            tracing::error!(%error, "ring not rebuilt");
        }
        drop(state);
        self.record();
    }

    /// Every ingester, by name.
    pub fn view(&self) -> Vec<MemberView> {
        let ring = self.ring();
        let owned: BTreeMap<String, f64> =
            ring.ownership().map(|(i, share)| (i.id.to_string(), share)).collect();
        let now_ns = monotonic_ns();
        let state = self.shared.state.lock();
        let view = state.membership.iter().map(|member| {
            let instance = &member.instance;
            let health = state.health.get(&instance.id).cloned().unwrap_or_default();
            MemberView {
                id: instance.id.to_string(),
                addr: instance.addr.to_string(),
                zone: instance.zone.to_string(),
                state: instance.state.to_string(),
                healthy: ring.is_healthy(&instance.id, Operation::WRITE),
                heartbeat_age_seconds: now_ns.saturating_sub(member.heard_ns) as f64 / 1e9,
                tokens: instance.tokens.len(),
                ownership: owned.get(&*instance.id).copied().unwrap_or_default(),
                streams: health.streams,
                memory_bytes: health.memory_bytes,
                wal_bytes: health.wal_bytes,
            }
        });
        view.collect()
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Instance)) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock();
        let Some(member) = state.membership.member(id) else { return Ok(()) };
        let mut instance = (*member.instance).clone();
        instance.version = instance.version.next();
        change(&mut instance);
        state.membership.observe(instance, monotonic_ns());
        self.publish(&state)
    }

    fn publish(&self, state: &Inner) -> anyhow::Result<()> {
        let ring = self.shared.ring.load().updated(&state.membership, monotonic_ns())?;
        self.shared.ring.publish(ring);
        Ok(())
    }

    fn record(&self) {
        let view = self.view();
        for state in State::ALL {
            let name = state.to_string();
            let count = view.iter().filter(|member| member.state == name).count();
            metrics::gauge!("forebay_ring_members", "state" => name).set(count as f64);
        }
        for member in view {
            metrics::gauge!("forebay_ring_ownership_ratio", "instance" => member.id).set(member.ownership);
        }
    }
}

/// Beats until the process ends.
pub async fn beat_forever(members: Members) {
    loop {
        members.beat().await;
        tokio::time::sleep(HEARTBEAT).await;
    }
}
