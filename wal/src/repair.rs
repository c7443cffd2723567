//! Acting on a verdict: quarantine, write again what no sync has proven, cut, and hand over a log that can go on.
//!
//! Every step may be interrupted: the next opening comes to the same verdict, or to what is left of the work.
//! Nothing here needs space, except what is kept in `quarantine/`.

use std::io;

use crate::carry::Carry;
use crate::confirm::confirm;
use crate::directory::{Directory, Entry, segment_path, spare_path};
use crate::error::OpenError;
use crate::format::{HEADER_LEN, Header, Label};
use crate::fs::{File, Fs, is_full, sync_above, write_zeros};
use crate::lasts::Lasts;
use crate::log::{Log, Tail};
use crate::options::{Options, RepairPolicy};
use crate::pool::Pool;
use crate::recovery::Verdict;
use crate::report::RecoveryReport;
use crate::reserve::Reserve;
use crate::segment::{Link, Segment};
use crate::survey::{Found, Survey, cannot};

/// A log that can be written and read.
pub(crate) struct Recovered<F: Fs> {
    pub(crate) log: Log<F>,
    pub(crate) reserve: Reserve<F>,
    pub(crate) directory: Directory,
    pub(crate) log_id: Option<[u8; 16]>,
    /// What the log is called, if there is one.
    pub(crate) label: Option<Label>,
    /// Salt of the highest segment without frames, 0 if there was none.
    pub(crate) salt_ahead: u64,
    /// Up to where streams have records.
    pub(crate) lasts: Lasts,
    pub(crate) report: RecoveryReport,
}

impl<F: Fs> Survey<'_, F> {
    /// All steps: what is damaged is mended first where that is asked for, and then judged as if it had always been so.
    pub(crate) fn recover(self, options: &Options) -> Result<Recovered<F>, OpenError> {
        self.check_label(options.label)?;
        let first = match (self.judge(), options.repair) {
            (Err(OpenError::Corrupt(first)), RepairPolicy::TruncateAt | RepairPolicy::Salvage) => first,
            (judged, _) => return self.repair(judged?, options),
        };
        let mended = self.mend(first, options)?;
        let survey = Survey::list(self.fs, self.dir)?;
        let mut recovered = survey.repair(survey.judge()?, options)?;
        let report = &mut recovered.report;
        (report.damaged, report.lost) = (mended.damaged, mended.lost);
        report.torn = report.torn.take().or(mended.torn);
        report.quarantined.splice(..0, mended.quarantined);
        Ok(recovered)
    }

    /// Steps 6 to 9.
    fn repair(&self, mut verdict: Verdict<F>, options: &Options) -> Result<Recovered<F>, OpenError> {
        if verdict.torn.is_some() {
            match (&verdict.next, &verdict.last) {
                (Some(next), last) => self.has_not_begun(next, last.as_ref().map(|(_, walk)| walk))?,
                (None, Some((last, walk))) => self.ends_alike(last, walk.end)?,
                (None, None) => {}
            }
        }
        if options.repair == RepairPolicy::Fail
            && let Some(torn) = verdict.torn.take()
        {
            return Err(OpenError::TornTail(torn));
        }
        self.open_for_writing(&mut verdict)?;
        let highest = verdict.reserve.as_ref().or(verdict.next.as_ref());
        let salt_ahead = highest.map_or(0, |found| found.header.salt);
        if let Some(torn) = verdict.torn.take() {
            verdict.torn = Some(self.quarantine(torn, &mut verdict, options)?);
        }
        let clean = verdict.is_clean();
        if let Some((found, walk)) = &verdict.last {
            let torn = verdict.torn.as_ref().filter(|torn| torn.segment == found.header.segment);
            let zeros = if clean { None } else { Some(torn.map_or(walk.end, |torn| torn.bytes.end)) };
            confirm(found, walk, zeros).map_err(cannot("repair", &found.path))?;
        }
        if let Some(next) = &mut verdict.next {
            let walk = verdict.last.as_ref().map(|(_, walk)| walk);
            let copies = walk.map_or_else(Carry::default, |walk| Carry::of(&walk.carried));
            self.clear(next, &copies, options.segment_bytes).map_err(cannot("repair", &next.path))?;
        }
        // The frames that say so are durable only now.
        let quarantined = self.set_aside(&mut verdict)?;
        let pool = self.tidy(&mut verdict, options)?;
        let carried = verdict.last.as_ref().map(|(_, walk)| Carry::of(&walk.carried));
        let mut recovered = assemble(verdict);
        recovered.log.carried = carried.unwrap_or_default();
        if let Tail::Active(segment) | Tail::Frozen(segment) = &mut recovered.log.tail {
            segment.carried.clone_from(&recovered.log.carried);
            segment.hold_back(options.segment_bytes);
        }
        if let Tail::Frozen(segment) = &mut recovered.log.tail {
            let path = segment_path(self.dir, segment.number());
            segment.pad_found(recovered.log.next_lsn).map_err(cannot("repair", &path))?;
        }
        recovered.directory.pool = pool;
        recovered.report.quarantined = quarantined;
        recovered.salt_ahead = salt_ahead;
        Ok(recovered)
    }

    /// Removes what the media may have of a first group that was written and taken back. A file that is larger than
    /// it would be made now, and may be full of holes, gives way to one that is not; so does one that cannot begin with
    /// these copies, as a repair has brought back streams that nobody made it for.
    fn clear(&self, next: &mut Found<F>, copies: &Carry, usual: u64) -> io::Result<()> {
        let least = Segment::<F>::capacity_for(copies.len(), next.header.commit_align);
        let (capacity, features) = (usual.max(least), copies.features());
        let unfit = next.size < least || !next.header.features.has(features);
        if unfit || next.size > capacity {
            let features = next.header.features.with(features);
            let header = Header { capacity, features, ..next.header.clone() };
            match self.anew(&header, |anew| anew.finish(header.capacity)) {
                Ok(anew) => {
                    self.fs.rename(&anew.path, &next.path)?;
                    self.fs.sync_dir(self.dir)?;
                    (next.file, next.size, next.header) =
                        (self.fs.open(&next.path)?, header.capacity, header);
                    return Ok(());
                }
                Err(error) if is_full(&error) && !unfit => {}
                Err(error) => return Err(error),
            }
        }
        write_zeros(&next.file, HEADER_LEN, next.size)?;
        next.file.sync_data()
    }

    /// Judging only reads, and so were the files opened.
    fn open_for_writing(&self, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        let last = verdict.last.as_mut().map(|(found, _)| found);
        for found in last.into_iter().chain(&mut verdict.next).chain(&mut verdict.reserve) {
            found.file = self.fs.open(&found.path).map_err(cannot("open", &found.path))?;
        }
        Ok(())
    }

    /// Step 8: removes what lies below the low watermark, keeps or removes spares, and makes all names durable.
    fn tidy(&self, verdict: &mut Verdict<F>, options: &Options) -> Result<Pool, OpenError> {
        for &number in &verdict.leftovers {
            let path = segment_path(self.dir, number);
            self.fs.remove(&path).map_err(cannot("remove", &path))?;
        }
        let pool = self.adopt(verdict, options)?;
        if verdict.last.is_none()
            && let Some(reserve) = verdict.reserve.take()
        {
            // It must be gone before the first is renamed: without that one it would tell of a segment that is missing.
            self.fs.remove(&reserve.path).map_err(cannot("remove", &reserve.path))?;
            self.fs.sync_dir(self.dir).map_err(cannot("sync", self.dir))?;
        }
        self.name_again(verdict)?;
        // Also of a log that was closed: whoever opened it since may have died between making the next segment and
        // syncing its name, and have written nothing that tells.
        self.fs.sync_dir(self.dir).map_err(cannot("sync", self.dir))?;
        if verdict.last.is_none() {
            // A process that died between making a directory and syncing its name has left no other trace. Whoever
            // wrote a first frame had been here.
            sync_above(self.fs, self.dir).map_err(cannot("sync a directory above", self.dir))?;
        }
        Ok(pool)
    }

    /// Gives the reserve, or the first of a log without frames, its name once more: where a sync of the directory has
    /// failed, the cache may take for clean a name that the media does not have, and the next sync would do nothing
    /// about it. Whoever wrote a first frame had seen the name synced.
    fn name_again(&self, verdict: &Verdict<F>) -> Result<(), OpenError> {
        let found = if verdict.last.is_some() { &verdict.reserve } else { &verdict.next };
        let Some(found) = found else { return Ok(()) };
        let spare = spare_path(self.dir, found.header.segment);
        let named = self.fs.rename(&found.path, &spare).and_then(|()| self.fs.rename(&spare, &found.path));
        named.map_err(cannot("rename", &found.path))
    }
}

/// Step 9: the log as it goes on.
fn assemble<F: Fs>(verdict: Verdict<F>) -> Recovered<F> {
    let report = verdict.report();
    let mut entries: Vec<Entry> = verdict.chain.iter().map(Entry::from).collect();
    let walk = verdict.last.as_ref().map(|(_, walk)| walk.clone());
    let (low, next_lsn, clean) = (report.first_lsn.0, report.next_lsn.0, report.clean);
    let any = verdict.last.as_ref().map(|(found, _)| found).or(verdict.next.as_ref());
    let (log_id, label) = (any.map(|found| found.header.log_id), any.map(|found| found.header.label));
    let epoch = walk.as_ref().and_then(|walk| walk.start).map_or(0, |start| start.epoch).saturating_add(1);
    let tail = match (verdict.next, verdict.last) {
        (Some(next), last) => {
            let mut segment = Segment::unstarted(next.file, next.header);
            if let Some((found, walk)) = last {
                segment.link = Link { segment: found.header.segment, end: walk.end, hcrc: walk.last_hcrc };
            }
            entries.push(Entry { segment: segment.number(), base: next_lsn, bytes: next.size });
            Tail::Active(segment)
        }
        (None, Some((found, walk))) => {
            let segment = Segment {
                started: true,
                end: walk.end,
                synced: walk.end,
                frames: walk.frames,
                data_bytes: walk.data_bytes,
                last_hcrc: walk.last_hcrc,
                repaired: verdict.torn.is_some(),
                ..Segment::unstarted(found.file, found.header)
            };
            if clean { Tail::Active(segment) } else { Tail::Frozen(segment) }
        }
        (None, None) => Tail::Empty,
    };
    let ready = verdict.reserve.map(|reserve| Segment::unstarted(reserve.file, reserve.header));
    let next_segment = match &tail {
        Tail::Empty => 1,
        Tail::Active(segment) | Tail::Frozen(segment) => segment.number() + 1,
    };
    let reserved = ready.as_ref().map_or(0, |segment| segment.header.capacity);
    Recovered {
        log: Log::new(tail, next_lsn, low, epoch, clean),
        reserve: Reserve::new(next_segment, ready),
        directory: Directory::new(entries, reserved),
        log_id,
        label,
        salt_ahead: 0,
        lasts: verdict.lasts,
        report,
    }
}
