//! The right to one call, and how it ended. Whatever happens to a permit, the breaker hears of it: reported,
//! dropped, or dropped by a panic. One that is leaked is taken for lost when its round is over.

use std::fmt;
use std::sync::Arc;

use crate::shared::Shared;
use crate::state::Outcome;
use crate::ticket::Ticket;

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
    shared: &'a Shared<C>,
    ticket: Ticket,
}

/// A [`Permit`] that keeps the breaker alive, so that it can move into a task with its call.
#[must_use = "dropping a permit says that the call was cancelled"]
pub struct OwnedPermit<C: Fn() -> u64 = fn() -> u64> {
    shared: Arc<Shared<C>>,
    /// None once it is settled.
    ticket: Option<Ticket>,
}

impl<'a, C: Fn() -> u64> Permit<'a, C> {
    #[inline(always)]
    pub(crate) fn new(shared: &'a Shared<C>, ticket: Ticket) -> Self {
        Self { shared, ticket }
    }

    /// The endpoint works.
    #[inline(always)]
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
    #[inline(always)]
    pub fn record(self, outcome: Outcome) {
        let (shared, ticket) = (self.shared, self.ticket);
        // What is left of the permit is borrowed or plain: nothing leaks, and it is settled once.
        std::mem::forget(self);
        shared.settle(ticket, outcome);
    }
}

impl<C: Fn() -> u64> OwnedPermit<C> {
    #[inline(always)]
    pub(crate) fn new(shared: Arc<Shared<C>>, ticket: Ticket) -> Self {
        Self { shared, ticket: Some(ticket) }
    }

    /// The endpoint works.
    #[inline(always)]
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
    #[inline(always)]
    pub fn record(mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.settle(ticket, outcome);
        }
    }
}

impl<C: Fn() -> u64> Drop for Permit<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.shared.cancel(self.ticket);
    }
}

impl<C: Fn() -> u64> Drop for OwnedPermit<C> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.cancel(ticket);
        }
    }
}

impl<C: Fn() -> u64> fmt::Debug for Permit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl<C: Fn() -> u64> fmt::Debug for OwnedPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
