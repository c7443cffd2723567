//! What became of a batch: a verdict for each item, and every error with the instance it came from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::batch::Stragglers;
use super::targets::Full;
use crate::error::Error;
use crate::instance::Instance;

/// Whose fault a failure is, which is what decides whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The item itself was refused: trying again does not help.
    Client,
    /// Too much was asked: try again later, and slower.
    Throttled,
    /// The replica failed: try again.
    Server,
}

impl Family {
    /// From the one that retrying helps least to the one it helps most.
    pub(super) const ALL: [Family; 3] = [Family::Client, Family::Throttled, Family::Server];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Client => "client",
            Family::Throttled => "throttled",
            Family::Server => "server",
        })
    }
}

/// Tells the family of an error.
pub type Classify<E> = Arc<dyn Fn(&E) -> Family + Send + Sync>;

/// What was decided about one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Enough replicas acknowledged it.
    Ok,
    /// Too many replicas failed.
    Failed {
        /// The family that more replicas failed with than the item tolerates. If there is none, because
        /// the failures are a mix, the one that retrying helps most: a refusal is final only if enough
        /// replicas agree on it.
        family: Family,
    },
    /// It was sent to nobody, since its replica set could not have succeeded.
    Unplaced(Error),
}

impl Verdict {
    /// Whether the item is stored as required.
    pub fn is_ok(&self) -> bool {
        matches!(self, Verdict::Ok)
    }

    /// The family of the failure; [`Family::Server`] for an unplaced item, `None` for one that is ok.
    pub fn family(&self) -> Option<Family> {
        match *self {
            Verdict::Ok => None,
            Verdict::Failed { family } => Some(family),
            Verdict::Unplaced(_) => Some(Family::Server),
        }
    }
}

/// What became of one item up to the moment the last item was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemOutcome {
    /// Replicas that acknowledged it.
    pub acks: usize,
    /// Acknowledgements that were required; 0 if the ring is empty.
    pub needed: usize,
    /// Whether that was enough.
    pub verdict: Verdict,
    /// Places in [`BatchOutcome::errors`].
    pub(super) errors: SmallVec<[usize; 2]>,
}

/// One failure of one instance, for one or more items.
#[derive(Debug)]
pub struct ReplicaError<E> {
    /// Who failed.
    pub instance: Arc<Instance>,
    /// How the failure counts.
    pub family: Family,
    /// What happened.
    pub cause: Cause<E>,
}

impl<E: fmt::Display> fmt::Display for ReplicaError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {}: {}", self.instance.id, self.cause)
    }
}

/// Why an instance did not acknowledge an item. All but [`Replied`](Cause::Replied) are of
/// [`Family::Server`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause<E> {
    /// It answered with this error.
    Replied(E),
    /// It was not called: too much is in flight.
    Full(Full),
    /// It did not answer in this time, and the call was dropped.
    Deadline(Duration),
    /// The call ended without an answer: it panicked, or the runtime is shutting down.
    Lost,
    /// The answer named an item that the call did not carry, so nothing in it can be believed.
    UnknownItem(usize),
}

impl<E: fmt::Display> fmt::Display for Cause<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Replied(error) => error.fmt(f),
            Cause::Full(full) => full.fmt(f),
            Cause::Deadline(after) => write!(f, "no answer within {after:?}"),
            Cause::Lost => f.write_str("call ended without an answer"),
            Cause::UnknownItem(item) => write!(f, "answer names item {item}, which it was not sent"),
        }
    }
}

/// What became of a batch when its last item was decided.
#[derive(Debug)]
#[must_use = "a batch that failed is not stored"]
pub struct BatchOutcome<E> {
    /// One for each item, in the order they were given.
    pub items: Vec<ItemOutcome>,
    /// Every failure until then, in the order of arrival.
    pub errors: Vec<ReplicaError<E>>,
    /// The calls that had not ended by then. They go on whether or not this is kept.
    pub stragglers: Stragglers<E>,
}

impl<E> BatchOutcome<E> {
    /// Whether every item is stored as required; so for no items.
    pub fn is_ok(&self) -> bool {
        self.items.iter().all(|item| item.verdict.is_ok())
    }

    /// The batch as one: `Ok` if every item is.
    ///
    /// # Errors
    ///
    /// If an item is not; the family is the one among the failed items that retrying helps most.
    pub fn result(&self) -> Result<(), BatchError> {
        let families = || self.items.iter().filter_map(|item| item.verdict.family());
        match families().max() {
            None => Ok(()),
            Some(family) => Err(BatchError { failed: families().count(), items: self.items.len(), family }),
        }
    }

    /// The failures that item `item` suffered; none if there is no such item.
    pub fn errors_of(&self, item: usize) -> impl Iterator<Item = &ReplicaError<E>> {
        let places = self.items.get(item).map_or(&[][..], |item| &item.errors);
        places.iter().map(|&place| &self.errors[place])
    }
}

/// Some items of a batch are not stored as required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{failed} of {items} items failed: {family} error")]
pub struct BatchError {
    /// Items that failed.
    pub failed: usize,
    /// Items in the batch.
    pub items: usize,
    /// The family among their failures that retrying helps most.
    pub family: Family,
}
