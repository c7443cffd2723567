//! Changes of records, as data: what it was made from, and what it shall be. Invariant: whether a change is made depends
//! on nothing but the change and the record that is there, so a compare-and-swap may ask as often as it has to; and what
//! is put never says less than what was there.

use super::record::{Owner, Partition, PartitionRecord};
use super::state::PartitionState;
use super::view::Partitions;
use crate::codec::DecodeError;

/// A record to be written in the place of the one it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChange {
    /// What was known; `None` if nothing was.
    pub before: Option<PartitionRecord>,
    /// What to write under its [`key`](PartitionRecord::key).
    pub after: PartitionRecord,
}

/// What to do with the record in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionDecision {
    /// Put this in its place: what is changed, and what is there of a lock, or of a state, that is newer.
    Put(PartitionRecord),
    /// Nothing: it is there already.
    Same,
    /// Nothing: somebody changed it meanwhile. Hear of that, and decide anew.
    Refused,
}

/// Why a partition is not changed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nobody has created it, or not yet here.
    #[error("partition {number} is not known")]
    Unknown {
        /// The partition.
        number: u32,
    },
    /// Unlock it first.
    #[error("partition {number} is locked")]
    Locked {
        /// The partition.
        number: u32,
    },
    /// It has to go through others, or is there already.
    #[error("partition {number} cannot become {to} from {from}")]
    Step {
        /// The partition.
        number: u32,
        /// Its state.
        from: PartitionState,
        /// The state asked for.
        to: PartitionState,
    },
    /// Activate another first: keys would belong to none.
    #[error("partition {number} is the only one that is ACTIVE")]
    LastActive {
        /// The partition.
        number: u32,
    },
    /// Let its owners leave it first: they still answer for it.
    #[error("partition {number} has {owners} owners")]
    Owned {
        /// The partition.
        number: u32,
        /// How many.
        owners: usize,
    },
}

impl PartitionChange {
    /// What to do if this is in the store now. State and lock are decided apart: what changes must be nothing newer there
    /// than it was made from, and a state must not be locked there. What is older there than that counts as lost, and comes
    /// back.
    ///
    /// # Errors
    ///
    /// If what is there cannot be read: then it is left alone.
    pub fn decide(&self, current: Option<&[u8]>) -> Result<PartitionDecision, DecodeError> {
        use PartitionRecord::{Owner, Partition};
        let current = current.map(PartitionRecord::decode).transpose()?;
        Ok(match (current, &self.before, &self.after) {
            (None, None, after) => PartitionDecision::Put(after.clone()),
            (Some(current), _, after) if current == *after => PartitionDecision::Same,
            (Some(Partition(current)), Some(Partition(before)), Partition(after)) => {
                decide_partition(current, *before, *after)
            }
            (Some(Owner(current)), Some(Owner(before)), Owner(after)) => {
                decide_owner(&current, before, after)
            }
            _ => PartitionDecision::Refused,
        })
    }
}

fn decide_partition(current: Partition, before: Partition, after: Partition) -> PartitionDecision {
    let (known, merged) = (current.merged(before), current.merged(after));
    let state_is_there = [before, current].iter().any(|of| of.state_precedence() == after.state_precedence());
    let lock_is_there = before.lock == after.lock || current.lock == after.lock;
    let may_change = known.state_precedence() == before.state_precedence() && !merged.lock.locked;
    if current.number != after.number {
        PartitionDecision::Refused
    } else if state_is_there && lock_is_there {
        PartitionDecision::Same
    } else if (state_is_there || may_change) && (lock_is_there || known.lock == before.lock) {
        PartitionDecision::Put(merged.into())
    } else {
        PartitionDecision::Refused
    }
}

fn decide_owner(current: &Owner, before: &Owner, after: &Owner) -> PartitionDecision {
    let same = current.instance == after.instance && current.partition == after.partition;
    if same && current.precedence() <= before.precedence() {
        PartitionDecision::Put(after.clone().into())
    } else {
        PartitionDecision::Refused
    }
}

impl Partitions {
    /// An operator's wish for a partition's state. The clock matters to readers that look back (N5): where it is behind,
    /// they may not ask a partition for what was acknowledged.
    ///
    /// ```
    /// use forebay_ring::partition::{ChangeError, Partition, PartitionState, Partitions};
    ///
    /// let mut view = Partitions::default();
    /// view.observe(Partition::new(0, 0))?;
    /// view.observe(view.change(0, PartitionState::Active, 1)?.after)?;
    /// let refused = view.change(0, PartitionState::Inactive, 2);
    /// assert_eq!(refused, Err(ChangeError::LastActive { number: 0 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is locked or cannot go there, still has owners and shall be deleted, or is the last that is ACTIVE.
    pub fn change(
        &self,
        number: u32,
        state: PartitionState,
        now_unix_ns: i64,
    ) -> Result<PartitionChange, ChangeError> {
        let known = *self.partition(number).ok_or(ChangeError::Unknown { number })?;
        if known.lock.locked {
            return Err(ChangeError::Locked { number });
        }
        if !known.state.can_become(state) {
            return Err(ChangeError::Step { number, from: known.state, to: state });
        }
        let owners = self.owners(number).count();
        if state == PartitionState::Deleted && owners > 0 {
            return Err(ChangeError::Owned { number, owners });
        }
        let is_active = |state: PartitionState| state == PartitionState::Active;
        if is_active(known.state) && self.partitions().filter(|other| is_active(other.state)).count() == 1 {
            return Err(ChangeError::LastActive { number });
        }
        let after = known.with_state(state, now_unix_ns);
        Ok(PartitionChange { before: Some(known.into()), after: after.into() })
    }

    /// An operator's wish to keep a partition in its state, or to let it go; `None` if it is so already.
    ///
    /// # Errors
    ///
    /// If the partition is not known.
    pub fn lock(
        &self,
        number: u32,
        locked: bool,
        now_unix_ns: i64,
    ) -> Result<Option<PartitionChange>, ChangeError> {
        let known = *self.partition(number).ok_or(ChangeError::Unknown { number })?;
        let after = known.with_lock(locked, now_unix_ns);
        let change = PartitionChange { before: Some(known.into()), after: after.into() };
        Ok((known.lock.locked != locked).then_some(change))
    }
}
