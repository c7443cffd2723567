//! Putting a segment that is made anew in the place of a damaged one.

use std::io;

use crate::carried::Carried;
use crate::carry::Carry;
use crate::control::{Checkpoint, SegmentStart};
use crate::error::OpenError;
use crate::format::{HEADER_LEN, Header, MAX_SEGMENT};
use crate::fs::{Fs, is_full};
use crate::home::Salts;
use crate::mend::Mended;
use crate::options::Options;
use crate::pieces::{Piece, Pieces};
use crate::scan::Walk;
use crate::segment::{START_LEN, overhead};
use crate::survey::{Survey, cannot};

/// How a segment that is made anew ends.
pub(crate) enum End {
    /// Sealed, before a segment with this number and salt.
    Sealed(u64, u64),
    /// Goes on; records below an LSN are gone.
    Open(u64),
}

/// So many frames burn what was lost at the end. Only a forged log has lost more.
const BURNED: u64 = 16;

impl<F: Fs> Survey<'_, F> {
    /// Makes a segment of these stretches, up to an LSN, and puts it in the place of what there is.
    pub(crate) fn replace(
        &self,
        (all, index): (&Pieces, usize),
        (header, walks, end_lsn): (&Header, &[Walk], u64),
        end: &End,
        options: &Options,
        mended: &mut Mended,
    ) -> Result<(), OpenError> {
        let Some(piece) = all.pieces.get(index) else { return Ok(()) };
        let copies = self.copies((all, index), (walks, end_lsn), end)?;
        let behind = walks.last().map_or(HEADER_LEN + START_LEN, |walk| walk.end) + copies.len();
        let behind = behind + overhead(header.commit_align);
        // A file that is shorter than it says has no room to be kept for it.
        let claimed = header.capacity.min(piece.size.max(options.segment_bytes));
        let capacity = claimed.max(behind.next_multiple_of(HEADER_LEN)).min(MAX_SEGMENT);
        let features = header.features.with(copies.features());
        let header = Header { capacity, features, ..header.clone() };
        let made = self.anew(&header, |anew| {
            if walks.first().is_none_or(|walk| walk.start.is_none()) {
                anew.start(&all.start(index))?;
            }
            if !walks.is_empty() {
                let file = self.fs.open_read(&piece.path)?;
                walks.iter().try_for_each(|walk| anew.stretch(&file, piece.size, walk))?;
            }
            let from = walks.last().map_or(piece.lsns.start, |walk| walk.next_lsn);
            if end_lsn.saturating_sub(from) / u64::from(u32::MAX) >= BURNED {
                return Err(io::ErrorKind::InvalidData.into());
            }
            anew.burn(end_lsn)?;
            anew.copies(&copies)?;
            match end {
                End::Sealed(segment, salt) => {
                    anew.seal(*segment, *salt)?;
                    anew.finish(2 * HEADER_LEN)
                }
                End::Open(low) => {
                    if walks.last().is_none_or(|walk| walk.low < *low) {
                        anew.low_watermark(*low)?;
                    }
                    anew.pad(header.commit_align)?;
                    anew.finish(capacity)
                }
            }
        });
        let anew = made.map_err(cannot("make anew", &piece.path))?;
        self.keep_replaced(piece, options, mended).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.fs.remove(&anew.path);
        })?;
        let named = self.fs.rename(&anew.path, &piece.path).and_then(|()| self.fs.sync_dir(self.dir));
        named.map_err(cannot("rename", &anew.path))
    }

    /// What is written behind the stretches that are kept of a segment: all that those before it hand on, but for what
    /// the stretches say last.
    pub(crate) fn copies(
        &self,
        (all, index): (&Pieces, usize),
        (walks, end_lsn): (&[Walk], u64),
        end: &End,
    ) -> Result<Carry, OpenError> {
        // Everything behind a cut is gone, but for what the log says of all of it.
        let open = matches!(end, End::Open(_));
        let count = if open { all.pieces.len() } else { index + 1 };
        let kept = all.pieces.get(index).and_then(|piece| piece.kept(walks));
        let newest = all.checkpoint(count - 1).filter(|newest| newest.lsn <= end_lsn);
        let checkpoint =
            newest.filter(|newest| kept.and_then(|kept| kept.checkpoint.as_ref()) != Some(newest));
        let mut said = all.said_of_streams(count);
        if open || count == all.pieces.len() {
            let orphans = self.orphans(all, (index, walks), &said)?;
            said.streams.extend(orphans.into_iter().map(|def| (def.id, def)));
        }
        let kept = |id: &u32| kept.map(|kept| kept.streams.get(id));
        let streams = said.streams.iter().filter(|(id, def)| kept(id) != Some(Some(*def)));
        let gone = said.gone.iter().filter(|(id, _)| kept(id) != Some(None));
        let bodies = streams.chain(gone).map(|(id, def)| (*id, def.encode().into())).collect();
        Ok(Carry { streams: bodies, checkpoint: checkpoint.map(|checkpoint| checkpoint.encode().into()) })
    }

    fn keep_replaced(&self, piece: &Piece, options: &Options, mended: &mut Mended) -> Result<(), OpenError> {
        if piece.header.is_none() {
            // Nothing of it is used again.
            return self.put_away(piece, options, mended);
        }
        if !options.quarantine {
            return Ok(());
        }
        let kept = self.keep(&piece.path, 0..piece.size, &format!("wal-{:016x}.seg", piece.number));
        mended.quarantined.push(kept.map_err(|error| match is_full(&error) {
            true => OpenError::QuarantineFull {
                path: piece.path.clone(),
                segment: piece.number,
                bytes: piece.size,
            },
            false => cannot("quarantine", &piece.path)(error),
        })?);
        Ok(())
    }
}

impl Piece {
    /// What the segment says to the next, where all of that certainly is in these of its stretches.
    fn kept(&self, walks: &[Walk]) -> Option<&Carried> {
        let all = !self.frames.less && walks.len() == self.frames.walks.len();
        all.then_some(&self.frames.carried)
    }
}

impl Pieces {
    /// The newest checkpoint that is whole in a segment or those before it.
    pub(crate) fn checkpoint(&self, index: usize) -> Option<&Checkpoint> {
        let frames = self.pieces.iter().take(index + 1).rev().map(|piece| &piece.frames);
        frames.map(|frames| &frames.carried).find_map(|carried| carried.checkpoint.as_ref())
    }

    /// A header of the log.
    pub(crate) fn model(&self) -> Option<&Header> {
        self.pieces.iter().rev().find_map(|piece| piece.header.as_ref())
    }

    /// The header that each segment has, or gets: with the salt that the seal before it names, if that is whole.
    pub(crate) fn headers(&self, salts: &Salts) -> Vec<Header> {
        let mut named = None;
        let mut headers = Vec::new();
        for piece in &self.pieces {
            let seal: Option<(u64, u64)> = named;
            let header = match (&piece.header, self.model()) {
                (Some(header), _) => Some(header.clone()),
                (None, Some(model)) => Some(Header {
                    segment: piece.number,
                    salt: seal
                        .filter(|seal| seal.0 == piece.number)
                        .map_or_else(|| salts.next(), |seal| seal.1),
                    capacity: 2 * HEADER_LEN,
                    ..model.clone()
                }),
                (None, None) => None,
            };
            headers.extend(header);
            named = piece.frames.seal().map(|seal| (seal.next_segment, seal.next_salt));
        }
        headers
    }

    /// The start frame of a segment that has lost its own.
    fn start(&self, index: usize) -> SegmentStart {
        let piece = self.pieces.get(index);
        let before = index.checked_sub(1).and_then(|before| self.pieces.get(before));
        // The seal that is there now: where the one before is made anew, later, it says so and need not fit.
        let walk = before.and_then(|before| before.frames.walks.last()).filter(|walk| walk.seal.is_some());
        let number = piece.map_or(0, |piece| piece.number);
        let base_lsn = piece.map_or(self.low, |piece| piece.lsns.start);
        let epochs = self.pieces.iter().filter_map(|piece| piece.frames.start()).map(|start| start.epoch);
        SegmentStart {
            segment: number,
            base_lsn,
            prev_segment: number.saturating_sub(1),
            prev_last_lsn: base_lsn.saturating_sub(1),
            prev_end: walk.map_or(0, |walk| walk.end),
            prev_last_hcrc: walk.map_or(0, |walk| walk.last_hcrc),
            low_watermark: self.low.min(base_lsn),
            epoch: epochs.max().unwrap_or(0),
        }
    }
}
