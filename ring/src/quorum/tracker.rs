//! Counts answers per item until each is decided: a plain state machine, answers in, verdicts out.
//!
//! Invariants: an item is decided once and stays so; every call counts at most once for each item it
//! carries; after the last call has answered nothing is undecided.

use std::sync::Arc;

use super::batch::{Items, ReplicaResult};
use super::outcome::{Cause, Classify, Family, ItemOutcome, ReplicaError, Verdict};
use crate::error::Error;
use crate::instance::Instance;
use crate::ring::Need;

/// How a call ended.
pub(super) enum Answer<E> {
    Result(ReplicaResult<E>),
    Missing(Cause<E>),
}

impl<E> Answer<E> {
    /// Whether every item of the call was acknowledged.
    pub(super) fn is_ok(&self) -> bool {
        match self {
            Answer::Result(ReplicaResult::Ok) => true,
            Answer::Result(ReplicaResult::PerItem(failed)) => failed.is_empty(),
            Answer::Result(ReplicaResult::Err(_)) | Answer::Missing(_) => false,
        }
    }
}

/// The state of all items of a batch.
pub(super) struct Tracker<E> {
    tallies: Vec<Tally>,
    errors: Vec<ReplicaError<E>>,
    undecided: usize,
    classify: Classify<E>,
}

struct Tally {
    pending: usize,
    max_errors: usize,
    failures: [usize; Family::ALL.len()],
    decided: bool,
    outcome: ItemOutcome,
}

impl<E> Tracker<E> {
    pub(super) fn new(needs: &[Result<Need, Error>], classify: Classify<E>) -> Self {
        let undecided = needs.iter().filter(|need| need.is_ok()).count();
        let tallies = needs.iter().map(|need| Tally::new(*need)).collect();
        Self { tallies, errors: Vec::new(), undecided, classify }
    }

    pub(super) fn is_decided(&self) -> bool {
        self.undecided == 0
    }

    /// The answer of `instance` to the call that carried `items`.
    pub(super) fn record(&mut self, instance: &Arc<Instance>, items: &Items, answer: Answer<E>) {
        match answer {
            Answer::Result(ReplicaResult::Ok) => items.iter().for_each(|&item| self.ack(item)),
            Answer::Result(ReplicaResult::PerItem(failed)) => self.record_each(instance, items, failed),
            Answer::Result(ReplicaResult::Err(error)) => {
                self.fail_all(instance, items, Cause::Replied(error));
            }
            Answer::Missing(cause) => self.fail_all(instance, items, cause),
        }
    }

    fn record_each(&mut self, instance: &Arc<Instance>, items: &Items, mut failed: Vec<(usize, E)>) {
        // An error for an item of another call is an error that one of these items has lost: to count
        // the others as stored would be a guess.
        let unknown = failed.iter().find(|(item, _)| items.binary_search(item).is_err());
        if let Some(&(item, _)) = unknown {
            return self.fail_all(instance, items, Cause::UnknownItem(item));
        }
        failed.sort_by_key(|&(item, _)| item);
        failed.dedup_by_key(|&mut (item, _)| item);
        let mut failed = failed.into_iter().peekable();
        for &item in items.iter() {
            match failed.next_if(|&(failed, _)| failed == item) {
                Some((_, error)) => {
                    let (place, family) = self.keep(instance, Cause::Replied(error));
                    self.fail(item, place, family);
                }
                None => self.ack(item),
            }
        }
    }

    fn fail_all(&mut self, instance: &Arc<Instance>, items: &Items, cause: Cause<E>) {
        let (place, family) = self.keep(instance, cause);
        items.iter().for_each(|&item| self.fail(item, place, family));
    }

    fn keep(&mut self, instance: &Arc<Instance>, cause: Cause<E>) -> (usize, Family) {
        let family = match &cause {
            Cause::Replied(error) => (self.classify)(error),
            _ => Family::Server,
        };
        self.errors.push(ReplicaError { instance: Arc::clone(instance), family, cause });
        (self.errors.len() - 1, family)
    }

    fn ack(&mut self, item: usize) {
        let tally = &mut self.tallies[item];
        tally.pending -= 1;
        tally.outcome.acks += 1;
        self.undecided -= usize::from(tally.decide());
    }

    fn fail(&mut self, item: usize, place: usize, family: Family) {
        let tally = &mut self.tallies[item];
        tally.pending -= 1;
        tally.failures[family as usize] += 1;
        tally.outcome.errors.push(place);
        self.undecided -= usize::from(tally.decide());
    }

    /// What stands now; takes it out, leaving no items.
    pub(super) fn take(&mut self) -> (Vec<ItemOutcome>, Vec<ReplicaError<E>>) {
        debug_assert!(self.is_decided(), "an outcome is taken when all is decided");
        let tallies = std::mem::take(&mut self.tallies);
        (tallies.into_iter().map(|tally| tally.outcome).collect(), std::mem::take(&mut self.errors))
    }
}

impl Tally {
    fn new(need: Result<Need, Error>) -> Self {
        let (calls, needed, verdict) = match need {
            // Stands until an item is decided, which it is at the latest by its last call.
            Ok(need) => (need.calls, need.acks, Verdict::Failed { family: Family::Server }),
            Err(error @ Error::TooManyUnhealthy { needed, .. }) => (0, needed, Verdict::Unplaced(error)),
            Err(error) => (0, 0, Verdict::Unplaced(error)),
        };
        Self {
            pending: calls,
            max_errors: calls.saturating_sub(needed),
            failures: [0; Family::ALL.len()],
            decided: need.is_err(),
            outcome: ItemOutcome { acks: 0, needed, verdict, errors: Default::default() },
        }
    }

    /// Decides the item if the last answer settled it; tells whether it did.
    ///
    /// A failure is settled by more failures of one family than are tolerated, or by the last answer:
    /// with one tolerated and one failure each of two families, the third answer makes the difference
    /// between a refusal and a fault, in whatever order they came.
    fn decide(&mut self) -> bool {
        if self.decided {
            return false;
        }
        let count = |family: Family| self.failures[family as usize];
        let verdict = if self.outcome.acks >= self.outcome.needed {
            Verdict::Ok
        } else if let Some(family) = Family::ALL.into_iter().find(|&f| count(f) > self.max_errors) {
            Verdict::Failed { family }
        } else if self.pending == 0 {
            let family = Family::ALL.into_iter().rev().find(|&f| count(f) > 0);
            Verdict::Failed { family: family.expect("without a failure there are acks enough") }
        } else {
            return false;
        };
        self.decided = true;
        self.outcome.verdict = verdict;
        true
    }
}
