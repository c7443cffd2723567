//! Where a reader's records come from: a log that is open, and goes on, or files that are looked at.

use std::path::Path;
use std::sync::Arc;

use crate::Lsn;
use crate::directory::Entry;
use crate::error::Damage;
use crate::fs::Fs;
use crate::leader::Inner;
use crate::pins::Pin;
use crate::view::Still;

pub(crate) enum Source<F: Fs> {
    /// Segments stay as long as the pin holds them, if there is one.
    Log(Arc<Inner<F>>, Option<Pin>),
    Files(Arc<Still<F>>),
}

impl<F: Fs> Source<F> {
    pub(crate) fn fs(&self) -> &F {
        match self {
            Self::Log(inner, _) => &inner.home.fs,
            Self::Files(still) => &still.fs,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::Log(inner, _) => &inner.home.dir,
            Self::Files(still) => &still.dir,
        }
    }

    pub(crate) fn log_id(&self) -> [u8; 16] {
        match self {
            Self::Log(inner, _) => inner.home.log_id,
            Self::Files(still) => still.log_id,
        }
    }

    /// LSN after the last record that may be read.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Log(inner, _) => inner.durable(),
            Self::Files(still) => still.end,
        }
    }

    /// The segment that holds `lsn`.
    pub(crate) fn holding(&self, lsn: u64) -> Option<Entry> {
        match self {
            Self::Log(inner, _) => inner.home.directory.lock().holding(lsn),
            Self::Files(still) => still.directory.holding(lsn),
        }
    }

    /// The segment that follows.
    pub(crate) fn after(&self, segment: u64) -> Option<Entry> {
        match self {
            Self::Log(inner, _) => inner.home.directory.lock().after(segment),
            Self::Files(still) => still.directory.after(segment),
        }
    }

    /// Whether the segment is still one of the log's. Its file may have been given to another since.
    pub(crate) fn has(&self, segment: u64) -> bool {
        match self {
            Self::Log(inner, _) => inner.home.directory.lock().has(segment),
            Self::Files(_) => true,
        }
    }

    /// Counts damage that was found in reading.
    pub(crate) fn corrupt(&self, damage: &Damage) {
        if let Self::Log(inner, _) = self {
            inner.home.counters.corrupt(&damage.class);
        }
    }

    /// Lets go of the pin: segments go when they are to.
    pub(crate) fn unpin(&mut self) {
        if let Self::Log(_, pin) = self {
            *pin = None;
        }
    }

    /// Records below `lsn` are not needed any more.
    pub(crate) fn advance(&self, lsn: u64) {
        if let Self::Log(_, Some(pin)) = self {
            pin.advance(Lsn(lsn));
        }
    }
}
