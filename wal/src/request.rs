//! What is asked of a log besides records, who waits for an answer, and what that is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::error::{AppendError, Failure};
use crate::parker::Parker;
use crate::truncate::Truncated;

/// What is asked for besides records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Truncate(u64),
    /// Of records below this LSN; the body of the frame.
    Checkpoint(u64, Bytes),
    /// The stream of this name.
    Define(Arc<str>),
    /// The stream of this name is over.
    DropStream(Arc<str>),
    /// A stream has given up what lies below this LSN.
    LowerStream(u32, u64),
    Rotate,
    Close,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Truncated(Truncated),
    /// Its id, and whether it is gone.
    Stream(u32, Arc<AtomicBool>),
    Other,
}

impl Done {
    /// Of a truncation, or of a stream that was dropped.
    pub(crate) fn truncated(self) -> Truncated {
        match self {
            Self::Truncated(truncated) => truncated,
            _ => unreachable!("a truncation is answered with what it did"),
        }
    }
}

pub(crate) type Outcome = Result<Done, AppendError>;

/// Where the answer goes.
pub(crate) enum Waiter {
    Thread(Arc<Parker<Outcome>>),
    #[cfg(feature = "tokio")]
    Task(tokio::sync::oneshot::Sender<Outcome>),
}

impl Waiter {
    pub(crate) fn answer(self, outcome: Outcome) {
        match self {
            Self::Thread(parker) => parker.answer(outcome),
            #[cfg(feature = "tokio")]
            // Nobody listens where the future was dropped: the record is in the log all the same.
            Self::Task(sender) => drop(sender.send(outcome)),
        }
    }

    #[inline]
    pub(crate) fn thread(&self) -> Option<Arc<Parker<Outcome>>> {
        match self {
            Self::Thread(parker) => Some(parker.clone()),
            #[cfg(feature = "tokio")]
            Self::Task(_) => None,
        }
    }

    /// Whether somebody is still there to be told.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Thread(_) => true,
            #[cfg(feature = "tokio")]
            Self::Task(sender) => !sender.is_closed(),
        }
    }

    #[inline]
    pub(crate) fn is_task(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }
}

/// Work in the queue: it comes after all records below `at`, and before all others.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) at: u64,
    pub(crate) owed: Owed,
}

/// An answer that somebody waits for, and gets also where the file system panics.
pub(crate) struct Owed(Option<Waiter>);

impl Owed {
    pub(crate) fn to(waiter: Waiter) -> Self {
        Self(Some(waiter))
    }

    #[inline]
    pub(crate) fn waiter(&self) -> Option<&Waiter> {
        self.0.as_ref()
    }

    /// For whoever answers.
    pub(crate) fn take(mut self) -> Option<Waiter> {
        self.0.take()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            let cause = std::io::Error::other("the file system panicked");
            waiter.answer(Err(AppendError::Indeterminate(Failure::new("committing", cause))));
        }
    }
}
