//! Stop calling what is down, probe until it is up, never wedge: a circuit breaker with permits and generations.
//!
//! # The problem
//!
//! When a store is down, every request that waits for it holds memory and a connection, and the retries keep
//! it down. A breaker gives up early: after some failures in a row it rejects calls at once, waits, lets a few
//! probes through, and closes when they succeed.
//!
//! Breakers fail themselves, in known ways. A call that began before the outage ends well and closes them; a
//! probe that hangs, or a task that is cancelled, keeps its slot for ever and wedges them; everybody is let
//! through as a probe; an observer that asks the breaker for its state deadlocks. Here a call holds a
//! [`Permit`] that reports even when it is dropped; permits belong to a generation and mean nothing in the
//! next; a round of probes ends by itself; and observers run outside of every lock.
//!
//! # What it does not do
//!
//! It does not call, retry or time out: give your calls a deadline, for a call that hangs is counted when it
//! ends. Let the deadline end within the permit's life and report a failure: a deadline around both drops the
//! permit, which says only that somebody lost interest. It counts failures in a row, not rates over a window. Its state is that of one process.
//!
//! # Example
//!
//! ```
//! use forebay_circuit::{Breaker, Options, State};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use std::time::Duration;
//!
//! static NOW_NS: AtomicU64 = AtomicU64::new(0); // a clock to be turned by hand; `Breaker::new` uses the system's
//! let options = Options { failure_threshold: 2, close_after: 1, jitter_percent: 0, ..Options::default() };
//! let breaker = Breaker::with_clock(options, || NOW_NS.load(Relaxed))?;
//!
//! for _ in 0..2 {
//!     breaker.try_acquire()?.failure();
//! }
//! let rejected = breaker.try_acquire().unwrap_err();
//! assert_eq!(rejected.retry_after, Some(Duration::from_secs(1)));
//!
//! NOW_NS.store(1_000_000_000, Relaxed);
//! let probe = breaker.try_acquire()?; // owned: moves into the task that makes the call
//! assert_eq!(breaker.state(), State::HalfOpen);
//! probe.success();
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! * **S1** Only the transitions drawn below happen, and those made by hand.
//! * **S2** Probes of a round under way never exceed `half_open_probes`, however many threads ask; a round lasts
//!   until `half_open_max_wait` after its last probe began.
//! * **S3** A result from another generation changes nothing.
//! * **S4** Never wedged: whatever permits are lost, leaked ones included, once calls succeed the breaker
//!   closes after at most `max_open_for`, `half_open_max_wait` and the time that the probes take.
//! * **S7** Every transition is told once and in order, numbered without a gap.
//! * **S8** Probes issued are those that succeeded, failed, were ignored, went void, and are in flight.
//! * **S9** The same seed, instants and results give the same waits.
//! * A closed breaker writes nothing when a [`call`](Breaker::call) succeeds, and does not read the clock. (An
//!   owned [`Permit`] counts one more handle, and one less when it ends.)
//!
//! ```text
//! Closed ── failure_threshold failures in a row ──▶ Open ── the wait is over ──▶ HalfOpen
//! HalfOpen ── close_after probes succeeded ──▶ Closed
//! HalfOpen ── a probe failed ──▶ Open, for twice as long
//! ```
//!
//! # Limits
//!
//! A breaker takes about 300 bytes. At most 65,536 probes at once. Results count in the order in which calls
//! end, so one slow success among failures starts their count anew. 1,024 transitions wait for a slow observer,
//! then the oldest are dropped. A [`Registry`] that is full of breakers in use refuses a new key.
//!
//! # Time and chance
//!
//! [`machine::Machine`] takes `now_ns`, monotonic nanoseconds since any origin; [`Breaker::with_clock`] and
//! [`Registry::with_clock`] take a function for it. Jitter is drawn from [`Options::seed`] and the instant of
//! the opening.
//!
//! # Features
//!
//! `serde`: options, states, snapshots and transitions can be written and read.

mod backoff;
mod breaker;
pub mod machine;
mod observer;
mod options;
mod permit;
mod registry;
mod shared;
mod state;

pub use breaker::{Breaker, CallError};
pub use machine::{Probes, Snapshot};
pub use observer::{Cause, Observer, Transition};
pub use options::{Options, OptionsError};
pub use permit::Permit;
pub use registry::{Registry, RegistryFull};
pub use state::{Outcome, Phase, Rejected, State};
