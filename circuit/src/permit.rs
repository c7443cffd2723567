//! The right to one call, and how it ended. Whatever happens to a permit, the breaker hears of it: reported,
//! dropped, or dropped by a panic. One that is leaked is taken for lost when its round is over.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use crate::machine::Ticket;
use crate::shared::Shared;
use crate::state::Outcome;

/// The right to one call; owned, so that it can move into a task with it.
///
/// Report how the call ended. Dropping the permit says that it was cancelled, which counts as neither success
/// nor failure and gives a probe's slot back; being dropped by a panic counts as failure. So put the deadline of a
/// call between the permit and its report, where its passing is a failure.
///
/// ```
/// # use std::time::Duration;
/// # async fn put() -> Result<(), ()> { Ok(()) }
/// # async fn run(breaker: forebay_circuit::Breaker) -> Result<(), forebay_circuit::Rejected> {
/// let permit = breaker.try_acquire()?;
/// match tokio::time::timeout(Duration::from_secs(5), put()).await { // cancelled here, the permit is dropped
///     Ok(Ok(())) => permit.success(),
///     Ok(Err(())) | Err(_) => permit.failure(),
/// }
/// # Ok(()) }
/// ```
#[must_use = "dropping a permit says that the call was cancelled"]
pub struct Permit<C: Fn() -> u64 = fn() -> u64> {
    held: Held<Arc<Shared<C>>>,
}

impl<C: Fn() -> u64> Permit<C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, ticket: Ticket) -> Self {
        Self { held: Held::new(shared, ticket) }
    }

    /// The endpoint works.
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The endpoint does not.
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// The call says nothing about the endpoint; what dropping the permit says too.
    pub fn ignored(self) {
        self.record(Outcome::Ignored);
    }

    /// Any of the three.
    pub fn record(self, outcome: Outcome) {
        self.held.settle(outcome);
    }
}

impl<C: Fn() -> u64> fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.held.ticket.as_ref().map(Ticket::generation);
        f.debug_struct("Permit").field("generation", &generation).finish_non_exhaustive()
    }
}

/// Takes tickets back.
pub(crate) trait Settle {
    fn settle(&self, ticket: Ticket, outcome: Outcome);
}

/// A ticket that is settled exactly once, by whoever holds on to the breaker through `H`.
pub(crate) struct Held<H: Deref<Target: Settle>> {
    breaker: H,
    ticket: Option<Ticket>,
}

impl<H: Deref<Target: Settle>> Held<H> {
    pub(crate) fn new(breaker: H, ticket: Ticket) -> Self {
        Self { breaker, ticket: Some(ticket) }
    }

    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.take(outcome);
    }

    fn take(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(ticket, outcome);
        }
    }
}

impl<H: Deref<Target: Settle>> Drop for Held<H> {
    fn drop(&mut self) {
        self.take(if thread::panicking() { Outcome::Failure } else { Outcome::Ignored });
    }
}
