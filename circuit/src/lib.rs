//! Stop calling what is down, probe until it is up, never wedge: a circuit breaker with permits and generations.
//!
//! # The problem
//!
//! When a store is down, every request that waits for it holds memory and a connection, and the retries keep
//! it down. A breaker gives up early: when calls fail, or take too long, it rejects them at once, waits, lets a
//! few probes through, and closes when they succeed.
//!
//! Breakers fail themselves, in known ways. A call that began before the outage ends well and closes them; a
//! probe that hangs, or a task that is cancelled, keeps its slot for ever and wedges them; everybody is let
//! through as a probe; a window that is said to slide does not; an endpoint that only hangs is never counted;
//! an observer that asks the breaker for its state deadlocks. Here a call holds a [`Permit`] that reports even
//! when it is dropped; permits belong to a generation and mean nothing in the next; a round of probes ends by
//! itself; and observers run outside of every lock.
//!
//! # What it does not do
//!
//! It does not call, retry or time out: give your calls a deadline. Let the deadline end within the permit's
//! life and report a failure: a deadline around both drops the permit, which says only that somebody lost
//! interest (unless [`Options::on_drop`] says otherwise). Its state is that of one process.
//!
//! # Example
//!
//! ```
//! use forebay_circuit::{Breaker, Options, Rate, State, Trip, Verdict, Window};
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use std::time::Duration;
//!
//! static NOW_NS: AtomicU64 = AtomicU64::new(0); // a clock to be turned by hand; `Breaker::new` uses the system's
//! let half_of_ten_seconds =
//!     Rate { permille: 500, min_calls: 20, over: Window::Time { span: Duration::from_secs(10), slices: 20 } };
//! let options = Options {
//!     trip: Trip::Consecutive(2).or(Trip::FailureRate(half_of_ten_seconds)),
//!     verdict: Verdict::Successes(1),
//!     jitter_percent: 0,
//!     ..Options::default()
//! };
//! let breaker = Breaker::with_clock(options, || NOW_NS.load(Relaxed))?;
//!
//! for _ in 0..2 {
//!     breaker.try_acquire()?.failure();
//! }
//! let rejected = breaker.try_acquire().unwrap_err();
//! assert_eq!(rejected.retry_after, Some(Duration::from_secs(1)));
//!
//! NOW_NS.store(1_000_000_000, Relaxed);
//! let probe = breaker.try_acquire_owned()?; // owned: moves into the task that makes the call
//! assert_eq!(breaker.state(), State::HalfOpen);
//! probe.success();
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What opens it
//!
//! A [`Trip`] is a condition, or several of which any or all have to hold: failures in a row; the rate of
//! failures, or of slow calls, over the last so many calls or over a time in slices; calls in flight that are
//! slow already, so that an endpoint which hangs is found out before any call returns. Conditions are judged
//! when a call ends badly or slowly, and once a slice for calls in flight: a success that is fast opens nothing.
//!
//! # Guarantees
//!
//! * **S1** Only the transitions drawn below happen, and those made by hand.
//! * **S2** Probes of a round under way never exceed `half_open_probes`, however many threads ask; a round lasts
//!   until `half_open_max_wait` after its last probe began.
//! * **S3** A result from another generation changes nothing, and no window counts it.
//! * **S4** Never wedged: whatever permits are lost, leaked ones included, once calls succeed the breaker
//!   closes after at most `max_open_for`, `half_open_max_wait` and the time that the probes take.
//! * **S5** A window holds what ended within it, no call more and none less.
//! * **S6** The breaker opens when its condition holds, and only then.
//! * **S7** Every transition is told once and in order, numbered without a gap.
//! * **S8** Probes issued are those that succeeded, failed, were ignored, went void, and are in flight; with
//!   `count_calls`, calls admitted are those that succeeded, failed, were ignored or dropped, and are in flight.
//! * **S9** The same seed, instants and results give the same waits.
//! * **S10** What went wrong in other breakers has a test here.
//! * A closed breaker that counts failures in a row writes nothing when a call succeeds, and does not read the
//!   clock. (An [`OwnedPermit`] counts one more handle, and one less when it ends.)
//!
//! ```text
//! Closed ── the trip condition holds ──▶ Open ── the wait is over ──▶ HalfOpen
//! HalfOpen ── enough probes succeeded ──▶ Closed
//! HalfOpen ── too many probes failed ──▶ Open, for twice as long
//! ```
//!
//! # Limits
//!
//! A breaker takes 128 bytes and its share of the options, which a [`Registry`] keeps once; 56 more from its first
//! opening on, and 160 with an observer, counted calls or a bound on how many reject. Windows take about 100, and 8
//! for each slice of time or 64 calls; each call in a window costs one wait-free addition and holds on to the windows
//! meanwhile. At most 65,535 probes at once, 16 conditions, 1,024 slices, 65,536 calls in a window. Beyond half a
//! million calls in one slice its counts are halved: the slice keeps its rate, and counts for less beside the others;
//! cut time finer there. Results count in the order in which calls end, so one slow success among failures starts the
//! count of failures in a row anew. Calls in flight are found slow at most an eighth of `slow_call` late, when a call
//! is asked for. 1,024 transitions wait for a slow observer, then the oldest are dropped. A [`Registry`] that is full
//! of breakers in use refuses a new key. `COMPARE.md` has the figures, beside those of others.
//!
//! # Time and chance
//!
//! [`Breaker::with_clock`], [`Registry::with_clock`] and [`Throttle::with_clock`] take a function that returns
//! monotonic nanoseconds since any origin. Should it go back, windows and transitions take it for standing still,
//! and a wait under way grows by as much; should it leap ahead, waits are over, and windows hold what they have
//! until it is where it was. Jitter is drawn from [`Options::seed`], the instant of the opening and, in a registry,
//! how many breakers it had made before; a throttle's chance from [`ThrottleOptions::seed`].
//!
//! # Features
//!
//! * `serde`: options, states, snapshots and transitions can be written and read.
//! * `tower`: [`CircuitBreakerLayer`], without a box, and where all is well without a lock.

mod backoff;
mod breaker;
mod crowd;
mod in_flight;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod meters;
mod observer;
mod options;
mod permit;
mod policy;
mod registry;
mod shared;
mod snapshot;
mod state;
mod sync;
mod tally;
mod throttle;
mod ticket;
mod trip;
mod window;
mod word;

pub use breaker::{Breaker, CallError};
#[cfg(feature = "tower")]
pub use layer::{ByResult, CircuitBreaker, CircuitBreakerLayer, Classify, ResponseFuture};
pub use observer::{Cause, Observer, Transition};
pub use options::{OnDrop, Options, OptionsError, Verdict};
pub use permit::{Handle, OwnedPermit, Permit};
pub use registry::{Registry, RegistryFull};
pub use snapshot::{Calls, Probes, Reading, Snapshot};
pub use state::{Control, Outcome, Phase, Rejected, State};
pub use throttle::{OwnedThrottlePermit, Throttle, ThrottleOptions, ThrottlePermit, Throttled};
pub use trip::{Rate, Trip, Window};
