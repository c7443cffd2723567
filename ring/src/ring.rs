//! The ring as it was at one moment: an immutable snapshot that answers who owns a key.
//!
//! Invariant: a lookup reads no clock, takes no lock, follows no map and allocates nothing unless more
//! than 8 members are selected. What changes with tokens (the topology) is shared between snapshots;
//! what changes with heartbeats and states is small and made anew.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;

use crate::error::{BuildError, Error};
use crate::instance::Instance;
use crate::membership::{Member, Membership};
use crate::operation::Operation;
use crate::replication::{GetOptions, Members, QuorumBase, ReplicationSet, Require};
use crate::token::Token;

mod diff;
mod explain;
mod few;
mod health;
mod index;
mod load;
mod options;
mod plan;
mod ranges;
mod read_set;
mod rows;
pub(crate) mod topology;
mod zones;

pub use diff::{FromTo, Move, RangeDiff};
pub use explain::{Explanation, Step, Verdict};
use few::Few;
use health::Health;
pub use load::{Imbalance, Trial, TrialError};
pub use options::Options;
pub use plan::{BatchPlan, Need};
pub use ranges::{RangeError, TokenRanges};
pub use read_set::{Changed, ReadSet};
use topology::{Passed, Topology};
pub(crate) use zones::Zone;

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
    options: Arc<Options>,
    topology: Arc<Topology>,
    /// All but the tombstones, by ascending id; members are numbered by their place here.
    members: Arc<[Member]>,
    health: Arc<Health>,
    /// Units of the excluded zones, of which a read of all gets no answer.
    left_out: usize,
    /// When that was judged.
    now_ns: u64,
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
        let members = options.members_of(membership);
        let topology = Topology::build(options, &members)?;
        let left_out = options.left_out(membership);
        Ok(Self::assemble(Arc::new(options.clone()), Arc::new(topology), members, left_out, now_ns))
    }

    /// The same members judged at another time: instances whose heartbeat is too old by then are
    /// unhealthy. Shares everything but the health; O(instances).
    #[must_use]
    pub fn with_health(&self, now_ns: u64) -> Self {
        let (options, topology) = (Arc::clone(&self.options), Arc::clone(&self.topology));
        Self::assemble(options, topology, Arc::clone(&self.members), self.left_out, now_ns)
    }

    /// A snapshot of a newer `membership` at `now_ns`. While ids, zones and tokens are the same as here, and nobody
    /// becomes or ceases to be LEAVING who claims a token that another claims, the topology is shared and the cost
    /// O(instances); otherwise as [`build`](Self::build).
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn updated(&self, membership: &Membership, now_ns: u64) -> Result<Self, BuildError> {
        let members = self.options.members_of(membership);
        let topology = if self.topology.fits(&self.members, &members) {
            Arc::clone(&self.topology)
        } else {
            Arc::new(Topology::build(&self.options, &members)?)
        };
        let left_out = self.options.left_out(membership);
        Ok(Self::assemble(Arc::clone(&self.options), topology, members, left_out, now_ns))
    }

    /// Its own members as another membership has them, where that makes no ring: what is heard of them, and their states
    /// while zone and tokens are as they were. Others are left out. O(instances · log members).
    #[cfg(feature = "store")]
    pub(crate) fn heard(&self, membership: &Membership, now_ns: u64) -> Self {
        let hear = |known: &Member| {
            let Some(news) = membership.member(&known.instance.id) else { return known.clone() };
            let (old, new) = (&known.instance, &news.instance);
            if old.zone == new.zone && old.tokens == new.tokens {
                return news.clone();
            }
            let instance = Instance { state: new.state, ..(**old).clone() };
            Member { instance: Arc::new(instance), heard_ns: news.heard_ns }
        };
        let members = self.members.iter().map(hear).collect();
        let (options, topology) = (Arc::clone(&self.options), Arc::clone(&self.topology));
        Self::assemble(options, topology, members, self.options.left_out(membership), now_ns)
    }

    fn assemble(
        options: Arc<Options>,
        topology: Arc<Topology>,
        members: Arc<[Member]>,
        left_out: usize,
        now_ns: u64,
    ) -> Self {
        let timeout_ns = options.heartbeat_timeout.as_nanos();
        let is_fresh = |heard_ns: u64| u128::from(now_ns.saturating_sub(heard_ns)) <= timeout_ns;
        let health = Arc::new(Health::judge(&topology, &members, is_fresh));
        Self { options, topology, members, health, left_out, now_ns }
    }

    /// The instance with the first token strictly greater than `key`, whatever its state; `None` if
    /// nobody has a token. O(1) expected.
    pub fn owner(&self, key: impl Into<Token>) -> Option<&Instance> {
        self.topology.owner_after(key.into()).map(|member| &**self.instance_at(member))
    }

    /// The healthy members of the key's replica set, of which a quorum must succeed.
    ///
    /// From the key on, the walk selects the first instances that differ from each other (and lie in
    /// different zones, if zones count), one more for each selected instance that extends the
    /// operation. Selected instances count in the quorum whether or not they are healthy. O(1) expected
    /// where replica sets are precomputed (see the limits of the crate) and none of the selected extends the
    /// operation, or no state both serves and extends it; otherwise at most O(instances · log tokens), which it is if
    /// 64 tokens are not enough.
    ///
    /// # Errors
    ///
    /// If there are no tokens, or fewer healthy members than must succeed.
    #[inline]
    pub fn get(&self, key: impl Into<Token>, op: Operation) -> Result<ReplicationSet<'_>, Error> {
        self.get_with(key, op, Require::Quorum)
    }

    /// As [`get`](Self::get) with another number of required successes, or of replicas.
    ///
    /// # Errors
    ///
    /// If there are no tokens, fewer healthy members than must succeed, fewer replicas asked for than the ring is
    /// configured for, or where zones count another number than a multiple of that.
    pub fn get_with(
        &self,
        key: impl Into<Token>,
        op: Operation,
        options: impl Into<GetOptions>,
    ) -> Result<ReplicationSet<'_>, Error> {
        let (key, options) = (key.into(), options.into());
        let replicas = self.replicas(&options)?;
        let needed = |selected| options.require.needed(options.base, replicas, selected);
        let configured = replicas == usize::from(self.options.replication_factor);
        let (at, home) = match configured.then(|| self.topology.home_after(key)).flatten() {
            Some((at, home)) => (at, Some(home)),
            None => (self.topology.successor(key).ok_or(Error::Empty)?, None),
        };
        let (members, selected) = self.select(key, at, home, op, replicas);
        ReplicationSet::new(self, members, selected, needed(selected))
    }

    /// Those of the selected members that serve, and how many were selected, from the token at `at` on, whose `home` is
    /// this if it is small and that of so many replicas. Extension starts at a selected member, so a home stands unless one
    /// of it extends.
    #[inline]
    fn select(
        &self,
        key: Token,
        at: usize,
        home: Option<Few>,
        op: Operation,
        replicas: usize,
    ) -> (Members, usize) {
        let Some(home) = home else { return self.select_many(key, at, op, replicas) };
        if self.health.all_stand(op) {
            return (home.members(), home.len());
        }
        let (serving, extends) = home.sift(&self.health, op);
        if extends { self.select_past(key, at, home, serving, op) } else { (serving.members(), home.len()) }
    }

    /// Those that serve, and how many were selected, where some of `home` extend; of it these are `serving`.
    #[inline(never)]
    fn select_past(&self, key: Token, at: usize, home: Few, serving: Few, op: Operation) -> (Members, usize) {
        let replicas = usize::from(self.options.replication_factor);
        let disjoint = op.serving() & op.extending() == 0;
        match disjoint.then(|| self.topology.pass(at, home, replicas, &self.health, op)).flatten() {
            Some(Passed::Home { selected }) => (serving.members(), selected),
            Some(Passed::Walked { settled, selected }) => {
                (settled.sift(&self.health, op).0.members(), selected)
            }
            None => self.select_by_walk(key, at, op, replicas),
        }
    }

    /// How many replicas are asked for.
    #[inline]
    fn replicas(&self, options: &GetOptions) -> Result<usize, Error> {
        let configured = self.options.replication_factor;
        match options.replication_factor.map(NonZeroU8::get) {
            Some(asked) if asked < configured => Err(Error::FewerReplicas { asked, configured }),
            Some(asked) if self.options.zone_awareness && asked % configured != 0 => {
                Err(Error::UnevenReplicas { asked, configured })
            }
            asked => Ok(usize::from(asked.unwrap_or(configured))),
        }
    }

    /// As [`select`](Self::select), for more replicas.
    fn select_many(&self, key: Token, at: usize, op: Operation, replicas: usize) -> (Members, usize) {
        let health = &*self.health;
        if replicas == usize::from(self.options.replication_factor)
            && let Some(home) = self.topology.rows().home(at)
            && (health.none_extends(op) || !home.iter().any(|&member| health.extends(member, op)))
        {
            let serving = home.iter().copied().filter(|&member| health.serves(member, op));
            return (serving.collect(), home.len());
        }
        self.select_by_walk(key, at, op, replicas)
    }

    #[cold]
    fn select_by_walk(&self, key: Token, at: usize, op: Operation, replicas: usize) -> (Members, usize) {
        let health = &*self.health;
        let disjoint = op.serving() & op.extending() == 0;
        let one_each = self.replicas_per_zone(replicas) == 1;
        let past =
            (disjoint && one_each).then(|| self.topology.walk_past(at, replicas, health, op)).flatten();
        let (mut members, selected) = past.unwrap_or_else(|| {
            let each = self.replicas_per_zone(replicas);
            let members = self.topology.walk(key, at, replicas, each, |member| health.extends(member, op));
            let selected = members.len();
            (members, selected)
        });
        members.retain(|member| health.serves(*member, op));
        (members, selected)
    }

    /// How many of a key's replicas one zone holds.
    fn replicas_per_zone(&self, replicas: usize) -> usize {
        (replicas / usize::from(self.options.replication_factor)).max(1)
    }

    /// How many of a key's replicas may fail while all are healthy and a quorum must succeed: 1 of 3, none of 2. Below
    /// that of the replication factor if there are too few instances or zones. Warn where it is 0.
    pub fn tolerated_failures(&self) -> usize {
        let replicas = usize::from(self.options.replication_factor);
        let selected = self.topology.selects(replicas);
        selected.saturating_sub(Require::Quorum.needed(QuorumBase::Extended, replicas, selected))
    }

    /// The instances that serve `op` and have a fresh heartbeat, by ascending id.
    pub fn healthy(&self, op: Operation) -> impl Iterator<Item = &Instance> {
        (0..).zip(self.instances()).filter(move |(member, _)| self.health.serves(*member, op)).map(|(_, i)| i)
    }

    /// How many instances of each zone there are, the zones in order; those without a zone under the empty one.
    /// O(instances · log zones).
    pub fn zones(&self, op: Operation) -> BTreeMap<&str, Counts> {
        let mut zones: BTreeMap<&str, Counts> = BTreeMap::new();
        for (member, instance) in (0..).zip(self.instances()) {
            let counts = zones.entry(&*instance.zone).or_default();
            counts.instances += 1;
            counts.healthy += usize::from(self.health.serves(member, op));
            counts.with_tokens += usize::from(!instance.tokens.is_empty());
            counts.read_only += usize::from(instance.read_only.enabled);
        }
        zones
    }

    /// Whether the instance `id` is known, has a fresh heartbeat and a state that serves `op`.
    /// O(log instances).
    pub fn is_healthy(&self, id: &str, op: Operation) -> bool {
        self.number_of(id).is_some_and(|member| self.health.serves(member, op))
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
        self.topology.rows().len()
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

    pub(crate) fn number_of(&self, id: &str) -> Option<u16> {
        let at = self.members.binary_search_by(|member| (*member.instance.id).cmp(id)).ok()?;
        Some(topology::number(at))
    }

    #[inline]
    pub(crate) fn member_at(&self, member: u16) -> &Member {
        &self.members[usize::from(member)]
    }

    #[inline]
    pub(crate) fn is_read_only(&self, member: u16) -> bool {
        self.health.is_read_only(member)
    }

    #[inline]
    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A ring of other members, judged at the same time.
    pub(crate) fn of_members(&self, members: Vec<Member>) -> Result<Self, BuildError> {
        let topology = Arc::new(Topology::build(&self.options, &members)?);
        let options = Arc::clone(&self.options);
        Ok(Self::assemble(options, topology, members.into(), self.left_out, self.now_ns))
    }

    #[inline]
    pub(crate) fn instance_at(&self, member: u16) -> &Arc<Instance> {
        &self.members[usize::from(member)].instance
    }
}

/// Instances of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All but those that are LEFT.
    pub instances: usize,
    /// Of these, with a fresh heartbeat and a state that serves the operation.
    pub healthy: usize,
    /// Of these, with tokens.
    pub with_tokens: usize,
    /// Of these, read-only.
    pub read_only: usize,
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
