//! The right to one call, and how it ended. Whatever happens to a permit, the breaker hears of it: reported,
//! dropped, or dropped by a panic. One that is leaked is taken for lost when its round is over.

use std::fmt;

use crate::breaker::Breaker;
use crate::state::Outcome;
use crate::ticket::Ticket;

/// The right to one call, of a breaker that it borrows, or, as an [`OwnedPermit`], keeps alive.
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
pub struct Permit<H: Handle> {
    handle: H,
    /// [`Ticket::SETTLED`] once it is.
    ticket: Ticket,
}

/// A [`Permit`] that can move into a task with its call.
pub type OwnedPermit<C = fn() -> u64> = Permit<Breaker<C>>;

/// What a [`Permit`] reports to: a [`Breaker`], or a reference to one, and nothing else.
pub trait Handle: sealed::Sealed {
    /// The clock of the breaker.
    type Clock: Fn() -> u64;

    /// The breaker.
    fn breaker(&self) -> &Breaker<Self::Clock>;
}

mod sealed {
    use crate::breaker::Breaker;

    pub trait Sealed {}

    impl<C> Sealed for Breaker<C> {}

    impl<C> Sealed for &Breaker<C> {}
}

impl<C: Fn() -> u64> Handle for Breaker<C> {
    type Clock = C;

    #[inline(always)]
    fn breaker(&self) -> &Breaker<C> {
        self
    }
}

impl<C: Fn() -> u64> Handle for &Breaker<C> {
    type Clock = C;

    #[inline(always)]
    fn breaker(&self) -> &Breaker<C> {
        self
    }
}

impl<H: Handle> Permit<H> {
    #[inline(always)]
    pub(crate) fn new(handle: H, ticket: Ticket) -> Self {
        Self { handle, ticket }
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
        let ticket = std::mem::replace(&mut self.ticket, Ticket::SETTLED);
        self.handle.breaker().shared().settle(ticket, outcome);
    }
}

impl<H: Handle> Drop for Permit<H> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.ticket.is_settled() {
            self.handle.breaker().shared().cancel(self.ticket);
        }
    }
}

impl<H: Handle> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
