//! Named streams: many logs in one, which share its segments, its numbers and its syncs.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{AppendError, ReadError, Reject};
use crate::fs::{Fs, StdFs};
use crate::leader::Inner;
use crate::payload::Payload;
use crate::reader::Record;
use crate::request::{Done, Work};
use crate::truncate::Truncated;
use crate::{Durability, Lsn, Wal};

/// A named stream of a [`Wal`]; a clone is another handle to the same one. It keeps the log open.
///
/// Its records have numbers of the log, so those of one stream increase and are not consecutive. They are written and
/// synced together with those of all others, and [`Wal::sync`], [`Wal::wait`] and [`Wal::watermarks`] speak of them as
/// of any. A segment is given back when no stream needs a record of it: each says so by
/// [`truncate_before`](Self::truncate_before), and [`Wal::truncate_before`] for the records that belong to none. One that
/// has no records, or has given up all it had, holds nothing; one that nobody uses any more is ended by
/// [`Wal::drop_stream`].
///
/// What it does, it does on the thread that calls; for tasks there is `aio::Stream`.
pub struct Stream<F: Fs = StdFs> {
    wal: Wal<F>,
    id: u32,
    name: Arc<str>,
    is_gone: Arc<AtomicBool>,
}

impl<F: Fs> Stream<F> {
    pub(crate) fn is_there(&self) -> Result<(), AppendError> {
        if self.is_gone.load(Ordering::Acquire) {
            return self.wal.inner.reject(Reject::StreamDropped { id: self.id });
        }
        Ok(())
    }

    /// What [`Record::stream`] says of its records. A log keeps it as long as the stream, and gives it to no other while
    /// it has records with it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// As given to [`Wal::stream`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records of this stream below never come back: none at all of one that was
    /// [dropped](Wal::drop_stream).
    pub fn low(&self) -> Lsn {
        Lsn(self.wal.inner.pins.lock().stream_low(self.id))
    }

    /// As [`Wal::append`].
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn append<'a>(&self, record: impl Into<Payload<'a>>) -> Result<Lsn, AppendError> {
        self.append_with(record, self.wal.inner.home.options.sync.level())
    }

    /// As [`Wal::append_with`].
    ///
    /// # Errors
    /// As [`Wal::append_with`].
    pub fn append_with<'a>(
        &self,
        record: impl Into<Payload<'a>>,
        level: Durability,
    ) -> Result<Lsn, AppendError> {
        self.is_there()?;
        let lsns = self.wal.inner.append(&mut [record.into()], level, self.id)?;
        Ok(Lsn(lsns.start))
    }

    /// As [`Wal::append_batch_with`].
    ///
    /// # Errors
    /// As [`Wal::append_batch_with`].
    pub fn append_batch_with<'a, I>(&self, records: I, level: Durability) -> Result<Range<Lsn>, AppendError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.is_there()?;
        self.wal.append_batch_of(records, level, self.id)
    }

    /// Its records from `from`, or from its low watermark if that is higher, up to what is durable. Pins the log while it
    /// lives, and reads the records of all streams; when the stream is dropped it ends, asked for the next, and lets go.
    pub fn reader(&self, from: Lsn) -> impl Iterator<Item = Result<Record, ReadError>> + use<F> {
        let (id, is_gone) = (self.id, self.is_gone.clone());
        let mut records = Some(self.wal.reader(from.max(self.low())));
        std::iter::from_fn(move || {
            if is_gone.load(Ordering::Acquire) {
                records = None;
            }
            records.as_mut()?.find(|record| record.as_ref().map_or(true, |record| record.stream == id))
        })
    }

    /// Gives up the records of this stream below `lsn`, durably, and gives back the segments that nobody needs any more.
    /// [`low`](Truncated::low) is that of the log. Costs a sync, another where the watermark of the log rises, and one of
    /// the directory if segments go.
    ///
    /// Where that gives back no segment and the log is at its limit, or the disk is full, [`low`](Self::low) of the stream
    /// may stay what it was: what was given up counts for every truncation as long as the log is open, and the next one
    /// that finds room makes it durable. So a log at its limit can always be truncated, however many streams hold it.
    ///
    /// # Errors
    /// As [`Wal::truncate_before`]; the records of this stream may be gone even so.
    pub fn truncate_before(&self, lsn: Lsn) -> Result<Truncated, AppendError> {
        self.wal.inner.submit(Work::LowerStream(self.id, lsn.0)).map(Done::truncated)
    }
}

impl<F: Fs> Clone for Stream<F> {
    fn clone(&self) -> Self {
        let (name, is_gone) = (self.name.clone(), self.is_gone.clone());
        Self { wal: self.wal.clone(), id: self.id, name, is_gone }
    }
}

impl<F: Fs> fmt::Debug for Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F: Fs> Inner<F> {
    /// Asks for the stream of this name.
    pub(crate) fn define(&self, name: &str) -> Result<Work, AppendError> {
        match name.len() {
            1..=255 => Ok(Work::Define(name.into())),
            len => self.reject(Reject::BadName { len }),
        }
    }
}

impl<F: Fs> Wal<F> {
    /// The stream that was asked for.
    pub(crate) fn stream_of(&self, made: Done, name: &str) -> Stream<F> {
        match made {
            Done::Stream(id, is_gone) => Stream { wal: self.clone(), id, name: name.into(), is_gone },
            _ => unreachable!("a name is answered with its stream"),
        }
    }
}
