//! The stretches of a segment whose groups are whole, with holes between them.

use std::ops::Range;

use crate::carried::Carried;
use crate::control::{Seal, SegmentStart};
use crate::error::OpenError;
use crate::format::{ALIGN, HEADER_LEN, Kind, MAX_NUMBER};
use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader};
use crate::fs::Fs;
use crate::residue::residue;
use crate::scan::Walk;
use crate::segment::START_LEN;
use crate::survey::{Found, Survey, cannot};
use crate::window::{PAGE, Window};

/// What is whole of a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stretches {
    /// In order; the first one has the start frame, if that is whole.
    pub(crate) walks: Vec<Walk>,
    /// Checkpoint and streams, as all of them say.
    pub(crate) carried: Carried,
    /// Whether stretches were left out.
    pub(crate) less: bool,
    /// Whether there is any frame of this segment, whole or not.
    pub(crate) any: bool,
    /// Up to where frames prove that the segment was synced.
    pub(crate) proof: u64,
    /// Behind the last byte that may have been of a frame.
    pub(crate) residue_end: u64,
    /// LSN after the last record that headers behind the last stretch speak of.
    pub(crate) residue_lsn: u64,
}

/// More stretches than that are not looked for: what is behind them is a hole. Damage has few.
const MOST: usize = 10_000;
/// So often all bytes of a segment are summed up, not counting the first stretch. Damage takes two; only in a forged file
/// frames that are no group lie in the bodies of others.
const SUMMED: u64 = 8;

impl Stretches {
    pub(crate) fn start(&self) -> Option<&SegmentStart> {
        self.walks.first().and_then(|walk| walk.start.as_ref())
    }

    /// LSN of the segment's first record, if anything says which.
    pub(crate) fn base(&self) -> Option<u64> {
        // What lies right behind a start frame begins with the first record.
        let first =
            self.walks.first().filter(|walk| walk.start.is_some() || walk.begin == HEADER_LEN + START_LEN);
        first.map(|walk| walk.first_lsn)
    }

    /// LSN of the first record in it that is known; its own first one, or one behind that.
    pub(crate) fn first_lsn(&self) -> Option<u64> {
        self.walks.first().map(|walk| walk.first_lsn)
    }

    pub(crate) fn seal(&self) -> Option<&Seal> {
        self.walks.last().and_then(|walk| walk.seal.as_ref())
    }

    pub(crate) fn low(&self) -> u64 {
        self.walks.last().map_or(0, |walk| walk.low)
    }

    /// LSN after the last record that there is, or was as what is left proves.
    pub(crate) fn end_lsn(&self) -> u64 {
        let Some(walk) = self.walks.last() else { return self.residue_lsn };
        // Without proof what is behind is a torn tail.
        if self.proof > walk.end { self.residue_lsn.max(walk.next_lsn) } else { walk.next_lsn }
    }

    /// Forgets stretches with other records than these.
    pub(crate) fn keep_within(&mut self, lsns: &Range<u64>) {
        let mut from = lsns.start;
        self.walks.retain(|walk| {
            let fits = walk.first_lsn >= from && walk.next_lsn <= lsns.end;
            from = if fits { walk.next_lsn } else { from };
            self.less |= !fits;
            fits
        });
    }
}

impl<F: Fs> Survey<'_, F> {
    /// All stretches of a segment.
    pub(crate) fn stretches(&self, found: &Found<F>) -> Result<Stretches, OpenError> {
        let mut window = Window::default();
        let mut walk = self.walk(found, 0)?;
        let mut all = Stretches::default();
        loop {
            let carried = std::mem::take(&mut walk.carried);
            let before = walk.clone();
            if walk.end > walk.begin {
                all.walks.push(walk);
            }
            if before.seal.is_some() || all.walks.len() >= MOST {
                all.carried = carried;
                break;
            }
            match self.stretch_behind(found, &before, carried, &mut window)? {
                Ok(next) => walk = next,
                Err(carried) => {
                    all.carried = carried;
                    break;
                }
            }
        }
        let (at, lsn) = all.walks.last().map_or((HEADER_LEN, 0), |walk| (walk.end, walk.next_lsn));
        let sealed = all.seal().is_some();
        let size = if sealed { at } else { found.size };
        let left =
            residue(&found.file, &found.header, (at, size), lsn).map_err(cannot("read", &found.path))?;
        let synced = all.walks.last().map_or(0, |walk| walk.synced);
        all.any = left.any || !all.walks.is_empty();
        all.proof = synced.max(left.synced);
        (all.residue_end, all.residue_lsn) = (left.end, left.end_lsn);
        Ok(all)
    }

    /// The next stretch behind one, or what was carried so far. A frame of which only the header is whole costs itself
    /// and nothing else.
    fn stretch_behind(
        &self,
        found: &Found<F>,
        before: &Walk,
        mut carried: Carried,
        window: &mut Window,
    ) -> Result<Result<Walk, Carried>, OpenError> {
        let digest = found.header.digest();
        // What fills the hole takes a frame, and a start frame has its own length.
        let start = if before.end == HEADER_LEN { START_LEN } else { 0 };
        let room = before.end + start + FRAME_HEADER_LEN as u64;
        let read = |error| cannot("read", &found.path)(error);
        let mut at = before.end;
        while at < found.size && window.summed <= SUMMED * found.size {
            if at.is_multiple_of(PAGE as u64)
                && window.is_blank(&found.file, (at, found.size)).map_err(read)?
            {
                at += PAGE as u64;
                continue;
            }
            let frame = window.header(&found.file, (at, found.size), &digest).map_err(read)?;
            let begins = |frame: &FrameHeader| {
                let fits = matches!(frame.frag, Frag::Whole | Frag::First)
                    && frame.kind != Kind::SEGMENT_START
                    && (before.synced..=at).contains(&frame.synced())
                    // No closer bound: what lies between may be frames that count records and have no bytes.
                    && (before.next_lsn..=MAX_NUMBER).contains(&frame.first_lsn);
                fits && (at >= room || start > 0 && at == HEADER_LEN + start)
            };
            let Some(frame) = frame.filter(begins) else {
                at += ALIGN;
                continue;
            };
            let next = Walk::behind(at, frame.first_lsn, before, std::mem::take(&mut carried));
            let walk = self.walk_on(found, (next, window), (found.size, 0))?;
            if walk.end > at {
                return Ok(Ok(walk));
            }
            carried = walk.carried;
            at += frame.frame_len();
        }
        Ok(Err(carried))
    }
}
