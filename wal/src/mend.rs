//! Repairing damage to durable records where that is asked for: [`crate::pieces`] says what is left, this decides what
//! stays, and [`crate::anew`] makes the segments.
//!
//! Each step leaves a log from which the next opening, asked for the same, comes to the same: segments are made anew
//! one by one, the highest first, under a spare name, and what they replace is kept before.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::Lsn;
use crate::carry::Carry;
use crate::damage::check_repairable;
use crate::directory::segment_path;
use crate::error::{Damage, OpenError, Torn};
use crate::format::{HEADER_LEN, Header, MAX_SEGMENT};
use crate::fs::{Fs, is_full};
use crate::home::Salts;
use crate::options::{Options, RepairPolicy};
use crate::pieces::{Piece, Pieces};
use crate::replace::End;
use crate::segment::Segment;
use crate::survey::{Survey, cannot, changed};

/// What a repair of damage has done.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub(crate) damaged: Vec<Damage>,
    pub(crate) lost: Vec<Range<Lsn>>,
    pub(crate) quarantined: Vec<PathBuf>,
    /// What was never synced behind what was, in a segment that is made anew without it.
    pub(crate) torn: Option<Torn>,
}

impl<F: Fs> Survey<'_, F> {
    /// Makes of a damaged log one that is whole, as the policy says.
    pub(crate) fn mend(&self, first: Damage, options: &Options) -> Result<Mended, OpenError> {
        let Some(all) = self.pieces()? else { return Err(OpenError::Corrupt(first)) };
        for piece in all.pieces.iter().filter(|piece| piece.header.is_some() && piece.fault.is_none()) {
            let file = self.fs.open_read(&piece.path).map_err(cannot("open", &piece.path))?;
            check_repairable(&file, &piece.path, piece.number)?;
        }
        // One wrong read must not take away what is whole.
        let again = self.pieces()?.map(|again| again.damage());
        if again.is_none_or(|again| again != all.damage()) {
            return Err(changed(self.dir));
        }
        let mut mended = Mended { damaged: all.damage_with(first), ..Mended::default() };
        if self.put_away_strangers(&all, options, &mut mended)? {
            let without = Survey::list(self.fs, self.dir)?;
            let all = without.pieces()?.ok_or_else(|| changed(self.dir))?;
            without.mend_all(&all, options, &mut mended)?;
        } else {
            self.mend_all(&all, options, &mut mended)?;
        }
        Ok(mended)
    }

    fn mend_all(&self, all: &Pieces, options: &Options, mended: &mut Mended) -> Result<(), OpenError> {
        let seed = options.salt_seed.unwrap_or_else(Salts::random_seed);
        let headers = all.headers(&Salts::new(seed ^ all.pieces.len() as u64 ^ all.low.rotate_left(32)));
        match options.repair {
            RepairPolicy::Salvage => self.salvage(all, &headers, options, mended),
            _ => self.cut(all, &headers, options, mended),
        }
    }

    /// Moves the files of other logs to `quarantine/`; whether there were any. Before anything else: which log this is
    /// is told by how many files are whose, and a repair that was interrupted must not change that.
    fn put_away_strangers(
        &self,
        all: &Pieces,
        options: &Options,
        mended: &mut Mended,
    ) -> Result<bool, OpenError> {
        let mut any = false;
        for &number in self.segments.iter().rev() {
            let piece = match self.find(number) {
                Ok(found) if found.header.log_id != all.log_id => self.piece(number, all.log_id)?,
                Ok(_) | Err(OpenError::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            self.put_away(&piece, options, mended)?;
            any = true;
        }
        Ok(any)
    }

    /// Keeps every group that is whole, and burns the numbers of the others.
    fn salvage(
        &self,
        all: &Pieces,
        headers: &[Header],
        options: &Options,
        mended: &mut Mended,
    ) -> Result<(), OpenError> {
        self.clear_above(all, options, mended)?;
        for index in (0..all.pieces.len()).rev() {
            self.make_whole(all, index, headers, options, mended)?;
        }
        mended.lost.sort_unstable_by_key(|lsns| lsns.start);
        if all.pieces.last().is_some_and(|last| last.is_damaged(true)) {
            mended.torn = all.torn();
        }
        Ok(())
    }

    /// Makes a segment anew that is damaged, of all that is whole of it.
    fn make_whole(
        &self,
        all: &Pieces,
        index: usize,
        headers: &[Header],
        options: &Options,
        mended: &mut Mended,
    ) -> Result<(), OpenError> {
        let last = index + 1 == all.pieces.len();
        let (Some(piece), Some(header)) = (all.pieces.get(index), headers.get(index)) else { return Ok(()) };
        if !piece.is_damaged(last) {
            return Ok(());
        }
        let next = headers.get(index + 1).map(|next| (next.segment, next.salt));
        let seal = piece.frames.seal().filter(|_| last).map(|seal| (seal.next_segment, seal.next_salt));
        let end = match next.or(seal) {
            Some((segment, salt)) => End::Sealed(segment, salt),
            None => End::Open(0),
        };
        let holes = piece.holes(last);
        // What the low watermark hid was lost before.
        let lost = holes.iter().map(|hole| Lsn(hole.lsns.start.max(all.low))..Lsn(hole.lsns.end));
        mended.lost.extend(lost.filter(|lsns| !lsns.is_empty()));
        self.replace((all, index), (header, &piece.frames.walks, piece.lsns.end), &end, options, mended)
    }

    /// Keeps what lies before the first damage, and burns all numbers behind it.
    fn cut(
        &self,
        all: &Pieces,
        headers: &[Header],
        options: &Options,
        mended: &mut Mended,
    ) -> Result<(), OpenError> {
        let last = all.pieces.len() - 1;
        let Some(index) =
            all.pieces.iter().zip(0..).position(|(piece, index)| piece.is_holed(index == last, all.low))
        else {
            // No frame is lost.
            return self.salvage(all, headers, options, mended);
        };
        let (Some(piece), Some(header)) = (all.pieces.get(index), headers.get(index)) else { return Ok(()) };
        let end = all.pieces.iter().map(|piece| piece.lsns.end).fold(all.low, u64::max);
        let walks = piece.before_loss(all.low);
        let whole = walks.last();
        let lost = whole.map_or(piece.lsns.start, |walk| walk.next_lsn).max(all.low)..end;
        let open = End::Open(all.low);
        let copies = self.copies((all, index), (walks, end), &open)?;
        let done = whole.is_some_and(|walk| {
            let rest = walk.seal.is_none() && walk.low >= all.low && piece.frames.residue_end <= walk.end;
            rest && walk.next_lsn >= end
                && copies.frames().next().is_none()
                && piece.header.as_ref().is_some_and(|header| piece.size == header.capacity)
        });
        if !done {
            self.replace((all, index), (header, walks, end), &open, options, mended)?;
        }
        if !lost.is_empty() {
            mended.lost.push(Lsn(lost.start)..Lsn(lost.end));
        }
        for piece in all.pieces.iter().skip(index + 1).chain(&all.above).rev() {
            self.put_away(piece, options, mended)?;
        }
        (0..index).rev().try_for_each(|index| self.make_whole(all, index, headers, options, mended))
    }

    /// Of the files without frames keeps the one that the last seal names, which is made where it is not there, and
    /// one that was made ahead.
    fn clear_above(&self, all: &Pieces, options: &Options, mended: &mut Mended) -> Result<(), OpenError> {
        let seal = all.pieces.last().and_then(|piece| piece.frames.seal());
        let last = all.pieces.last().map_or(0, |piece| piece.number);
        let named = seal.and_then(|seal| all.next(seal));
        let kept = if seal.is_some() { usize::from(named.is_some()) + 1 } else { 1 };
        for (index, piece) in all.above.iter().enumerate().rev() {
            let numbered = piece.number == last + 1 + index as u64;
            let as_made = piece.header.is_some() && piece.fault.is_none() && !piece.frames.any;
            if !numbered || !as_made || index >= kept || (seal.is_some() && named.is_none()) {
                self.put_away(piece, options, mended)?;
            }
        }
        let Some((seal, model)) = seal.zip(all.model()).filter(|_| named.is_none()) else { return Ok(()) };
        let mut said = all.said_of_streams(all.pieces.len());
        said.checkpoint = all.checkpoint(all.pieces.len() - 1).cloned();
        said.streams.extend(all.orphans.iter().map(|def| (def.id, def.clone())));
        let copies = Carry::of(&said);
        let least = Segment::<F>::capacity_for(copies.len(), model.commit_align);
        let header = Header {
            segment: seal.next_segment,
            salt: seal.next_salt,
            capacity: options.segment_bytes.max(least),
            features: model.features.with(copies.features()),
            ..model.clone()
        };
        let path = segment_path(self.dir, seal.next_segment);
        let made = self.anew(&header, |anew| anew.finish(header.capacity)).and_then(|anew| {
            self.fs.rename(&anew.path, &path)?;
            self.fs.sync_dir(self.dir)
        });
        made.map_err(cannot("make", &path))
    }

    /// Moves a file to `quarantine/`, or removes it where nothing is in it.
    pub(crate) fn put_away(
        &self,
        piece: &Piece,
        options: &Options,
        mended: &mut Mended,
    ) -> Result<(), OpenError> {
        if !self.segments.contains(&piece.number) {
            return Ok(());
        }
        let empty = piece.header.is_some() && !piece.frames.any && piece.frames.residue_end <= HEADER_LEN;
        // What is not of this log is not this log's to remove.
        let ours = piece.header.is_some() && !options.quarantine;
        if empty || ours {
            let removed = self.fs.remove(&piece.path).and_then(|()| self.fs.sync_dir(self.dir));
            return removed.map_err(cannot("remove", &piece.path));
        }
        // Of a name that is moved from one directory to another a power cut may leave neither.
        let kept = match piece.size {
            0..=MAX_SEGMENT => {
                self.keep(&piece.path, 0..piece.size, &format!("wal-{:016x}.seg", piece.number))
            }
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        };
        let moved = match kept {
            Ok(target) => {
                self.fs.remove(&piece.path).and_then(|()| self.fs.sync_dir(self.dir)).map(|()| target)
            }
            Err(error) if is_full(&error) => self.move_aside(piece.number),
            Err(error) => Err(error),
        };
        let moved = moved.map_err(cannot("quarantine", &piece.path))?;
        mended.quarantined.push(moved);
        Ok(())
    }
}

impl Pieces {
    /// Everything that is damaged, and at least this.
    pub(crate) fn damage_with(&self, first: Damage) -> Vec<Damage> {
        let mut all = self.damage();
        if !all.iter().any(|damage| damage.segment == first.segment) {
            all.insert(0, first);
        }
        all
    }
}
