//! The replica sets of many keys at once, turned around: for each instance the keys it is to get.
//!
//! Invariant: a key is in the call to an instance exactly if the instance is a healthy member of the key's replica set.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::Ring;
use crate::error::Error;
use crate::instance::Instance;
use crate::membership::Member;
use crate::operation::Operation;
use crate::replication::GetOptions;
use crate::token::Token;

/// Keys that are looked for together, so that the waits for memory overlap.
const BLOCK: usize = 16;

/// How many calls carry a key, and how many of them must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Calls.
    pub calls: usize,
    /// Successes that are required.
    pub acks: usize,
}

/// Which instances get which keys of a batch. Its buffers are used again by the next [`Ring::plan_batch`].
///
/// ```
/// use forebay_ring::{BatchPlan, Instance, Membership, Operation, Options, Require, Ring, State};
///
/// let mut members = Membership::default();
/// for (id, token) in [("a", 10), ("b", 20)] {
///     let tokens = vec![token].into();
///     members.observe(Instance { state: State::Active, tokens, ..Instance::new(id, "") }, 0);
/// }
/// let ring = Ring::build(&Options { replication_factor: 1, ..Options::default() }, &members, 0)?;
///
/// let mut plan = BatchPlan::default();
/// ring.plan_batch(&[5, 15, 25], Operation::WRITE, Require::Quorum, &mut plan);
/// let calls: Vec<(&str, &[u32])> = plan.calls().map(|(instance, keys)| (&*instance.id, keys)).collect();
/// assert_eq!(calls, [("a", &[0, 2][..]), ("b", &[1][..])]);
/// assert!(plan.needs().iter().all(|need| need.is_ok()));
/// # Ok::<(), forebay_ring::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct BatchPlan {
    /// Those of the ring that made it, whose numbers are others in the next.
    members: Arc<[Member]>,
    needs: Vec<Result<Need, Error>>,
    /// The members of each key's set, one key after the other.
    selected: Vec<u16>,
    /// For each member first how many keys it gets, then where the next one goes.
    places: Vec<u32>,
    calls: Vec<(u16, Range<u32>)>,
    keys: Vec<u32>,
}

impl BatchPlan {
    /// For each key what it needs, or why it is in no call.
    pub fn needs(&self) -> &[Result<Need, Error>] {
        &self.needs
    }

    /// The instances that get keys, by ascending id, each with the places of its keys in the batch, ascending.
    pub fn calls(&self) -> impl ExactSizeIterator<Item = (&Arc<Instance>, &[u32])> {
        self.calls.iter().map(|(member, range)| {
            let instance = &self.members[usize::from(*member)].instance;
            (instance, &self.keys[range.start as usize..range.end as usize])
        })
    }

    /// The places of the keys of all calls, one call after the other.
    #[cfg(feature = "tokio")]
    pub(crate) fn keys_of_all_calls(&self) -> &[u32] {
        &self.keys
    }

    fn clear(&mut self, members: &Arc<[Member]>) {
        if !Arc::ptr_eq(&self.members, members) {
            self.members = Arc::clone(members);
        }
        self.needs.clear();
        self.selected.clear();
        self.calls.clear();
        self.places.clear();
        self.places.resize(members.len(), 0);
    }

    fn select(&mut self, members: &[u16]) {
        self.selected.extend_from_slice(members);
        for &member in members {
            self.places[usize::from(member)] += 1;
        }
    }

    /// A counting sort: each key goes to the next free place of each of its members, so keys stay ascending.
    fn turn_around(&mut self) {
        let mut start = 0;
        for (member, place) in (0..).zip(&mut self.places) {
            let count = std::mem::replace(place, start);
            if count > 0 {
                self.calls.push((member, start..start + count));
                start += count;
            }
        }
        self.keys.clear();
        self.keys.resize(self.selected.len(), 0);
        let mut selected = self.selected.iter();
        for (key, need) in (0..).zip(&self.needs) {
            let calls = need.as_ref().map_or(0, |need| need.calls);
            for &member in selected.by_ref().take(calls) {
                let place = &mut self.places[usize::from(member)];
                self.keys[*place as usize] = key;
                *place += 1;
            }
        }
    }
}

impl fmt::Debug for BatchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls().map(|(instance, keys)| (&*instance.id, keys));
        f.debug_map().entries(calls).finish()
    }
}

impl Ring {
    /// Finds the replicas of all keys at once, as [`get_with`](Self::get_with) does for each. A key that cannot be
    /// placed fails alone. Allocates nothing once the plan has grown to the size of such a batch. O(keys · replicas +
    /// instances) expected.
    ///
    /// # Panics
    ///
    /// If there are more than 2^32 copies to be made.
    pub fn plan_batch<K: Copy + Into<Token>>(
        &self,
        keys: &[K],
        op: Operation,
        options: impl Into<GetOptions>,
        plan: &mut BatchPlan,
    ) {
        let options = options.into();
        plan.clear(&self.members);
        let replicas = match self.replicas(&options) {
            Ok(replicas) if self.topology.rows().len() > 0 => replicas,
            other => {
                let error = other.err().unwrap_or(Error::Empty);
                plan.needs.resize(keys.len(), Err(error));
                return;
            }
        };
        let configured = replicas == usize::from(self.options.replication_factor);
        let stands = configured && self.health.all_stand(op);
        let mut places = [0; BLOCK];
        for block in keys.chunks(BLOCK) {
            for (place, &key) in places.iter_mut().zip(block) {
                *place = self.topology.successor(key.into()).unwrap_or(0);
            }
            for (&at, &key) in places.iter().zip(block) {
                let home = if stands { self.topology.rows().home(at) } else { None };
                let walked;
                let (members, selected) = match home {
                    Some(home) => (home, home.len()),
                    None => {
                        let few = if configured { self.topology.rows().few(at) } else { None };
                        walked = self.select(key.into(), at, few, op, replicas);
                        (&*walked.0, walked.1)
                    }
                };
                let acks = options.require.needed(options.base, replicas, selected);
                if members.len() < acks {
                    plan.needs.push(Err(Error::TooManyUnhealthy { needed: acks, found: members.len() }));
                } else {
                    plan.needs.push(Ok(Need { calls: members.len(), acks }));
                    plan.select(members);
                }
            }
        }
        assert!(u32::try_from(plan.selected.len()).is_ok(), "a batch of more than 2^32 copies");
        plan.turn_around();
    }
}
