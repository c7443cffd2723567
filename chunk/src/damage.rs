//! What a chunk has lost, and where. Nothing is ever left out of a read in silence: it is an error, or, if
//! the caller asked for what is left, a [`Damage`].

use crate::Error;

/// What to do about a block that cannot be read.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum CorruptionPolicy {
    /// Answer with the error.
    #[default]
    Fail,
    /// Read the other blocks and report this one as [`Damage`]. A damaged index or symbol section is an error
    /// all the same: without them no block can be trusted. So is a block that exceeds the limits.
    SkipBlock,
    /// As [`SkipBlock`](Self::SkipBlock), and where the footer of a columnar chunk is gone, look for its groups in
    /// all of its bytes. How much was lost is not known then: see [`DamageKind::Unknown`]. What has the right
    /// checksums is taken for a group, so do not do this to bytes that somebody may have made up; log lines can
    /// hold chunks. In Loki's formats, whose blocks say nothing of themselves, nothing is looked for.
    Salvage,
}

/// A block that is not as the chunk's index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The block's number from 0.
    pub block: usize,
    /// Where the index says that it starts, in bytes from the start of the chunk.
    pub offset: u64,
    /// Its stored size in bytes, without checksum.
    pub size_bytes: u64,
    /// The time of its first entry, by the index.
    pub min_ns: i64,
    /// The time of its last entry, by the index.
    pub max_ns: i64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a block.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageKind {
    /// Nothing was lost: the index has a wrong offset, and the block was found where the one before it ends.
    /// Loki has written such chunks.
    Moved {
        /// Where it was found, in bytes from the start of the chunk.
        found_offset: u64,
    },
    /// The block's entries cannot be read.
    Lost {
        /// How many entries it had, by the index. Of a columnar block that was read in part, all behind the last one
        /// that was handed out, of the range that was asked for or not; the times of the damage are theirs too.
        entries: u64,
        /// Why.
        cause: Error,
    },
    /// Nothing in these bytes can be read, and nothing says what was in them: neither how many entries nor of what
    /// time, so the damage has all times there are. The block's number is that of the group behind them. Only with
    /// [`CorruptionPolicy::Salvage`].
    Unknown {
        /// Why the chunk cannot be read as a whole.
        cause: Error,
    },
}

impl Damage {
    /// How many entries are lost by it, as far as is known.
    pub fn entries_lost(&self) -> u64 {
        match self.kind {
            DamageKind::Moved { .. } | DamageKind::Unknown { .. } => 0,
            DamageKind::Lost { entries, .. } => entries,
        }
    }
}
