//! Named streams in async code.

use std::fmt;

use super::{Append, AppendBatch, AsyncWal};
use crate::error::AppendError;
use crate::fs::{Fs, StdFs};
use crate::payload::Payload;
use crate::request::{Done, Work};
use crate::truncate::Truncated;
use crate::{Durability, Lsn, stream};

/// A named stream for async code, as [`crate::Stream`]; made by [`AsyncWal::stream`]. A clone is another handle to the
/// same one. It keeps the log open.
///
/// Its records are among those that [`AsyncWal::tail`] gives, told by [`Record::stream`](crate::Record::stream).
pub struct Stream<F: Fs = StdFs> {
    // In front: the log's front is the last to go.
    stream: stream::Stream<F>,
    log: AsyncWal<F>,
}

impl<F: Fs> Stream<F> {
    pub(super) fn new(stream: stream::Stream<F>, log: AsyncWal<F>) -> Self {
        Self { stream, log }
    }

    /// As [`AsyncWal::append`].
    pub fn append<'a>(&self, record: impl Into<Payload<'a>>) -> Append {
        self.append_with(record, self.log.level())
    }

    /// As [`AsyncWal::append_with`].
    pub fn append_with<'a>(&self, record: impl Into<Payload<'a>>, level: Durability) -> Append {
        Append(self.take_in(&mut [record.into()], level))
    }

    /// As [`AsyncWal::append_batch_with`].
    pub fn append_batch_with<'a, I>(&self, records: I, level: Durability) -> AppendBatch
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let mut records: Vec<Payload<'a>> = records.into_iter().map(Into::into).collect();
        self.take_in(&mut records, level)
    }

    fn take_in(&self, records: &mut [Payload<'_>], level: Durability) -> AppendBatch {
        match self.stream.is_there() {
            Ok(()) => self.log.take_in(records, level, self.stream.id()),
            Err(error) => AppendBatch::refused(error),
        }
    }

    /// As [`crate::Stream::truncate_before`]; the committer does the work.
    ///
    /// # Errors
    /// As [`crate::Stream::truncate_before`].
    pub async fn truncate_before(&self, lsn: Lsn) -> Result<Truncated, AppendError> {
        self.log.ask(Work::LowerStream(self.stream.id(), lsn.0)).await.map(Done::truncated)
    }

    /// The stream itself: its id, its name, how far it was given up. What appends, reads or truncates there blocks, as
    /// with [`AsyncWal::wal`].
    pub fn stream(&self) -> &stream::Stream<F> {
        &self.stream
    }
}

impl<F: Fs> Clone for Stream<F> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), log: self.log.clone() }
    }
}

impl<F: Fs> fmt::Debug for Stream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}
