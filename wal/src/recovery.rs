//! Opening a log: judging what is on disk, without changing it. [`crate::repair`] acts on the verdict.
//!
//! The steps are those of the format's document. A torn tail and damage are told apart by proof: whatever a
//! frame, a seal or a later segment shows to have been synced and is not whole is damage.

use crate::control::Seal;
use crate::damage::{damaged, foreign, is_unreadable, missing};
use crate::directory::Entry;
use crate::ends::{check_end, check_reserve, check_seal, check_unstarted, torn};
use crate::error::{DamageClass, OpenError, Torn};
use crate::format::{FIRST_LSN, HEADER_LEN};
use crate::fs::Fs;
use crate::lasts::Lasts;
use crate::scan::Walk;
use crate::survey::{Found, Survey};

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
    /// Up to where streams have records.
    pub(crate) lasts: Lasts,
    /// Segments below the low watermark.
    pub(crate) leftovers: Vec<u64>,
    /// Files without a readable header in which nothing of this log can be.
    pub(crate) unreadable: Vec<u64>,
}

impl From<&Whole> for Entry {
    fn from(whole: &Whole) -> Self {
        Self { segment: whole.segment, base: whole.base, bytes: whole.size }
    }
}

impl<F: Fs> Survey<'_, F> {
    /// Steps 2 to 5. Which records are gone with a whole file is told by its neighbours.
    pub(crate) fn judge(&self) -> Result<Verdict<F>, OpenError> {
        self.verdict().map_err(|error| match error {
            OpenError::Corrupt(mut damage) if damage.class != DamageClass::DamagedDurable => {
                let known = self.pieces().ok().flatten().map(|all| all.damage()).unwrap_or_default();
                let same = known
                    .into_iter()
                    .find(|same| (same.segment, &same.class) == (damage.segment, &damage.class));
                damage.lsns = same.map_or(damage.lsns, |same| same.lsns);
                OpenError::Corrupt(damage)
            }
            other => other,
        })
    }

    fn verdict(&self) -> Result<Verdict<F>, OpenError> {
        let mut ends = self.ends()?;
        let named = ends.last.as_ref().is_none_or(|(_, walk)| walk.seal.is_some());
        let mut verdict = Verdict {
            chain: Vec::new(),
            last: None,
            next: if named { ends.unstarted.pop() } else { None },
            reserve: ends.unstarted.pop(),
            torn: None,
            discard_reserve: false,
            lasts: Lasts::default(),
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
                verdict.next.as_ref().map_or(Ok(()), |next| self.has_not_begun(next, Some(&walk)))?;
            }
            checked?;
            verdict.last = Some((found, walk));
        } else if let Some(first) = verdict.next.take() {
            let checked = check_unstarted(&first, FIRST_LSN)
                .and_then(|residue| check_reserve(&first, FIRST_LSN, &mut verdict).map(|()| residue));
            if let Err(OpenError::Corrupt(_)) = checked {
                self.has_not_begun(&first, None)?;
            }
            verdict.torn = torn(&first, HEADER_LEN, FIRST_LSN, checked?);
            verdict.next = Some(first);
        }
        Ok(verdict)
    }

    /// Step 4: back from the last segment to the low watermark, each tied to the one before.
    fn check_chain(&self, last: &Found<F>, walk: &Walk, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        let low = walk.low;
        let streams = &walk.carried.streams;
        verdict.lasts.clone_from(&walk.carried.lasts);
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
            // Counted before its low watermark was known, and no further than that.
            _ => whole(last, &self.walk_to(last, (walk.end, low))?),
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
            let fits = tied && seal.end_lsn == start.base_lsn;
            if !fits && !cfg!(wal_mutant = "no_seal_check") {
                return Err(foreign(&found));
            }
            verdict.chain.push(whole(&found, &walk));
            verdict.lasts.earlier(&walk.carried.lasts, streams);
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
}
