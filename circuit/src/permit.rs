//! The right to one call, and how it ended. Whatever happens to a permit, the breaker hears of it: reported,
//! dropped, or dropped by a panic. One that is leaked is taken for lost when its round is over.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::machine::Ticket;
use crate::shared::Shared;
use crate::state::Outcome;

/// The right to one call.
///
/// Report how the call ended. Dropping the permit says that it was cancelled, which counts as neither success
/// nor failure (unless [`Options::on_drop`](crate::Options::on_drop) says otherwise) and gives a probe's slot back;
/// being dropped by a panic counts as failure. So put the deadline of a call between the permit and its report,
/// where its passing is a failure.
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
pub struct Permit<'a, C: Fn() -> u64 = fn() -> u64> {
    held: Held<C, &'a Shared<C>>,
}

/// A [`Permit`] that keeps the breaker alive, so that it can move into a task with its call.
#[must_use = "dropping a permit says that the call was cancelled"]
pub struct OwnedPermit<C: Fn() -> u64 = fn() -> u64> {
    held: Held<C, Arc<Shared<C>>>,
}

impl<'a, C: Fn() -> u64> Permit<'a, C> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared<C>, ticket: Ticket) -> Self {
        Self { held: Held { shared, ticket: Some(ticket) } }
    }

    /// The endpoint works.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The endpoint does not.
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// The call says nothing about the endpoint.
    pub fn ignored(self) {
        self.record(Outcome::Ignored);
    }

    /// Any of the four.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.held.settle(outcome);
    }
}

impl<C: Fn() -> u64> OwnedPermit<C> {
    #[inline]
    pub(crate) fn new(shared: Arc<Shared<C>>, ticket: Ticket) -> Self {
        Self { held: Held { shared, ticket: Some(ticket) } }
    }

    /// The endpoint works.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The endpoint does not.
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// The call says nothing about the endpoint.
    pub fn ignored(self) {
        self.record(Outcome::Ignored);
    }

    /// Any of the four.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.held.settle(outcome);
    }
}

impl<C: Fn() -> u64> fmt::Debug for Permit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.held.ticket).finish_non_exhaustive()
    }
}

impl<C: Fn() -> u64> fmt::Debug for OwnedPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("ticket", &self.held.ticket).finish_non_exhaustive()
    }
}

/// A ticket that is settled exactly once, by whoever holds on to the breaker through `H`.
struct Held<C: Fn() -> u64, H: Deref<Target = Shared<C>>> {
    shared: H,
    ticket: Option<Ticket>,
}

impl<C: Fn() -> u64, H: Deref<Target = Shared<C>>> Held<C, H> {
    #[inline]
    fn settle(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.settle(ticket, outcome);
        }
    }
}

impl<C: Fn() -> u64, H: Deref<Target = Shared<C>>> Drop for Held<C, H> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.cancel(ticket);
        }
    }
}
