//! Keeping what repairs take away, durably, before they do.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::directory::{QUARANTINE, segment_path};
use crate::error::{OpenError, Torn};
use crate::fs::{File, Fs, is_full, read_full, write_all};
use crate::options::Options;
use crate::recovery::Verdict;
use crate::survey::{Survey, cannot};

impl<F: Fs> Survey<'_, F> {
    /// Step 6: copies a torn tail to `quarantine/`, durably, before anything touches it.
    pub(crate) fn quarantine(
        &self,
        mut torn: Torn,
        verdict: &mut Verdict<F>,
        options: &Options,
    ) -> Result<Torn, OpenError> {
        if !options.quarantine {
            return Ok(torn);
        }
        let path = match self.copy(&torn) {
            Err(error) if is_full(&error) && self.give_up_spares()? => self.copy(&torn),
            other => other,
        };
        let path = match path {
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
        let name = format!("wal-{:016x}-{}.torn", torn.segment, torn.bytes.start);
        self.keep(&torn.path, torn.bytes.clone(), &name)
    }

    /// Copies bytes of a file to `quarantine/`, durably, under this name or one like it.
    pub(crate) fn keep(&self, path: &Path, bytes: Range<u64>, name: &str) -> io::Result<PathBuf> {
        let dir = self.quarantine_dir()?;
        let target = self.free_name(name)?;
        let spare = dir.join("copy.tmp");
        match self.fs.remove(&spare) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let source = self.fs.open_read(path)?;
        let copy = self.fs.create_new(&spare)?;
        let result = transfer(&source, bytes.clone(), |piece, at| {
            write_all(&copy, &mut [IoSlice::new(piece)], at - bytes.start)
        });
        let sync = || if cfg!(wal_mutant = "quarantine_unsynced") { Ok(()) } else { copy.sync_all() };
        if let Err(error) = result.and_then(|()| sync()) {
            // The first error is the one to tell.
            let _ = self.fs.remove(&spare);
            return Err(error);
        }
        self.fs.rename(&spare, &target)?;
        self.fs.sync_dir(&dir)?;
        Ok(target)
    }

    /// Moves files that hold nothing of this log out of the way; no seal names them. Answers where to.
    pub(crate) fn set_aside(&self, verdict: &mut Verdict<F>) -> Result<Vec<PathBuf>, OpenError> {
        let mut moved = Vec::new();
        let reserve = verdict.reserve.take_if(|_| verdict.discard_reserve);
        let reserve = reserve.map(|reserve| reserve.header.segment);
        let top = verdict.next.as_ref().or(verdict.last.as_ref().map(|(last, _)| last));
        let top = top.map(|found| found.header.segment);
        for &number in verdict.unreadable.iter().chain(&reserve) {
            let path = segment_path(self.dir, number);
            match self.move_aside(number) {
                Ok(target) => moved.push(target),
                // A directory to keep it in takes space. Above all others nothing of this log is in it; below, it stays.
                Err(error) if is_full(&error) => {
                    if top.is_some_and(|top| number > top) {
                        let removed = self.fs.remove(&path).and_then(|()| self.fs.sync_dir(self.dir));
                        removed.map_err(cannot("remove", &path))?;
                    }
                }
                Err(error) => return Err(cannot("quarantine", &path)(error)),
            }
        }
        Ok(moved)
    }

    /// Moves a segment's file to `quarantine/`, durably.
    pub(crate) fn move_aside(&self, number: u64) -> io::Result<PathBuf> {
        let dir = self.quarantine_dir()?;
        let target = self.free_name(&format!("wal-{number:016x}.seg"))?;
        self.fs.rename(&segment_path(self.dir, number), &target)?;
        self.fs.sync_dir(&dir)?;
        self.fs.sync_dir(self.dir)?;
        Ok(target)
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
}

/// Gives a range of a file to `sink`, piece by piece.
fn transfer<R: File>(
    source: &R,
    range: Range<u64>,
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
