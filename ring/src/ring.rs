//! The ring as it was at one moment: an immutable snapshot that answers who owns a key.
//!
//! Invariant: a lookup reads no clock, takes no lock, follows no map and allocates nothing unless more
//! than 8 members are selected. What changes with tokens (the topology) is shared between snapshots;
//! what changes with heartbeats and states is small and made anew.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{BuildError, Error};
use crate::instance::{Instance, State};
use crate::membership::{Member, Membership};
use crate::operation::Operation;
use crate::replication::{Members, ReplicationSet, Require};
use crate::token::Token;

mod index;
mod topology;

use topology::Topology;

/// How replica sets are chosen and who counts as alive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Options {
    /// Copies of each key. Default 3; 2 tolerates no failure under [`Require::Quorum`], 0 is refused.
    pub replication_factor: u8,
    /// Whether no two copies may lie in the same zone. Default off. With fewer zones than copies the
    /// set is as small as there are zones while the quorum stays that of the replication factor. An
    /// instance without a zone is never passed over for one that has none either.
    pub zone_awareness: bool,
    /// How long after its last heartbeat an instance counts as alive. Default 1 minute. Too short drops
    /// instances at each hiccup, too long sends requests to dead ones. [`Duration::MAX`] never doubts.
    pub heartbeat_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { replication_factor: 3, zone_awareness: false, heartbeat_timeout: Duration::from_secs(60) }
    }
}

/// Who owns which keys, given who is alive. `Send + Sync`, cheap to swap, never changed in place.
///
/// ```
/// use forebay_ring::{Instance, Membership, Operation, Options, Ring, State};
///
/// let mut members = Membership::default();
/// for (id, token) in [("a", 1 << 30), ("b", 2 << 30), ("c", 3 << 30)] {
///     let tokens = vec![token].into();
///     members.observe(Instance { state: State::Active, tokens, ..Instance::new(id, id) }, 0);
/// }
/// let ring = Ring::build(&Options::default(), &members, 0)?;
///
/// let set = ring.get(7, Operation::WRITE)?;
/// let ids: Vec<&str> = set.iter().map(|instance| &*instance.id).collect();
/// assert_eq!(ids, ["a", "b", "c"]);
/// assert_eq!(set.max_errors(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Ring {
    options: Options,
    topology: Arc<Topology>,
    /// All but the tombstones, by ascending id; members are numbered by their place here.
    members: Arc<[Member]>,
    health: Arc<[Health]>,
}

/// All that a lookup has to know about a member.
#[derive(Clone, Copy)]
struct Health {
    state: State,
    fresh: bool,
}

impl Ring {
    /// Members are numbered in 16 bits, of which the highest two numbers stay free.
    pub const MAX_INSTANCES: usize = 65_534;

    /// Tokens of all instances together; 512 each for the most instances there may be fit twice.
    pub const MAX_TOKENS: usize = 1 << 26;

    /// A snapshot of `membership` as it stands at `now_ns` (monotonic, the clock of
    /// [`Member::heard_ns`]). Tombstones are left out.
    ///
    /// A token claimed by several instances belongs to one that is not LEAVING if there is such a one,
    /// and among those to the one with the lowest id; the records stay as they are. O(T log T + T · RF)
    /// for T tokens.
    ///
    /// # Errors
    ///
    /// If the options ask for no replicas, or members or tokens are more than the limits allow.
    pub fn build(options: &Options, membership: &Membership, now_ns: u64) -> Result<Self, BuildError> {
        let members: Arc<[Member]> = membership.present().cloned().collect();
        let topology = Topology::build(options, &members)?;
        Ok(Self::assemble(options, Arc::new(topology), members, now_ns))
    }

    /// The same members judged at another time: instances whose heartbeat is too old by then are
    /// unhealthy. Shares everything but the health; O(instances).
    #[must_use]
    pub fn with_health(&self, now_ns: u64) -> Self {
        Self::assemble(&self.options, Arc::clone(&self.topology), Arc::clone(&self.members), now_ns)
    }

    /// A snapshot of a newer `membership` at `now_ns`. While ids, zones and tokens are the same as here
    /// the topology is shared and the cost O(instances); otherwise as [`build`](Self::build).
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn updated(&self, membership: &Membership, now_ns: u64) -> Result<Self, BuildError> {
        let members: Arc<[Member]> = membership.present().cloned().collect();
        if self.topology.fits(&self.members, &members) {
            return Ok(Self::assemble(&self.options, Arc::clone(&self.topology), members, now_ns));
        }
        let topology = Topology::build(&self.options, &members)?;
        Ok(Self::assemble(&self.options, Arc::new(topology), members, now_ns))
    }

    fn assemble(options: &Options, topology: Arc<Topology>, members: Arc<[Member]>, now_ns: u64) -> Self {
        let timeout_ns = options.heartbeat_timeout.as_nanos();
        let health = members.iter().map(|member| Health {
            state: member.instance.state,
            fresh: u128::from(now_ns.saturating_sub(member.heard_ns)) <= timeout_ns,
        });
        Self { options: options.clone(), topology, health: health.collect(), members }
    }

    /// The instance with the first token strictly greater than `key`, whatever its state; `None` if
    /// nobody has a token. O(1) expected.
    pub fn owner(&self, key: impl Into<Token>) -> Option<&Instance> {
        let at = self.topology.successor(key.into())?;
        Some(self.instance_at(self.topology.owner_at(at)))
    }

    /// The healthy members of the key's replica set, of which a quorum must succeed.
    ///
    /// From the key on, the walk selects the first instances that differ from each other (and lie in
    /// different zones, if zones count), one more for each selected instance that extends the
    /// operation. Selected instances count in the quorum whether or not they are healthy. O(1) expected
    /// where replica sets are precomputed (see the limits of the crate) and none of the selected extends the
    /// operation; otherwise at most O(instances · log tokens), which it is if 64 tokens are not enough.
    ///
    /// # Errors
    ///
    /// If there are no tokens, or fewer healthy members than must succeed.
    pub fn get(&self, key: impl Into<Token>, op: Operation) -> Result<ReplicationSet<'_>, Error> {
        self.get_with(key, op, Require::Quorum)
    }

    /// As [`get`](Self::get) with another number of required successes.
    ///
    /// # Errors
    ///
    /// If there are no tokens, or fewer healthy members than must succeed.
    pub fn get_with(
        &self,
        key: impl Into<Token>,
        op: Operation,
        require: Require,
    ) -> Result<ReplicationSet<'_>, Error> {
        let key = key.into();
        let at = self.topology.successor(key).ok_or(Error::Empty)?;
        let mut members = self.select(key, at, op);
        let selected = members.len();
        members.retain(|member| self.serves(*member, op));
        ReplicationSet::new(self, members, selected, require)
    }

    /// Extension starts at a selected member, so the precomputed set stands unless one of it extends.
    fn select(&self, key: Token, at: usize, op: Operation) -> Members {
        let extends = |member: u16| op.extends(self.health[usize::from(member)].state);
        match self.topology.home(at) {
            Some(home) if !home.iter().any(|&member| extends(member)) => Members::from_slice(home),
            _ => self.topology.walk(key, at, usize::from(self.options.replication_factor), extends),
        }
    }

    fn serves(&self, member: u16, op: Operation) -> bool {
        let health = self.health[usize::from(member)];
        health.fresh && op.serves(health.state)
    }

    /// Whether the instance `id` is known, has a fresh heartbeat and a state that serves `op`.
    /// O(log instances).
    pub fn is_healthy(&self, id: &str, op: Operation) -> bool {
        self.number_of(id).is_some_and(|member| self.serves(member, op))
    }

    /// The instance `id`, unless it is LEFT or unknown. O(log instances).
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.number_of(id).map(|member| &**self.instance_at(member))
    }

    /// All instances but those that are LEFT, by ascending id.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Instance> {
        self.members.iter().map(|member| &*member.instance)
    }

    /// The share of the key space each instance owns, by ascending id; the shares add up to 1 if there
    /// is a token at all. O(tokens).
    pub fn ownership(&self) -> impl ExactSizeIterator<Item = (&Instance, f64)> {
        self.instances().zip(self.topology.owned_keys()).map(|(instance, keys)| {
            // Exact: a count of keys is at most 2^32, which an f64 holds.
            (instance, keys as f64 / (1_u64 << 32) as f64)
        })
    }

    /// Distinct tokens on the ring.
    pub fn token_count(&self) -> usize {
        self.topology.token_count()
    }

    /// What the snapshot was built with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether no key changed its owner between the two snapshots, as far as is known without comparing
    /// them: one was made from the other by [`with_health`](Self::with_health) or a cheap
    /// [`updated`](Self::updated).
    pub fn shares_topology(&self, other: &Ring) -> bool {
        Arc::ptr_eq(&self.topology, &other.topology)
    }

    fn number_of(&self, id: &str) -> Option<u16> {
        let at = self.members.binary_search_by(|member| (*member.instance.id).cmp(id)).ok()?;
        Some(topology::number(at))
    }

    pub(crate) fn instance_at(&self, member: u16) -> &Arc<Instance> {
        &self.members[usize::from(member)].instance
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("options", &self.options)
            .field("instances", &self.members.len())
            .field("tokens", &self.token_count())
            .finish_non_exhaustive()
    }
}
