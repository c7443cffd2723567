//! Group commit as a state machine without threads: requests queue up, one leader at a time takes them in order,
//! each is answered exactly once.
//!
//! Whoever finds work and no leader leads; a leader that leaves says whom to wake. The numbers of records are
//! given when a group is written, not when it is queued, so that a refused request takes none.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::error::{AppendError, Failure, Reject};
use crate::group::Batch;
use crate::truncate::Truncated;

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Work {
    Append(Batch),
    Truncate(u64),
    Rotate,
    Close,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Appended(Range<u64>),
    Truncated(Truncated),
    Other,
}

pub(crate) type Outcome = Result<Done, AppendError>;

/// Where the answer goes.
pub(crate) enum Waiter {
    Thread(Arc<Slot>),
    #[cfg(feature = "tokio")]
    Task(tokio::sync::oneshot::Sender<Outcome>),
}

/// A request in the queue. Dropped without an answer, as by a panic in the file system, it answers that nobody
/// knows.
pub(crate) struct Request {
    pub(crate) work: Work,
    waiter: Option<Waiter>,
}

/// Bytes in memory of a record besides its own: its handle, and what an allocation takes at least.
const RECORD_COST: u64 = 64;
/// Bytes in memory of a request besides its records: its place in the queue, and where its caller waits.
const REQUEST_COST: u64 = 256;

impl Request {
    pub(crate) fn new(work: Work, waiter: Waiter) -> Self {
        Self { work, waiter: Some(waiter) }
    }

    pub(crate) fn answer(mut self, outcome: Outcome) {
        self.give(outcome);
    }

    fn give(&mut self, outcome: Outcome) {
        match self.waiter.take() {
            Some(Waiter::Thread(slot)) => slot.put(outcome),
            #[cfg(feature = "tokio")]
            // Nobody listens where the future was dropped: the record is in the log all the same.
            Some(Waiter::Task(sender)) => drop(sender.send(outcome)),
            None => {}
        }
    }

    pub(crate) fn batch(&self) -> Option<&Batch> {
        if let Work::Append(batch) = &self.work { Some(batch) } else { None }
    }

    /// Bytes that count as in flight: about what the request takes in memory.
    fn bytes(&self) -> u64 {
        self.batch().map_or(0, |batch| batch.body() + batch.count() * RECORD_COST + REQUEST_COST)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let cause = std::io::Error::other("the leader of the commit panicked");
        self.give(Err(AppendError::Indeterminate(Failure::new("committing", cause))));
    }
}

/// Where a thread waits: for its answer, or for its turn to lead.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    state: Mutex<(Option<Outcome>, bool)>,
    changed: Condvar,
}

impl Slot {
    fn put(&self, outcome: Outcome) {
        self.state.lock().0 = Some(outcome);
        self.changed.notify_one();
    }

    fn offer_lead(&self) {
        self.state.lock().1 = true;
        self.changed.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Outcome> {
        self.state.lock().0.take()
    }

    /// Blocks until there is an answer, or the offer to lead (`None`).
    pub(crate) fn wait(&self) -> Option<Outcome> {
        let mut state = self.state.lock();
        while state.0.is_none() && !state.1 {
            self.changed.wait(&mut state);
        }
        state.1 = false;
        state.0.take()
    }
}

/// Whom a leader that leaves must wake.
#[derive(Debug, Default)]
pub(crate) struct Handoff {
    slot: Option<Arc<Slot>>,
    /// Whether work is left that the committer of the async front may take.
    #[cfg(feature = "tokio")]
    pub(crate) work_left: bool,
}

impl Handoff {
    pub(crate) fn wake(&self) {
        if let Some(slot) = &self.slot {
            slot.offer_lead();
        }
    }
}

/// The queue and who works on it.
pub(crate) struct Queue {
    pending: VecDeque<Request>,
    leading: bool,
    inflight: u64,
    max_inflight: u64,
    /// Set by the first request to close; nothing is taken after it.
    closing: bool,
    poison: Option<Failure>,
    #[cfg(feature = "tokio")]
    tasks_closed: bool,
    /// No task is left that could ask for more.
    #[cfg(feature = "tokio")]
    tasks_gone: bool,
}

impl Queue {
    pub(crate) fn new(max_inflight: u64) -> Self {
        Self {
            pending: VecDeque::new(),
            leading: false,
            inflight: 0,
            max_inflight,
            closing: false,
            poison: None,
            #[cfg(feature = "tokio")]
            tasks_closed: false,
            #[cfg(feature = "tokio")]
            tasks_gone: false,
        }
    }

    pub(crate) fn inflight(&self) -> u64 {
        self.inflight
    }

    pub(crate) fn poison(&self) -> Option<&Failure> {
        self.poison.as_ref()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Takes a request in, or gives it back with the reason.
    pub(crate) fn push(&mut self, request: Request) -> Result<(), (Request, Reject)> {
        let bytes = request.bytes();
        let reason = if self.closing {
            Reject::Closed
        } else if self.poison.is_some() {
            Reject::Poisoned
        } else if bytes > 0 && self.inflight > 0 && self.inflight + bytes > self.max_inflight {
            Reject::Backpressure { inflight: self.inflight, limit: self.max_inflight }
        } else {
            #[cfg(feature = "tokio")]
            if self.tasks_closed && matches!(request.waiter, Some(Waiter::Task(_))) {
                return Err((request, Reject::Closed));
            }
            self.closing |= matches!(request.work, Work::Close);
            self.inflight += bytes;
            self.pending.push_back(request);
            return Ok(());
        };
        Err((request, reason))
    }

    /// Makes the caller the leader if there is work and nobody leads.
    pub(crate) fn lead(&mut self) -> bool {
        let lead = !self.leading && !self.pending.is_empty();
        self.leading |= lead;
        lead
    }

    /// The oldest request; the leader's alone to look at.
    pub(crate) fn first(&self) -> Option<&Work> {
        self.pending.front().map(|request| &request.work)
    }

    /// Takes out the oldest request.
    pub(crate) fn take_first(&mut self) -> Option<Request> {
        let request = self.pending.pop_front()?;
        self.inflight -= request.bytes();
        Some(request)
    }

    /// How many appends at the front fit into `room` bytes of frames and `numbers` of records; at least the first
    /// counts, for which room was made. They stay in flight until [`take`](Self::take).
    pub(crate) fn group(&mut self, mut room: u64, mut numbers: u64, max_frame: u32) -> usize {
        let mut count = 0;
        for request in &self.pending {
            let Work::Append(batch) = &request.work else { break };
            match numbers.checked_sub(batch.count()) {
                Some(left) => numbers = left,
                None if count > 0 => break,
                None => numbers = 0,
            }
            match room.checked_sub(batch.alone(max_frame)) {
                Some(left) => room = left,
                None if count > 0 => break,
                None => room = 0,
            }
            count += 1;
        }
        count
    }

    /// Takes the first `count` requests out of the queue; their bytes stay in flight.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Request> {
        self.pending.drain(..count).collect()
    }

    /// The bytes of requests that [`take`](Self::take) gave out are in flight no more.
    pub(crate) fn landed(&mut self, requests: &[Request]) {
        let bytes: u64 = requests.iter().map(Request::bytes).sum();
        self.inflight = self.inflight.saturating_sub(bytes);
    }

    /// Refuses everything from now on; what was queued is the caller's to refuse.
    pub(crate) fn fail(&mut self, failure: Failure) -> Vec<Request> {
        self.poison.get_or_insert(failure);
        self.inflight = 0;
        self.pending.drain(..).collect()
    }

    /// Ends the lead.
    pub(crate) fn leave(&mut self) -> Handoff {
        self.leading = false;
        let slot = self.pending.iter().find_map(|request| match &request.waiter {
            Some(Waiter::Thread(slot)) => Some(slot.clone()),
            _ => None,
        });
        Handoff {
            slot,
            #[cfg(feature = "tokio")]
            work_left: !self.pending.is_empty(),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn tasks_gone(&mut self) {
        self.tasks_gone = true;
    }

    /// Whether there is nothing to do for tasks, now and later.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_done(&self) -> bool {
        self.poison.is_some() || (self.closing || self.tasks_gone) && self.pending.is_empty()
    }

    /// Nobody commits for tasks any more: their requests are taken out, and refused from now on.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_tasks(&mut self) -> Vec<Request> {
        self.tasks_closed = true;
        let (tasks, threads): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|request| matches!(request.waiter, Some(Waiter::Task(_))));
        self.pending = threads.into();
        self.inflight -= tasks.iter().map(Request::bytes).sum::<u64>();
        tasks
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn append(len: usize) -> (Request, Arc<Slot>) {
        let slot = Arc::new(Slot::default());
        let work = Work::Append(Batch::new(vec![Bytes::from(vec![0; len])]));
        (Request::new(work, Waiter::Thread(slot.clone())), slot)
    }

    fn queue(lens: &[usize]) -> (Queue, Vec<Arc<Slot>>) {
        let mut queue = Queue::new(10_000);
        let slots = lens.iter().map(|&len| {
            let (request, slot) = append(len);
            assert!(queue.push(request).is_ok());
            slot
        });
        let slots = slots.collect();
        (queue, slots)
    }

    #[test]
    fn one_leads_and_the_next_is_woken_when_it_leaves() {
        let (mut queue, slots) = queue(&[10, 20, 30]);
        assert!(queue.lead());
        assert!(!queue.lead(), "there is a leader");
        let group = queue.take(2);
        let handoff = queue.leave();
        handoff.wake();
        assert!(slots[2].wait().is_none(), "the third is offered the lead");
        assert!(queue.lead());
        drop(group);
    }

    #[test]
    fn a_group_is_what_fits_in_order() {
        let (mut queue, _slots) = queue(&[100, 100, 500, 10]);
        let alone = Batch::new(vec![Bytes::from(vec![0; 100])]).alone(4096);
        assert_eq!(queue.group(2 * alone, 9, 4096), 2);
        assert_eq!(queue.group(3 * alone, 9, 4096), 2, "a small one does not overtake a large one");
        assert_eq!(queue.group(10_000, 9, 4096), 4);
        assert_eq!(queue.group(10_000, 3, 4096), 3);
    }

    #[test]
    fn bytes_in_flight_are_bounded_but_one_record_always_goes() {
        let (mut queue, _slots) = queue(&[9000]);
        let (request, reason) = queue.push(append(700).0).unwrap_err();
        let inflight = 9002 + RECORD_COST + REQUEST_COST;
        assert_eq!(reason, Reject::Backpressure { inflight, limit: 10_000 });
        request.answer(Err(reason.into()));
        let group = queue.take(1);
        queue.landed(&group);
        assert_eq!(queue.inflight(), 0);
        assert!(queue.push(append(50_000).0).is_ok());
    }

    /// A million empty records counted as a megabyte, and took a hundred times that.
    #[test]
    fn records_count_with_what_they_cost_in_memory() {
        let (mut queue, _slots) = queue(&[]);
        let taken = (0..1000).filter(|_| queue.push(append(0).0).is_ok()).count();
        assert!((1..40).contains(&taken), "{taken} were taken");
        let group = queue.take(taken);
        queue.landed(&group);
        assert_eq!(queue.inflight(), 0);
    }

    #[test]
    fn nothing_is_taken_after_a_close_or_a_failure() {
        let (mut queue, slots) = queue(&[1]);
        let failure = Failure::new("testing", std::io::Error::other("x"));
        for request in queue.fail(failure) {
            request.answer(Err(Reject::Poisoned.into()));
        }
        assert!(matches!(slots[0].take(), Some(Err(AppendError::Rejected(Reject::Poisoned)))));
        assert_eq!(queue.push(append(1).0).unwrap_err().1, Reject::Poisoned);
        let mut queue = Queue::new(1000);
        let slot = Arc::new(Slot::default());
        assert!(queue.push(Request::new(Work::Close, Waiter::Thread(slot))).is_ok());
        assert_eq!(queue.push(append(1).0).unwrap_err().1, Reject::Closed);
    }

    #[test]
    fn a_request_dropped_without_an_answer_says_that_nobody_knows() {
        let (request, slot) = append(1);
        drop(request);
        assert!(matches!(slot.take(), Some(Err(AppendError::Indeterminate(_)))));
    }
}
