//! Brings the sections of a push to their ingesters, and tells what became of each stream.
//!
//! Invariant: a stream is stored only when every section of it reached its quorum.

use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::monotonic_ns;
use forebay_circuit::Breaker;
use forebay_ring::quorum::{
    BatchOptions, BatchOutcome, Cause, Family, Items, ReplicaResult, Verdict, do_batch,
};
use forebay_ring::{Operation, token_for};
use forebay_tracing_ctx::TraceFutureExt;
use tracing::Instrument;

use super::{Outcome, Report, Shared};
use crate::client::IngesterClient;
use crate::ingester::PushError;
use crate::metrics::Replicas;
use crate::record::{Push, Record, SectionInfo};
use crate::wire::Pushed;

/// A replica's failure.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ReplicaFailure {
    #[error(transparent)]
    Push(#[from] PushError),
    #[error("{0} streams are active, the limit is {1}")]
    StreamLimit(u64, u64),
    #[error("left alone after failures")]
    Open,
    #[error("cannot be called at the address that it has in the ring")]
    Nowhere,
}

impl ReplicaFailure {
    pub(super) fn family(&self) -> Family {
        match self {
            Self::StreamLimit(..) => Family::Throttled,
            Self::Push(PushError::Malformed { .. } | PushError::TooLarge { .. }) => Family::Client,
            _ => Family::Server,
        }
    }
}

/// What became of a stream; of several sections the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Stored,
    OverLimit,
    TooLarge,
    Failed,
}

/// What became of the streams so far.
#[derive(Debug, Default)]
struct Tally {
    fates: Vec<Fate>,
    first_failure: Option<String>,
}

impl Tally {
    fn add(&mut self, section: &SectionInfo, fate: Fate) {
        match self.fates.last_mut().filter(|_| section.continues) {
            Some(last) => *last = fate.max(*last),
            None => self.fates.push(fate),
        }
    }

    fn count(&self, fate: Fate) -> usize {
        self.fates.iter().filter(|f| **f == fate).count()
    }
}

impl Shared {
    /// Sends the sections to their ingesters and waits until each is decided.
    ///
    /// The parts of a large push go one after the other, so that it takes no more room on the way and in the logs than
    /// a small one. Once a part fails the rest is not sent: the client sends all of it again.
    pub(super) async fn replicate(
        &self,
        tenant: &str,
        push: Push,
        report: &mut Report,
    ) -> Result<(), Outcome> {
        let mut tally = Tally::default();
        for part in push.parts(self.options.record_bytes) {
            if tally.count(Fate::Failed) > 0 {
                push.sections()[part].iter().for_each(|section| tally.add(section, Fate::Failed));
            } else {
                self.send_part(tenant, Arc::new(push.part(part)), &mut tally, report).await;
            }
        }
        let (failed, too_large) = (tally.count(Fate::Failed), tally.count(Fate::TooLarge));
        if failed + too_large == 0 {
            return Ok(());
        }
        let message = format!(
            "{} of {} streams did not reach {} of their replicas, {} did; first failure: {}",
            failed + too_large,
            tally.fates.len(),
            self.options.requirements.of(tenant),
            tally.count(Fate::Stored),
            tally.first_failure.as_deref().unwrap_or("the ring has too few healthy ingesters"),
        );
        tracing::warn!(tenant, error = message, "push not stored");
        Err(if failed > 0 { Outcome::Unavailable { message } } else { Outcome::TooLarge { message } })
    }

    async fn send_part(&self, tenant: &str, push: Arc<Push>, tally: &mut Tally, report: &mut Report) {
        let sections = push.sections().iter().enumerate();
        let items: Vec<(u32, usize)> =
            sections.map(|(i, s)| (token_for(tenant, push.labels(i)).0, s.bytes)).collect();
        let replicas = self.options.requirements.of(tenant).into();
        let options = BatchOptions { replicas, ..self.batch.clone() };
        let batch = do_batch(
            &self.members.ring(),
            Operation::WRITE,
            &items,
            |instance, items| {
                let id = Arc::clone(&instance.id);
                let (client, breaker) = (self.members.client(instance).ok(), self.breakers.get(&id).ok());
                let record = push.select(&items);
                let (timeout, replicas) = (self.options.push_timeout, Arc::clone(&self.replicas));
                let sent = send(Replica { id, client, breaker, replicas }, record, items, timeout);
                sent.in_current_trace().in_current_span()
            },
            &options,
        );
        let outcome = batch.await;
        for (index, section) in push.sections().iter().enumerate() {
            let fate = fate(&outcome, index);
            if let (Fate::OverLimit, Some(failure)) = (fate, over_limit(&outcome, index)) {
                report.over_stream_limit(section, &push.stream(index), failure);
            }
            if fate >= Fate::TooLarge && tally.first_failure.is_none() {
                tally.first_failure = outcome.errors_of(index).next().map(ToString::to_string);
            }
            tally.add(section, fate);
        }
    }
}

/// What became of section `index`.
fn fate(outcome: &BatchOutcome<ReplicaFailure>, index: usize) -> Fate {
    match outcome.items[index].verdict {
        Verdict::Ok => Fate::Stored,
        Verdict::Failed { family: Family::Throttled } if over_limit(outcome, index).is_some() => {
            Fate::OverLimit
        }
        // A record that ingesters cannot read is not the client's fault, nor need it be so for long: processes of two
        // versions may be running.
        Verdict::Failed { family: Family::Client }
            if replies(outcome, index)
                .any(|f| matches!(f, ReplicaFailure::Push(PushError::TooLarge { .. }))) =>
        {
            Fate::TooLarge
        }
        _ => Fate::Failed,
    }
}

fn over_limit(outcome: &BatchOutcome<ReplicaFailure>, index: usize) -> Option<&ReplicaFailure> {
    replies(outcome, index).find(|failure| matches!(failure, ReplicaFailure::StreamLimit(..)))
}

fn replies(outcome: &BatchOutcome<ReplicaFailure>, index: usize) -> impl Iterator<Item = &ReplicaFailure> {
    outcome.errors_of(index).filter_map(|e| match &e.cause {
        Cause::Replied(failure) => Some(failure),
        _ => None,
    })
}

/// What a result says of the ingester.
fn heard(result: &Result<Pushed, PushError>) -> forebay_circuit::Outcome {
    use forebay_circuit::Outcome;
    match result {
        Ok(_) | Err(PushError::TooLarge { .. } | PushError::Malformed { .. }) => Outcome::Success,
        // One that keeps as much as it can would keep less if it were left alone.
        Err(PushError::Busy { retry_after: Some(Duration::ZERO), .. }) => Outcome::Ignored,
        Err(PushError::Busy { retry_after, .. }) => Outcome::Throttled(*retry_after),
        Err(PushError::Unavailable { .. } | PushError::Indeterminate { .. }) => Outcome::Failure,
    }
}

/// An ingester as a record comes to it.
struct Replica {
    id: Arc<str>,
    client: Option<Arc<dyn IngesterClient>>,
    breaker: Option<Breaker>,
    replicas: Arc<Replicas>,
}

/// Sends a record to one ingester.
async fn send(
    Replica { id, client, breaker, replicas }: Replica,
    record: Record,
    items: Items,
    timeout: Duration,
) -> ReplicaResult<ReplicaFailure> {
    let Some(client) = client else { return ReplicaResult::Err(ReplicaFailure::Nowhere) };
    let permit = match breaker.as_ref().map(Breaker::try_acquire).transpose() {
        Ok(permit) => permit,
        Err(_) => return ReplicaResult::Err(ReplicaFailure::Open),
    };
    let started = monotonic_ns();
    let silent = |_| Err(PushError::Indeterminate { reason: format!("no answer within {timeout:?}") });
    let result = tokio::time::timeout(timeout, client.push(record)).await.unwrap_or_else(silent);
    let outcome = if result.is_ok() { "ok" } else { "error" };
    let seconds = monotonic_ns().saturating_sub(started) as f64 / 1e9;
    replicas.record(&id, outcome, seconds);
    if let Some(permit) = permit {
        permit.record(heard(&result));
    }
    match result {
        Ok(pushed) if pushed.refused.is_empty() => ReplicaResult::Ok,
        Ok(pushed) => {
            // A section that was not sent is an item that was not: then none of them is known to be stored.
            let item =
                |section| usize::try_from(section).ok().and_then(|section| items.get(section).copied());
            let refused = pushed.refused.into_iter().map(|r| {
                (item(r.section).unwrap_or(usize::MAX), ReplicaFailure::StreamLimit(r.active, r.limit))
            });
            ReplicaResult::PerItem(refused.collect())
        }
        Err(error) => {
            tracing::debug!(instance = %id, %error, "replica failed");
            ReplicaResult::Err(error.into())
        }
    }
}
