//! What is left of a damaged log: every segment from the low watermark on, the stretches of it that are whole, and the
//! holes between them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use crate::carried::Carried;
use crate::control::{Seal, StreamDef};
use crate::directory::segment_path;
use crate::error::{DamageClass, OpenError};
use crate::format::{Checksum, FIRST_LSN, Features, HEADER_LEN, Header, MAX_SEGMENT};
use crate::fs::{File, Fs};
use crate::stretch::Stretches;
use crate::survey::{Found, Survey, cannot};
use crate::window::Window;

/// One segment of a damaged log.
pub(crate) struct Piece {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// The header of the file, or the one that it must have had; of a segment without either nothing is used.
    pub(crate) header: Option<Header>,
    /// What is wrong with the file as a whole.
    pub(crate) fault: Option<DamageClass>,
    /// Length of the file, whatever is in it, but for what lies behind the capacity.
    pub(crate) size: u64,
    pub(crate) frames: Stretches,
    /// What it must hold, from what it and its neighbours say.
    pub(crate) lsns: Range<u64>,
}

/// A damaged log.
pub(crate) struct Pieces {
    /// By number, without gaps; the last one is the last that has frames.
    pub(crate) pieces: Vec<Piece>,
    /// Those above, by number.
    pub(crate) above: Vec<Piece>,
    pub(crate) low: u64,
    pub(crate) log_id: [u8; 16],
    /// Streams with records that have lost their names, where the last segment is made anew.
    pub(crate) orphans: Vec<StreamDef>,
}

/// So many segments may be missing in a row. Only a forged log has more.
const MISSING: usize = 1000;

impl<F: Fs> Survey<'_, F> {
    /// Looks at all there is of a log that is damaged; `None` where nothing is left that tells what it was.
    pub(crate) fn pieces(&self) -> Result<Option<Pieces>, OpenError> {
        let Some(&top) = self.segments.last() else { return Ok(None) };
        let log_id = self.log_id()?;
        let lowest = self.segments.first().copied().unwrap_or(top);
        let (mut pieces, mut low, mut missing) = (Vec::new(), 0, 0);
        for number in (lowest..=top).rev() {
            let piece = self.piece(number, log_id)?;
            missing = if matches!(piece.fault, Some(DamageClass::MissingSegment)) { missing + 1 } else { 0 };
            low = low.max(piece.frames.low());
            let base = piece.frames.base();
            pieces.push(piece);
            if base.is_some_and(|base| base <= low) {
                break;
            }
            if missing > MISSING {
                return Ok(None);
            }
            if number == lowest && number > 1 && base.is_some() {
                pieces.push(self.piece(number - 1, log_id)?);
            }
        }
        pieces.reverse();
        self.read_by_their_seals(&mut pieces)?;
        low = pieces.iter().map(|piece| piece.frames.low()).fold(low, u64::max).max(FIRST_LSN);
        let mut all = Pieces { pieces, above: Vec::new(), low, log_id, orphans: Vec::new() };
        while all.pieces.last().is_some_and(|piece| !piece.frames.any) {
            all.above.extend(all.pieces.pop());
        }
        all.above.reverse();
        if all.pieces.is_empty() {
            return Ok(None);
        }
        all.check_ties();
        all.leave_cut();
        if !self.leave_unbegun(&mut all)? {
            self.leave_torn(&mut all)?;
        }
        all.assign();
        all.pieces.iter_mut().try_for_each(|piece| self.count_burned(piece, low))?;
        if let Some(last) = all.pieces.last().filter(|last| last.is_damaged(true)) {
            let index = all.pieces.len() - 1;
            all.orphans = self.orphans(&all, (index, &last.frames.walks), &all.said_of_streams(index + 1))?;
        }
        Ok(Some(all))
    }

    /// Counts burned numbers again where some of them are below the low watermark, which nobody knew.
    fn count_burned(&self, piece: &mut Piece, low: u64) -> Result<(), OpenError> {
        let Some(header) = &piece.header else { return Ok(()) };
        for walk in &mut piece.frames.walks {
            if walk.burned > 0 && walk.first_lsn < low {
                let file = self.fs.open_read(&piece.path).map_err(cannot("open", &piece.path))?;
                let found =
                    Found { path: piece.path.clone(), file, size: piece.size, header: header.clone() };
                let again = (walk.again(), &mut Window::default());
                walk.burned = self.walk_on(&found, again, (walk.end, low))?.burned;
            }
        }
        Ok(())
    }

    /// The id of the log: that of most of its segments.
    pub(crate) fn log_id(&self) -> Result<[u8; 16], OpenError> {
        let mut votes: BTreeMap<[u8; 16], (usize, u64)> = BTreeMap::new();
        for &number in self.segments.iter().rev() {
            match self.find(number) {
                Ok(found) => {
                    let (count, highest) = votes.entry(found.header.log_id).or_default();
                    (*count, *highest) = (*count + 1, number.max(*highest));
                }
                Err(OpenError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // Of two alike the higher segment's counts.
        let most = votes.into_iter().max_by_key(|(_, vote)| *vote);
        Ok(most.map(|(id, _)| id).unwrap_or_default())
    }

    pub(crate) fn piece(&self, number: u64, log_id: [u8; 16]) -> Result<Piece, OpenError> {
        let path = segment_path(self.dir, number);
        let mut piece = Piece {
            number,
            path,
            header: None,
            fault: None,
            size: 0,
            frames: Stretches::default(),
            lsns: 0..0,
        };
        if !self.segments.contains(&number) {
            piece.fault = Some(DamageClass::MissingSegment);
            return Ok(piece);
        }
        match self.find(number) {
            Ok(found) if found.header.log_id == log_id => {
                piece.size = found.size;
                piece.frames = self.stretches(&found)?;
                piece.header = Some(found.header);
            }
            Ok(found) => {
                (piece.size, piece.fault) = (found.size, Some(DamageClass::Foreign));
            }
            Err(OpenError::Corrupt(damage)) => {
                let file = self.fs.open_read(&piece.path).map_err(cannot("open", &piece.path))?;
                piece.size = file.size().map_err(cannot("measure", &piece.path))?;
                piece.fault = Some(damage.class);
            }
            Err(error) => return Err(error),
        }
        Ok(piece)
    }

    /// Takes a segment without a readable header for what the seal before it says that it is.
    fn read_by_their_seals(&self, pieces: &mut [Piece]) -> Result<(), OpenError> {
        for index in 1..pieces.len() {
            let behind = pieces.get(index + 1).and_then(|piece| piece.header.as_ref());
            let behind = behind.map_or(0, |header| header.commit_align);
            let Some([before, piece]) = pieces.get_mut(index - 1..=index) else { break };
            // Of a file that is longer than any segment nothing bounds the reading.
            let unreadable =
                matches!(piece.fault, Some(DamageClass::BadHeader(_))) && piece.size <= MAX_SEGMENT;
            let seal = before.frames.seal().filter(|seal| seal.next_segment == piece.number && unreadable);
            let (Some(seal), Some(model)) = (seal, &before.header) else { continue };
            for checksum in [model.checksum, Checksum::Crc32, Checksum::Crc32c] {
                let header = Header {
                    checksum,
                    segment: piece.number,
                    salt: seal.next_salt,
                    capacity: piece.size.next_multiple_of(HEADER_LEN).max(2 * HEADER_LEN),
                    // All that it may have: a reader loses nothing by knowing more, and of a file that was used again
                    // only frames tell what is torn, as they do anyhow.
                    features: Features::KNOWN,
                    commit_align: model.commit_align.max(behind),
                    ..model.clone()
                };
                let file = self.fs.open_read(&piece.path).map_err(cannot("open", &piece.path))?;
                let found = Found { path: piece.path.clone(), file, size: piece.size, header };
                let frames = self.stretches(&found)?;
                if frames.any {
                    (piece.header, piece.frames) = (Some(found.header), frames);
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Pieces {
    /// A segment that is not tied to the one behind it is another's.
    fn check_ties(&mut self) {
        for index in 1..self.pieces.len() {
            let Some([before, piece]) = self.pieces.get_mut(index - 1..=index) else { break };
            let (Some(seal), Some(header)) = (before.frames.seal(), &piece.header) else { continue };
            let named = seal.next_segment == piece.number && seal.next_salt == header.salt;
            let remembered =
                before.frames.walks.last().zip(piece.frames.start()).is_none_or(|(walk, start)| {
                    let anew = seal.flags & Seal::SALVAGED != 0;
                    anew || walk.end == start.prev_end && walk.last_hcrc == start.prev_last_hcrc
                });
            if !named || !remembered {
                before.fault = Some(DamageClass::Foreign);
                (before.header, before.frames) = (None, Stretches::default());
            }
        }
    }

    /// What a cut that was interrupted has burned is gone, also where the segments that held it are still there, and
    /// whatever has become of the one right behind the cut.
    fn leave_cut(&mut self) {
        let mut above: Option<u64> = None;
        let mut cut = None;
        for (index, piece) in self.pieces.iter().enumerate().rev() {
            let open = piece.frames.walks.last().filter(|walk| walk.seal.is_none());
            if open.zip(above).is_some_and(|(walk, above)| walk.next_lsn > above) {
                cut = Some(index);
            }
            above = piece.frames.first_lsn().or(above);
        }
        if let Some(cut) = cut {
            self.above.splice(..0, self.pieces.drain(cut + 1..));
        }
    }

    /// What the first so many segments say of streams.
    pub(crate) fn said_of_streams(&self, count: usize) -> Carried {
        let mut said = Carried::default();
        for Piece { frames, .. } in self.pieces.iter().take(count) {
            let lists_all = frames.walks.first().is_some_and(|walk| walk.lists_all);
            said.streams_of(&frames.carried, lists_all);
        }
        said
    }

    /// Says of each segment which records it must hold, and leaves out what does not fit.
    fn assign(&mut self) {
        let mut above = None;
        for piece in self.pieces.iter_mut().rev() {
            let sealed = piece
                .frames
                .seal()
                .map(|seal| seal.end_lsn)
                .filter(|end| above.is_none_or(|above| *end <= above));
            piece.lsns.end = sealed.or(above).unwrap_or_else(|| piece.frames.end_lsn());
            // What lies in front of the first stretch of a segment that has lost its start may be of the one before.
            above = piece.frames.first_lsn().or(above);
        }
        let mut from = None;
        for piece in &mut self.pieces {
            let first = piece.frames.first_lsn().unwrap_or(self.low);
            piece.lsns.start = piece.frames.base().or(from).unwrap_or(self.low.min(first));
            piece.lsns.end = piece.lsns.end.max(piece.lsns.start);
            piece.frames.keep_within(&piece.lsns);
            from = Some(piece.lsns.end);
        }
    }
}
