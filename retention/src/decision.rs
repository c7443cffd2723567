//! What the policies and holds say about one chunk, and why. A decision does not depend on the present: it
//! says until when a chunk is kept, and only comparing that with a time says whether it may go.

use std::fmt;

use crate::chunk::ChunkMeta;
use crate::compile::PolicySet;
use crate::hold::Holds;
use crate::policy::{Retention, Scope};

/// Until when a chunk is kept; ordered, with [`Keep::Forever`] the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Keep {
    /// Through this instant, wall nanoseconds since 1970; it may go at the next one.
    Until(i64),
    /// Always.
    Forever,
}

/// The policies' decision on a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Decision<'p> {
    /// Until when.
    pub keep: Keep,
    /// The deciding policy's id, if one did.
    pub policy: Option<&'p str>,
    /// Why.
    pub reason: Reason,
}

/// Where a decision comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// A policy matched and won.
    Matched,
    /// No policy matches: kept.
    NoPolicy,
    /// The tenant is unknown, or the labels are not sorted or repeat: kept.
    Unreadable,
}

impl<'p> Decision<'p> {
    pub(crate) fn kept(reason: Reason) -> Self {
        Self { keep: Keep::Forever, policy: None, reason }
    }

    pub(crate) fn matched(policy: &'p str, retention: Retention, newest_ns: i64) -> Self {
        let keep = match retention {
            Retention::Forever => Keep::Forever,
            // What saturates lies beyond every timestamp, and so is never reached.
            Retention::For(period) => Keep::Until(newest_ns.saturating_add(period.nanos())),
        };
        Self { keep, policy: Some(policy), reason: Reason::Matched }
    }

    /// Whether the chunk is older than its period at `now_ns`: `now - newest entry > period`, strictly.
    pub fn is_expired_at(&self, now_ns: i64) -> bool {
        matches!(self.keep, Keep::Until(until_ns) if now_ns > until_ns)
    }
}

/// What may be done with a chunk at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict<'a> {
    /// Its period is over and nothing holds it.
    Expired {
        /// The deciding policy's id.
        policy: &'a str,
        /// The instant through which it was to be kept.
        keep_until_ns: i64,
    },
    /// A legal hold matches it, whatever its age.
    Held {
        /// The first such hold's id.
        hold: &'a str,
    },
    /// Its period is not over.
    Kept(Decision<'a>),
}

/// Judges one chunk. What cannot be read is kept; a hold wins over every policy.
pub fn judge<'a>(
    chunk: &ChunkMeta<'_>,
    policies: &'a PolicySet,
    holds: &'a Holds,
    now_ns: i64,
) -> Verdict<'a> {
    let decision = policies.evaluate(chunk);
    if decision.reason == Reason::Unreadable {
        return Verdict::Kept(decision);
    }
    if let Some(hold) = holds.first_match(chunk) {
        return Verdict::Held { hold: &hold.id };
    }
    match (decision.policy, decision.keep) {
        (Some(policy), Keep::Until(keep_until_ns)) if decision.is_expired_at(now_ns) => {
            Verdict::Expired { policy, keep_until_ns }
        }
        _ => Verdict::Kept(decision),
    }
}

/// Every policy that matches a stream, and which of them wins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// All that match, the winner first, the others in the order in which they would take its place.
    pub matches: Vec<Match>,
}

/// One matching policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Match {
    /// The policy's id.
    pub policy: String,
    /// Its scope.
    pub scope: Scope,
    /// Whether it is a default.
    pub fallback: bool,
    /// Its priority.
    pub priority: i32,
    /// How long it keeps.
    pub retention: Retention,
    /// How it fared.
    pub standing: Standing,
}

/// Why a matching policy wins or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Standing {
    /// It decides.
    Wins,
    /// A rule of a narrower scope matches, or an ordinary rule where this is a default.
    Shadowed,
    /// A rule of the same scope has a higher priority.
    LowerPriority,
    /// A rule of the same scope and priority has a retention that the tie-break prefers.
    LostTie,
    /// A rule equal in all of this has an id that sorts before.
    LaterId,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.matches.is_empty() {
            return f.write_str("no policy matches: kept forever");
        }
        for (n, found) in self.matches.iter().enumerate() {
            let Match { policy, scope, priority, retention, standing, .. } = found;
            let line = if n == 0 { "" } else { "\n" };
            write!(f, "{line}{policy} ({scope}, priority {priority}) keeps {retention}: {standing}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wins => "wins",
            Self::Shadowed => "shadowed by a narrower scope",
            Self::LowerPriority => "has a lower priority",
            Self::LostTie => "loses the tie",
            Self::LaterId => "has a later id",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn expired(newest_ns: i64, period: Duration, now_ns: i64) -> bool {
        Decision::matched("p", Retention::period(period).unwrap(), newest_ns).is_expired_at(now_ns)
    }

    #[test]
    fn a_chunk_expires_strictly_after_its_period() {
        assert!(!expired(100, Duration::from_nanos(10), 109));
        assert!(!expired(100, Duration::from_nanos(10), 110));
        assert!(expired(100, Duration::from_nanos(10), 111));
    }

    #[test]
    fn extreme_times_and_periods_saturate_towards_keeping() {
        assert!(!expired(i64::MAX, Duration::from_nanos(1), i64::MAX));
        assert!(!expired(0, Duration::MAX, i64::MAX));
        assert!(!expired(i64::MAX, Duration::from_nanos(1), i64::MIN));
        assert!(expired(i64::MIN, Duration::from_nanos(1), i64::MAX));
        assert!(!expired(i64::MIN, Duration::from_nanos(1), i64::MIN + 1));
    }

    #[test]
    fn what_is_kept_forever_never_expires() {
        assert!(!Decision::matched("p", Retention::Forever, i64::MIN).is_expired_at(i64::MAX));
        assert!(!Decision::kept(Reason::NoPolicy).is_expired_at(i64::MAX));
        assert!(Keep::Until(i64::MAX) < Keep::Forever);
    }
}
