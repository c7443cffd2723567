//! Stop calling what is down, probe until it is up, never wedge: a circuit breaker with permits and generations.
//!
//! A call holds a [`Permit`] that reports even when it is dropped; permits belong to a generation and mean
//! nothing in the next; a round of probes ends by itself; and observers run outside of every lock.

mod backoff;
mod breaker;
pub mod machine;
mod observer;
mod options;
mod permit;
mod shared;
mod state;

pub use breaker::{Breaker, CallError};
pub use machine::{Probes, Snapshot};
pub use observer::{Cause, Observer, Transition};
pub use options::{Options, OptionsError};
pub use permit::Permit;
pub use state::{Outcome, Phase, Rejected, State};
