//! The ingesters: who they are, where, and whether they answer. The ring is rebuilt from what their heartbeats say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_ring::{
    DEFAULT_TOKENS, Instance, Membership, Operation, Options, Require, Ring, SharedRing, State, random_tokens,
};
use parking_lot::Mutex;
use serde::Serialize;

use crate::client::IngesterClient;
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
    /// Of all, those that left included: they may come back.
    clients: BTreeMap<Arc<str>, Arc<dyn IngesterClient>>,
    health: BTreeMap<Arc<str>, Health>,
    /// Those that are about to stop, whatever they say themselves.
    leaving: BTreeSet<Arc<str>>,
}

impl Inner {
    /// Those that may hold what the store does not.
    fn present(&self) -> impl Iterator<Item = &Arc<dyn IngesterClient>> {
        let state = |id| self.membership.member(id).map(|member| member.instance.state);
        self.clients.iter().filter(move |(id, _)| state(id) != Some(State::Left)).map(|(_, client)| client)
    }

    /// The state of an ingester that says of itself what `health` has.
    fn state(&self, id: &str, health: &Health) -> State {
        if health.left {
            State::Left
        } else if health.leaving || !health.failure.is_empty() || self.leaving.contains(id) {
            State::Leaving
        } else {
            State::Active
        }
    }
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
    /// Why its log takes nothing, if that is so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure: String,
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
        let options = Options {
            replication_factor,
            zone_awareness,
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            ..Options::default()
        };
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
        state.health.remove(id);
        state.leaving.remove(id);
        self.publish(&state)
    }

    /// Notes that an ingester is about to stop: it gets no more writes.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn leave(&self, id: &str) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock();
        state.leaving.insert(id.into());
        let health = state.health.get(id).cloned().unwrap_or_default();
        self.heard(&mut state, id, &health)
    }

    /// The current ring.
    pub fn ring(&self) -> Arc<Ring> {
        self.shared.ring.load()
    }

    /// The ingester with that id.
    pub fn client(&self, id: &str) -> Option<Arc<dyn IngesterClient>> {
        self.shared.state.lock().clients.get(id).cloned()
    }

    /// All ingesters, healthy or not, but those that stored what they had and left.
    pub fn clients(&self) -> Vec<Arc<dyn IngesterClient>> {
        self.shared.state.lock().present().cloned().collect()
    }

    /// How many [`clients`](Self::clients) there are.
    pub fn len(&self) -> usize {
        self.shared.state.lock().present().count()
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
        let healthy = self.healthy();
        let clients: Vec<_> =
            self.shared.state.lock().clients.iter().map(|(id, c)| (id.clone(), c.clone())).collect();
        if clients.is_empty() {
            return;
        }
        let asked = clients.into_iter().map(|(id, client)| async move {
            let health = tokio::time::timeout(HEARTBEAT_DEADLINE, client.health(healthy)).await;
            Some((id, client, health.ok()?.ok()?))
        });
        for (id, client, health) in futures_util::future::join_all(asked).await.into_iter().flatten() {
            let mut state = self.shared.state.lock();
            // One that was replaced meanwhile speaks for itself no more.
            if state.clients.get(&id).is_some_and(|current| Arc::ptr_eq(current, &client)) {
                let heard = self.heard(&mut state, &id, &health);
                state.health.insert(id, health);
                if let Err(error) = heard {
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
                failure: health.failure,
            }
        });
        view.collect()
    }

    /// Notes a sign of life, and the state that goes with it.
    fn heard(&self, state: &mut Inner, id: &str, health: &Health) -> anyhow::Result<()> {
        let Some(member) = state.membership.member(id) else { return Ok(()) };
        let mut instance = (*member.instance).clone();
        let next = state.state(id, health);
        // Who left is gone for good; who comes back is somebody new.
        let back = instance.state == State::Left && next != State::Left;
        instance.version = if back { instance.version.restarted() } else { instance.version.next() };
        if instance.state != next {
            tracing::info!(id, from = %instance.state, to = %next, failure = health.failure, "ingester changed");
        }
        instance.state = next;
        state.membership.observe(instance, monotonic_ns());
        self.publish(state)
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::client::{Parts, ReadFailed, Tailing};
    use crate::index::Span;
    use crate::ingester::PushError;
    use crate::labels::Labels;
    use crate::logql::Matcher;
    use crate::wire::{Pushed, Select, StreamVolume, Tail};

    /// An ingester that says what the test wants; nothing where it does not answer.
    #[derive(Default)]
    struct Says(Mutex<Option<Health>>);

    #[async_trait]
    impl IngesterClient for Says {
        async fn push(&self, _: Bytes) -> Result<Pushed, PushError> {
            unreachable!("only its health is asked for")
        }

        async fn select(&self, _: Select) -> Result<Parts, ReadFailed> {
            unreachable!("only its health is asked for")
        }

        async fn tail(&self, _: Tail) -> Result<Tailing, ReadFailed> {
            unreachable!("only its health is asked for")
        }

        async fn series(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<Labels>, ReadFailed> {
            unreachable!("only its health is asked for")
        }

        async fn volume(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<StreamVolume>, ReadFailed> {
            unreachable!("only its health is asked for")
        }

        async fn flush(&self) -> Result<(), ReadFailed> {
            unreachable!("only its health is asked for")
        }

        async fn health(&self, _: usize) -> Result<Health, ReadFailed> {
            self.0.lock().clone().ok_or_else(|| ReadFailed("gone".to_owned()))
        }
    }

    /// Two ingesters; what the first says is up to the test.
    fn two() -> (Members, Arc<Says>) {
        let members = Members::new(1, false, Clock::simulated(1)).unwrap();
        let (first, second) = (Arc::<Says>::default(), Says(Mutex::new(Some(Health::default()))));
        members.join("a", "a:1", "", Arc::clone(&first) as Arc<dyn IngesterClient>).unwrap();
        members.join("b", "b:1", "", Arc::new(second)).unwrap();
        (members, first)
    }

    /// The state of the first, how many get writes, and how many are read, after it said `health`.
    async fn after(members: &Members, says: &Says, health: Option<Health>) -> (String, usize, usize) {
        *says.0.lock() = health;
        members.beat().await;
        (members.view().remove(0).state, members.healthy(), members.len())
    }

    fn state(state: State, writes: usize, reads: usize) -> (String, usize, usize) {
        (state.to_string(), writes, reads)
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_read_until_all_is_stored_and_may_come_back() {
        let (members, says) = two();
        let leaving = Health { leaving: true, ..Health::default() };
        let left = Health { left: true, ..leaving.clone() };
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Active, 2, 2));
        assert_eq!(after(&members, &says, Some(leaving)).await, state(State::Leaving, 1, 2));
        assert_eq!(after(&members, &says, Some(left)).await, state(State::Left, 1, 1));
        assert_eq!(after(&members, &says, None).await, state(State::Left, 1, 1));
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Active, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_without_a_word_is_missed_by_reads() {
        let (members, says) = two();
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Active, 2, 2));
        tokio::time::sleep(HEARTBEAT_TIMEOUT * 2).await;
        assert_eq!(after(&members, &says, None).await, state(State::Active, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_log_failed_gets_no_writes_and_says_why() {
        let (members, says) = two();
        let failed = Health { failure: "syncing failed".to_owned(), ..Health::default() };
        assert_eq!(after(&members, &says, Some(failed)).await, state(State::Leaving, 1, 2));
        assert_eq!(members.view()[0].failure, "syncing failed");
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Active, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_told_to_leave_stays_so_until_it_joins_again() {
        let (members, says) = two();
        members.leave("a").unwrap();
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Leaving, 1, 2));
        members.join("a", "a:2", "", says.clone()).unwrap();
        assert_eq!(after(&members, &says, Some(Health::default())).await, state(State::Active, 2, 2));
    }
}
