//! What opening a log, or looking at it, has to tell.

use std::ops::Range;
use std::path::PathBuf;

use crate::Lsn;
use crate::error::{Damage, Torn};
use crate::format::{Checkpoint, FIRST_LSN, StreamDef};
use crate::fs::Fs;
use crate::pieces::Pieces;
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
    /// Durable records, and files, that were not as they had been: what a repair of damage found. Empty for a log that
    /// is whole, and of one that was repaired by an earlier opening.
    pub damaged: Vec<Damage>,
    /// Records that were durable and cannot be read any more, by a repair of damage.
    pub lost: Vec<Range<Lsn>>,
    /// Where segment files were moved that hold nothing of this log, not as they were made, or unreadable; and where
    /// those were copied that a repair of damage has replaced.
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
            // Numbers are burned in other reads than they are given.
            records: (next_lsn - low).saturating_sub(self.chain.iter().map(|whole| whole.burned).sum()),
            bytes: self.chain.iter().map(|whole| whole.data_bytes).sum(),
            first_lsn: Lsn(low),
            next_lsn: Lsn(next_lsn),
            proven_lsn: Lsn(proven.max(low)),
            checkpoint: carried.and_then(|carried| carried.checkpoint.clone()),
            streams: carried.into_iter().flat_map(|carried| carried.streams.values().cloned()).collect(),
            torn: self.torn.clone(),
            leftovers: self.leftovers.len(),
            damaged: Vec::new(),
            lost: Vec::new(),
            quarantined: Vec::new(),
            elapsed_ns: 0,
        }
    }
}

impl Pieces {
    /// What is left of a damaged log, at least this of it.
    pub(crate) fn report(&self, first: Damage) -> RecoveryReport {
        let last = self.pieces.len().saturating_sub(1);
        let walks = || self.pieces.iter().flat_map(|piece| &piece.frames.walks);
        let holes = self.pieces.iter().zip(0..).flat_map(|(piece, index)| piece.holes(index == last));
        let lost = holes.map(|hole| Lsn(hole.lsns.start.max(self.low))..Lsn(hole.lsns.end));
        let records = walks().map(|walk| {
            walk.next_lsn.saturating_sub(walk.first_lsn.max(self.low)).saturating_sub(walk.burned)
        });
        let streams = self.said_of_streams(self.pieces.len()).streams.into_values();
        let mut streams: Vec<_> = streams.chain(self.orphans.iter().cloned()).collect();
        streams.sort_unstable_by_key(|def| def.id);
        RecoveryReport {
            clean: false,
            segments: self.pieces.len(),
            records: records.sum(),
            bytes: walks().map(|walk| walk.data_bytes).sum(),
            first_lsn: Lsn(self.low),
            next_lsn: Lsn(self.pieces.last().map_or(FIRST_LSN, |piece| piece.lsns.end)),
            proven_lsn: Lsn(self.low),
            checkpoint: self.checkpoint(last).cloned(),
            streams,
            torn: self.torn(),
            leftovers: 0,
            damaged: self.damage_with(first),
            lost: lost.filter(|lsns| !lsns.is_empty()).collect(),
            quarantined: Vec::new(),
            elapsed_ns: 0,
        }
    }
}
