//! Following a log: each record once, in order, whole, and as safe as was asked for.
//!
//! A tail sleeps until there is something for it, and asks nobody to write or sync for its sake.

use std::fmt;
use std::sync::Arc;

use crate::cursor::{Cursor, Found, Step};
use crate::error::{Damage, Failure, ReadError};
use crate::follow::Interest;
use crate::format::FIRST_LSN;
use crate::fs::{Fs, StdFs};
use crate::leader::Inner;
use crate::parker::Parker;
use crate::reader::Record;
use crate::request::{Outcome, Waiter};
use crate::source::Source;
use crate::{Durability, Lsn};

/// What a [`Tail`] comes upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The next record.
    Record(Record),
    /// All records of earlier segments were given out, and the log goes on in this one.
    Rotated {
        /// Its number.
        segment: u64,
    },
    /// Records that were truncated before they were seen. Numbers that were burned make no gap: no record ever had them.
    Gap {
        /// The first of them.
        from: Lsn,
        /// The one after the last.
        to: Lsn,
    },
    /// The log was closed, or dropped by all who could append to it, and this was all. Every later answer is the same.
    Closed,
}

/// Follows a log; made by [`Wal::tail`](crate::Wal::tail).
///
/// It holds what it reads at once, 64 KiB or one frame, or the fragments of one record, and reads no byte twice as long
/// as it is behind. It pins the log at the record that comes next, under the name `tail`, unless it is
/// [`detached`](Self::detached). The directory stays locked while it lives, as by a [`Reader`](crate::Reader).
pub struct Tail<F: Fs = StdFs> {
    cursor: Cursor<F>,
    inner: Arc<Inner<F>>,
    level: Durability,
    is_detached: bool,
    /// Visible when last looked at.
    limit: u64,
    /// The segment that was told of last; `None` where the log had none.
    segment: Option<u64>,
    /// Records that are gone, and nobody was told.
    gap: Option<(u64, u64)>,
    /// Whether whoever wrote when the log broke has published all that is durable.
    is_settled: bool,
    end: Option<End>,
    parker: Arc<Parker<Outcome>>,
}

enum End {
    Closed,
    Poisoned(Failure),
    Corrupt(Damage),
}

/// What is to be done next.
pub(crate) enum Next {
    Event(Event),
    /// The file is to be read.
    Read,
    /// There is nothing until the log comes further.
    Wait,
}

impl<F: Fs> Tail<F> {
    pub(crate) fn new(inner: Arc<Inner<F>>, from: Lsn, level: Durability) -> Self {
        let pin = inner.pin("tail".into(), from);
        let asked = from.0.max(FIRST_LSN);
        let first = pin.lsn().0.max(asked);
        let segment = inner.home.directory.lock().holding(first).map(|entry| entry.segment);
        Self {
            cursor: Cursor::new(Source::Log(inner.clone(), Some(pin)), first),
            inner,
            level,
            is_detached: false,
            limit: 0,
            segment,
            gap: (asked < first).then_some((asked, first)),
            is_settled: false,
            end: None,
            parker: Arc::default(),
        }
    }

    /// A tail that pins nothing: what is truncated before it comes there it answers with a [`Gap`](Event::Gap).
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.cursor.source.unpin();
        self.is_detached = true;
        self
    }

    /// LSN of the record that comes next, or would if it is not burned or truncated. Those from here up to
    /// [`Wal::watermarks`](crate::Wal::watermarks) are what it is behind.
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.gap.map_or_else(|| self.cursor.next_lsn(), |(from, _)| from))
    }

    /// The next event; blocks until there is one. To end a wait, close the log.
    ///
    /// # Errors
    /// [`ReadError::Io`]: the same tail may be asked again. [`ReadError::Poisoned`]: the log broke, and all of it that
    /// is durable was given out. [`ReadError::Corrupt`]: the bytes of a record have changed. Of these two every later
    /// answer is the same.
    #[expect(clippy::should_implement_trait, reason = "it does not end by `None`")]
    pub fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            match self.look()? {
                Next::Event(event) => return Ok(event),
                Next::Read => self.read()?,
                Next::Wait => self.wait(),
            }
        }
    }

    /// The next event, if there is one: it may be read from the file, and is not waited for.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            match self.look()? {
                Next::Event(event) => return Ok(Some(event)),
                Next::Read => self.read()?,
                Next::Wait => return Ok(None),
            }
        }
    }

    fn wait(&self) {
        self.parker.reset();
        if self.follow(Waiter::Thread(self.parker.clone())) {
            while self.parker.wait().is_none() {}
        }
    }

    /// Whether `waiter` is to wait until it is told; not where there is news already.
    pub(crate) fn follow(&self, waiter: Waiter) -> bool {
        // Before the log has a segment only a record is news.
        let segment = self.segment.unwrap_or(u64::MAX);
        self.inner.follow(Interest { level: self.level, lsn: self.cursor.frame_lsn(), segment }, waiter)
    }

    /// The next event that needs no file to be read, or what is to be done for one.
    pub(crate) fn look(&mut self) -> Result<Next, ReadError> {
        if let Some(end) = &self.end {
            return end.answer();
        }
        if self.is_detached {
            let low = self.inner.progress.low();
            let from = self.next_lsn().0;
            if low > from {
                self.gap = Some((from, low));
                self.cursor.skip_to(low);
            }
        }
        if let Some((from, to)) = self.gap.take() {
            return Ok(Next::Event(Event::Gap { from: Lsn(from), to: Lsn(to) }));
        }
        if self.cursor.segment().is_some() && self.cursor.segment() != self.segment {
            let told = self.segment;
            self.segment = self.cursor.segment();
            if let (Some(_), Some(segment)) = (told, self.segment) {
                return Ok(Next::Event(Event::Rotated { segment }));
            }
        }
        match self.cursor.record(self.limit) {
            Some(Ok(Found { lsn, stream, at })) => {
                let bytes = self.cursor.body().slice(at);
                return Ok(Next::Event(Event::Record(Record { lsn: Lsn(lsn), stream, bytes })));
            }
            Some(Err(error)) => return Err(self.broken(error)),
            None => {}
        }
        if self.cursor.frame_lsn() < self.limit { Ok(Next::Read) } else { self.catch_up() }
    }

    /// All that was known of is given out: is there more?
    fn catch_up(&mut self) -> Result<Next, ReadError> {
        // Before the watermarks: those of a log that has ended are the last.
        let ended = self.inner.progress.has_ended();
        let failure = if ended { self.inner.poisoned() } else { None };
        if failure.is_some() && !self.is_settled {
            return Ok(Next::Read);
        }
        let limit = match self.level {
            Durability::Buffered | Durability::Written if failure.is_none() => self.inner.progress.written(),
            _ => self.inner.durable(),
        };
        let lsn = self.cursor.frame_lsn();
        if limit > lsn {
            if self.limit > 0 {
                self.cursor.forget_ahead();
            }
            self.limit = limit;
            return Ok(Next::Read);
        }
        let next = self.segment.and_then(|segment| self.cursor.source.after(segment));
        if let Some(next) = next.filter(|next| next.base <= lsn) {
            self.cursor.leave();
            self.segment = Some(next.segment);
            return Ok(Next::Event(Event::Rotated { segment: next.segment }));
        }
        if ended {
            let end = self.end.insert(failure.map_or(End::Closed, End::Poisoned));
            return end.answer();
        }
        self.cursor.source.advance(self.cursor.next_lsn());
        Ok(Next::Wait)
    }

    /// Whether the frame that is to be read is in memory.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_read(&self) -> bool {
        self.cursor.frame_lsn() < self.limit && self.cursor.has_frame()
    }

    /// Reads a frame; or, where none is there to be read as the log broke, waits for whoever still syncs one.
    pub(crate) fn read(&mut self) -> Result<(), ReadError> {
        if self.cursor.frame_lsn() >= self.limit {
            // It need not be the one who writes whose failure was told.
            drop(self.inner.log.lock());
            self.is_settled = true;
            return Ok(());
        }
        let from = self.cursor.next_lsn();
        match self.cursor.step(self.limit) {
            Ok(Step::Nearer) => Ok(()),
            Ok(Step::Gone(to)) => {
                self.gap = Some((from, to));
                self.cursor.skip_to(to);
                Ok(())
            }
            Err(error @ ReadError::Corrupt(_)) => {
                let lsn = self.cursor.frame_lsn();
                if lsn >= self.inner.durable() {
                    // A sync that fails may take back what was written; whoever syncs says so before it lets go.
                    drop(self.inner.log.lock());
                    if let Some(failure) = self.inner.poisoned() {
                        self.end = Some(End::Poisoned(failure));
                        return Ok(());
                    }
                }
                Err(self.broken(error))
            }
            Err(error) => Err(error),
        }
    }

    fn broken(&mut self, error: ReadError) -> ReadError {
        if let ReadError::Corrupt(damage) = &error {
            self.cursor.source.corrupt(damage);
            self.end = Some(End::Corrupt(damage.clone()));
        }
        error
    }
}

impl End {
    fn answer(&self) -> Result<Next, ReadError> {
        match self {
            Self::Closed => Ok(Next::Event(Event::Closed)),
            Self::Poisoned(failure) => Err(ReadError::Poisoned(failure.clone())),
            Self::Corrupt(damage) => Err(ReadError::Corrupt(damage.clone())),
        }
    }
}

impl<F: Fs> fmt::Debug for Tail<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("next_lsn", &self.next_lsn())
            .field("level", &self.level)
            .field("is_detached", &self.is_detached)
            .finish_non_exhaustive()
    }
}
