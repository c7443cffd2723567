//! The calls of a read: each in a task of its own, which ends with the read.
//!
//! Invariant: whatever way a value takes from its call, it is taken out of an [`Unused`] once or handed back by that.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::cancel::{Cancel, CancelCause, Canceller};
use super::outcome::Cause;
use super::targets::Targets;
use crate::instance::Instance;

/// Takes back what is not returned.
pub(super) type Discard<T> = Arc<dyn Fn(&Instance, T) + Send + Sync>;

/// A value that is handed back unless it is taken.
pub(super) struct Unused<T> {
    instance: Arc<Instance>,
    value: Option<T>,
    discard: Discard<T>,
}

impl<T> Unused<T> {
    fn take(mut self) -> Option<(Arc<Instance>, T)> {
        let value = self.value.take()?;
        Some((Arc::clone(&self.instance), value))
    }
}

impl<T> Drop for Unused<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            // Perhaps while another panic unwinds, beside which there is no room for a second.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.discard)(&self.instance, value)));
        }
    }
}

impl<T> fmt::Debug for Unused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unused").field("instance", &self.instance.id).finish_non_exhaustive()
    }
}

/// How a call ended.
pub(super) enum Ended<T, E> {
    Answered(Unused<T>),
    Failed(Cause<E>),
}

/// The calls of a read by the places of their instances in its set.
pub(super) struct Asked<T, E> {
    tasks: JoinSet<(usize, Ended<T, E>)>,
    calls: Vec<Call<T>>,
    /// Calls that failed before there was a task.
    failed: Vec<(usize, Cause<E>)>,
    deadline: Duration,
    targets: Option<Targets>,
    discard: Discard<T>,
}

struct Call<T> {
    task: Option<AbortHandle>,
    canceller: Option<Canceller>,
    value: Option<Unused<T>>,
}

impl<T: Send + 'static, E: Send + 'static> Asked<T, E> {
    pub(super) fn ask<F, Fut>(&mut self, place: usize, instance: &Arc<Instance>, call: &mut F)
    where
        F: FnMut(&Arc<Instance>, Cancel) -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let slot = match self.targets.as_ref().map(|targets| targets.acquire(&instance.id, 0)).transpose() {
            Ok(slot) => slot,
            Err(full) => return self.failed.push((place, Cause::Full(full))),
        };
        let (canceller, cancel) = Cancel::new();
        let Ok(future) = catch_unwind(AssertUnwindSafe(|| call(instance, cancel))) else {
            return self.failed.push((place, Cause::Lost));
        };
        let (instance, discard) = (Arc::clone(instance), Arc::clone(&self.discard));
        let deadline = self.deadline;
        let timeout = tokio::time::timeout(deadline, future);
        let task = self.tasks.spawn(async move {
            let ended = match timeout.await {
                Ok(Ok(value)) => Ended::Answered(Unused { instance, value: Some(value), discard }),
                Ok(Err(error)) => Ended::Failed(Cause::Replied(error)),
                Err(_) => Ended::Failed(Cause::Deadline(deadline)),
            };
            drop(slot);
            (place, ended)
        });
        self.calls[place].task = Some(task);
        self.calls[place].canceller = Some(canceller);
    }
}

impl<T: 'static, E: 'static> Asked<T, E> {
    pub(super) fn new(
        places: usize,
        deadline: Duration,
        targets: Option<Targets>,
        discard: Discard<T>,
    ) -> Self {
        let calls = (0..places).map(|_| Call { task: None, canceller: None, value: None }).collect();
        Self { tasks: JoinSet::new(), calls, failed: Vec::new(), deadline, targets, discard }
    }

    /// The next call that ends by itself. Pending for ever if there is none.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Ended<T, E>)> {
        if let Some((place, cause)) = self.failed.pop() {
            return Poll::Ready((place, Ended::Failed(cause)));
        }
        loop {
            match ready!(self.tasks.poll_join_next(cx)) {
                Some(Ok(ended)) => return Poll::Ready(ended),
                Some(Err(error)) => {
                    let is_it =
                        |call: &Call<T>| call.task.as_ref().is_some_and(|task| task.id() == error.id());
                    let place = self.calls.iter().position(is_it).expect("every task is of a call");
                    // Unless it is one that was given up.
                    if self.calls[place].canceller.is_some() {
                        return Poll::Ready((place, Ended::Failed(Cause::Lost)));
                    }
                }
                None => return Poll::Pending,
            }
        }
    }

    /// Keeps an answer for later.
    pub(super) fn keep(&mut self, place: usize, value: Unused<T>) {
        self.calls[place].value = Some(value);
    }

    /// The answer that was kept, of which the call shall not hear any more.
    pub(super) fn take(&mut self, place: usize) -> Option<(Arc<Instance>, T)> {
        let call = &mut self.calls[place];
        call.canceller = None;
        call.value.take()?.take()
    }

    /// Gives up these calls, and hands back what they answered.
    pub(super) fn cancel(&mut self, places: Range<usize>, cause: CancelCause) {
        for call in &mut self.calls[places] {
            if let Some(canceller) = call.canceller.take() {
                canceller.send_replace(Some(cause));
            }
            if let Some(task) = &call.task {
                task.abort();
            }
            call.value = None;
        }
    }
}

impl<T, E> Drop for Asked<T, E> {
    fn drop(&mut self) {
        for canceller in self.calls.iter_mut().filter_map(|call| call.canceller.take()) {
            canceller.send_replace(Some(CancelCause::Dropped));
        }
    }
}
