//! A tenant's share of the instances: few of them, always the same, and hardly ever all those of another tenant.
//!
//! Invariants:
//! - S1: a shard is a function of the tenant and of the instances with tokens; nothing is cached, and a shard of up
//!   to 32 allocates nothing.
//! - S2: one instance more or less, or one that becomes read-only or ceases to be, puts at most one into a shard and
//!   takes at most one out, as long as the zones stay.
//! - S3: a larger shard contains the smaller, zone by zone, and zones have equally many as far as they can.
//! - S4: with a lookback, whoever was in the shard at any time within it and is still in the ring is in it, as long
//!   as the zones stay and wall clocks agree: what they may differ by has to be added to the period. One that came
//!   back with other tokens or in another zone is in every shard for as long, and so is one that may have served and
//!   of whose tokens none is its own here: they may not have been heard of yet.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::instance::Instance;
use crate::ring::Ring;

mod rendezvous;
mod walk;
mod zone;

pub use rendezvous::Rendezvous;
pub use walk::TokenWalk;
pub use zone::{Chosen, Standing, Zone};

/// Which shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// How many instances, rounded up to as many in each zone; 0 for all. Those that are read-only are passed over.
    pub size: usize,
    /// For readers: who may still have what was written before, and who may have it without tokens known here.
    pub lookback: Option<Lookback>,
}

/// How far back readers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookback {
    /// The oldest data asked for, and by how much wall clocks may differ. Instances that joined, or became or ceased to
    /// be read-only, within it are added, and others in their stead; the shard may be larger then, and zones differ.
    pub period: Duration,
    /// Now, wall time, nanoseconds since 1970: the stamps of instances are of that kind.
    pub now_unix_ns: i64,
}

/// Chooses the instances of a zone for a shard.
///
/// Two are here: [`TokenWalk`] goes from random keys to the next tokens, so that instances with more tokens get more
/// tenants, as in the ring that runs below Loki and Mimir (the draws are others, and so are the shards);
/// [`Rendezvous`] takes those that score highest for the tenant, whatever their tokens.
pub trait Sharder {
    /// Adds `want` of the zone's members that count to `chosen`, or all if there are fewer; and of those that are
    /// [`Standing::Beside`] whoever comes before the last of these. `seed` is the tenant's in this zone.
    fn choose(&self, zone: &Zone<'_>, seed: u64, want: usize, chosen: &mut Chosen);
}

/// The instances of a shard.
///
/// ```
/// use forebay_ring::{Instance, Membership, Options, Ring, State, random_tokens};
///
/// let mut members = Membership::default();
/// for number in 0..30 {
///     let (id, zone) = (format!("ingester-{number}"), ["a", "b", "c"][number % 3]);
///     let tokens = random_tokens(&id, zone, 0, 64, &members.tokens())?;
///     let instance = Instance { state: State::Active, zone: zone.into(), tokens, ..Instance::new(id, "") };
///     members.observe(instance, 0);
/// }
/// let ring = Ring::build(&Options { zone_awareness: true, ..Options::default() }, &members, 0)?;
/// let shard = ring.shuffle_shard("team-a", 6);
/// assert_eq!(shard.len(), 6);
/// // The tenant's keys are looked up among these.
/// assert!(shard.ring().owner(7).is_some_and(|owner| shard.contains(&owner.id)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shard<'r> {
    ring: &'r Ring,
    /// Ascending.
    members: SmallVec<[u16; 32]>,
    whole: bool,
    own: OnceLock<Ring>,
}

impl Ring {
    /// The shard of a tenant for writes, of instances with tokens: `size` of them, rounded up to as many in each zone, or
    /// all if 0. To read by it would miss those whose tokens are not known yet: ask with a lookback. By
    /// [`TokenWalk`]. O(size · zones) expected, without allocation up to 32, while there are many more to choose from. Near
    /// the whole of a zone, or of those in it that are not read-only, O(instances · log tokens) for each one more: ask for
    /// all, with 0, rather than for nearly all.
    pub fn shuffle_shard(&self, tenant: &str, size: usize) -> Shard<'_> {
        self.shard_by(&TokenWalk, &Query { tenant, size, lookback: None })
    }

    /// The shard of a query, by an algorithm. With a lookback O(instances) more.
    pub fn shard_by(&self, sharder: &impl Sharder, query: &Query<'_>) -> Shard<'_> {
        let mut chosen = Chosen::default();
        let zones = self.topology().zones().all();
        let want = query.size.div_ceil(zones.len().max(1));
        for (number, zone) in (0..).zip(zones) {
            let hash = zone.hash;
            let zone = Zone::new(self, number, zone, query.lookback);
            chosen.begin_zone();
            if query.size == 0 {
                for &member in zone.members().iter().filter(|&&member| zone.standing(member) != Standing::Out)
                {
                    chosen.add(member);
                }
            } else {
                sharder.choose(&zone, xxh3_64_with_seed(query.tenant.as_bytes(), hash), want, &mut chosen);
                for member in zone.came_back() {
                    if !chosen.contains(member) {
                        chosen.add(member);
                    }
                }
            }
        }
        if let Some(lookback) = query.lookback {
            chosen.begin_zone();
            zone::without_tokens(self, lookback).for_each(|member| chosen.add(member));
        }
        Shard { ring: self, members: chosen.sorted(), whole: query.size == 0, own: OnceLock::new() }
    }
}

impl Lookback {
    /// Since when a change matters, nanoseconds since 1970.
    fn since_ns(self) -> i64 {
        let period_ns = i64::try_from(self.period.as_nanos()).unwrap_or(i64::MAX);
        self.now_unix_ns.saturating_sub(period_ns)
    }
}

impl<'r> Shard<'r> {
    /// Whether the instance `id` is in it. O(log instances).
    pub fn contains(&self, id: &str) -> bool {
        self.ring.number_of(id).is_some_and(|member| self.members.binary_search(&member).is_ok())
    }

    /// The instances, by ascending id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'r Instance> + '_ {
        self.members.iter().map(|&member| &**self.ring.instance_at(member))
    }

    /// Their numbers in the ring, ascending.
    pub(crate) fn members(&self) -> &[u16] {
        &self.members
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none: nobody has tokens, or all are read-only.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it is the whole ring, but for those that are read-only.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// A ring of these alone, for lookups of the tenant's keys or for shards of the shard. Built at the first call, in
    /// O(tokens of the shard · log tokens), so keep the shard for as long as the snapshot; health is as of then.
    pub fn ring(&self) -> &Ring {
        self.own.get_or_init(|| {
            let members = self.members.iter().map(|&member| self.ring.member_at(member).clone());
            self.ring
                .of_members(members.collect())
                .expect("a part of a ring that was built is within the limits")
        })
    }
}

impl fmt::Debug for Shard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.iter().map(|instance| &*instance.id).collect();
        f.debug_struct("Shard").field("ids", &ids).field("whole", &self.whole).finish_non_exhaustive()
    }
}
