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
//! Invariants:
//! - N1: of two records of a partition or an owner every observer keeps the same one, and of state and lock each its
//!   newest: a lock that is set while a state changes is not lost, and neither is the state.
//! - N3: nothing but an operator's wish makes an ACTIVE partition INACTIVE, and none is granted that sees it to be the last.
//! - N4: a locked partition keeps its state.

mod change;
mod codec;
mod lifecycle;
mod record;
mod state;
mod view;

pub use change::{ChangeError, PartitionChange, PartitionDecision};
pub use lifecycle::{LifecycleOptions, PartitionLifecycler};
pub use record::{Lock, Owner, OwnerState, Partition, PartitionRecord};
pub use state::PartitionState;
pub use view::{Partitions, PartitionsFull};
