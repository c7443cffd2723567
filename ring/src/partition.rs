//! A ring of partitions instead of instances: a key belongs to a partition of a log, and instances own partitions, which
//! they read and answer for.
//!
//! Where writes go to a log and not to instances, keys must not move when an instance restarts or one more owner reads
//! a partition. So a partition has a number, tokens that follow from it, a state that changes seldom, and no
//! heartbeat; whether its owners are alive is told by the ring of instances.
//!
//! ```text
//!               once it has owners
//! created -> PENDING --------> ACTIVE <-> INACTIVE -> DELETED -> (created again)
//!               |                            ^
//!               +----------------------------+
//! ```
//!
//! | state | written | read |
//! |---|---|---|
//! | PENDING | no: it waits for owners | no |
//! | ACTIVE | yes | yes |
//! | INACTIVE | no more | yes, as far back as it was written |
//! | DELETED | no | no |
//!
//! ```
//! use forebay_ring::lifecycle::Now;
//! use forebay_ring::partition::{LifecycleOptions, PartitionLifecycler, PartitionRing, Partitions};
//!
//! // Two instances own three partitions; what they want written goes to a store, and is heard of by all.
//! let options = LifecycleOptions { activate_after: std::time::Duration::ZERO, ..LifecycleOptions::default() };
//! let mut first = PartitionLifecycler::new("ingester-0", [0, 2], options);
//! let mut second = PartitionLifecycler::new("ingester-1", [1], options);
//! let mut view = Partitions::default();
//! for mono_ns in 0..2 {
//!     for lifecycler in [&mut first, &mut second] {
//!         for change in lifecycler.reconcile(&view, Now { mono_ns, unix_ns: 1_700_000_000_000_000_000 }) {
//!             view.observe(change.after)?;
//!         }
//!     }
//! }
//!
//! let ring = PartitionRing::build(&view)?;
//! let key = forebay_ring::token_for("team-a", br#"{app="api"}"#);
//! let partition = ring.partition_for(key)?;
//! assert_eq!(ring.owners(partition).count(), 1);
//!
//! // A tenant's keys go to few of the partitions.
//! let shard = ring.shuffle_shard("team-a", 2);
//! assert_eq!(shard.len(), 2);
//! assert!(shard.contains(shard.partition_for(key)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # On a store
//!
//! With the feature `store` a `PartitionWatcher` keeps the ring that a store shows, for whoever writes or reads, and takes
//! the wishes of operators; a `PartitionDriver` beside it runs what an instance does for its partitions, puts back what the
//! store has lost, and deletes old tombstones. It may be the store that the instances are on. Without the feature
//! - give every record of a listing and every change after it to a [`PartitionObserver`];
//! - ask [`PartitionLifecycler::reconcile`] every few seconds and when something was heard, and put its changes, and those
//!   of operators, by a compare-and-swap that asks [`PartitionChange::decide`];
//! - put back what [`PartitionObserver::missing`] says, delete what [`PartitionObserver::expired`] says, and build the
//!   [`PartitionRing`] of what is known then.
//!
//! # Invariants
//!
//! - N1: of two records of a partition or an owner every observer keeps the same one, and of state and lock each its
//!   newest: a lock that is set while a state changes is not lost, and neither is the state. In a store in which two may
//!   write at once, as by gossip, one of them is, until somebody who heard of both puts back what
//!   [`Partitions::completed`] says.
//! - N2: a key belongs to the ACTIVE partition with the first token after it. One that becomes ACTIVE takes keys from
//!   others, one that ceases to be gives keys to others, and none move between those.
//! - N3: nothing but an operator's wish makes an ACTIVE partition INACTIVE, and none is granted that sees it to be the last.
//! - N4: a locked partition keeps its state, from when whoever changes it or the store it is changed in knows of the lock.
//! - N5: with a lookback a shard has all partitions that were in it at any time within it, as long as wall clocks agree:
//!   what those of operators, owners and readers may differ by has to be added to the period.
//! - N6: a store that loses records moves no keys: who watched it keeps what was known, and owners put it back.

mod change;
mod codec;
#[cfg(feature = "store")]
mod driver;
mod lifecycle;
mod observe;
mod record;
mod shard;
mod snapshot;
mod state;
mod view;
#[cfg(feature = "store")]
mod watcher;
#[cfg(feature = "store")]
mod write;

pub use change::{ChangeError, PartitionChange, PartitionDecision};
#[cfg(feature = "store")]
pub use driver::{PartitionDriver, PartitionDriverOptions, PartitionStatus};
pub use lifecycle::{LifecycleOptions, PartitionLifecycler};
pub use observe::PartitionObserver;
pub use record::{Lock, Owner, OwnerState, Partition, PartitionRecord};
pub use shard::PartitionShard;
pub use snapshot::{PartitionError, PartitionRing, TOKENS_PER_PARTITION};
pub use state::PartitionState;
pub use view::{Partitions, PartitionsFull};
#[cfg(feature = "store")]
pub use watcher::{PartitionWatcher, PartitionWatcherOptions, WishError};
