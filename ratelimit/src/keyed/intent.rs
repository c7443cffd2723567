//! What a request wants of a table, and how much it wants to know.

use super::away::Bucket;
use crate::decision::Denied;
use crate::quota::Quota;

/// How many tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) most: u64,
    /// No more than `most`.
    pub(crate) least: u64,
}

impl Wanted {
    #[inline]
    pub(crate) fn all(tokens: u64) -> Self {
        Self { most: tokens, least: tokens }
    }

    pub(crate) fn part(most: u64, least: u64) -> Self {
        Self { most, least: least.min(most) }
    }

    /// How many that comes to, of the bucket that `bucket` copies, or else of a full one.
    #[inline]
    pub(super) fn of(self, quota: Quota, now_ns: u64, bucket: impl FnOnce() -> Option<Bucket>) -> u64 {
        if self.least == self.most {
            return self.most;
        }
        let available = match bucket() {
            Some(Bucket { segment, position }) => segment.peek_at(position, now_ns).available,
            None => quota.burst,
        };
        available.clamp(self.least, self.most)
    }
}

/// What is to be done about a request that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Take,
    /// Take, but store no new key: [`Source::Unstored`](super::Source::Unstored).
    TakeIfHeld,
}

/// How much a refusal says: working out the reasons costs more than the decision.
pub(crate) trait Explain {
    fn explain(refusal: impl FnOnce() -> Denied) -> Self;
}

impl Explain for Denied {
    fn explain(refusal: impl FnOnce() -> Self) -> Self {
        refusal()
    }
}

/// No, and that is all.
pub(super) struct Unexplained;

impl Explain for Unexplained {
    fn explain(_: impl FnOnce() -> Denied) -> Self {
        Self
    }
}
