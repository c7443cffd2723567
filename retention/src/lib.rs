//! What may go, when, and proof that nothing else did: policies, legal holds, a pure plan and a careful sweep.

mod chunk;
mod clock;
mod compile;
mod decision;
mod error;
pub mod hold;
mod index;
mod plan;
mod policy;
pub mod selector;
pub mod store;

pub use chunk::{Chunk, ChunkMeta, InvertedRange, TimeRange};
pub use clock::{ClockDoubt, ClockHealth, Now};
pub use compile::{CompileError, LokiLimits, LokiOverrides, LokiStream, PolicySet, TieBreak};
pub use decision::{Decision, Explanation, Keep, Match, Reason, Standing, Verdict, judge};
pub use error::Error;
pub use hold::{Hold, Holds, Release};
pub use plan::{Census, Expired, FUTURE_TOLERANCE, Plan, Planner, Refusal, Tally, plan};
pub use policy::{Period, Policy, Retention, Scope, ZeroPeriod};
pub use selector::{Selector, SelectorError};
