//! The blocking front: whoever appends writes, and syncs, for all who wait.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::directory::LOCK;
use crate::error::{AppendError, Failure, OpenError, Reject};
use crate::format::{Features, Label};
use crate::fs::{Fs, StdFs, create_dir_all};
use crate::home::{Home, Salts};
use crate::keeper::Keeper;
use crate::leader::Inner;
use crate::options::Options;
use crate::payload::Payload;
use crate::pins::Pin;
use crate::reader::Reader;
use crate::report::RecoveryReport;
use crate::request::{Done, Work};
use crate::source::Source;
use crate::stats::{Counters, Stats};
use crate::stream::Stream;
use crate::survey::{Survey, cannot};
use crate::tail::Tail;
use crate::truncate::{Truncated, Usage};
use crate::{Durability, Lsn, Watermarks};

/// A write-ahead log; a clone is another handle to the same one.
///
/// The directory is unlocked when the last handle, [`Reader`] and committer of an async front is gone, or by
/// [`close`](Self::close), which also marks the log as complete. Dropping the last handle of a log from
/// [`open`](Self::open) waits for 256 KiB of zeros of the segment that is being made ahead, if one is.
pub struct Wal<F: Fs = StdFs> {
    // Stops the thread before the last handle lets go of the lock.
    pub(crate) keeper: Option<Arc<Keeper>>,
    handles: Arc<Handles<F>>,
    pub(crate) inner: Arc<Inner<F>>,
}

/// Tells those who follow the log when its last handle is gone.
struct Handles<F: Fs>(Arc<Inner<F>>);

impl<F: Fs> Drop for Handles<F> {
    fn drop(&mut self) {
        self.0.handles_gone();
    }
}

impl Wal {
    /// Opens or makes a log in `dir`, with a thread that makes segments ahead and syncs when [`Options::sync`] says so.
    ///
    /// # Errors
    /// [`OpenError`]; its variants say what to do. Damage to durable records refuses to open, unless
    /// [`Options::repair`] asks for more.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Self, RecoveryReport), OpenError> {
        let dir = dir.as_ref();
        let (mut wal, report) = Self::open_in(StdFs, dir, options)?;
        let keeper = Keeper::spawn(wal.inner.clone()).map_err(cannot("start a thread for", dir))?;
        wal.keeper = Some(Arc::new(keeper));
        Ok((wal, report))
    }
}

impl<F: Fs> Wal<F> {
    /// As [`Wal::open`] on any file system and without a thread: unless [`reserve`](Self::reserve) is called now
    /// and then, the append that fills a segment makes the next one; and of [`SyncPolicy::Interval`](crate::SyncPolicy::Interval) nothing comes
    /// unless [`maintain`](Self::maintain) is.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_in(
        fs: F,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let dir = dir.as_ref();
        let mut options = options.checked()?;
        let begin = options.time.monotonic_ns();
        check_unlocked(&fs, dir, options.label)?;
        create_dir_all(&fs, dir).map_err(cannot("make", dir))?;
        let lock = fs.try_lock(&dir.join(LOCK)).map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                OpenError::ReadOnly { dir: dir.to_path_buf(), source }
            }
            _ => cannot("lock", dir)(source),
        })?;
        let lock = lock.ok_or_else(|| OpenError::Locked { dir: dir.to_path_buf() })?;
        let found = Survey::list(&fs, dir)?.recover(&options)?;
        options.label = options.label.or(found.label);
        let mut report = found.report;
        report.elapsed_ns = options.time.monotonic_ns().saturating_sub(begin);
        let seed = options.salt_seed.unwrap_or_else(Salts::random_seed);
        // A seed that is given gives the same salts to two openings that write no record; a segment without frames is
        // what the first leaves behind.
        let salts = Salts::new(seed ^ found.log.epoch.rotate_left(32) ^ report.next_lsn.0 ^ found.salt_ahead);
        let log_id = found.log_id.unwrap_or_else(|| {
            let halves = [salts.next().to_le_bytes(), salts.next().to_le_bytes()];
            let mut id = [0; 16];
            id.iter_mut().zip(halves.iter().flatten()).for_each(|(to, from)| *to = *from);
            id
        });
        let aligned = if options.commit_align == 0 { Features::NONE } else { Features::COMMIT_ALIGN };
        let features = found.log.carried.features().with(aligned);
        let home = Home {
            fs: fs.clone(),
            dir: dir.into(),
            options,
            log_id,
            salts,
            features: Mutex::new(features),
            directory: Mutex::new(found.directory),
            counters: Counters::default(),
            packer: Mutex::default(),
            starved: AtomicBool::default(),
            ahead: AtomicBool::new(!found.reserve.is_empty()),
        };
        home.counters.opened(&report);
        let inner = Arc::new(Inner::new(home, (found.log, found.lasts), found.reserve, lock));
        Ok((Self { keeper: None, handles: Arc::new(Handles(inner.clone())), inner }, report))
    }

    /// Appends one record and returns when it is durable, or [`Written`](Durability::Written) where [`Options::sync`]
    /// is another policy than [`SyncPolicy::Always`](crate::SyncPolicy::Always). Threads that append at the same time share a sync.
    ///
    /// # Errors
    /// [`AppendError::Rejected`]: it never appears. [`AppendError::Indeterminate`]: it appears once or not at all.
    #[inline]
    pub fn append<'a>(&self, record: impl Into<Payload<'a>>) -> Result<Lsn, AppendError> {
        self.append_with(record, self.inner.home.options.sync.level())
    }

    /// Appends one record and returns when it is as safe as asked for. A record of up to 16 KiB is copied once and
    /// takes no allocation.
    ///
    /// # Errors
    /// As [`append`](Self::append). Of a record that was [`Buffered`](Durability::Buffered) no later error takes the
    /// acknowledgement back: where it cannot be written it stays in memory for the next try, and only the end of the
    /// process, or of a log that broke or was closed all the same, loses it.
    #[inline]
    pub fn append_with<'a>(
        &self,
        record: impl Into<Payload<'a>>,
        level: Durability,
    ) -> Result<Lsn, AppendError> {
        let lsns = self.inner.append(&mut [record.into()], level, 0)?;
        Ok(Lsn(lsns.start))
    }

    /// Appends records that stand or fall together, with consecutive LSNs, and returns when they are as safe as one
    /// by [`append`](Self::append).
    /// An empty batch does nothing, waits for nothing, and is never refused.
    ///
    /// # Errors
    /// As [`append`](Self::append); for all records alike.
    pub fn append_batch<'a, I>(&self, records: I) -> Result<Range<Lsn>, AppendError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.append_batch_with(records, self.inner.home.options.sync.level())
    }

    /// As [`append_batch`](Self::append_batch), and returns when they are as safe as asked for.
    ///
    /// # Errors
    /// As [`append_with`](Self::append_with); for all records alike.
    pub fn append_batch_with<'a, I>(&self, records: I, level: Durability) -> Result<Range<Lsn>, AppendError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.append_batch_of(records, level, 0)
    }

    pub(crate) fn append_batch_of<'a, I>(
        &self,
        records: I,
        level: Durability,
        stream: u32,
    ) -> Result<Range<Lsn>, AppendError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let mut records: Vec<Payload<'a>> = records.into_iter().map(Into::into).collect();
        let lsns = match records.is_empty() {
            true => self.inner.nothing(),
            false => self.inner.append(&mut records, level, stream)?,
        };
        Ok(Lsn(lsns.start)..Lsn(lsns.end))
    }

    /// The stream of this name, of 1 to 255 bytes. A new one is made, durably, which costs a sync, and a rotation where
    /// the log has had none. A log has at most 4,096; each takes 48 bytes and its name at the beginning of every
    /// segment, and all of them at most an eighth of it. It is there, in every later opening, until
    /// [`drop_stream`](Self::drop_stream).
    ///
    /// # Errors
    /// [`Reject::BadName`] and [`Reject::TooManyStreams`]; else as [`append`](Self::append).
    pub fn stream(&self, name: &str) -> Result<Stream<F>, AppendError> {
        Ok(self.stream_of(self.inner.submit(self.inner.define(name)?)?, name))
    }

    /// Ends the stream of this name, durably, with all its records, and gives back the segments that nobody needs any
    /// more. It holds nothing from here on, its readers end, and its handles are refused with
    /// [`Reject::StreamDropped`]; [`stream`](Self::stream) makes a new one of the name, with another id. A name that the
    /// log does not have is none to end, and no error. Costs as much as [`Stream::truncate_before`].
    ///
    /// # Errors
    /// As [`truncate_before`](Self::truncate_before). [`AppendError::Rejected`]: the stream is still there, its records
    /// may be gone even so.
    pub fn drop_stream(&self, name: &str) -> Result<Truncated, AppendError> {
        self.inner.submit(Work::DropStream(name.into())).map(Done::truncated)
    }

    /// Makes everything durable whose append has returned; answers the LSN after the last durable record. Costs
    /// nothing where all of it is.
    ///
    /// # Errors
    /// [`AppendError::Rejected`]: something is in memory and could not be written; it is kept for the next try.
    /// [`AppendError::Indeterminate`]: the log is poisoned.
    pub fn sync(&self) -> Result<Lsn, AppendError> {
        self.inner.until(Durability::Synced, self.inner.progress.appended())?;
        Ok(Lsn(self.inner.durable()))
    }

    /// Returns when the record `lsn`, and all before it, are as safe as asked for, and does what is missing: many
    /// records may be appended at a lower level and waited for once.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); [`Reject::NotAppended`] for a number that was not given yet. Of a log that broke,
    /// what was durable before is answered `Ok` and all else `Indeterminate`, also what was only asked to be
    /// written: the file may have lost it.
    pub fn wait(&self, lsn: Lsn, level: Durability) -> Result<(), AppendError> {
        self.inner.until(level, self.inner.end_of(lsn)?)
    }

    /// Reads from `from`, or from the low watermark if that is higher, up to what is durable. Pins the log while
    /// it lives. While a truncation is under way the watermark counts as where that wants to go, even if it fails.
    pub fn reader(&self, from: Lsn) -> Reader<F> {
        let pin = self.inner.pin("reader".into(), from);
        let from = pin.lsn().0;
        Reader::new(Source::Log(self.inner.clone(), Some(pin)), from)
    }

    /// Follows the log from `from` on: each record once, in order, as soon as it is as safe as `visible` says. What is
    /// [`Buffered`](Durability::Buffered) is not in the file, so that asks for what is
    /// [`Written`](Durability::Written); and what is only written, the tail may have seen although a power cut, or a
    /// sync that fails, takes it back. Where records from `from` on are gone, a [`Gap`](crate::Event::Gap) says so first.
    /// Pins the log while it lives, as [`reader`](Self::reader), unless it is [`detached`](Tail::detached).
    pub fn tail(&self, from: Lsn, visible: Durability) -> Tail<F> {
        Tail::new(self.inner.clone(), from, visible)
    }

    /// Gives back the segments whose records all lie below `lsn`, as far as no pin holds them, and no
    /// [`Stream`] that has records in them. Records below the
    /// returned [`low`](Truncated::low) never come back. Costs one sync, and one of the directory if segments go.
    /// A log at its limit can always be truncated, and so can one on a full disk: room is kept for it, and what it gives
    /// back is kept as [`Options::max_spare_segments`] says.
    ///
    /// # Errors
    /// [`AppendError::Rejected`]: nothing was removed. [`AppendError::Indeterminate`]: the log is poisoned, and
    /// some of what was asked for may be gone.
    pub fn truncate_before(&self, lsn: Lsn) -> Result<Truncated, AppendError> {
        self.inner.submit(Work::Truncate(lsn.0)).map(Done::truncated)
    }

    /// Holds records from `lsn` on until the pin is advanced or dropped. The name is what
    /// [`usage`](Self::usage) and [`Reject::QuotaExceeded`] accuse.
    pub fn pin(&self, name: impl Into<Arc<str>>, lsn: Lsn) -> Pin {
        self.inner.pin(name.into(), lsn)
    }

    /// Keeps `meta`, at most 64 KiB and an eighth of a segment, in the log, durably, and returns: the newest is in the
    /// [`RecoveryReport`] of every later opening. `upto` says of which records it speaks, those below it; it removes none,
    /// see [`truncate_before`](Self::truncate_before). Comes after all records appended before it. Costs a sync, and its
    /// bytes once more with every segment. On a full disk there is room for some, and for more when a truncation has
    /// given back a segment.
    ///
    /// # Errors
    /// [`AppendError::Rejected`]: the one before stays. [`AppendError::Indeterminate`]: the log is poisoned, and the next
    /// opening has either.
    pub fn checkpoint(&self, upto: Lsn, meta: &[u8]) -> Result<(), AppendError> {
        self.inner.submit(self.inner.checkpoint(upto, meta)?).map(drop)
    }

    /// Ends the segment that is being written, so that its records can be given back without later ones.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn rotate(&self) -> Result<(), AppendError> {
        self.inner.submit(Work::Rotate).map(drop)
    }

    /// Makes the next segment now, if it is not there; whether it made one. [`Wal::open`] has a thread for this.
    ///
    /// # Errors
    /// As [`append`](Self::append): nothing is lost, the log tries again when it needs the segment.
    pub fn reserve(&self) -> Result<bool, AppendError> {
        self.inner.prepare()
    }

    /// Syncs what [`SyncPolicy::Interval`](crate::SyncPolicy::Interval) wants synced by now; answers in how many nanoseconds there is something to do
    /// again, or `None` until something is appended. [`Wal::open`] has a thread for this.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn maintain(&self) -> Result<Option<u64>, AppendError> {
        self.inner.maintain()
    }

    /// Waits for all appends before it, makes them durable, marks the log as complete, and unlocks the directory,
    /// whatever the answer; later appends are refused. On an error the mark is missing, and what was acknowledged is
    /// as safe as its append asked for, but for [`Buffered`](Durability::Buffered) records that could not be written.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn close(&self) -> Result<(), AppendError> {
        let outcome = self.inner.submit(Work::Close).map(drop);
        if let Err(AppendError::Rejected(Reject::Poisoned)) = outcome {
            self.inner.unlock();
        }
        outcome
    }

    /// How much the log takes, and who holds the oldest records.
    pub fn usage(&self) -> Usage {
        let pinned_by = self.inner.pinned_by();
        let limit = self.inner.home.options.max_log_bytes;
        let directory = self.inner.home.directory.lock();
        Usage {
            log_bytes: directory.bytes(),
            spare_bytes: directory.pool.bytes(),
            segments: directory.len(),
            limit,
            pinned_by,
        }
    }

    /// How far the log has come.
    pub fn watermarks(&self) -> Watermarks {
        let progress = &self.inner.progress;
        let low = Lsn(progress.low());
        // The safest first: none is ahead of a weaker one that is read later.
        let (durable, written) = (Lsn(progress.durable()), Lsn(progress.written()));
        Watermarks { appended: Lsn(progress.appended()), written, durable, low }
    }

    /// What the next record gets, if nothing else is appended before it.
    pub fn next_lsn(&self) -> Lsn {
        self.watermarks().appended
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> Stats {
        let mut stats = self.inner.home.counters.snapshot(self.inner.home.options.time.monotonic_ns());
        (stats.inflight_bytes, stats.unsynced_bytes) = self.inner.inflight();
        let marks = self.watermarks();
        stats.unsynced_records = marks.appended.0 - marks.durable.0;
        let directory = self.inner.home.directory.lock();
        stats.segments = directory.len() as u64;
        stats.disk_bytes = directory.bytes();
        (stats.reserve_bytes, stats.spare_bytes) = (directory.reserved_bytes(), directory.pool.bytes());
        stats.starved = self.inner.home.starved.load(Ordering::Relaxed);
        stats
    }

    /// The operation whose failure ended all writing, if one did.
    pub fn poisoned(&self) -> Option<Failure> {
        self.inner.poisoned()
    }
}

/// Refuses the log of a later version before a lock file is made in it. Where there is one already, nothing is made,
/// and without one nobody has the log open.
fn check_unlocked<F: Fs>(fs: &F, dir: &Path, label: Option<Label>) -> Result<(), OpenError> {
    match Survey::list(fs, dir) {
        Ok(survey) if !survey.segments.is_empty() && !survey.locked => {
            match survey.check_label(label).and_then(|()| survey.judge().map(drop)) {
                Err(error @ (OpenError::Unsupported { .. } | OpenError::AnotherLog { .. })) => Err(error),
                // What else is wrong is told under the lock.
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

impl<F: Fs> Clone for Wal<F> {
    fn clone(&self) -> Self {
        Self { keeper: self.keeper.clone(), handles: self.handles.clone(), inner: self.inner.clone() }
    }
}

impl<F: Fs> fmt::Debug for Wal<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("dir", &self.inner.home.dir)
            .field("watermarks", &self.watermarks())
            .field("poisoned", &self.poisoned().is_some())
            .finish_non_exhaustive()
    }
}
