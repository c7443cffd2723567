//! What came of a pass.

use crate::plan::{Census, Refusal, Tally};
use crate::store::Progress;

/// What a pass did.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// Whose chunks.
    pub tenant: String,
    /// The number of the pass.
    pub pass: u64,
    /// What the pass has listed, including before an interruption.
    pub census: Census,
    /// Newly marked.
    pub marked: u64,
    /// No longer marked: held, kept by a changed policy, or gone from the listing.
    pub unmarked: u64,
    /// Marked, but not to be deleted yet: the delay is not over, [`Options::max_open_intents`] is reached, or
    /// another sweeper has marked it meanwhile.
    ///
    /// [`Options::max_open_intents`]: super::Options::max_open_intents
    pub waiting: u64,
    /// Deleted.
    pub deleted: Tally,
    /// Found missing when they were to be deleted.
    pub already_gone: u64,
    /// Given back after an interrupted deletion, because of a hold or a changed policy.
    pub withheld: u64,
    /// Neither deleted nor given back, because the object store answered with an error; their intents stay
    /// open, and the next pass tries again.
    pub failed: u64,
    /// The last such error.
    pub last_failure: Option<String>,
    /// Why nothing was deleted, if so.
    pub refusal: Option<Refusal>,
}

impl Report {
    pub(super) fn new(tenant: &str, progress: &Progress) -> Self {
        Self {
            tenant: tenant.to_owned(),
            pass: progress.pass,
            census: progress.census.clone(),
            marked: 0,
            unmarked: 0,
            waiting: 0,
            deleted: Tally::default(),
            already_gone: 0,
            withheld: 0,
            failed: 0,
            last_failure: None,
            refusal: None,
        }
    }
}
