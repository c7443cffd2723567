//! What a ring knows as long as nobody's tokens or zone change: whose each token is, and which members
//! a walk from each token selects.
//!
//! Invariants: every token has one owner; a walk selects at most one member of each *group* that does
//! not extend, where a group is a zone if zones count, and otherwise a single member.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{Options, Ring};
use crate::error::BuildError;
use crate::instance::State;
use crate::membership::Member;
use crate::replication::Members;
use crate::ring::index::Index;
use crate::token::{Token, TokenSet};

/// Tokens a walk looks at one by one. It usually needs fewer than ten; one that must pass over a whole
/// zone would need almost all tokens, so beyond this it looks for the nearest members instead.
const MAX_STEPS: usize = 64;

/// How many of the nearest members are looked for at once: as many as a selection holds on the stack. A
/// selection that has outgrown that has many to go, and looks for more with every pass.
const NEAREST: usize = 8;

/// Larger replica sets are not precomputed: walks find them at a cost that is small beside that of using them.
const LARGEST_HOME: usize = 16;

/// Members in all precomputed sets together, at 2 bytes each. Beyond these 512 MiB none are precomputed, lest a
/// factor that fits a small ring cost gigabytes on the largest.
const MAX_HOME_ENTRIES: usize = 1 << 28;

/// Tokens, their owners, and what follows from them.
pub(super) struct Topology {
    tokens: Box<[u32]>,
    /// The member each token belongs to.
    owners: Box<[u16]>,
    /// `None` if there are no tokens.
    index: Option<Index>,
    /// For each token the members a walk from it selects if none extends: `home_len` numbers each.
    homes: Box<[u16]>,
    home_len: usize,
    /// The group of each member, and how many groups own a token.
    groups: Box<[u16]>,
    group_count: usize,
    /// The tokens of each member; with `contested`, fewer than some claim.
    owned: Box<[TokenSet]>,
    contested: bool,
}

/// The number of the member at this place.
pub(super) fn number(at: usize) -> u16 {
    u16::try_from(at).expect("a ring has at most 65534 members")
}

impl Topology {
    pub(super) fn build(options: &Options, members: &[Member]) -> Result<Self, BuildError> {
        if options.replication_factor == 0 {
            return Err(BuildError::NoReplicas);
        }
        if members.len() > Ring::MAX_INSTANCES {
            return Err(BuildError::TooManyInstances { found: members.len(), max: Ring::MAX_INSTANCES });
        }
        let claimed = members.iter().map(|member| member.instance.tokens.len()).sum();
        if claimed > Ring::MAX_TOKENS {
            return Err(BuildError::TooManyTokens { found: claimed, max: Ring::MAX_TOKENS });
        }
        let (tokens, owners) = settle_claims(members, claimed);
        let contested = tokens.len() < claimed;
        let groups = groups_of(options, members);
        let mut topology = Self {
            owned: if contested {
                owned_sets(members.len(), &tokens, &owners)
            } else {
                members.iter().map(|member| member.instance.tokens.clone()).collect()
            },
            contested,
            index: (!tokens.is_empty()).then(|| Index::build(&tokens)),
            tokens,
            homes: Box::default(),
            home_len: 0,
            group_count: count_groups(&owners, &groups),
            owners,
            groups,
        };
        topology.precompute_homes(usize::from(options.replication_factor));
        Ok(topology)
    }

    /// Whether `new` members would make the topology that `old` ones made.
    pub(super) fn fits(&self, old: &[Member], new: &[Member]) -> bool {
        old.len() == new.len()
            && old.iter().zip(new).all(|(old, new)| {
                let (old, new) = (&old.instance, &new.instance);
                // States decide only between members that claim the same token.
                let same_claim = !self.contested || yields(old.state) == yields(new.state);
                same_claim && old.id == new.id && old.zone == new.zone && old.tokens.same_as(&new.tokens)
            })
    }

    pub(super) fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// The place of the first token strictly greater than `key`, wrapping.
    pub(super) fn successor(&self, key: Token) -> Option<usize> {
        Some(self.index.as_ref()?.successor(&self.tokens, key.0))
    }

    pub(super) fn owner_at(&self, at: usize) -> u16 {
        self.owners[at]
    }

    /// The members selected from the token at this place on if none of them extends; `None` if that is
    /// not known beforehand.
    pub(super) fn home(&self, at: usize) -> Option<&[u16]> {
        (self.home_len > 0).then(|| &self.homes[at * self.home_len..][..self.home_len])
    }

    /// Selects from the token at `at` on, which is the first after `key`, until there are `replicas`
    /// members and one more for each of them that extends.
    pub(super) fn walk(
        &self,
        key: Token,
        at: usize,
        replicas: usize,
        extends: impl Fn(u16) -> bool,
    ) -> Members {
        let mut selection = Selection { members: Members::new(), settled: Members::new(), wanted: replicas };
        let steps = self.tokens.len().min(MAX_STEPS);
        for place in (at..self.tokens.len()).chain(0..at).take(steps) {
            if selection.is_complete(self) {
                return selection.members;
            }
            let owner = self.owners[place];
            if !selection.members.contains(&owner) {
                selection.offer(owner, self, &extends);
            }
        }
        if steps < self.tokens.len() && !selection.is_complete(self) {
            let last_seen = self.tokens[(at + steps - 1) % self.tokens.len()];
            self.walk_far(key, Token(last_seen), &mut selection, extends);
        }
        selection.members
    }

    /// Goes on with a walk from `key` that is past `last_seen`, from member to member instead of from token
    /// to token. Every pass but the last selects someone, and passes over a large selection look four times
    /// as far each, so there are few of them.
    fn walk_far(
        &self,
        key: Token,
        last_seen: Token,
        selection: &mut Selection,
        extends: impl Fn(u16) -> bool,
    ) {
        let mut seen = key.distance_to(last_seen);
        let mut most = NEAREST;
        while !selection.is_complete(self) {
            let nearest = self.beyond(key, seen, most, &selection.settled);
            for &(distance, member) in &nearest {
                if selection.is_complete(self) {
                    return;
                }
                seen = distance;
                selection.offer(member, self, &extends);
            }
            if nearest.len() < most {
                return;
            }
            if selection.members.len() > NEAREST {
                most *= 4;
            }
        }
    }

    /// The `most` nearest of the members that a walk from `key` meets farther away than `seen`, nearest
    /// first, each with its distance; none of a group that is settled. O(members · log tokens), however many
    /// tokens lie between them.
    fn beyond(&self, key: Token, seen: u32, most: usize, settled: &[u16]) -> Nearest {
        let mut nearest = Nearest::new();
        for (member, tokens) in (0..).zip(&self.owned) {
            if settled.contains(&self.groups[usize::from(member)]) {
                continue;
            }
            let Some(token) = tokens.first_after(key) else { continue };
            let distance = key.distance_to(token);
            if distance <= seen {
                continue;
            }
            if nearest.len() == 2 * most {
                nearest.sort_unstable();
                nearest.truncate(most);
            }
            nearest.push((distance, member));
        }
        nearest.sort_unstable();
        nearest.truncate(most);
        nearest
    }

    /// How many keys each member owns.
    pub(super) fn owned_keys(&self) -> std::vec::IntoIter<u64> {
        let mut keys = vec![0; self.owned.len()];
        let mut previous = self.tokens.last().copied().unwrap_or_default();
        for (&token, &owner) in self.tokens.iter().zip(&self.owners) {
            // The range is [previous, token); with one token it is the whole circle, not nothing.
            let range = u64::from(token.wrapping_sub(previous).wrapping_sub(1)) + 1;
            keys[usize::from(owner)] += range;
            previous = token;
        }
        keys.into_iter()
    }

    /// Goes backwards over the tokens: the walk from a token is its owner followed by the walk from the
    /// next token without the owner's group. One pass, however far apart the groups lie.
    fn precompute_homes(&mut self, replicas: usize) {
        let len = home_len(self.tokens.len(), replicas.min(self.group_count));
        if len == 0 {
            return;
        }
        let group = |member: u16| self.groups[usize::from(member)];
        let mut home = Members::new();
        for &owner in &self.owners {
            if home.len() == len {
                break;
            }
            if !home.iter().any(|&member| group(member) == group(owner)) {
                home.push(owner);
            }
        }
        let mut homes = vec![0; self.owners.len() * len];
        for (&owner, slot) in self.owners.iter().zip(homes.chunks_exact_mut(len)).rev() {
            home.retain(|member| group(*member) != group(owner));
            home.insert(0, owner);
            home.truncate(len);
            slot.copy_from_slice(&home);
        }
        self.homes = homes.into();
        self.home_len = len;
    }
}

/// Members by their distance; twice as many as are wanted, so that those too far are sorted out seldom.
type Nearest = SmallVec<[(u32, u16); 2 * NEAREST]>;

/// Members selected so far.
struct Selection {
    members: Members,
    /// Groups from which no further member is wanted; no more than there are replicas.
    settled: Members,
    wanted: usize,
}

impl Selection {
    fn is_complete(&self, topology: &Topology) -> bool {
        self.members.len() >= self.wanted || self.settled.len() == topology.group_count
    }

    /// `member` was not selected before.
    fn offer(&mut self, member: u16, topology: &Topology, extends: impl Fn(u16) -> bool) {
        let group = topology.groups[usize::from(member)];
        if self.settled.contains(&group) {
            return;
        }
        self.members.push(member);
        if extends(member) {
            self.wanted += 1;
        } else {
            self.settled.push(group);
        }
    }
}

/// How many members of each token's replica set are precomputed: all that a walk `selects`, or none.
fn home_len(tokens: usize, selects: usize) -> usize {
    if selects > LARGEST_HOME || tokens * selects > MAX_HOME_ENTRIES { 0 } else { selects }
}

/// Whether a member in this state gives way to another that claims the same token.
fn yields(state: State) -> bool {
    matches!(state, State::Leaving | State::Left)
}

/// Sorts all claims and keeps the best of those to the same token.
fn settle_claims(members: &[Member], claimed: usize) -> (Box<[u32]>, Box<[u16]>) {
    let mut claims: Vec<(u32, bool, u16)> = Vec::with_capacity(claimed);
    for (at, member) in members.iter().enumerate() {
        let (yields, number) = (yields(member.instance.state), number(at));
        claims.extend(member.instance.tokens.iter().map(|&token| (token, yields, number)));
    }
    claims.sort_unstable();
    claims.dedup_by_key(|&mut (token, _, _)| token);
    let (tokens, owners): (Vec<_>, Vec<_>) =
        claims.into_iter().map(|(token, _, number)| (token, number)).unzip();
    (tokens.into(), owners.into())
}

/// The tokens of each of `members` members after all claims are settled.
fn owned_sets(members: usize, tokens: &[u32], owners: &[u16]) -> Box<[TokenSet]> {
    let mut owned = vec![Vec::new(); members];
    for (&token, &owner) in tokens.iter().zip(owners) {
        owned[usize::from(owner)].push(token);
    }
    owned.into_iter().map(TokenSet::from).collect()
}

/// One group for each zone, and one for each member that has none or whose zone does not count.
fn groups_of(options: &Options, members: &[Member]) -> Box<[u16]> {
    let mut zones: HashMap<&str, u16> = HashMap::new();
    let mut next = 0;
    let mut fresh = || {
        let group = next;
        next += 1;
        group
    };
    let groups = members.iter().map(|member| {
        let zone = &*member.instance.zone;
        if !options.zone_awareness || zone.is_empty() {
            return fresh();
        }
        *zones.entry(zone).or_insert_with(&mut fresh)
    });
    groups.collect()
}

fn count_groups(owners: &[u16], groups: &[u16]) -> usize {
    let mut owning = vec![false; groups.len()];
    for &owner in owners {
        owning[usize::from(groups[usize::from(owner)])] = true;
    }
    owning.into_iter().filter(|&owns| owns).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precomputed_sets_never_take_more_than_half_a_gibibyte() {
        assert_eq!(home_len(Ring::MAX_TOKENS, 3), 3);
        assert_eq!(home_len(Ring::MAX_TOKENS, 4), 4);
        assert_eq!(home_len(Ring::MAX_TOKENS, 5), 0);
        assert_eq!(home_len(Ring::MAX_TOKENS / 4, 16), 16);
        assert_eq!(home_len(1, 17), 0);
        for selects in 0..=255 {
            for tokens in (0..=Ring::MAX_TOKENS).step_by(1 << 18) {
                assert!(tokens * home_len(tokens, selects) * size_of::<u16>() <= 512 << 20);
            }
        }
    }
}
