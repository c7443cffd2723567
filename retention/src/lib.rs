//! What may go, when, and proof that nothing else did.
//!
//! Log data must be deleted on time, and must not be deleted when a court or an auditor wants it kept. Both are easy
//! to get wrong: a hold that is placed while a sweep runs protects only from the next one, a mistaken policy
//! takes everything, a clock that jumps makes all data old, a crash leaves an index that points to nothing. This
//! crate decides what may go and deletes it from your index and object store, in an order in which nothing
//! is lost by accident:
//!
//! - [`PolicySet`]: how long the chunks of a tenant and stream are kept, with one total order and an
//!   [explanation](PolicySet::explain); or [from Loki's limits](PolicySet::from_loki) with Loki's order.
//! - [`Hold`]: legal holds, by tenant, labels and time, that win over every policy; see [`hold::place`].
//! - [`plan()`]: what has expired, as a pure function.
//! - [`Sweeper`]: mark, wait, decide again, record the intent, delete, record the outcome; and the same as a
//!   dry run, [`Sweeper::forecast`].
//!
//! It does not read or write chunks, does not cut a chunk in two (one goes when its newest entry is out of its
//! period), does not look for objects that no index knows, schedules nothing and limits no rate: call
//! [`Pass::step`] as often as you like. Whoever removes unknown objects must ask [`Holds`] first.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use forebay_retention::store::{MemoryChunks, MemoryState};
//! use forebay_retention::{
//!     Chunk, Hold, LokiLimits, LokiStream, Now, Options, PolicySet, Scope, Selector, Sweeper, TimeRange, hold,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const HOUR: Duration = Duration::from_secs(3600);
//! let debug = LokiStream { selector: r#"{level="debug"}"#.into(), priority: 1, period: 24 * HOUR };
//! let policies = Arc::new(PolicySet::from_loki(&LokiLimits { period: 744 * HOUR, streams: vec![debug] }, [])?);
//! println!("{}", policies.explain("acme", &[("app", "shop"), ("level", "debug")]));
//!
//! let chunks = MemoryChunks::new();
//! for (id, app) in [("c1", "shop"), ("c2", "bank")] {
//!     chunks.insert(Chunk {
//!         tenant: "acme".into(),
//!         id: id.into(),
//!         labels: vec![("app".into(), app.into()), ("level".into(), "debug".into())],
//!         range: TimeRange::new(0, 3_600_000_000_000)?,
//!         size_bytes: 1 << 20,
//!     });
//! }
//! let options = Options { delete_delay: 2 * HOUR, ..Options::default() };
//! let sweeper = Sweeper::new(chunks.clone(), MemoryState::new(), move || Arc::clone(&policies), options);
//!
//! let bank = Selector::parse_loki(r#"{app="bank"}"#)?;
//! let order = Hold::new("hold-7", Scope::All, bank, "case 7", "asked by the court", 1_700_000_000_000_000_000);
//! hold::place(sweeper.state(), order).await?;
//!
//! let hours = |h: u64| Now::trusted((h * 3_600_000_000_000) as i64, h * 3_600_000_000_000);
//! assert_eq!(sweeper.sweep("acme", || hours(30)).await?.marked, 1);
//! assert_eq!(sweeper.forecast("acme", hours(32)).await?.deletes.len(), 1);
//! assert_eq!(sweeper.sweep("acme", || hours(32)).await?.deleted.chunks, 1);
//! assert_eq!(chunks.objects(), [("acme".to_owned(), "c2".to_owned())]);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - **R1** Once placing a hold has returned, no request to delete a matching chunk is sent. The answer names what
//!   was deleted or in flight before.
//! - **R2** A chunk goes only if, at that moment and by the policies and holds of that moment, its period is over
//!   and nothing holds it. Marks are hints.
//! - **R3** A durable intent precedes every deletion, and ends in exactly one outcome, across crashes.
//! - **R4** References go before objects. An interrupted deletion is finished, or the references come back.
//! - **R5** Doubt keeps: about the clock, an empty or disordered listing, labels that cannot be read, a hold that does
//!   not parse, a store that fails, more at once than [`Options::max_delete_fraction`]; and no policy is no deletion.
//! - **R6** What decides does not depend on the order in which policies were loaded.
//! - **R7** A forecast deletes and writes nothing, and names what a sweep at the same time deletes.
//!
//! # Limits
//!
//! Times are nanoseconds in an `i64` (1677 to 2262) and saturate towards keeping. A selector has at most 64 KiB
//! and 32 patterns, a pattern 4 KiB, 1 MiB compiled; a hold's texts 4 KiB each. A step lists one page or
//! deletes one batch, by default 1000 chunks, and memory grows with these; a plan's with what has expired, a
//! forecast's with what is marked. While the object store is down at most [`Options::max_open_intents`] intents
//! stay open, and for each further sweeper a batch. Placing a hold waits for one batch of each sweeper, and then
//! reads the journal from its start: the journal is not pruned. Wall clocks that jumped ahead while no sweeper
//! was running cannot be told from time that passed; the delay and the guard against too much at once are what
//! is left then.
//!
//! # Time, disk and stores
//!
//! No clock is read: every call takes [`Now`], wall and monotonic time with the caller's word on how good they are.
//! The stores are traits, [`store::ChunkStore`] over your index and objects and [`store::StateStore`] for what
//! retention remembers, with in-memory twins; `store::redb` keeps the state in one file. All futures run on any
//! runtime.
//!
//! # Features
//!
//! - `redb`: the state in an embedded database.
//! - `serde`: selectors, policies, holds, plans and reports as data.
//! - `conformance`: what every store must do, as functions to run on your own.

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
mod sweep;

pub use chunk::{Chunk, ChunkMeta, InvertedRange, TimeRange};
pub use clock::{ClockDoubt, ClockHealth, Now};
pub use compile::{CompileError, LokiLimits, LokiOverrides, LokiStream, PolicySet, TieBreak};
pub use decision::{Decision, Explanation, Keep, Match, Reason, Standing, Verdict, judge};
pub use error::Error;
pub use hold::{Hold, Holds, Release};
pub use plan::{Census, Expired, FUTURE_TOLERANCE, Plan, Planner, Refusal, Tally, plan};
pub use policy::{Period, Policy, Retention, Scope, ZeroPeriod};
pub use selector::{Selector, SelectorError};
pub use sweep::{Forecast, Options, Pass, Report, Step, Sweeper};
