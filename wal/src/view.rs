//! Looking at a log without touching it: no lock, no repair, not one byte written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Lsn;
use crate::directory::{Directory, Entry};
use crate::error::{Damage, OpenError};
use crate::fs::{Fs, StdFs};
use crate::reader::Reader;
use crate::recovery::Verdict;
use crate::report::RecoveryReport;
use crate::source::Source;
use crate::survey::{CHANGED, Survey, cannot};

/// A log as its files tell, whoever has it open, and although the disk be read-only.
///
/// It shows what the log would be if it were opened now: of a log that crashed, also records whose append was never
/// acknowledged, and of one that is being written to, a moment. Records that are truncated later, or whose write was
/// under way and is taken back, are no longer there for its readers, which then answer an error; and a group that is
/// being written may look like a torn tail.
pub struct View<F: Fs = StdFs> {
    still: Arc<Still<F>>,
}

/// The files of a log at one moment.
pub(crate) struct Still<F: Fs> {
    pub(crate) fs: F,
    pub(crate) dir: PathBuf,
    pub(crate) directory: Directory,
    /// Zeros where no segment has a frame, and so none is read.
    pub(crate) log_id: [u8; 16],
    pub(crate) low: u64,
    pub(crate) end: u64,
}

/// A log that is written to may change under a look at it; that often in a row it hardly does.
const LOOKS: usize = 10;

impl View {
    /// Judges the log in `dir` as opening would, reading all of it once.
    ///
    /// # Errors
    /// [`OpenError`] for what opening would refuse, but for a torn tail, which is in the report; [`OpenError::Io`] of
    /// kind [`ResourceBusy`](io::ErrorKind::ResourceBusy) where the log changes too fast to be looked at.
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_in(StdFs, dir)
    }
}

impl<F: Fs> View<F> {
    /// As [`View::open`] on any file system.
    ///
    /// # Errors
    /// As [`View::open`].
    pub fn open_in(fs: F, dir: impl AsRef<Path>) -> Result<(Self, RecoveryReport), OpenError> {
        let dir = dir.as_ref();
        let verdict = look(&fs, dir)?;
        let report = verdict.report();
        let entries = verdict.chain.iter().map(Entry::from).collect();
        let still = Still {
            fs,
            dir: dir.to_path_buf(),
            directory: Directory::new(entries, 0),
            log_id: verdict.last.as_ref().map_or([0; 16], |(found, _)| found.header.log_id),
            low: report.first_lsn.0,
            end: report.next_lsn.0,
        };
        Ok((Self { still: Arc::new(still) }, report))
    }

    /// Reads from `from`, or from the first record if that is higher, to the end there was.
    pub fn reader(&self, from: Lsn) -> Reader<F> {
        Reader::new(Source::Files(self.still.clone()), from.0.max(self.still.low))
    }
}

/// Judges the log in `dir` as opening would and changes nothing: the report of [`View::open`]. Of a log that is damaged
/// it says all that is, and what [`RepairPolicy::Salvage`](crate::RepairPolicy::Salvage) would leave.
///
/// # Errors
/// As [`View::open`], and [`OpenError::Corrupt`] only where nothing is left that tells what the log was.
pub fn verify(dir: impl AsRef<Path>) -> Result<RecoveryReport, OpenError> {
    verify_in(StdFs, dir)
}

/// As [`verify`] on any file system.
///
/// # Errors
/// As [`verify`].
pub fn verify_in<F: Fs>(fs: F, dir: impl AsRef<Path>) -> Result<RecoveryReport, OpenError> {
    let dir = dir.as_ref();
    match look(&fs, dir) {
        Ok(verdict) => Ok(verdict.report()),
        Err(OpenError::Corrupt(first)) => look_at_damage(&fs, dir, &first),
        Err(error) => Err(error),
    }
}

/// The verdict on files that stood still meanwhile: damage must be seen twice, as a writer that goes from one
/// segment to the next between two reads looks like it.
fn look<F: Fs>(fs: &F, dir: &Path) -> Result<Verdict<F>, OpenError> {
    let (mut before, mut gone) = (None, None);
    for _ in 0..LOOKS {
        let survey = Survey::list(fs, dir)?;
        let verdict = survey.judge();
        if Survey::list(fs, dir)?.segments != survey.segments {
            continue;
        }
        match verdict {
            Ok(verdict) => return Ok(verdict),
            Err(OpenError::Corrupt(damage)) if before.as_ref() == Some(&damage) => {
                return Err(OpenError::Corrupt(damage));
            }
            Err(OpenError::Corrupt(damage)) => before = Some(damage),
            Err(error) => match io_kind(&error) {
                // A file that is given its name anew has none for a moment.
                Some(io::ErrorKind::NotFound) => gone = Some(error),
                Some(CHANGED) => {}
                _ => return Err(error),
            },
        }
    }
    Err(gone.unwrap_or_else(|| busy(dir)))
}

/// What two looks at a damaged log in a row agree on.
fn look_at_damage<F: Fs>(fs: &F, dir: &Path, first: &Damage) -> Result<RecoveryReport, OpenError> {
    let mut before = None;
    for _ in 0..LOOKS {
        let report = match Survey::list(fs, dir)?.pieces() {
            Ok(Some(all)) => all.report(first.clone()),
            Ok(None) => return Err(OpenError::Corrupt(first.clone())),
            Err(error) if matches!(io_kind(&error), Some(io::ErrorKind::NotFound | CHANGED)) => continue,
            Err(error) => return Err(error),
        };
        if before.as_ref() == Some(&report) {
            return Ok(report);
        }
        before = Some(report);
    }
    Err(busy(dir))
}

fn busy(dir: &Path) -> OpenError {
    cannot("look at", dir)(io::Error::new(io::ErrorKind::ResourceBusy, "it changed at every look"))
}

fn io_kind(error: &OpenError) -> Option<io::ErrorKind> {
    if let OpenError::Io { source, .. } = error { Some(source.kind()) } else { None }
}

impl<F: Fs> Clone for View<F> {
    fn clone(&self) -> Self {
        Self { still: self.still.clone() }
    }
}

impl<F: Fs> fmt::Debug for View<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("dir", &self.still.dir)
            .field("lsns", &(Lsn(self.still.low)..Lsn(self.still.end)))
            .finish_non_exhaustive()
    }
}
