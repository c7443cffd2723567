//! What is known of one partition and of one owner. Invariant: of two records every observer keeps the same, whichever
//! it heard first (N1); state and lock of a partition are two words, each with its own version.

use std::sync::Arc;

use super::PartitionState;
use crate::codec::{DecodeError, RecordKind};

/// A partition: what it may be asked to do, and whether that may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Partition {
    /// Which partition of the log.
    pub number: u32,
    /// What it may be asked to do.
    pub state: PartitionState,
    /// When that last changed; wall time, nanoseconds since 1970, by the clock of who changed it, but later than the change
    /// before. For lookbacks.
    pub changed_at_ns: i64,
    /// One more at each change of the state; the highest stays as it is.
    pub version: u64,
    /// Whether the state may change.
    pub lock: Lock,
}

/// Keeps a partition in its state, whatever lifecyclers and operators wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Lock {
    /// Whether it is locked.
    pub locked: bool,
    /// When that last changed; wall time, nanoseconds since 1970; 0 if it never did.
    pub changed_at_ns: i64,
    /// One more at each change of the lock.
    pub version: u64,
}

/// Whether an owner is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "UPPERCASE"))]
#[repr(u8)]
pub enum OwnerState {
    /// It reads the partition and answers for it.
    Active = 0,
    /// It ceased to. The record is a tombstone.
    Deleted = 1,
}

/// An instance that owns a partition. One may own several, and a partition may have several owners.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Owner {
    /// The id of the instance in the ring of instances.
    pub instance: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Whether it still owns it.
    pub state: OwnerState,
    /// When that last changed; wall time, nanoseconds since 1970.
    pub changed_at_ns: i64,
    /// One more at each change.
    pub version: u64,
}

impl Partition {
    /// A new partition: PENDING, not locked.
    pub const fn new(number: u32, now_unix_ns: i64) -> Self {
        let lock = Lock { locked: false, changed_at_ns: 0, version: 0 };
        Self { number, state: PartitionState::Pending, changed_at_ns: now_unix_ns, version: 0, lock }
    }

    pub(super) const fn with_state(self, state: PartitionState, now_unix_ns: i64) -> Self {
        let changed_at_ns = later(now_unix_ns, self.changed_at_ns);
        Self { state, changed_at_ns, version: self.version.saturating_add(1), ..self }
    }

    pub(super) const fn with_lock(self, locked: bool, now_unix_ns: i64) -> Self {
        let version = self.lock.version.saturating_add(1);
        let changed_at_ns = later(now_unix_ns, self.lock.changed_at_ns);
        Self { lock: Lock { locked, changed_at_ns, version }, ..self }
    }

    pub(super) const fn state_precedence(&self) -> (u64, PartitionState, i64) {
        (self.version, self.state, self.changed_at_ns)
    }

    /// The newer state with the newer lock of two records of one partition. Commutative, associative, idempotent: at
    /// equal versions the later state wins, and locked over open.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let lock = |of: Lock| (of.version, of.locked, of.changed_at_ns);
        let newer = if other.state_precedence() > self.state_precedence() { other } else { self };
        Self { lock: if lock(other.lock) > lock(self.lock) { other.lock } else { self.lock }, ..newer }
    }
}

impl Owner {
    /// A new owner.
    pub fn new(instance: impl Into<Arc<str>>, partition: u32, now_unix_ns: i64) -> Self {
        let instance = instance.into();
        Self { instance, partition, state: OwnerState::Active, changed_at_ns: now_unix_ns, version: 0 }
    }

    pub(super) fn with_state(&self, state: OwnerState, now_unix_ns: i64) -> Self {
        let version = self.version.saturating_add(1);
        let changed_at_ns = later(now_unix_ns, self.changed_at_ns);
        Self { state, changed_at_ns, version, ..self.clone() }
    }

    pub(super) fn precedence(&self) -> (u64, OwnerState, i64) {
        (self.version, self.state, self.changed_at_ns)
    }
}

/// Now, or just after the change before if this clock is behind that one's.
const fn later(now_ns: i64, before_ns: i64) -> i64 {
    if now_ns > before_ns { now_ns } else { before_ns.saturating_add(1) }
}

/// A record of either kind, as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionRecord {
    /// Of a partition, under `partitions/<number>`.
    Partition(Partition),
    /// Of an owner, under `owners/<instance>%2F<number>`.
    Owner(Owner),
}

impl PartitionRecord {
    /// Its key in a store.
    pub fn key(&self) -> String {
        let kind = match self {
            PartitionRecord::Partition(_) => RecordKind::Partition,
            PartitionRecord::Owner(_) => RecordKind::Owner,
        };
        kind.key(&self.name())
    }

    pub(super) fn name(&self) -> String {
        match self {
            PartitionRecord::Partition(partition) => partition.number.to_string(),
            PartitionRecord::Owner(owner) => format!("{}/{}", owner.instance, owner.partition),
        }
    }

    /// What a store that holds `stored` should hold instead, if this is known; `None` if it says as much, or is of another
    /// partition or owner.
    pub(super) fn completes(&self, stored: &Self) -> Option<Self> {
        let completed: Self = match (self, stored) {
            (PartitionRecord::Partition(known), PartitionRecord::Partition(stored))
                if known.number == stored.number =>
            {
                stored.merged(*known).into()
            }
            (PartitionRecord::Owner(known), PartitionRecord::Owner(stored))
                if (known.partition, &known.instance) == (stored.partition, &stored.instance)
                    && known.precedence() > stored.precedence() =>
            {
                known.clone().into()
            }
            _ => return None,
        };
        (completed != *stored).then_some(completed)
    }

    /// What to put back where a store has lost this, or says less than it ([`PartitionObserver::missing`]): asked by a
    /// compare-and-swap of what is there. `None` if nothing; a tombstone that is gone stays so.
    ///
    /// # Errors
    ///
    /// If what is there cannot be read: then it is left alone.
    ///
    /// [`PartitionObserver::missing`]: super::PartitionObserver::missing
    pub fn restored(&self, current: Option<&[u8]>) -> Result<Option<Self>, DecodeError> {
        let is_tombstone = match self {
            PartitionRecord::Partition(partition) => partition.state == PartitionState::Deleted,
            PartitionRecord::Owner(owner) => owner.state == OwnerState::Deleted,
        };
        match current {
            None => Ok((!is_tombstone).then(|| self.clone())),
            Some(current) => Ok(self.completes(&PartitionRecord::decode(current)?)),
        }
    }
}

impl From<Partition> for PartitionRecord {
    fn from(partition: Partition) -> Self {
        PartitionRecord::Partition(partition)
    }
}

impl From<Owner> for PartitionRecord {
    fn from(owner: Owner) -> Self {
        PartitionRecord::Owner(owner)
    }
}
