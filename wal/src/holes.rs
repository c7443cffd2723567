//! What of a damaged log is not as it was.

use std::ops::Range;

use crate::Lsn;
use crate::control::Seal;
use crate::directory::segment_path;
use crate::error::{Damage, DamageClass, Torn};
use crate::format::{FIRST_LSN, HEADER_LEN};
use crate::fs::parent;
use crate::pieces::{Piece, Pieces};
use crate::scan::Walk;

/// Bytes of a segment that are not whole, and the records that were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) bytes: Range<u64>,
    pub(crate) lsns: Range<u64>,
}

impl Pieces {
    /// Everything that is not as it was.
    pub(crate) fn damage(&self) -> Vec<Damage> {
        let mut all = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let last = index + 1 == self.pieces.len();
            all.extend(piece.damage(last));
        }
        let end = self.pieces.last().map_or(FIRST_LSN, |piece| piece.lsns.end);
        let seal = self.pieces.last().and_then(|piece| piece.frames.seal());
        let next = self.above.first().filter(|_| seal.is_some());
        if let Some((seal, last)) = seal.zip(self.pieces.last())
            && self.next(seal).is_none()
        {
            let short = next
                .and_then(|next| next.header.as_ref())
                .filter(|header| (header.segment, header.salt) == (seal.next_segment, seal.next_salt));
            let class = next.map_or(DamageClass::MissingSegment, |next| {
                let class = if short.is_some() { DamageClass::DamagedDurable } else { DamageClass::Foreign };
                next.fault.clone().unwrap_or(class)
            });
            let size = next.map_or(0, |next| next.size);
            let dir = parent(&last.path);
            all.push(Damage {
                path: segment_path(dir, seal.next_segment),
                segment: seal.next_segment,
                bytes: short.map_or(0..size, |header| size..header.capacity),
                lsns: Lsn(end)..Lsn(end),
                class,
            });
        }
        all
    }

    /// What lies behind the last stretch, or in the file that the last seal names, and was never synced.
    pub(crate) fn torn(&self) -> Option<Torn> {
        let last = self.pieces.last()?;
        let end = last.frames.walks.last().map(|walk| (walk.end, walk.next_lsn));
        let (at, lsn) = end.unwrap_or((HEADER_LEN, last.lsns.end));
        let (piece, from) = match last.frames.seal() {
            Some(seal) => (self.next(seal)?, HEADER_LEN),
            None => (last, at),
        };
        let frames = &piece.frames;
        (frames.residue_end > from && frames.proof <= from).then(|| Torn {
            path: piece.path.clone(),
            segment: piece.number,
            bytes: from..frames.residue_end,
            lsns: Lsn(lsn)..Lsn(frames.residue_lsn.max(lsn)),
            quarantine: None,
        })
    }

    /// The file that the last seal names, if it is there.
    pub(crate) fn next(&self, seal: &Seal) -> Option<&Piece> {
        self.above.first().filter(|next| {
            let header = next.header.as_ref().filter(|_| next.fault.is_none());
            let salt = header.filter(|header| next.size >= header.capacity).map(|header| header.salt);
            next.number == seal.next_segment && salt == Some(seal.next_salt)
        })
    }
}

impl Piece {
    /// What is not whole; `last` is the segment behind which there are no frames.
    pub(crate) fn holes(&self, last: bool) -> Vec<Hole> {
        let mut holes = Vec::new();
        let (mut at, mut lsn) = (HEADER_LEN, self.lsns.start);
        for walk in &self.frames.walks {
            if walk.begin > at || walk.first_lsn > lsn {
                holes.push(Hole { bytes: at..walk.begin, lsns: lsn..walk.first_lsn });
            }
            (at, lsn) = (walk.end, walk.next_lsn);
        }
        let unfinished =
            if last { self.frames.proof > at } else { lsn < self.lsns.end || self.frames.seal().is_none() };
        if unfinished {
            let end = if last { self.frames.residue_end } else { self.size };
            holes.push(Hole { bytes: at..end.max(at), lsns: lsn..self.lsns.end });
        }
        holes
    }

    /// Whether anything of it is not as it was.
    pub(crate) fn is_damaged(&self, last: bool) -> bool {
        self.fault.is_some() || !self.damage(last).is_empty()
    }

    /// Whether any of its frames are lost, but for what the low watermark hides.
    pub(crate) fn is_holed(&self, last: bool, low: u64) -> bool {
        let damage = self.damage(last);
        let frames =
            |damage: &Damage| self.header.is_none() || !matches!(damage.class, DamageClass::BadHeader(_));
        damage.iter().any(|damage| frames(damage) && damage.lsns.end.0 > low)
    }

    /// The stretches in front of the first loss that the low watermark does not hide.
    pub(crate) fn before_loss(&self, low: u64) -> &[Walk] {
        let start = (HEADER_LEN, self.lsns.start);
        let kept = |walk: &&Walk| (walk.begin, walk.first_lsn) == start || walk.first_lsn <= low;
        let count = self.frames.walks.iter().take_while(kept).count();
        self.frames.walks.get(..count).unwrap_or_default()
    }

    fn damage(&self, last: bool) -> Vec<Damage> {
        let damage = |bytes: Range<u64>, lsns: Range<u64>, class| Damage {
            path: self.path.clone(),
            segment: self.number,
            bytes,
            lsns: Lsn(lsns.start)..Lsn(lsns.end),
            class,
        };
        let lost = self.lsns.start..self.lsns.end;
        let none = self.lsns.start..self.lsns.start;
        match (&self.fault, &self.header) {
            (Some(class @ DamageClass::MissingSegment), _) => vec![damage(0..0, lost, class.clone())],
            (Some(class), None) => vec![damage(0..self.size, lost, class.clone())],
            (fault, Some(header)) => {
                let rotten = fault.iter().map(|class| damage(0..HEADER_LEN, none.clone(), class.clone()));
                let holes = self.holes(last).into_iter();
                let holes = holes.map(|hole| damage(hole.bytes, hole.lsns, DamageClass::DamagedDurable));
                let short =
                    (last && self.frames.seal().is_none() && self.size < header.capacity).then(|| {
                        let end = self.lsns.end..self.lsns.end;
                        damage(self.size..header.capacity, end, DamageClass::DamagedDurable)
                    });
                rotten.chain(holes).chain(short).collect()
            }
            (None, None) => Vec::new(),
        }
    }
}
