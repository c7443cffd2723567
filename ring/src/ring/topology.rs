//! What a ring knows as long as nobody's tokens or zone change: whose each token is, and which members
//! a walk from each token selects.
//!
//! Invariants: every token has one owner; a walk selects at most one member of each *group* that does
//! not extend, where a group is a zone if zones count, and otherwise a single member. If more replicas are asked for
//! than are configured it selects so many times more of each group.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::few::{self, Few, Met};
use super::health::{Beyond, Health};
use super::rows::Rows;
use super::{Options, Ring};
use crate::error::BuildError;
use crate::instance::State;
use crate::membership::Member;
use crate::operation::Operation;
use crate::replication::Members;
use crate::ring::index::Index;
use crate::ring::zones::Zones;
use crate::token::{Token, TokenSet};

/// Tokens a walk looks at one by one. It usually needs fewer than ten; one that must pass over a whole
/// zone would need almost all tokens, so beyond this it looks for the nearest members instead.
pub(super) const MAX_STEPS: usize = 64;

/// How many of the nearest members are looked for at once: as many as a selection holds on the stack. A
/// selection that has outgrown that has many to go, and looks for more with every pass.
const NEAREST: usize = 8;

/// Tokens, their owners, and what follows from them.
pub(crate) struct Topology {
    rows: Rows,
    /// `None` if there are no tokens.
    index: Option<Index>,
    /// The group of each member.
    groups: Box<[u16]>,
    /// How many members of each group own a token, and how many groups have one that does.
    owning: Box<[u16]>,
    group_count: usize,
    /// The tokens of each member, fewer than it claims if others claim them too.
    owned: Box<[TokenSet]>,
    /// Whether a member claims a token that another claims, for each of them; empty if none does.
    contests: Box<[bool]>,
    zones: Zones,
}

/// The number of the member at this place.
pub(crate) fn number(at: usize) -> u16 {
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
        let Claims { tokens, owners, contests } = settle_claims(members, claimed);
        let groups = groups_of(options, members);
        let owned: Box<[TokenSet]> = if contests.is_empty() {
            members.iter().map(|member| member.instance.tokens.clone()).collect()
        } else {
            owned_sets(members.len(), &tokens, &owners)
        };
        let mut owning = vec![0; groups.len()];
        for (&group, owned) in groups.iter().zip(&owned) {
            owning[usize::from(group)] += u16::from(!owned.is_empty());
        }
        let group_count = owning.iter().filter(|&&owning| owning > 0).count();
        let selects = usize::from(options.replication_factor).min(group_count);
        Ok(Self {
            index: (!tokens.is_empty()).then(|| Index::build(&tokens)),
            rows: Rows::build(tokens, owners, selects, |member| groups[usize::from(member)]),
            owning: owning.into(),
            group_count,
            groups,
            zones: Zones::of(options, members, &owned),
            owned,
            contests,
        })
    }

    /// Whether `new` members would make the topology that `old` ones made.
    pub(super) fn fits(&self, old: &[Member], new: &[Member]) -> bool {
        old.len() == new.len()
            && old.iter().zip(new).enumerate().all(|(at, (old, new))| {
                let (old, new) = (&old.instance, &new.instance);
                // States decide only between members that claim the same token.
                let contests = self.contests.get(at).is_some_and(|&contests| contests);
                let same_claim = !contests || yields(old.state) == yields(new.state);
                same_claim && old.id == new.id && old.zone == new.zone && old.tokens.same_as(&new.tokens)
            })
    }

    #[inline]
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The group of each member.
    #[inline]
    pub(super) fn groups(&self) -> &[u16] {
        &self.groups
    }

    /// How many members of each group own a token.
    pub(super) fn owning(&self) -> &[u16] {
        &self.owning
    }

    /// The tokens that each member owns.
    #[inline]
    pub(crate) fn owned(&self) -> &[TokenSet] {
        &self.owned
    }

    /// The zones that shards are balanced over.
    #[inline]
    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The owners of all tokens, once round from the first one after `key`.
    #[inline]
    pub(crate) fn owners_from(&self, key: Token) -> impl Iterator<Item = u16> + '_ {
        let at = self.successor(key).unwrap_or(0);
        (at..self.rows.len()).chain(0..at).map(|at| self.rows.owner(at))
    }

    /// How many members a walk selects of which none extends.
    #[inline]
    pub(super) fn selects(&self, replicas: usize) -> usize {
        replicas.min(self.group_count)
    }

    /// The place of the first token strictly greater than `key`, wrapping.
    #[inline]
    pub(crate) fn successor(&self, key: Token) -> Option<usize> {
        Some(self.rows.place_after(self.index.as_ref()?, key.0))
    }

    /// The owner of the first token strictly greater than `key`, wrapping.
    #[inline]
    pub(super) fn owner_after(&self, key: Token) -> Option<u16> {
        Some(self.rows.owner_after(self.index.as_ref()?, key.0))
    }

    /// The place of the first token after `key`, and the members that a walk from there selects if none of them extends,
    /// where they are few and known beforehand.
    #[inline]
    pub(super) fn home_after(&self, key: Token) -> Option<(usize, Few)> {
        self.rows.home_after(self.index.as_ref()?, key.0)
    }

    /// What [`walk_past`](Self::walk_past) finds where that takes few steps, without a branch on whom it meets: of `home`,
    /// which is that of the token at `at`, those that do not extend `op` are `settled`.
    #[inline]
    pub(super) fn pass(
        &self,
        at: usize,
        home: Few,
        replicas: usize,
        health: &Health,
        op: Operation,
    ) -> Option<Passed> {
        let beyond = health.beyond(op);
        if home.len() == self.group_count {
            // All of a group extend or none: the first of each is in the home, and the walk would go on over all tokens.
            let selected = usize::from(beyond.settleable) + usize::from(beyond.others);
            return beyond.is_pure.then_some(Passed::Home { selected });
        }
        let wanted = replicas.min(beyond.settleable.into());
        if wanted < self.selects(replicas) {
            return None;
        }
        let Met { settled, past } = few::walk(&self.rows, at, wanted, &self.groups, health, op)?;
        Some(Passed::Walked { settled, selected: settled.len() + past })
    }

    /// As [`walk`](Self::walk) for an operation that no state both serves and extends: the members that do not extend,
    /// and how many members are selected in all. Those that extend are counted and not listed, so a group of them
    /// costs no more than any other. `None` if 64 tokens are not enough.
    pub(super) fn walk_past(
        &self,
        at: usize,
        replicas: usize,
        health: &Health,
        op: Operation,
    ) -> Option<(Members, usize)> {
        let Beyond { settleable, others, is_pure } = health.beyond(op);
        let (settleable, others) = (usize::from(settleable), usize::from(others));
        if let Some(home) = self.rows.home(at)
            && home.len() == self.group_count
            && is_pure
        {
            // All of a group extend or none, so the first of each is known, and the walk would go on over all tokens.
            let settled: Members =
                home.iter().copied().filter(|&member| !health.extends(member, op)).collect();
            let selected = settled.len() + others;
            return Some((settled, selected));
        }
        let wanted = replicas.min(settleable);
        let mut settled = Members::new();
        let mut past: SmallVec<[u16; 16]> = SmallVec::new();
        let tokens = self.rows.len();
        let mut place = at;
        let mut steps = 0;
        while settled.len() < wanted {
            if steps == MAX_STEPS.min(tokens) {
                return None;
            }
            let member = self.rows.owner(place);
            let group = self.groups[usize::from(member)];
            if health.extends(member, op) {
                let is_settled = || settled.iter().any(|&other| self.groups[usize::from(other)] == group);
                if !past.contains(&member) && !is_settled() {
                    past.push(member);
                }
            } else if !settled.iter().any(|&other| self.groups[usize::from(other)] == group) {
                settled.push(member);
            }
            place = if place + 1 == tokens { 0 } else { place + 1 };
            steps += 1;
        }
        let mut selected = settled.len() + past.len();
        if wanted < self.selects(replicas) {
            // The walk would go on over all tokens, and select whoever of the other groups it has not met yet.
            let met =
                past.iter().filter(|&&member| !health.is_settleable(self.groups[usize::from(member)], op));
            selected += others - met.count();
        }
        Some((settled, selected))
    }

    /// Selects from the token at `at` on, which is the first after `key`, until there are `replicas`
    /// members, `each` of a group, and one more for each of them that extends.
    pub(super) fn walk(
        &self,
        key: Token,
        at: usize,
        replicas: usize,
        each: usize,
        extends: impl Fn(u16) -> bool,
    ) -> Members {
        let mut selection =
            Selection { members: Members::new(), settled: Members::new(), wanted: replicas, each };
        let tokens = self.rows.len();
        let steps = tokens.min(MAX_STEPS);
        for place in (at..tokens).chain(0..at).take(steps) {
            if selection.is_complete(self) {
                return selection.members;
            }
            let owner = self.rows.owner(place);
            if !selection.members.contains(&owner) {
                selection.offer(owner, self, &extends);
            }
        }
        if steps < tokens && !selection.is_complete(self) {
            let last_seen = self.rows.token((at + steps - 1) % tokens);
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
        let mut previous = self.rows.len().checked_sub(1).map_or(0, |last| self.rows.token(last));
        for (token, owner) in self.rows.iter() {
            // The range is [previous, token); with one token it is the whole circle, not nothing.
            let range = u64::from(token.wrapping_sub(previous).wrapping_sub(1)) + 1;
            keys[usize::from(owner)] += range;
            previous = token;
        }
        keys.into_iter()
    }
}

/// Who is selected where some extend, and how many with them.
pub(super) enum Passed {
    /// Of the home those that do not extend.
    Home { selected: usize },
    /// These, and some that extend.
    Walked { settled: Few, selected: usize },
}

/// Members by their distance; twice as many as are wanted, so that those too far are sorted out seldom.
type Nearest = SmallVec<[(u32, u16); 2 * NEAREST]>;

/// Members selected so far.
struct Selection {
    members: Members,
    /// Groups from which no further member is wanted; no more than there are replicas.
    settled: Members,
    wanted: usize,
    /// How many that do not extend settle a group.
    each: usize,
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
            return;
        }
        let is_like = |other: &&u16| topology.groups[usize::from(**other)] == group && !extends(**other);
        let most = self.each.min(usize::from(topology.owning[usize::from(group)]));
        if most == 1 || self.members.iter().filter(is_like).count() == most {
            self.settled.push(group);
        }
    }
}

/// Whether a member in this state gives way to another that claims the same token.
fn yields(state: State) -> bool {
    matches!(state, State::Leaving | State::Left)
}

/// All claims after they are settled: whose each token is, and who claims one that another claims.
struct Claims {
    tokens: Box<[u32]>,
    owners: Box<[u16]>,
    contests: Box<[bool]>,
}

/// Sorts all claims and keeps the best of those to the same token.
fn settle_claims(members: &[Member], claimed: usize) -> Claims {
    let mut claims: Vec<(u32, bool, u16)> = Vec::with_capacity(claimed);
    for (at, member) in members.iter().enumerate() {
        let (yields, number) = (yields(member.instance.state), number(at));
        claims.extend(member.instance.tokens.iter().map(|&token| (token, yields, number)));
    }
    claims.sort_unstable();
    let mut contests = Vec::new();
    claims.dedup_by(|&mut (token, _, loser), &mut (of, _, winner)| {
        if token == of {
            contests.resize(members.len(), false);
            contests[usize::from(loser)] = true;
            contests[usize::from(winner)] = true;
        }
        token == of
    });
    let (tokens, owners): (Vec<_>, Vec<_>) =
        claims.into_iter().map(|(token, _, number)| (token, number)).unzip();
    Claims { tokens: tokens.into(), owners: owners.into(), contests: contests.into() }
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
