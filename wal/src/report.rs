//! What opening a log, or looking at it, has to tell.

use std::path::PathBuf;

use crate::Lsn;
use crate::error::Torn;
use crate::format::{Checkpoint, FIRST_LSN, StreamDef};
use crate::fs::Fs;
use crate::recovery::Verdict;

/// What opening a log found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the log was closed, or is new; otherwise its writer died.
    pub clean: bool,
    /// Segments with records.
    pub segments: usize,
    /// Records that can be read.
    pub records: u64,
    /// Bytes of frame bodies in those segments.
    pub bytes: u64,
    /// The first record that can be read, if any can.
    pub first_lsn: Lsn,
    /// What the next record gets.
    pub next_lsn: Lsn,
    /// Records below were proven durable by what follows them; those from here on were written and synced once
    /// more before the log was opened.
    pub proven_lsn: Lsn,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The named streams of the log, by id.
    pub streams: Vec<StreamDef>,
    /// What was cut off the end.
    pub torn: Option<Torn>,
    /// Segment files below the low watermark that an interrupted truncation had left.
    pub leftovers: usize,
    /// Where segment files were moved that hold nothing of this log: not as they were made, or unreadable.
    pub quarantined: Vec<PathBuf>,
    /// Nanoseconds by the given clock.
    pub elapsed_ns: u64,
}

impl<F: Fs> Verdict<F> {
    /// Whether nothing is to be repaired.
    pub(crate) fn is_clean(&self) -> bool {
        let closed = self.last.as_ref().is_none_or(|(_, walk)| walk.clean);
        closed && self.torn.is_none()
    }

    /// What the log is before anything is done about it.
    pub(crate) fn report(&self) -> RecoveryReport {
        let walk = self.last.as_ref().map(|(_, walk)| walk);
        let carried = walk.map(|walk| &walk.carried);
        let next_lsn = walk.map_or(FIRST_LSN, |walk| walk.next_lsn);
        let low = walk.map_or(FIRST_LSN, |walk| walk.low);
        let proven = walk.map_or(FIRST_LSN, |walk| walk.proven_lsn);
        RecoveryReport {
            clean: self.is_clean(),
            segments: self.chain.len(),
            records: next_lsn - low - self.chain.iter().map(|whole| whole.burned).sum::<u64>(),
            bytes: self.chain.iter().map(|whole| whole.data_bytes).sum(),
            first_lsn: Lsn(low),
            next_lsn: Lsn(next_lsn),
            proven_lsn: Lsn(proven.max(low)),
            checkpoint: carried.and_then(|carried| carried.checkpoint.clone()),
            streams: carried.into_iter().flat_map(|carried| carried.streams.values().cloned()).collect(),
            torn: self.torn.clone(),
            leftovers: self.leftovers.len(),
            quarantined: Vec::new(),
            elapsed_ns: 0,
        }
    }
}
