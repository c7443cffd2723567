//! The states of a breaker, and what leads from one to the next.
//!
//! ```text
//!                     the trip condition holds
//!         ┌────────┐ ───────────────────────────────▶ ┌──────┐
//!         │ Closed │                                  │ Open │◀─┐
//!         └────────┘                                  └──────┘  │
//!             ▲                  the wait is over and │         │ too many probes failed:
//!             │                    somebody asks      ▼         │ the wait doubles
//!             │ enough probes succeeded        ┌──────────┐     │
//!             └─────────────────────────────── │ HalfOpen │ ────┘
//!                                              └──────────┘
//!                                                │      ▲ all slots taken and no verdict for
//!                                                └──────┘ half_open_max_wait: a new round
//! ```
//!
//! By hand, every state can be forced open or closed, switched off or made to watch only, where it stays, and
//! reset to closed. The [`machine`] that walks these arrows keeps:
//!
//! * M1: each of them but the new round begins a new *generation*. A ticket belongs to the generation that
//!   issued it, and the result of another generation changes nothing.
//! * M2: while half-open, the tickets of this round that have not come back are never more than
//!   `half_open_probes`.
//! * M3: whatever tickets are lost, Open ends when its wait is over, and HalfOpen has a slot at the latest
//!   `half_open_max_wait` after it issued the last one. A probe of an earlier round that comes back after all
//!   counts like any other, so slow probes close the breaker too, and those that hang until their deadline make
//!   the wait longer; but its failure says nothing once another probe has succeeded. So it cannot be wedged.
//!
//! [`machine`]: crate::machine

use std::fmt;
use std::time::Duration;

/// What a breaker does with the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum State {
    /// It is admitted.
    Closed,
    /// It is rejected.
    Open {
        /// How long until probes are admitted; nothing if the breaker was forced open, and stays so.
        retry_after: Option<Duration>,
    },
    /// It is admitted as a probe, if one of the slots is free. Also said of an open breaker whose wait is
    /// over, although it takes a call to move it.
    HalfOpen,
}

/// A [`State`] by name only: for labels, and for the ends of a [`Transition`](crate::Transition).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Phase {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// Some calls pass, to see how they fare.
    HalfOpen,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint works.
    Success,
    /// The endpoint does not.
    Failure,
    /// The endpoint is overloaded and said so: a failure, and if it opens the breaker, or another one does so
    /// meanwhile, the breaker stays open at least until the time that the endpoint asked for (`Retry-After`) is
    /// over. It never makes the wait shorter, nor longer than [`max_open_for`](crate::Options::max_open_for).
    Throttled(Option<Duration>),
    /// It says nothing about the endpoint: cancelled, or refused for a reason of the caller's.
    Ignored,
}

/// Who decides what a breaker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Control {
    /// The results of the calls.
    #[default]
    Automatic,
    /// Somebody: every call is rejected.
    ForcedOpen,
    /// Somebody: every call is admitted, whatever fails. Windows go on counting.
    ForcedClosed,
    /// Nobody: every call is admitted, and nothing is counted.
    Disabled,
    /// Nobody: every call is admitted and counted, and so is each result at which the breaker would have opened.
    MetricsOnly,
}

/// A refusal to call. Not an error of the program: the endpoint is down, and the caller was spared the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rejected {
    /// When to ask again: at the end of the wait, or, when half-open, when the slots taken will be issued
    /// again at the latest. Nothing if the breaker was forced open.
    pub retry_after: Option<Duration>,
    /// Open, or half-open with every slot taken.
    pub state: State,
}

impl State {
    /// Its name alone.
    pub fn phase(self) -> Phase {
        match self {
            Self::Closed => Phase::Closed,
            Self::Open { .. } => Phase::Open,
            Self::HalfOpen => Phase::HalfOpen,
        }
    }
}

impl Rejected {
    /// By an open breaker whose wait goes on for so long.
    #[inline]
    pub(crate) fn open(left: Duration) -> Self {
        let retry_after = Some(left);
        Self { retry_after, state: State::Open { retry_after } }
    }
}

impl Outcome {
    /// Failure or throttled.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failure | Self::Throttled(_))
    }
}

impl Phase {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// `closed`, `open` or `half_open`: a label for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `closed`, `open for 1.5s`, `forced open`, `half-open`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Open { retry_after: Some(wait) } => write!(f, "open for {wait:?}"),
            Self::Open { retry_after: None } => f.write_str("forced open"),
            Self::HalfOpen => f.write_str("half-open"),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, self.retry_after) {
            (State::HalfOpen, Some(wait)) => {
                write!(f, "circuit breaker is half-open and every probe is out, retry after {wait:?}")
            }
            (state, _) => write!(f, "circuit breaker is {state}"),
        }
    }
}

/// So that `?` carries a rejection out of functions that return boxed errors.
impl std::error::Error for Rejected {}
