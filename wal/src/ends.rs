//! Where a log ends, and whether what lies behind was ever synced: steps 2 and 3 of the format's document.

use crate::Lsn;
use crate::damage::{damaged, foreign, is_unreadable, missing};
use crate::directory::segment_path;
use crate::error::{OpenError, Torn};
use crate::format::{HEADER_LEN, MAX_SEGMENT};
use crate::fs::{File, Fs, parent};
use crate::recovery::Verdict;
use crate::residue::{Residue, is_zero, residue};
use crate::scan::Walk;
use crate::segment::SEAL_LEN;
use crate::survey::{Found, Survey, cannot};

/// The last segment that has a start frame, and what lies behind it, the highest number first.
pub(crate) struct Ends<F: Fs> {
    pub(crate) last: Option<(Found<F>, Walk)>,
    pub(crate) unstarted: Vec<Found<F>>,
    /// The highest of all, where its header cannot be read.
    pub(crate) rotten: Option<(u64, OpenError)>,
}

impl<F: Fs> Survey<'_, F> {
    /// Step 2: the last segment with a start frame, and those behind it.
    pub(crate) fn ends(&self) -> Result<Ends<F>, OpenError> {
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
                    ends.last = match self.in_front_of(&found, &walk)? {
                        // What it was to begin with is not whole, and so the segment has not begun.
                        Some(front) => {
                            ends.unstarted.push(found);
                            Some(front)
                        }
                        None => Some((found, walk)),
                    };
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

    /// The segment before one that has no record, if less of this one is whole than the group that its start frame
    /// begins: copies of the streams and of the checkpoint that the one before has.
    fn in_front_of(&self, found: &Found<F>, walk: &Walk) -> Result<Option<(Found<F>, Walk)>, OpenError> {
        let is_empty = |base_lsn| walk.next_lsn == base_lsn && walk.seal.is_none();
        let Some(start) = walk.start.filter(|start| start.prev_segment != 0 && is_empty(start.base_lsn))
        else {
            return Ok(None);
        };
        let number = start.prev_segment;
        if !self.segments.contains(&number) || number + 1 != start.segment {
            return Ok(None);
        }
        let front = match self.find(number) {
            Ok(front) if front.header.log_id == found.header.log_id => front,
            // What is wrong with it is told when the chain is followed.
            Ok(_) | Err(OpenError::Corrupt(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let before = self.walk(&front, 0)?;
        let tied = before.seal.is_some_and(|seal| seal.next_salt == found.header.salt);
        let due = tied && before.start.is_some() && !walk.has_begun(&before.carried);
        Ok(due.then_some((front, before)))
    }

    /// A file behind all others whose header cannot be read is a reserve, and nothing is lost with it, if no seal names
    /// it and it has no byte where frames would be.
    pub(crate) fn check_rotten(&self, ends: &mut Ends<F>, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
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
}

/// Step 3, sealed: the segment that follows must be there, and may hold a torn first group.
pub(crate) fn check_seal<F: Fs>(
    last: &Found<F>,
    walk: &Walk,
    verdict: &mut Verdict<F>,
) -> Result<(), OpenError> {
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
pub(crate) fn check_end<F: Fs>(
    last: &Found<F>,
    walk: &Walk,
    verdict: &mut Verdict<F>,
) -> Result<(), OpenError> {
    let found = residue(&last.file, &last.header, (walk.end, last.size), walk.next_lsn)
        .map_err(cannot("read", &last.path))?;
    if walk.synced.max(found.synced) > walk.end && !cfg!(wal_mutant = "damage_is_torn") {
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
pub(crate) fn check_reserve<F: Fs>(
    front: &Found<F>,
    next_lsn: u64,
    verdict: &mut Verdict<F>,
) -> Result<(), OpenError> {
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
pub(crate) fn check_unstarted<F: Fs>(found: &Found<F>, next_lsn: u64) -> Result<Residue, OpenError> {
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

pub(crate) fn torn<F: Fs>(found: &Found<F>, from: u64, next_lsn: u64, residue: Residue) -> Option<Torn> {
    (residue.end > from).then(|| Torn {
        path: found.path.clone(),
        segment: found.header.segment,
        bytes: from..residue.end,
        lsns: Lsn(next_lsn)..Lsn(residue.end_lsn),
        quarantine: None,
    })
}
