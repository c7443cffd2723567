//! The future of one who waits: asks on the first poll, fetches the outcome when woken, leaves when dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::line::Outcome;
use super::{Queue, QueuePermit};
use crate::decision::Denied;
use crate::permit::Permit;

/// A place in line, from the first poll on: [`Queue::wait`].
#[must_use = "nobody waits before the first poll"]
pub struct Wait<'a> {
    queue: &'a Queue,
    tokens: u64,
    deadline_ns: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    New,
    Waiting { ticket: u64 },
    Done,
}

impl<'a> Wait<'a> {
    pub(super) fn new(queue: &'a Queue, tokens: u64, deadline_ns: Option<u64>) -> Self {
        Self { queue, tokens, deadline_ns, state: State::New }
    }

    fn first_poll(&mut self, waker: &Waker) -> Poll<Outcome> {
        let shared = &self.queue.shared;
        if (self.tokens == 0 || self.queue.is_free())
            && let Ok(permit) = shared.limiter.try_acquire(self.tokens)
        {
            return Poll::Ready(Ok(permit.tokens()));
        }
        match shared.join(self.tokens, self.deadline_ns, waker) {
            Err(outcome) => Poll::Ready(outcome),
            Ok(ticket) => {
                self.state = State::Waiting { ticket };
                Poll::Pending
            }
        }
    }
}

impl<'a> Future for Wait<'a> {
    type Output = Result<QueuePermit<'a>, Denied>;

    /// # Panics
    /// When polled after it has ended.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = match self.state {
            State::New => self.first_poll(cx.waker()),
            State::Waiting { ticket } => {
                match self.queue.shared.hold(|waiting| waiting.line.poll(ticket, cx.waker())) {
                    Ok(outcome) => Poll::Ready(outcome),
                    Err(_old_waker) => Poll::Pending,
                }
            }
            State::Done => panic!("a wait was polled after it had ended"),
        };
        polled.map(|outcome| {
            self.state = State::Done;
            outcome.map(|taken| Permit::new(self.queue, self.tokens, taken))
        })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let State::Waiting { ticket } = self.state else { return };
        let now_ns = self.queue.now_ns();
        let (outcome, _waker) = self.queue.shared.hold(|waiting| waiting.line.leave(ticket, now_ns));
        // Zero as well: those behind move forward.
        self.queue.shared.give_back(outcome.and_then(Result::ok).unwrap_or(0));
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("tokens", &self.tokens)
            .field("deadline_ns", &self.deadline_ns)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
