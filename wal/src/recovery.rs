//! Opening a log: judging what is on disk, without changing it. [`crate::repair`] acts on the verdict.
//!
//! The steps are those of the format's document. A torn tail and damage are told apart by proof: whatever a
//! frame, a seal or a later segment shows to have been synced and is not whole is damage.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::control::Seal;
use crate::directory::{Entry, LOCK, Name, segment_path};
use crate::error::{Damage, DamageClass, OpenError, Torn};
use crate::format::{
    FIRST_LSN, HEADER_LEN, HEADER_USED, Header, HeaderError, Kind, MAX_SEGMENT, Unsupported,
};
use crate::fs::{File, Fs, parent, read_full};
use crate::residue::{Residue, is_zero, residue};
use crate::scan::Walk;
use crate::segment::SEAL_LEN;

/// Kind of the error where a file reads otherwise than right before.
pub(crate) const CHANGED: io::ErrorKind = io::ErrorKind::InvalidData;

/// A segment file with a readable header.
pub(crate) struct Found<F: Fs> {
    pub(crate) path: PathBuf,
    pub(crate) file: F::File,
    pub(crate) size: u64,
    pub(crate) header: Header,
}

/// A segment of the log that is whole, oldest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) segment: u64,
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) data_bytes: u64,
    /// Numbers from the low watermark on that have no record.
    pub(crate) burned: u64,
}

/// The last segment that has a start frame, and what lies behind it, the highest number first.
struct Ends<F: Fs> {
    last: Option<(Found<F>, Walk)>,
    unstarted: Vec<Found<F>>,
    /// The highest of all, where its header cannot be read.
    rotten: Option<(u64, OpenError)>,
}

/// What is on disk, and what is to be done about it.
pub(crate) struct Verdict<F: Fs> {
    /// All segments with a start frame; the last of them is `last`.
    pub(crate) chain: Vec<Whole>,
    pub(crate) last: Option<(Found<F>, Walk)>,
    /// A segment without a start frame that takes the next group: the one that the seal of `last` names, or the
    /// first of the log.
    pub(crate) next: Option<Found<F>>,
    /// A segment made ahead, which nothing names yet.
    pub(crate) reserve: Option<Found<F>>,
    /// In `next` if there is one, otherwise in `last`.
    pub(crate) torn: Option<Torn>,
    /// The reserve is not as it was made.
    pub(crate) discard_reserve: bool,
    /// Segments below the low watermark.
    pub(crate) leftovers: Vec<u64>,
    /// Files without a readable header in which nothing of this log can be.
    pub(crate) unreadable: Vec<u64>,
}

impl<F: Fs> Verdict<F> {
    /// Whether this version can go on with the log: it does not hand checkpoints and streams on to the next segment,
    /// and does not align groups.
    pub(crate) fn check_writable(&self) -> Result<(), OpenError> {
        let last = self.last.as_ref().map(|(found, _)| found);
        let unsupported = |found: &Found<F>, what| OpenError::Unsupported {
            path: found.path.clone(),
            segment: found.header.segment,
            offset: 0,
            what,
        };
        if let Some((found, walk)) = &self.last
            && !walk.carried.is_empty()
        {
            let kind = if walk.carried.checkpoint.is_some() { Kind::CHECKPOINT } else { Kind::STREAM_DEF };
            return Err(unsupported(found, Unsupported::Writing(kind.0)));
        }
        let written = last.into_iter().chain(&self.next).chain(&self.reserve);
        match written.into_iter().find(|found| found.header.commit_align != 0) {
            Some(found) => Err(unsupported(found, Unsupported::CommitAlign(found.header.commit_align))),
            None => Ok(()),
        }
    }
}

impl From<&Whole> for Entry {
    fn from(whole: &Whole) -> Self {
        Self { segment: whole.segment, base: whole.base, bytes: whole.size }
    }
}

/// The files of a log.
pub(crate) struct Survey<'a, F: Fs> {
    pub(crate) fs: &'a F,
    pub(crate) dir: &'a Path,
    pub(crate) segments: BTreeSet<u64>,
    pub(crate) spares: Vec<PathBuf>,
    /// Whether there is a lock file.
    pub(crate) locked: bool,
}

impl<'a, F: Fs> Survey<'a, F> {
    /// Step 1: what files there are.
    pub(crate) fn list(fs: &'a F, dir: &'a Path) -> Result<Self, OpenError> {
        let mut survey = Self { fs, dir, segments: BTreeSet::new(), spares: Vec::new(), locked: false };
        for name in fs.list(dir).map_err(cannot("list", dir))? {
            match Name::parse(&name) {
                Name::Segment(number) => drop(survey.segments.insert(number)),
                Name::Spare => survey.spares.push(dir.join(name)),
                Name::Other => survey.locked |= name == LOCK,
            }
        }
        Ok(survey)
    }

    /// Steps 2 to 5.
    pub(crate) fn judge(&self) -> Result<Verdict<F>, OpenError> {
        let mut ends = self.ends()?;
        let named = ends.last.as_ref().is_none_or(|(_, walk)| walk.seal.is_some());
        let mut verdict = Verdict {
            chain: Vec::new(),
            last: None,
            next: if named { ends.unstarted.pop() } else { None },
            reserve: ends.unstarted.pop(),
            torn: None,
            discard_reserve: false,
            leftovers: Vec::new(),
            unreadable: Vec::new(),
        };
        self.check_rotten(&mut ends, &mut verdict)?;
        if let Some(extra) = ends.unstarted.pop() {
            return Err(damaged(&extra, HEADER_LEN..extra.size, 0..0));
        }
        if let Some((found, walk)) = ends.last {
            let checked = match walk.seal {
                Some(_) => check_seal(&found, &walk, &mut verdict),
                None => check_end(&found, &walk, &mut verdict),
            };
            let checked = checked
                .and_then(|()| self.check_chain(&found, &walk, &mut verdict))
                .and_then(|()| check_reserve(&found, walk.next_lsn, &mut verdict));
            if let Err(OpenError::Corrupt(_)) = checked {
                self.ends_alike(&found, walk.end)?;
                verdict.next.as_ref().map_or(Ok(()), |next| self.ends_alike(next, HEADER_LEN))?;
            }
            checked?;
            verdict.last = Some((found, walk));
        } else if let Some(first) = verdict.next.take() {
            let checked = check_unstarted(&first, FIRST_LSN)
                .and_then(|residue| check_reserve(&first, FIRST_LSN, &mut verdict).map(|()| residue));
            if let Err(OpenError::Corrupt(_)) = checked {
                self.ends_alike(&first, HEADER_LEN)?;
            }
            verdict.torn = torn(&first, HEADER_LEN, FIRST_LSN, checked?);
            verdict.next = Some(first);
        }
        Ok(verdict)
    }

    /// Walks once more, before anything is said of what lies behind an end: frames there were written when all before
    /// them was whole. Where the walk ends elsewhere now, somebody writes, or a read was wrong.
    pub(crate) fn ends_alike(&self, found: &Found<F>, end: u64) -> Result<(), OpenError> {
        if self.walk(found, 0)?.end == end {
            return Ok(());
        }
        let changed = io::Error::new(CHANGED, "it reads otherwise than before");
        Err(cannot("read", &found.path)(changed))
    }

    /// Step 2: the last segment with a start frame, and those behind it.
    fn ends(&self) -> Result<Ends<F>, OpenError> {
        let mut ends = Ends { last: None, unstarted: Vec::new(), rotten: None };
        for (&number, below) in self.segments.iter().rev().zip(1..) {
            let walked = match self.find(number) {
                Ok(found) => Some((self.walk(&found, 0)?, found)),
                // Whether it may be the reserve is told by what lies below.
                Err(error) if below == 1 && is_unreadable(&error) => {
                    ends.rotten = Some((number, error));
                    None
                }
                Err(error) => return Err(error),
            };
            match walked {
                Some((walk, found)) if walk.start.is_some() => {
                    ends.last = Some((found, walk));
                    return Ok(ends);
                }
                Some((_, found)) => ends.unstarted.push(found),
                None => {}
            }
            let missing_below = number > 1 && !self.segments.contains(&(number - 1));
            if missing_below {
                return Err(missing(self.dir, number - 1, 0..0));
            }
            if below > 2 {
                // At most the segment that a seal names, and the one made ahead of it.
                break;
            }
        }
        Ok(ends)
    }

    /// A file behind all others whose header cannot be read is a reserve, and nothing is lost with it, if no seal names
    /// it and it has no byte where frames would be.
    fn check_rotten(&self, ends: &mut Ends<F>, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        let Some((number, error)) = ends.rotten.take() else { return Ok(()) };
        let path = segment_path(self.dir, number);
        let file = self.fs.open_read(&path).map_err(cannot("open", &path))?;
        let size = file.size().map_err(cannot("measure", &path))?;
        let known = verdict.next.is_some() || ends.last.as_ref().is_some_and(|(_, walk)| walk.seal.is_none());
        let alone = verdict.reserve.is_none() && ends.unstarted.is_empty();
        // A header would bound the length; without one the file may be holes of any length.
        let bounded = size <= MAX_SEGMENT;
        if !bounded || !known || !alone || !is_zero(&file, HEADER_LEN..size).map_err(cannot("read", &path))? {
            return Err(error);
        }
        verdict.unreadable.push(number);
        Ok(())
    }

    /// Step 4: back from the last segment to the low watermark, each tied to the one before.
    fn check_chain(&self, last: &Found<F>, walk: &Walk, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        let low = walk.low;
        let mut start = walk.start.expect("the last segment has a start frame");
        let mut salt = last.header.salt;
        let whole = |found: &Found<F>, walk: &Walk| Whole {
            segment: found.header.segment,
            base: walk.start.map_or(FIRST_LSN, |start| start.base_lsn),
            size: found.size,
            data_bytes: walk.data_bytes,
            burned: walk.burned,
        };
        verdict.chain.push(match walk.burned {
            0 => whole(last, walk),
            // Counted before its low watermark was known.
            _ => whole(last, &self.walk(last, low)?),
        });
        while start.base_lsn > low && start.prev_segment != 0 {
            let number = start.prev_segment;
            if !self.segments.contains(&number) || number >= start.segment {
                return Err(missing(self.dir, number, low..start.base_lsn));
            }
            let found = self.find(number)?;
            if found.header.log_id != last.header.log_id {
                return Err(foreign(&found));
            }
            let walk = self.walk(&found, low)?;
            let (Some(before), Some(seal)) = (walk.start, walk.seal) else {
                let from = if walk.start.is_some() { walk.next_lsn } else { low };
                return Err(damaged(&found, walk.end..start.prev_end, from..start.base_lsn));
            };
            // The next one remembers the seal that was there before a segment was made anew.
            let anew = seal.flags & Seal::SALVAGED != 0;
            let tied = anew || walk.end == start.prev_end && walk.last_hcrc == start.prev_last_hcrc;
            let tied = tied && seal.next_segment == start.segment && seal.next_salt == salt;
            if !tied || seal.end_lsn != start.base_lsn {
                return Err(foreign(&found));
            }
            verdict.chain.push(whole(&found, &walk));
            (start, salt) = (before, found.header.salt);
        }
        if start.base_lsn > low {
            return Err(missing(self.dir, start.segment.saturating_sub(1), low..start.base_lsn));
        }
        verdict.chain.reverse();
        self.check_leftovers(start.segment, last, verdict)
    }

    /// Step 5: what lies below `oldest` is ours to remove only where it says so.
    fn check_leftovers(
        &self,
        oldest: u64,
        last: &Found<F>,
        verdict: &mut Verdict<F>,
    ) -> Result<(), OpenError> {
        for &number in self.segments.range(..oldest) {
            match self.find(number) {
                Ok(found) if found.header.log_id == last.header.log_id => verdict.leftovers.push(number),
                Ok(found) => return Err(foreign(&found)),
                Err(error) if is_unreadable(&error) => verdict.unreadable.push(number),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn find(&self, number: u64) -> Result<Found<F>, OpenError> {
        let path = segment_path(self.dir, number);
        let file = self.fs.open_read(&path).map_err(cannot("open", &path))?;
        let size = file.size().map_err(cannot("measure", &path))?;
        let mut block = [0; HEADER_USED];
        read_full(&file, &mut block, 0).map_err(cannot("read", &path))?;
        let header = Header::decode(&block).map_err(|error| match error {
            HeaderError::Unsupported(what) => {
                OpenError::Unsupported { path: path.clone(), segment: number, offset: 0, what }
            }
            error => corrupt((path.clone(), number), 0..HEADER_LEN, 0..0, DamageClass::BadHeader(error)),
        })?;
        // What lies behind the capacity was never ours.
        let found = Found { path, file, size: size.min(header.capacity), header };
        if found.header.segment == number { Ok(found) } else { Err(foreign(&found)) }
    }

    fn walk(&self, found: &Found<F>, from: u64) -> Result<Walk, OpenError> {
        let walk = Walk::over(&found.file, &found.header, (found.size, from))
            .map_err(cannot("read", &found.path))?;
        walk.map_err(|unknown| OpenError::Unsupported {
            path: found.path.clone(),
            segment: found.header.segment,
            offset: unknown.offset,
            what: unknown.what,
        })
    }
}

/// Step 3, sealed: the segment that follows must be there, and may hold a torn first group.
fn check_seal<F: Fs>(last: &Found<F>, walk: &Walk, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
    let seal = walk.seal.expect("asked for a sealed segment");
    let Some(next) = &verdict.next else {
        return Err(missing(parent(&last.path), seal.next_segment, walk.next_lsn..walk.next_lsn));
    };
    let named = next.header.segment == seal.next_segment && next.header.salt == seal.next_salt;
    if !named || next.header.log_id != last.header.log_id {
        return Err(foreign(next));
    }
    verdict.torn = torn(next, HEADER_LEN, walk.next_lsn, check_unstarted(next, walk.next_lsn)?);
    Ok(())
}

/// Step 3, not sealed: where the segment ends, and whether what lies behind was ever synced.
fn check_end<F: Fs>(last: &Found<F>, walk: &Walk, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
    let found = residue(&last.file, &last.header, (walk.end, last.size), walk.next_lsn)
        .map_err(cannot("read", &last.path))?;
    if walk.synced.max(found.synced) > walk.end {
        let (end, lsn) = found.next.unwrap_or((found.end, found.end_lsn));
        return Err(damaged(last, walk.end..end, walk.next_lsn..lsn));
    }
    let capacity = last.header.capacity;
    if walk.end + SEAL_LEN > capacity {
        // Room for the seal is never used for anything else.
        return Err(damaged(last, walk.end..capacity, walk.next_lsn..walk.next_lsn));
    }
    if last.size < capacity {
        // The length was durable before the first frame, and only a sealed segment is ever shortened.
        return Err(damaged(last, last.size..capacity, walk.next_lsn..walk.next_lsn));
    }
    verdict.torn = torn(last, walk.end, walk.next_lsn, found);
    Ok(())
}

/// Step 3, the reserve: nothing is written there before the segment in front of it is sealed.
fn check_reserve<F: Fs>(front: &Found<F>, next_lsn: u64, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
    let Some(reserve) = &verdict.reserve else { return Ok(()) };
    let found = residue(&reserve.file, &reserve.header, (HEADER_LEN, reserve.size), next_lsn)
        .map_err(cannot("read", &reserve.path))?;
    if found.any {
        return Err(damaged(front, 0..front.size, next_lsn..found.end_lsn));
    }
    let as_made = found.end == HEADER_LEN && reserve.size >= reserve.header.capacity;
    verdict.discard_reserve = !as_made || reserve.header.log_id != front.header.log_id;
    Ok(())
}

/// A segment that should have no frame: what it has, if none of that was ever synced.
fn check_unstarted<F: Fs>(found: &Found<F>, next_lsn: u64) -> Result<Residue, OpenError> {
    let residue = residue(&found.file, &found.header, (HEADER_LEN, found.size), next_lsn)
        .map_err(cannot("read", &found.path))?;
    if residue.synced > HEADER_LEN {
        let (end, lsn) = residue.next.unwrap_or((residue.end, residue.end_lsn));
        return Err(damaged(found, HEADER_LEN..end, next_lsn..lsn));
    }
    if found.size < found.header.capacity {
        return Err(damaged(found, found.size..found.header.capacity, next_lsn..next_lsn));
    }
    Ok(residue)
}

fn is_unreadable(error: &OpenError) -> bool {
    matches!(error, OpenError::Corrupt(Damage { class: DamageClass::BadHeader(_), .. }))
}

fn torn<F: Fs>(found: &Found<F>, from: u64, next_lsn: u64, residue: Residue) -> Option<Torn> {
    (residue.end > from).then(|| Torn {
        path: found.path.clone(),
        segment: found.header.segment,
        bytes: from..residue.end,
        lsns: Lsn(next_lsn)..Lsn(residue.end_lsn),
        quarantine: None,
    })
}

pub(crate) fn cannot(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { operation, path: path.to_path_buf(), source }
}

fn corrupt(
    (path, segment): (PathBuf, u64),
    bytes: Range<u64>,
    lsns: Range<u64>,
    class: DamageClass,
) -> OpenError {
    OpenError::Corrupt(Damage { path, segment, bytes, lsns: Lsn(lsns.start)..Lsn(lsns.end), class })
}

fn damaged<F: Fs>(found: &Found<F>, bytes: Range<u64>, lsns: Range<u64>) -> OpenError {
    corrupt((found.path.clone(), found.header.segment), bytes, lsns, DamageClass::DamagedDurable)
}

fn missing(dir: &Path, segment: u64, lsns: Range<u64>) -> OpenError {
    corrupt((segment_path(dir, segment), segment), 0..0, lsns, DamageClass::MissingSegment)
}

fn foreign<F: Fs>(found: &Found<F>) -> OpenError {
    corrupt((found.path.clone(), found.header.segment), 0..found.size, 0..0, DamageClass::Foreign)
}
