//! Putting a segment that is made anew in the place of a damaged one.

use std::io;

use crate::control::{Checkpoint, SegmentStart};
use crate::error::OpenError;
use crate::format::{HEADER_LEN, Header, MAX_SEGMENT};
use crate::frame::frame_len;
use crate::fs::{Fs, is_full};
use crate::home::Salts;
use crate::mend::Mended;
use crate::options::Options;
use crate::pieces::{Piece, Pieces};
use crate::scan::Walk;
use crate::segment::START_LEN;
use crate::survey::{Survey, cannot};

/// How a segment that is made anew ends.
pub(crate) enum End {
    /// Sealed, before a segment with this number and salt.
    Sealed(u64, u64),
    /// Goes on; records below an LSN are gone.
    Open(u64),
}

/// Room behind the last stretch for what is written there, the seal included, but not a checkpoint.
const ROOM: u64 = 1024;
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
        // Everything behind a cut is gone, but for what the log says of all of it.
        let newest = all.checkpoint(if matches!(end, End::Open(_)) { all.pieces.len() } else { index });
        let kept = piece.kept_checkpoint(walks);
        let checkpoint = newest.filter(|newest| Some(*newest) != kept && newest.lsn <= end_lsn);
        let checkpoint = checkpoint.map(Checkpoint::encode);
        let behind = walks.last().map_or(HEADER_LEN + START_LEN, |walk| walk.end) + ROOM;
        let behind = behind + checkpoint.as_ref().map_or(0, |body| frame_len(body.len() as u64));
        // A file that is shorter than it says has no room to be kept for it.
        let claimed = header.capacity.min(piece.size.max(options.segment_bytes));
        let capacity = claimed.max(behind.next_multiple_of(HEADER_LEN)).min(MAX_SEGMENT);
        let header = Header { capacity, ..header.clone() };
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
            if let Some(body) = &checkpoint {
                anew.checkpoint(body)?;
            }
            match end {
                End::Sealed(segment, salt) => anew.seal(*segment, *salt)?,
                End::Open(low) if walks.last().is_none_or(|walk| walk.low < *low) => {
                    anew.low_watermark(*low)?
                }
                End::Open(_) => {}
            }
            let sealed = matches!(end, End::Sealed(..));
            anew.finish(if sealed { 2 * HEADER_LEN } else { capacity })
        });
        let anew = made.map_err(cannot("make anew", &piece.path))?;
        self.keep_replaced(piece, options, mended).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = self.fs.remove(&anew.path);
        })?;
        let named = self.fs.rename(&anew.path, &piece.path).and_then(|()| self.fs.sync_dir(self.dir));
        named.map_err(cannot("rename", &anew.path))
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
    /// The newest checkpoint of the segment where it certainly is in these of its stretches.
    pub(crate) fn kept_checkpoint(&self, walks: &[Walk]) -> Option<&Checkpoint> {
        let all = !self.frames.less && walks.len() == self.frames.walks.len();
        self.frames.carried.checkpoint.as_ref().filter(|_| all)
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
