//! Why a key has the replica set it has, token by token.
//!
//! Invariant: the walk here is the plain one, without index, precomputed sets or short cuts, so it is the second
//! implementation that [`Ring::get`] is checked against.

use std::collections::BTreeMap;
use std::fmt;

use super::Ring;
use crate::error::Error;
use crate::instance::{Instance, State};
use crate::operation::Operation;
use crate::replication::GetOptions;
use crate::token::Token;

/// Steps that are listed; a walk past many instances that extend takes more.
const MAX_LISTED: usize = 1_024;

/// What came of one token of the walk.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its instance is selected and gets requests.
    Serves,
    /// It is selected and counts in the quorum, but its heartbeat is too old for requests.
    Silent,
    /// It is selected and counts in the quorum, but its state does not serve the operation.
    Refuses(State),
    /// It was selected by an earlier token.
    Known,
    /// Its zone has all it can have.
    ZoneSettled,
}

/// One token of the walk.
#[derive(Debug, Clone, Copy)]
pub struct Step<'r> {
    /// The token.
    pub token: Token,
    /// Whose it is.
    pub instance: &'r Instance,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether it made the set one larger.
    pub extends: bool,
}

/// How a key came to its replica set, or why it has none.
#[derive(Debug, Clone)]
pub struct Explanation<'r> {
    /// The key.
    pub key: Token,
    /// The tokens in the order of the walk, at most 1,024 of them.
    pub steps: Vec<Step<'r>>,
    /// How many further tokens were looked at.
    pub unlisted: usize,
    /// Who was selected and does not serve.
    pub down: Vec<&'r Instance>,
    /// How many were selected.
    pub selected: usize,
    /// Of these, how many serve.
    pub healthy: usize,
    /// How many must succeed.
    pub needed: usize,
    /// How many may fail, or why there is no set.
    pub outcome: Result<usize, Error>,
}

impl Ring {
    /// How [`get_with`](Self::get_with) comes to its answer for this key. O(tokens · instances) at worst: for people, not
    /// for requests.
    pub fn explain(
        &self,
        key: impl Into<Token>,
        op: Operation,
        options: impl Into<GetOptions>,
    ) -> Explanation<'_> {
        let (key, options) = (key.into(), options.into());
        let empty = Explanation {
            key,
            steps: Vec::new(),
            unlisted: 0,
            down: Vec::new(),
            selected: 0,
            healthy: 0,
            needed: 0,
            outcome: Err(Error::Empty),
        };
        let replicas = match self.replicas(&options) {
            Ok(replicas) if self.token_count() > 0 => replicas,
            Ok(_) => return empty,
            Err(error) => return Explanation { outcome: Err(error), ..empty },
        };
        let mut walk = Walk {
            ring: self,
            op,
            selected: Vec::new(),
            settled: BTreeMap::new(),
            wanted: replicas,
            each: self.replicas_per_zone(replicas),
        };
        let mut explanation = empty;
        let mut is_over = false;
        let mut rows: Vec<(u32, u16)> = self.topology.rows().iter().collect();
        rows.sort_by_key(|&(token, _)| key.distance_to(Token(token)));
        for (token, member) in rows {
            if walk.selected.len() >= walk.wanted || is_over {
                break;
            }
            let before = walk.selected.len();
            let step = walk.step(Token(token), member);
            is_over = walk.selected.len() > before && !walk.has_more();
            match step.verdict {
                Verdict::Serves => explanation.healthy += 1,
                Verdict::Silent | Verdict::Refuses(_) => explanation.down.push(step.instance),
                Verdict::Known | Verdict::ZoneSettled => {}
            }
            if explanation.steps.len() < MAX_LISTED {
                explanation.steps.push(step);
            } else {
                explanation.unlisted += 1;
            }
        }
        explanation.selected = walk.selected.len();
        explanation.needed = options.require.needed(options.base, replicas, explanation.selected);
        let (needed, found) = (explanation.needed, explanation.healthy);
        explanation.outcome = found.checked_sub(needed).ok_or(Error::TooManyUnhealthy { needed, found });
        explanation
    }
}

struct Walk<'r> {
    ring: &'r Ring,
    op: Operation,
    selected: Vec<u16>,
    /// How many of each zone are selected that do not extend.
    settled: BTreeMap<&'r str, usize>,
    wanted: usize,
    /// How many of a zone are wanted.
    each: usize,
}

impl<'r> Walk<'r> {
    fn zone_of(&self, instance: &'r Instance) -> Option<&'r str> {
        Some(&*instance.zone).filter(|zone| self.ring.options.zone_awareness && !zone.is_empty())
    }

    fn is_settled(&self, zone: Option<&str>) -> bool {
        zone.and_then(|zone| self.settled.get(zone)).is_some_and(|&count| count == self.each)
    }

    /// Whether there is anyone left whom a further token could add.
    fn has_more(&self) -> bool {
        let owned = self.ring.topology.owned().iter();
        (0..).zip(self.ring.instances()).zip(owned).any(|((member, instance), tokens)| {
            !tokens.is_empty() && !self.selected.contains(&member) && !self.is_settled(self.zone_of(instance))
        })
    }

    fn step(&mut self, token: Token, member: u16) -> Step<'r> {
        let instance: &'r Instance = self.ring.instance_at(member);
        let zone = self.zone_of(instance);
        let mut step = Step { token, instance, verdict: Verdict::Known, extends: false };
        if self.selected.contains(&member) {
            return step;
        }
        if self.is_settled(zone) {
            step.verdict = Verdict::ZoneSettled;
            return step;
        }
        self.selected.push(member);
        step.extends = self.op.extends(instance.state);
        if step.extends {
            self.wanted += 1;
        } else if let Some(zone) = zone {
            *self.settled.entry(zone).or_default() += 1;
        }
        step.verdict = if !self.op.serves(instance.state) {
            Verdict::Refuses(instance.state)
        } else if !self.ring.health.is_fresh(member) {
            Verdict::Silent
        } else {
            Verdict::Serves
        };
        step
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Serves => f.write_str("serves"),
            Verdict::Silent => f.write_str("is silent"),
            Verdict::Refuses(state) => write!(f, "is {state}"),
            Verdict::Known => f.write_str("is selected already"),
            Verdict::ZoneSettled => f.write_str("zone has enough"),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}", self.key)?;
        for Step { token, instance, verdict, extends } in &self.steps {
            let extends = if *extends { ", one more is selected" } else { "" };
            writeln!(f, "  token {token}: {} in zone {:?} {verdict}{extends}", instance.id, &*instance.zone)?;
        }
        if self.unlisted > 0 {
            writeln!(f, "  and {} more tokens", self.unlisted)?;
        }
        write!(f, "{} selected, {} serve, {} must succeed: ", self.selected, self.healthy, self.needed)?;
        match &self.outcome {
            Ok(errors) => write!(f, "{errors} may fail"),
            Err(error) => write!(f, "{error}"),
        }
    }
}
