//! The end of a lead: who goes on with what is left, and who is refused where nobody will.

use std::sync::Arc;

use super::Queue;
#[cfg(feature = "tokio")]
use crate::frames::Frames;
use crate::parker::Parker;
use crate::request::{Outcome, Waiter};

/// Whom a leader that leaves must wake.
#[derive(Default)]
pub(crate) struct Handoff {
    thread: Option<Arc<Parker<Outcome>>>,
    /// Tasks to be refused.
    #[cfg(feature = "tokio")]
    pub(crate) orphans: Vec<Waiter>,
    /// Whether the committer of the async front has work, or none any more.
    #[cfg(feature = "tokio")]
    pub(crate) work_left: bool,
}

impl Handoff {
    #[inline]
    pub(crate) fn wake(&self) {
        if let Some(parker) = &self.thread {
            parker.offer_lead();
        }
    }
}

impl Queue {
    /// Ends the lead.
    #[inline]
    pub(crate) fn leave(&mut self) -> Handoff {
        self.leading = false;
        self.taken.1 = 0;
        self.held = 0;
        Handoff {
            thread: self.waiting_thread(),
            #[cfg(feature = "tokio")]
            orphans: self.orphans(),
            #[cfg(feature = "tokio")]
            work_left: self.has_work() || self.is_done(),
        }
    }

    /// A thread that waits, and may lead.
    #[inline]
    fn waiting_thread(&self) -> Option<Arc<Parker<Outcome>>> {
        if self.waiters.is_empty() && self.works.is_empty() {
            return None;
        }
        let works = || self.works.iter().find_map(|request| request.owed.waiter().and_then(Waiter::thread));
        self.waiters.find(Waiter::thread).or_else(works)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn tasks_gone(&mut self) {
        self.tasks_gone = true;
    }

    /// Whether there is nothing to do for tasks, now and later.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        let idle = self.waiters.is_empty() && self.works.is_empty();
        let idle = idle && (self.closing || self.intake.is_idle());
        self.poison.is_some() || (self.closing || self.tasks_gone) && idle
    }

    /// Nobody commits for tasks any more. Those whose records no thread takes along are refused.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_tasks(&mut self) -> Vec<Waiter> {
        self.tasks_closed = true;
        self.orphans()
    }

    /// Tasks for which nobody will ever commit.
    #[cfg(feature = "tokio")]
    #[inline]
    fn orphans(&mut self) -> Vec<Waiter> {
        if !self.tasks_closed || self.leading || self.waiting_thread().is_some() {
            return Vec::new();
        }
        let works = self.works.drain(..).filter_map(|request| request.owed.take());
        let mut orphans: Vec<_> = works.collect();
        while let Some(waiting) = self.waiters.pop_behind(0) {
            orphans.push(waiting.waiter);
        }
        if !orphans.is_empty() {
            self.intake.refused(&Frames::default(), self.taken.0);
            self.unsynced.refused(!self.intake.is_empty());
        }
        orphans
    }
}
