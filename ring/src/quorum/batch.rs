//! The calls of a batch on the tokio runtime. Invariant: each call runs in a task of its own, which
//! ends by its deadline, gives its slot back and then reports exactly once, whether or not anyone waits.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::outcome::{BatchOutcome, Cause, Classify, Family};
use super::plan::{Item, Plan};
use super::targets::{Slot, Targets};
use super::tracker::{Answer, Tracker};
use crate::instance::Instance;
use crate::operation::Operation;
use crate::replication::Require;
use crate::ring::Ring;

/// How a batch is judged and bounded.
pub struct BatchOptions<E> {
    /// Replicas that must acknowledge an item. Default [`Require::Quorum`].
    pub require: Require,
    /// How long a call may take, be it awaited or a straggler; then it is dropped and has failed.
    /// Default 10 s. Too short gives up copies that were about to be made, too long lets calls to a
    /// hanging instance fill its bound.
    pub deadline: Duration,
    /// What may be in flight; shared by all batches of the process.
    pub targets: Targets,
    /// Whose fault an error is.
    pub classify: Classify<E>,
}

impl<E> BatchOptions<E> {
    /// A quorum within 10 s.
    pub fn new(targets: Targets, classify: impl Fn(&E) -> Family + Send + Sync + 'static) -> Self {
        Self {
            require: Require::Quorum,
            deadline: Duration::from_secs(10),
            targets,
            classify: Arc::new(classify),
        }
    }
}

impl<E> Clone for BatchOptions<E> {
    fn clone(&self) -> Self {
        Self { targets: self.targets.clone(), classify: Arc::clone(&self.classify), ..*self }
    }
}

impl<E> fmt::Debug for BatchOptions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOptions")
            .field("require", &self.require)
            .field("deadline", &self.deadline)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

/// What an instance answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaResult<E> {
    /// It stored all items.
    Ok,
    /// It stored none, for one reason.
    Err(E),
    /// It stored all items but these, by their numbers in the batch. Of several errors for an item the
    /// first counts.
    PerItem(Vec<(usize, E)>),
}

/// The items one call carries: ascending numbers in the batch. A clone shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct Items {
    of_all_calls: Arc<[usize]>,
    range: Range<usize>,
}

impl Deref for Items {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.of_all_calls[self.range.clone()]
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Writes `items` to their replica sets: one `call` per instance, with all items that go there.
///
/// The calls have begun when this returns; the [`Batch`] only waits for them. Dropping it cancels
/// nothing. An item whose replica set cannot succeed is sent to nobody and fails alone. A `call` that
/// the [`Targets`] have no room for is not made and counts as a failure of [`Family::Server`]; so does
/// one that panics or misses the deadline.
///
/// O(items · replicas + instances), and one task per call.
///
/// # Panics
///
/// Outside of a tokio runtime with its timer enabled, unless there is nothing to call.
pub fn do_batch<K, E, F, Fut>(
    ring: &Ring,
    op: Operation,
    items: &[K],
    mut call: F,
    options: &BatchOptions<E>,
) -> Batch<E>
where
    K: Copy + Into<Item>,
    E: Send + 'static,
    F: FnMut(&Instance, Items) -> Fut,
    Fut: Future<Output = ReplicaResult<E>> + Send + 'static,
{
    let plan = Plan::new(ring, op, options.require, items);
    let mut tracker = Tracker::new(plan.needs, Arc::clone(&options.classify));
    // Unbounded in type only: every call sends one report.
    let (reports, inbox) = unbounded_channel();
    let mut running = 0;
    for planned in plan.calls {
        let instance = ring.instance_at(planned.member);
        let items = Items { of_all_calls: Arc::clone(&plan.items), range: planned.items };
        match options.targets.acquire(&instance.id, planned.size_bytes) {
            Err(full) => tracker.record(instance, &items, Answer::Missing(Cause::Full(full))),
            Ok(slot) => {
                let future = call(instance, items.clone());
                let instance = Arc::clone(instance);
                let reporter = Reporter { slot: Some(slot), reports: reports.clone(), instance, items };
                tokio::spawn(run(future, options.deadline, reporter));
                running += 1;
            }
        }
    }
    Batch { tracker, stragglers: Some(Stragglers { inbox, running }) }
}

async fn run<E>(future: impl Future<Output = ReplicaResult<E>>, deadline: Duration, reporter: Reporter<E>) {
    let answer = match tokio::time::timeout(deadline, future).await {
        Ok(result) => Answer::Result(result),
        Err(_) => Answer::Missing(Cause::Deadline(deadline)),
    };
    reporter.report(answer);
}

/// Reports for a call; if its task ends early, on drop.
struct Reporter<E> {
    /// Taken by the report.
    slot: Option<Slot>,
    reports: UnboundedSender<Report<E>>,
    instance: Arc<Instance>,
    items: Items,
}

struct Report<E> {
    instance: Arc<Instance>,
    items: Items,
    answer: Answer<E>,
}

impl<E> Reporter<E> {
    fn report(mut self, answer: Answer<E>) {
        self.send(answer);
    }

    /// The slot goes first, so that who hears the report finds the room it made.
    fn send(&mut self, answer: Answer<E>) {
        if self.slot.take().is_some() {
            let (instance, items) = (Arc::clone(&self.instance), self.items.clone());
            // Nobody listens to a straggler whose batch was dropped.
            let _ = self.reports.send(Report { instance, items, answer });
        }
    }
}

impl<E> Drop for Reporter<E> {
    fn drop(&mut self) {
        self.send(Answer::Missing(Cause::Lost));
    }
}

/// Calls under way; resolves when every item is decided.
#[must_use = "the calls run anyway, but their outcome is lost"]
pub struct Batch<E> {
    tracker: Tracker<E>,
    /// Taken by the outcome.
    stragglers: Option<Stragglers<E>>,
}

/// Nothing in it is pinned: the calls have tasks of their own.
impl<E> Unpin for Batch<E> {}

impl<E> Future for Batch<E> {
    type Output = BatchOutcome<E>;

    /// # Panics
    ///
    /// If polled again after it resolved.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BatchOutcome<E>> {
        let this = self.get_mut();
        let calls = this.stragglers.as_mut().expect("a batch is not polled after it resolved");
        while !this.tracker.is_decided() {
            let report = ready!(calls.inbox.poll_recv(cx));
            let report = report.expect("each call reports once, and with the last one all is decided");
            calls.running -= 1;
            this.tracker.record(&report.instance, &report.items, report.answer);
        }
        let (items, errors) = this.tracker.take();
        let stragglers = this.stragglers.take().expect("checked above");
        Poll::Ready(BatchOutcome { items, errors, stragglers })
    }
}

impl<E> fmt::Debug for Batch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("calls", &self.stragglers).finish_non_exhaustive()
    }
}

/// The calls of a batch that have not ended. Dropping this lets them go on unwatched.
pub struct Stragglers<E> {
    inbox: UnboundedReceiver<Report<E>>,
    running: usize,
}

impl<E> Stragglers<E> {
    /// How many calls had not ended when the batch was decided.
    pub fn len(&self) -> usize {
        self.running
    }

    /// Whether all calls had ended by then.
    pub fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// Waits until every call has ended, at the latest by its deadline; returns how many of the
    /// stragglers did not store all of their items.
    pub async fn finished(mut self) -> usize {
        let mut failed = 0;
        while let Some(report) = self.inbox.recv().await {
            failed += usize::from(!report.answer.is_ok());
        }
        failed
    }
}

impl<E> fmt::Debug for Stragglers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stragglers").field("running", &self.running).finish()
    }
}
