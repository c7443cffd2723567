//! Where a partition is in its life.

use std::fmt;

/// The state of a partition; ordered so that of two records of one version the later state wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "UPPERCASE"))]
#[repr(u8)]
pub enum PartitionState {
    /// Created, and waits for owners.
    Pending = 0,
    /// Takes keys.
    Active = 1,
    /// Takes no more, and is still read.
    Inactive = 2,
    /// Gone. The record is a tombstone.
    Deleted = 3,
}

impl PartitionState {
    /// All states, in the order of a life.
    pub const ALL: [PartitionState; 4] =
        [PartitionState::Pending, PartitionState::Active, PartitionState::Inactive, PartitionState::Deleted];

    /// Whether a partition may go from this state to `next`; staying is no step. From DELETED it begins anew.
    pub const fn can_become(self, next: PartitionState) -> bool {
        use PartitionState::{Active, Deleted, Inactive, Pending};
        matches!(
            (self, next),
            (Pending, Active | Inactive)
                | (Active, Inactive)
                | (Inactive, Active | Deleted)
                | (Deleted, Pending)
        )
    }

    /// Upper-case name, as printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            PartitionState::Pending => "PENDING",
            PartitionState::Active => "ACTIVE",
            PartitionState::Inactive => "INACTIVE",
            PartitionState::Deleted => "DELETED",
        }
    }
}

impl fmt::Display for PartitionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::PartitionState::{Active, Deleted, Inactive, Pending};
    use super::*;

    #[test]
    fn the_steps_are_those_that_are_drawn() {
        let steps = [
            (Pending, Active),
            (Pending, Inactive),
            (Active, Inactive),
            (Inactive, Active),
            (Inactive, Deleted),
            (Deleted, Pending),
        ];
        for from in PartitionState::ALL {
            for to in PartitionState::ALL {
                assert_eq!(from.can_become(to), steps.contains(&(from, to)), "{from} to {to}");
            }
        }
    }
}
