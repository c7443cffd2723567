//! Acting on a verdict: quarantine, write again what no sync has proven, cut, and hand over a log that can go on.
//!
//! Every step may be interrupted: the next opening comes to the same verdict, or to what is left of the work.
//! Nothing here needs space, except what is kept in `quarantine/`.

use std::io::{self, IoSlice};
use std::path::PathBuf;

use crate::directory::{Directory, Entry, QUARANTINE, segment_path, spare_path};
use crate::error::{OpenError, Torn};
use crate::format::HEADER_LEN;
use crate::fs::{File, Fs, is_full, read_full, sync_above, write_all, write_zeros};
use crate::log::{Log, Tail};
use crate::options::{Options, RepairPolicy};
use crate::recovery::{Found, Survey, Verdict, cannot};
use crate::report::RecoveryReport;
use crate::reserve::Reserve;
use crate::scan::{Walk, each_frame};
use crate::segment::{Link, Segment};

/// A log that can be written and read.
pub(crate) struct Recovered<F: Fs> {
    pub(crate) log: Log<F>,
    pub(crate) reserve: Reserve<F>,
    pub(crate) directory: Directory,
    pub(crate) log_id: Option<[u8; 16]>,
    /// Salt of the highest segment without frames, 0 if there was none.
    pub(crate) salt_ahead: u64,
    pub(crate) report: RecoveryReport,
}

impl<F: Fs> Survey<'_, F> {
    /// Steps 6 to 9.
    pub(crate) fn repair(
        &self,
        mut verdict: Verdict<F>,
        options: &Options,
    ) -> Result<Recovered<F>, OpenError> {
        verdict.check_writable()?;
        if verdict.torn.is_some() {
            match (&verdict.next, &verdict.last) {
                (Some(next), _) => self.ends_alike(next, HEADER_LEN)?,
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
        if let Some(next) = &verdict.next {
            // Its first group may have been written and taken back where only the media knows.
            write_zeros(&next.file, HEADER_LEN, next.size)
                .and_then(|()| next.file.sync_data())
                .map_err(cannot("repair", &next.path))?;
        }
        // The frames that say so are durable only now.
        let quarantined = self.set_aside(&mut verdict)?;
        self.tidy(&mut verdict)?;
        let mut recovered = assemble(verdict);
        recovered.report.quarantined = quarantined;
        recovered.salt_ahead = salt_ahead;
        Ok(recovered)
    }

    /// Judging only reads, and so were the files opened.
    fn open_for_writing(&self, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        let last = verdict.last.as_mut().map(|(found, _)| found);
        for found in last.into_iter().chain(&mut verdict.next).chain(&mut verdict.reserve) {
            found.file = self.fs.open(&found.path).map_err(cannot("open", &found.path))?;
        }
        Ok(())
    }

    /// Step 6: copies a torn tail to `quarantine/`, durably, before anything touches it.
    fn quarantine(
        &self,
        mut torn: Torn,
        verdict: &mut Verdict<F>,
        options: &Options,
    ) -> Result<Torn, OpenError> {
        if !options.quarantine {
            return Ok(torn);
        }
        let path = match self.copy(&torn) {
            Err(error) if is_full(&error) && self.give_up_reserve(verdict)? => self.copy(&torn),
            other => other,
        };
        torn.quarantine = Some(path.map_err(|error| match is_full(&error) {
            true => OpenError::QuarantineFull {
                path: torn.path.clone(),
                segment: torn.segment,
                bytes: torn.bytes.end - torn.bytes.start,
            },
            false => cannot("quarantine", &torn.path)(error),
        })?);
        Ok(torn)
    }

    /// The segment made ahead is space as well. Too early in one case: where only the media has a seal that names it.
    fn give_up_reserve(&self, verdict: &mut Verdict<F>) -> Result<bool, OpenError> {
        let Some(reserve) = verdict.reserve.take() else { return Ok(false) };
        verdict.discard_reserve = false;
        self.fs.remove(&reserve.path).map_err(cannot("remove", &reserve.path))?;
        Ok(true)
    }

    fn copy(&self, torn: &Torn) -> io::Result<PathBuf> {
        let dir = self.quarantine_dir()?;
        let target = self.free_name(&format!("wal-{:016x}-{}.torn", torn.segment, torn.bytes.start))?;
        let spare = dir.join("copy.tmp");
        match self.fs.remove(&spare) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let source = self.fs.open_read(&torn.path)?;
        let copy = self.fs.create_new(&spare)?;
        let result = transfer(&source, torn.bytes.clone(), |bytes, at| {
            write_all(&copy, &mut [IoSlice::new(bytes)], at - torn.bytes.start)
        });
        if let Err(error) = result.and_then(|()| copy.sync_all()) {
            // The first error is the one to tell.
            let _ = self.fs.remove(&spare);
            return Err(error);
        }
        self.fs.rename(&spare, &target)?;
        self.fs.sync_dir(&dir)?;
        Ok(target)
    }

    /// Moves files that hold nothing of this log out of the way; no seal names them. Answers where to.
    fn set_aside(&self, verdict: &mut Verdict<F>) -> Result<Vec<PathBuf>, OpenError> {
        let mut moved = Vec::new();
        let reserve = verdict.reserve.take_if(|_| verdict.discard_reserve);
        let reserve = reserve.map(|reserve| reserve.header.segment);
        for &number in verdict.unreadable.iter().chain(&reserve) {
            let path = segment_path(self.dir, number);
            let target = self.quarantine_dir().and_then(|dir| {
                let target = self.free_name(&format!("wal-{number:016x}.seg"))?;
                self.fs.rename(&path, &target)?;
                self.fs.sync_dir(&dir)?;
                self.fs.sync_dir(self.dir)?;
                Ok(target)
            });
            moved.push(target.map_err(cannot("quarantine", &path))?);
        }
        Ok(moved)
    }

    /// The directory that keeps what is cut off; its name is durable, also where an interrupted repair had made it.
    fn quarantine_dir(&self) -> io::Result<PathBuf> {
        let dir = self.dir.join(QUARANTINE);
        match self.fs.create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.fs.sync_dir(self.dir)?;
        Ok(dir)
    }

    /// A path in `quarantine/` that nothing has yet.
    fn free_name(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(QUARANTINE);
        let taken = self.fs.list(&dir)?;
        let mut candidate = name.to_owned();
        for copy in 1..=taken.len() {
            if !taken.contains(&candidate) {
                break;
            }
            candidate = format!("{name}.{copy}");
        }
        Ok(dir.join(candidate))
    }

    /// Step 8: removes spares and what lies below the low watermark, and makes all names durable.
    fn tidy(&self, verdict: &mut Verdict<F>) -> Result<(), OpenError> {
        for spare in &self.spares {
            self.fs.remove(spare).map_err(cannot("remove", spare))?;
        }
        for &number in &verdict.leftovers {
            let path = segment_path(self.dir, number);
            self.fs.remove(&path).map_err(cannot("remove", &path))?;
        }
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
        Ok(())
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

/// Step 7: writes again what no later frame proves synced, zeroes behind the end up to `zeros` and a bit further,
/// and syncs. The page cache may show frames, or zeros, that the media does not have.
fn confirm<F: Fs>(found: &Found<F>, walk: &Walk, zeros: Option<u64>) -> io::Result<()> {
    let range = walk.proven..walk.end;
    each_frame(&found.file, &found.header, (range, found.size), |frames, at| {
        write_all(&found.file, &mut [IoSlice::new(frames)], at)
    })?;
    if let Some(zeros) = zeros.filter(|_| walk.seal.is_none()) {
        // One page is enough to break a chain of frames that begins at the end.
        let to = zeros.max(walk.end + HEADER_LEN).min(found.size);
        write_zeros(&found.file, walk.end, to)?;
    }
    found.file.sync_data()
}

/// Gives a range of a file to `sink`, piece by piece.
fn transfer<R: File>(
    source: &R,
    range: std::ops::Range<u64>,
    mut sink: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut buf = vec![0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buf.len());
        let n = read_full(source, &mut buf[..want], at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sink(&buf[..n], at)?;
        at += n as u64;
    }
    Ok(())
}

/// Step 9: the log as it goes on.
fn assemble<F: Fs>(verdict: Verdict<F>) -> Recovered<F> {
    let report = verdict.report();
    let mut entries: Vec<Entry> = verdict.chain.iter().map(Entry::from).collect();
    let walk = verdict.last.as_ref().map(|(_, walk)| walk.clone());
    let (low, next_lsn, clean) = (report.first_lsn.0, report.next_lsn.0, report.clean);
    let any = verdict.last.as_ref().map(|(found, _)| found).or(verdict.next.as_ref());
    let log_id = any.map(|found| found.header.log_id);
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
                file: found.file,
                header: found.header,
                link: Link::default(),
                started: true,
                end: walk.end,
                frames: walk.frames,
                data_bytes: walk.data_bytes,
                last_hcrc: walk.last_hcrc,
                repaired: verdict.torn.is_some(),
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
        log: Log { tail, next_lsn, low, epoch, clean },
        reserve: Reserve::new(next_segment, ready),
        directory: Directory::new(entries, reserved),
        log_id,
        salt_ahead: 0,
        report,
    }
}
