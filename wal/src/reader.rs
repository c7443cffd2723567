//! Reading records back, one frame in memory at a time: for replay after opening, and at any time later.
//!
//! A reader sees a record once it is durable and not before, so that what was read cannot be taken back.

use std::fmt;

use bytes::Bytes;

use crate::Lsn;
use crate::cursor::{Cursor, Found, Step};
use crate::error::ReadError;
use crate::fs::{Fs, StdFs};
use crate::source::Source;

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its number; the next record's is one more, or higher where numbers were burned.
    pub lsn: Lsn,
    /// The stream it belongs to; 0 where the log has none.
    pub stream: u32,
    /// What was appended: a slice of what was read from the file at once, 64 KiB or the frame it was stored in, which
    /// stays in memory as long as the slice does. Copy what is to be kept for long.
    pub bytes: Bytes,
}

/// A record of the log in the memory of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordRef<'a> {
    /// As [`Record::lsn`].
    pub lsn: Lsn,
    /// As [`Record::stream`].
    pub stream: u32,
    /// What was appended.
    pub bytes: &'a [u8],
}

/// Records in order, from where the reader was made up to what is durable.
///
/// `None` says that the reader has caught up: asked again later, it goes on with what has been appended since.
/// After [`ReadError::Io`] it tries again when asked again; after any other error it has ended, and a new reader from
/// [`next_lsn`](Self::next_lsn) tries again.
///
/// A reader of a log that is open pins it where it reads, under the name `reader`, and so holds back
/// [`truncate_before`](crate::Wal::truncate_before): drop it when done. It keeps one frame in memory, or the
/// fragments of one record; reading costs one checksum of every byte, and a copy only of records in fragments.
/// [`next_ref`](Self::next_ref) lends records without counting who holds them.
pub struct Reader<F: Fs = StdFs> {
    cursor: Cursor<F>,
    /// Durable when last looked at.
    limit: u64,
    failed: bool,
}

impl<F: Fs> Reader<F> {
    pub(crate) fn new(source: Source<F>, from: u64) -> Self {
        Self { cursor: Cursor::new(source, from), limit: 0, failed: false }
    }

    /// LSN of the record that comes next.
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.cursor.next_lsn())
    }

    /// As [`next`](Iterator::next), without a share in the memory: the record is there until the reader is asked again.
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, ReadError>> {
        match self.find()? {
            Ok(Found { lsn, stream, at }) => {
                let bytes = self.cursor.body().get(at).unwrap_or_default();
                Some(Ok(RecordRef { lsn: Lsn(lsn), stream, bytes }))
            }
            Err(error) => Some(Err(error)),
        }
    }

    #[inline]
    fn find(&mut self) -> Option<Result<Found, ReadError>> {
        loop {
            match self.cursor.record(self.limit) {
                Some(Ok(found)) => return Some(Ok(found)),
                Some(Err(error)) => return Some(Err(self.failed(error))),
                None => {}
            }
            if let Err(error) = self.advance()? {
                return Some(Err(self.failed(error)));
            }
        }
    }

    fn failed(&mut self, error: ReadError) -> ReadError {
        if let ReadError::Corrupt(damage) = &error {
            self.cursor.source.corrupt(damage);
            self.failed = true;
        }
        error
    }

    /// Takes in a frame; `None` where there is none.
    fn advance(&mut self) -> Option<Result<(), ReadError>> {
        if self.failed {
            return None;
        }
        if self.cursor.frame_lsn() >= self.limit {
            let durable = self.cursor.source.end();
            if durable <= self.limit || self.cursor.frame_lsn() >= durable {
                return None;
            }
            if self.limit > 0 {
                self.cursor.forget_ahead();
            }
            self.limit = durable;
        }
        let stepped = self.cursor.step(self.limit);
        Some(stepped.map(|step| {
            if let Step::Gone(low) = step {
                self.cursor.skip_to(low)
            }
        }))
    }
}

impl<F: Fs> Iterator for Reader<F> {
    type Item = Result<Record, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find()?;
        Some(found.map(|Found { lsn, stream, at }| {
            let bytes = self.cursor.body().slice(at);
            Record { lsn: Lsn(lsn), stream, bytes }
        }))
    }
}

impl<F: Fs> fmt::Debug for Reader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("next_lsn", &self.next_lsn()).finish_non_exhaustive()
    }
}
