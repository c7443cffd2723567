//! Writes to replica sets and reads of them: one call per instance, an outcome per item, and no copy lost to impatience.
//!
//! [`do_batch`] looks up the replica set of every item, sends each instance one call with all of its
//! items and resolves as soon as the fate of every item is known. Calls that are still under way then
//! (stragglers) go on, as do all calls if the caller stops waiting: dropping the future never takes a
//! copy away. What keeps them from piling up is a deadline for each call and a [`Targets`] shared by all
//! batches, which bounds calls and bytes in flight per instance and in total. An instance at its bound
//! is not called; to the batch that is a failure like any other, and the other replicas decide.
//!
//! ```
//! use std::time::Duration;
//!
//! use forebay_ring::quorum::{BatchOptions, Family, ReplicaResult, Targets, do_batch};
//! use forebay_ring::{Instance, Membership, Operation, Options, Ring, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut members = Membership::default();
//! for (id, token) in [("a", 1 << 30), ("b", 2 << 30), ("c", 3 << 30)] {
//!     let tokens = vec![token].into();
//!     members.observe(Instance { state: State::Active, tokens, ..Instance::new(id, id) }, 0);
//! }
//! let ring = Ring::build(&Options::default(), &members, 0)?;
//!
//! let options = BatchOptions::new(Targets::default(), |_: &&str| Family::Server);
//! let batch = do_batch(&ring, Operation::WRITE, &[7_u32, 1 << 31], |instance, items| {
//!     let down = &*instance.id == "b";
//!     async move { if down { ReplicaResult::Err("connection refused") } else { ReplicaResult::Ok } }
//! }, &options);
//!
//! let outcome = batch.await;
//! outcome.result()?; // two of three replicas acknowledged both items
//! outcome.stragglers.finished().await; // if anyone wants to know
//! # Ok(())
//! # }
//! ```
//!
//! [`do_until_quorum`] asks the instances of a [`ReadSet`](crate::ReadSet) until enough have answered. A read owes nobody
//! anything, so it is the other way round: what is not needed is cancelled, and a future that is dropped cancels all.
//! What was answered and is not returned is handed back.
//!
//! ```
//! # use forebay_ring::quorum::{Ask, ReadOptions, do_until_quorum};
//! # use forebay_ring::{Instance, Membership, Operation, Options, Ring, State};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut members = Membership::default();
//! # for (id, token) in [("a", 1 << 30), ("b", 2 << 30), ("c", 3 << 30)] {
//! #     let tokens = vec![token].into();
//! #     members.observe(Instance { state: State::Active, tokens, ..Instance::new(id, id) }, 0);
//! # }
//! # let ring = Ring::build(&Options::default(), &members, 0)?;
//! let set = ring.replication_set_for(Operation::READ)?;
//! let ask = Ask::Few { seed: 7, prefer: Vec::new() };
//! let options = ReadOptions { ask, ..ReadOptions::default() };
//! let answers = do_until_quorum(&set, &options, |instance, _cancel| {
//!     let down = &*instance.id == "b";
//!     async move { if down { Err("connection refused") } else { Ok(17) } }
//! }, |_instance, _unused| {}).await?;
//! assert_eq!(answers.len(), 2); // of the three, with 3 replicas
//! # Ok(())
//! # }
//! ```
//!
//! [`for_each_bounded`] is for work that has no replicas.

mod asked;
mod batch;
mod cancel;
mod each;
mod finish;
mod hedge;
mod outcome;
mod plan;
mod read;
mod sync;
mod targets;
mod tracker;
mod units;

pub use batch::{Batch, BatchOptions, Items, ReplicaResult, Stragglers, do_batch};
pub use cancel::{Cancel, CancelCause};
pub use each::{ErrorMode, JobError, for_each_bounded};
pub use finish::Finished;
pub use hedge::{Hedge, HedgeOptions, Hedger};
pub use outcome::{BatchError, BatchOutcome, Cause, Classify, Family, ItemOutcome, ReplicaError, Verdict};
pub use plan::Item;
pub use read::{Ask, CallError, IsTerminal, ReadError, ReadOptions, do_until_quorum};
pub use targets::{Full, Limits, Load, Slot, Targets};
