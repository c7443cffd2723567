//! What has expired, as a pure function of chunks, policies, holds and the time. The sweep asks the same functions,
//! so the two cannot disagree about a chunk. Whether a sweep would delete all that now depends on what it remembers:
//! the marks, what it has let through before, the clock so far. That is for [`Sweeper::forecast`] to say.
//!
//! [`Sweeper::forecast`]: crate::Sweeper::forecast

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::chunk::{ChunkMeta, TimeRange};
use crate::clock::{ClockDoubt, ClockHealth, Now};
use crate::compile::PolicySet;
use crate::decision::{Reason, Verdict, judge};
use crate::error::Error;
use crate::hold::Holds;

/// How far ahead of the clock a chunk's newest entry may be before it is counted as data from the future:
/// ten minutes, the same as Loki's `creation_grace_period`.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(600);

/// A count of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Tally {
    /// How many.
    pub chunks: u64,
    /// Their size; saturates.
    pub bytes: u64,
    /// The oldest entry in any, wall nanoseconds since 1970.
    pub oldest_ns: Option<i64>,
    /// The newest entry in any.
    pub newest_ns: Option<i64>,
}

impl Tally {
    /// Counts one more chunk.
    pub fn add(&mut self, range: TimeRange, size_bytes: u64) {
        self.chunks = self.chunks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size_bytes);
        self.oldest_ns = Some(self.oldest_ns.map_or(range.min_ns(), |oldest| oldest.min(range.min_ns())));
        self.newest_ns = self.newest_ns.max(Some(range.max_ns()));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chunks, {} bytes", self.chunks, self.bytes)
    }
}

/// How many chunks there are of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Census {
    /// All that were listed.
    pub listed: Tally,
    /// Past their period and not held.
    pub expired: Tally,
    /// Matched by a hold in force, whatever their age.
    pub held: Tally,
    /// Within their period, or not matched by any policy.
    pub kept: Tally,
    /// Kept because the tenant is unknown or the labels are not in order: an error of whoever wrote them.
    pub unreadable: Tally,
    /// Newer than the clock by more than [`FUTURE_TOLERANCE`]; also counted above.
    pub future: Tally,
}

impl Census {
    pub(crate) fn add(&mut self, chunk: &ChunkMeta<'_>, verdict: &Verdict<'_>, now_ns: i64) {
        let kind = match verdict {
            Verdict::Expired { .. } => &mut self.expired,
            Verdict::Held { .. } => &mut self.held,
            Verdict::Kept(decision) if decision.reason == Reason::Unreadable => &mut self.unreadable,
            Verdict::Kept(_) => &mut self.kept,
        };
        kind.add(chunk.range, chunk.size_bytes);
        self.listed.add(chunk.range, chunk.size_bytes);
        let ahead = i128::from(chunk.range.max_ns()) - i128::from(now_ns);
        if u128::try_from(ahead).is_ok_and(|ahead| ahead > FUTURE_TOLERANCE.as_nanos()) {
            self.future.add(chunk.range, chunk.size_bytes);
        }
    }
}

/// Why nothing may be deleted although something has expired.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Refusal {
    /// The clock is not believed; without the true time nothing has expired.
    ClockDoubt(#[cfg_attr(feature = "serde", serde(serialize_with = "as_text"))] ClockDoubt),
    /// The listing was empty. An index that was lost looks the same, so it never means that all is gone.
    EmptyListing,
    /// More has newly expired than may go in one pass, as after a mistaken change of policy.
    BlastRadius {
        /// What has expired and was not let through by an earlier pass.
        expired_chunks: u64,
        /// Of how many.
        listed_chunks: u64,
        /// The share that may go, 0 to 1, by count and by bytes.
        max_fraction: f64,
    },
}

#[cfg(feature = "serde")]
fn as_text<S: serde::Serializer>(doubt: &ClockDoubt, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(doubt)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockDoubt(doubt) => write!(f, "{doubt}"),
            Self::EmptyListing => write!(f, "the listing is empty"),
            Self::BlastRadius { expired_chunks, listed_chunks, max_fraction } => {
                write!(
                    f,
                    "{expired_chunks} of {listed_chunks} chunks have newly expired, more than the share {max_fraction}"
                )
            }
        }
    }
}

/// A chunk that may go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Expired {
    /// Its tenant.
    pub tenant: String,
    /// Its id.
    pub id: String,
    /// What deleting it frees.
    pub size_bytes: u64,
    /// The policy that decided.
    pub policy: String,
    /// The instant through which it was to be kept, wall nanoseconds since 1970.
    pub keep_until_ns: i64,
}

/// What has expired, what is held and what is kept.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Plan {
    /// The counts.
    pub census: Census,
    /// Every expired chunk, in listing order. Empty when the plan is refused.
    pub expired: Vec<Expired>,
    /// The expired chunks by the policy that decided.
    pub policies: BTreeMap<String, Tally>,
    /// Why nothing may go, if so: a clock that the caller doubts, or an empty listing. What takes a memory of
    /// earlier passes is not found here: [`Refusal::BlastRadius`], [`ClockDoubt::WentBack`] and
    /// [`ClockDoubt::JumpedForward`].
    pub refusal: Option<Refusal>,
}

/// Plans for a whole listing at once; see [`Planner`].
///
/// # Errors
/// [`Error::Contract`] when the listing is not in order.
pub fn plan<'c>(
    chunks: impl IntoIterator<Item = ChunkMeta<'c>>,
    policies: &PolicySet,
    holds: &Holds,
    now: Now,
) -> Result<Plan, Error> {
    let mut planner = Planner::new(policies, holds, now);
    for chunk in chunks {
        planner.add(&chunk)?;
    }
    Ok(planner.finish())
}

/// Takes a listing chunk by chunk, in ascending order of tenant and id. A chunk that is listed twice in a row
/// counts once, and is kept if either listing says so. Memory grows with the expired chunks only.
#[derive(Debug)]
pub struct Planner<'p> {
    policies: &'p PolicySet,
    holds: &'p Holds,
    now: Now,
    plan: Plan,
    pending: Option<Pending<'p>>,
}

/// The chunk added last: a repetition of it may still change the verdict.
#[derive(Debug)]
struct Pending<'p> {
    tenant: String,
    id: String,
    size_bytes: u64,
    range: TimeRange,
    verdict: Verdict<'p>,
}

impl<'p> Planner<'p> {
    /// A plan without chunks.
    pub fn new(policies: &'p PolicySet, holds: &'p Holds, now: Now) -> Self {
        Self { policies, holds, now, plan: Plan::default(), pending: None }
    }

    /// Judges one chunk.
    ///
    /// # Errors
    /// [`Error::Contract`] when it sorts before the one added last.
    pub fn add(&mut self, chunk: &ChunkMeta<'_>) -> Result<(), Error> {
        let verdict = self.verdict(chunk);
        if let Some(last) = &mut self.pending {
            match (last.tenant.as_str(), last.id.as_str()).cmp(&(chunk.tenant, chunk.id)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    if !matches!(verdict, Verdict::Expired { .. }) {
                        last.verdict = verdict;
                    }
                    return Ok(());
                }
                std::cmp::Ordering::Greater => {
                    let what = format!("chunk {} is listed after {}", chunk.id, last.id);
                    return Err(Error::Contract { what });
                }
            }
        }
        self.settle();
        self.pending = Some(Pending {
            tenant: chunk.tenant.to_owned(),
            id: chunk.id.to_owned(),
            size_bytes: chunk.size_bytes,
            range: chunk.range,
            verdict,
        });
        Ok(())
    }

    /// The plan for everything added.
    pub fn finish(mut self) -> Plan {
        self.settle();
        self.plan.refusal = if self.now.health == ClockHealth::Doubtful {
            Some(Refusal::ClockDoubt(ClockDoubt::Reported))
        } else if self.plan.census.listed.chunks == 0 {
            Some(Refusal::EmptyListing)
        } else {
            None
        };
        self.plan
    }

    fn verdict(&self, chunk: &ChunkMeta<'_>) -> Verdict<'p> {
        match judge(chunk, self.policies, self.holds, self.now.wall_ns) {
            Verdict::Expired { .. } if self.now.health == ClockHealth::Doubtful => {
                Verdict::Kept(self.policies.evaluate(chunk))
            }
            verdict => verdict,
        }
    }

    fn settle(&mut self) {
        let Some(Pending { tenant, id, size_bytes, range, verdict }) = self.pending.take() else { return };
        let chunk = ChunkMeta { tenant: &tenant, id: &id, labels: &[], range, size_bytes };
        self.plan.census.add(&chunk, &verdict, self.now.wall_ns);
        if let Verdict::Expired { policy, keep_until_ns } = verdict {
            self.plan.policies.entry(policy.to_owned()).or_default().add(range, size_bytes);
            let policy = policy.to_owned();
            self.plan.expired.push(Expired { tenant, id, size_bytes, policy, keep_until_ns });
        }
    }
}

#[cfg(test)]
mod tests;
