//! How many calls ended, and how many of them *hit*: failed, or were slow. One window per rate, no lock.
//!
//! * W1: at rest, a window holds what ended within it (S5). While threads add, one that reads sees some of the
//!   additions under way and not others, and its own in any case.
//! * W2: a window belongs to one closed period of one breaker. The next period has windows of its own, so that
//!   no late result gets into them.

#[path = "window/count.rs"]
mod count;
#[path = "window/time.rs"]
mod time;

pub(crate) use count::CountWindow;
pub(crate) use time::TimeWindow;

use crate::trip::Window;

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    pub(crate) hits: u64,
}

/// A window of either kind.
#[derive(Debug)]
pub(crate) enum Counts {
    Calls(CountWindow),
    Time(TimeWindow),
}

impl Counts {
    /// An empty window.
    pub(crate) fn new(window: Window) -> Self {
        match window {
            Window::Calls(calls) => Self::Calls(CountWindow::new(calls)),
            Window::Time { span, slices } => {
                let span_ns = crate::policy::saturating_ns(span);
                Self::Time(TimeWindow::new(span_ns, slices))
            }
        }
    }

    /// A call ended at `now_ns`.
    #[inline]
    pub(crate) fn add(&self, hit: bool, now_ns: u64) {
        match self {
            Self::Calls(window) => window.add(hit),
            Self::Time(window) => window.add(Totals { calls: 1, hits: u64::from(hit) }, now_ns),
        }
    }

    pub(crate) fn totals(&self, now_ns: u64) -> Totals {
        match self {
            Self::Calls(window) => window.totals(),
            Self::Time(window) => window.totals(now_ns),
        }
    }

    /// Whether additions need to know the time.
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// Takes over what `old`, a window of the same kind, holds at `now_ns`. Of what does not fit, the oldest goes.
    pub(crate) fn inherit(&self, old: &Self, now_ns: u64) {
        match (self, old) {
            (Self::Calls(new), Self::Calls(old)) => new.inherit(old),
            (Self::Time(new), Self::Time(old)) => new.inherit(old, now_ns),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "window/tests.rs"]
mod tests;
