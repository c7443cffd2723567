//! Many policies as one immutable, indexed set with one total order: tenant's rules, everyone's rules,
//! tenant's defaults, everyone's defaults; within each the priority, then the tie-break, then the id. So the
//! answer never depends on the order of loading, and a stream that nothing matches is kept.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

pub use loki::{LokiLimits, LokiOverrides, LokiStream};

use crate::chunk::ChunkMeta;
use crate::decision::{Decision, Explanation, Match, Reason, Standing};
use crate::index::Index;
use crate::policy::{Policy, Scope};
use crate::selector::{Selector, SelectorError};

mod loki;

/// Which of two matching rules of the same scope and priority wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TieBreak {
    /// The longer one. The default, because a deletion cannot be taken back.
    #[default]
    Longest,
    /// The shorter one, as in Loki and S3. `Forever` never wins against a period.
    Shortest,
    /// Neither: the set does not compile while such rules may match the same stream.
    Reject,
}

/// Why policies do not make a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Two policies have the same id.
    #[error("two policies have the id {id}")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// Under [`TieBreak::Reject`]: two policies of the same scope and priority differ in retention, and some
    /// stream may match both.
    #[error("policies {first} and {second} have the same priority and may match the same stream")]
    Tie {
        /// The one whose id sorts first.
        first: String,
        /// The other.
        second: String,
    },
    /// A selector from Loki's limits does not parse.
    #[error("selector of {id} is not usable")]
    Selector {
        /// The place it has in the limits.
        id: String,
        /// Why.
        source: SelectorError,
    },
}

/// An immutable, compiled set of policies; share it behind an `Arc`, and replace it whole.
#[derive(Debug, Clone)]
pub struct PolicySet {
    levels: Vec<Level>,
    /// For a tenant with rules of its own, the levels to ask, in order.
    tenants: HashMap<String, Vec<usize>>,
    /// The levels to ask for any other tenant.
    others: Vec<usize>,
    tie: TieBreak,
}

/// Policies of one scope and standing in winning order, so that the first that matches wins.
#[derive(Debug, Clone)]
struct Level {
    policies: Vec<Policy>,
    index: Index,
}

impl Level {
    fn new(mut policies: Vec<Policy>, tie: TieBreak) -> Self {
        let length = |policy: &Policy| match tie {
            TieBreak::Shortest => (Some(policy.retention), None),
            TieBreak::Longest | TieBreak::Reject => (None, Some(Reverse(policy.retention))),
        };
        policies.sort_by(|a, b| {
            let order = (b.priority, length(a), &a.id);
            order.cmp(&(a.priority, length(b), &b.id))
        });
        let index = Index::build(policies.iter().map(|policy| &policy.selector));
        Self { policies, index }
    }

    fn selects(&self, position: usize, labels: &[(&str, &str)]) -> bool {
        self.policies.get(position).is_some_and(|policy| policy.selector.matches(labels))
    }

    fn winner(&self, labels: &[(&str, &str)]) -> Option<&Policy> {
        let position = self.index.lowest(labels, |position| self.selects(position, labels))?;
        self.policies.get(position)
    }

    fn matches(&self, labels: &[(&str, &str)]) -> impl Iterator<Item = &Policy> {
        let positions = self.index.all(labels, |position| self.selects(position, labels));
        positions.into_iter().filter_map(|position| self.policies.get(position))
    }

    /// The first two policies whose order only the tie-break decides, if a stream may match both.
    fn tie(&self) -> Option<(&Policy, &Policy)> {
        self.policies.iter().enumerate().find_map(|(n, first)| {
            let tied = |second: &&Policy| {
                second.retention != first.retention && !first.selector.is_disjoint(&second.selector)
            };
            let same =
                self.policies.iter().skip(n + 1).take_while(|second| second.priority == first.priority);
            Some((first, same.into_iter().find(tied)?))
        })
    }
}

impl PolicySet {
    /// Compiles `policies`. O(policies · requirements), and quadratic in the policies of one priority under
    /// [`TieBreak::Reject`].
    ///
    /// # Errors
    /// Two policies share an id, or a tie is to be rejected.
    pub fn compile(policies: impl IntoIterator<Item = Policy>, tie: TieBreak) -> Result<Self, CompileError> {
        let mut groups: BTreeMap<(Scope, bool), Vec<Policy>> = BTreeMap::new();
        let mut ids = HashSet::new();
        for policy in policies {
            if !ids.insert(policy.id.clone()) {
                return Err(CompileError::DuplicateId { id: policy.id });
            }
            groups.entry((policy.scope.clone(), policy.fallback)).or_default().push(policy);
        }
        let mut set = Self { levels: Vec::new(), tenants: HashMap::new(), others: Vec::new(), tie };
        let mut of = HashMap::new();
        for (group, policies) in groups {
            of.insert(group, set.push(policies)?);
        }
        let level = |scope: &Scope, fallback| of.get(&(scope.clone(), fallback)).copied();
        set.others = [false, true].into_iter().filter_map(|fallback| level(&Scope::All, fallback)).collect();
        for (scope, _) in of.keys() {
            if let Scope::Tenant(tenant) = scope {
                let order = [(scope, false), (&Scope::All, false), (scope, true), (&Scope::All, true)];
                let levels = order.into_iter().filter_map(|(scope, fallback)| level(scope, fallback));
                set.tenants.insert(tenant.clone(), levels.collect());
            }
        }
        Ok(set)
    }

    /// A set without policies: everything is kept.
    pub fn empty() -> Self {
        Self { levels: Vec::new(), tenants: HashMap::new(), others: Vec::new(), tie: TieBreak::default() }
    }

    fn push(&mut self, policies: Vec<Policy>) -> Result<usize, CompileError> {
        let level = Level::new(policies, self.tie);
        if self.tie == TieBreak::Reject
            && let Some((a, b)) = level.tie()
        {
            let (first, second) = if a.id < b.id { (a, b) } else { (b, a) };
            return Err(CompileError::Tie { first: first.id.clone(), second: second.id.clone() });
        }
        self.levels.push(level);
        Ok(self.levels.len() - 1)
    }

    /// The policies asked for a tenant, the winning level first.
    fn ladder(&self, tenant: &str) -> impl Iterator<Item = &Level> {
        self.tenants.get(tenant).unwrap_or(&self.others).iter().filter_map(|&level| self.levels.get(level))
    }

    /// All policies, in no particular order.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.levels.iter().flat_map(|level| &level.policies)
    }

    /// The policy that decides for a stream of `tenant` with these labels, sorted by name. It depends on
    /// nothing else, so it may be remembered per stream for the life of this set.
    ///
    /// O(labels) lookups, and one check for each policy that is anchored on one of the stream's labels.
    pub fn policy_for(&self, tenant: &str, labels: &[(&str, &str)]) -> Option<&Policy> {
        self.ladder(tenant).find_map(|level| level.winner(labels))
    }

    /// Until when `chunk` is kept: its period after its newest entry. A chunk goes as a whole or not at all.
    /// One that cannot be read, or that no policy matches, is kept.
    pub fn evaluate(&self, chunk: &ChunkMeta<'_>) -> Decision<'_> {
        if !chunk.is_readable() {
            return Decision::kept(Reason::Unreadable);
        }
        match self.policy_for(chunk.tenant, chunk.labels) {
            Some(policy) => Decision::matched(&policy.id, policy.retention, chunk.range.max_ns()),
            None => Decision::kept(Reason::NoPolicy),
        }
    }

    /// Every policy that matches a stream of `tenant` with these labels, sorted by name, and why it wins or
    /// not.
    pub fn explain(&self, tenant: &str, labels: &[(&str, &str)]) -> Explanation {
        let mut matches: Vec<Match> = Vec::new();
        for level in self.ladder(tenant) {
            let shadowed = !matches.is_empty();
            let mut best: Option<&Policy> = None;
            for policy in level.matches(labels) {
                let standing = match best {
                    _ if shadowed => Standing::Shadowed,
                    None => Standing::Wins,
                    Some(best) if best.priority > policy.priority => Standing::LowerPriority,
                    Some(best) if best.retention != policy.retention => Standing::LostTie,
                    Some(_) => Standing::LaterId,
                };
                best = best.or(Some(policy));
                matches.push(Match {
                    policy: policy.id.clone(),
                    scope: policy.scope.clone(),
                    fallback: policy.fallback,
                    priority: policy.priority,
                    retention: policy.retention,
                    standing,
                });
            }
        }
        Explanation { matches }
    }
}

#[cfg(test)]
mod tests;
