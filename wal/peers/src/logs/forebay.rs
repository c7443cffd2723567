//! Ours.

use std::path::Path;

use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{Lsn, Options, Wal};

use crate::Outcome;
use crate::log::{Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::Ticker;

/// What its appends can promise.
pub const LEVELS: &[Level] = &[Level::Synced];

pub struct Forebay<F: Fs = StdFs> {
    wal: Wal<F>,
    _ticker: Option<Ticker>,
}

impl<F: Fs> Forebay<F> {
    /// The same log on a file system that is watched. Of itself it would have no thread that makes segments ahead.
    pub fn over(fs: F, dir: &Path, setup: &Setup) -> Outcome<Self> {
        let (wal, _) = Wal::open_in(fs, dir, options(setup))?;
        let ahead = wal.clone();
        let ticker = Ticker::start(move || drop(ahead.reserve()));
        Ok(Self { wal, _ticker: Some(ticker) })
    }
}

fn options(setup: &Setup) -> Options {
    Options { segment_bytes: setup.segment_bytes, ..Options::default() }
}

impl<F: Fs> Writers for Forebay<F> {
    type Writer<'log> = Handle<'log, F>;

    fn writer(&self, _: usize) -> Outcome<Handle<'_, F>> {
        Ok(Handle { wal: &self.wal })
    }

    /// Makes the next segment, or waits for the thread that does.
    fn settle(&self) -> Outcome<()> {
        self.wal.reserve()?;
        Ok(())
    }
}

impl Log for Forebay {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let (wal, _) = Wal::open(dir, options(setup))?;
        Ok(Self { wal, _ticker: None })
    }

    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed> {
        let (wal, _) = Wal::open(dir, options(setup))?;
        let mut replayed = Replayed::default();
        for record in wal.reader(Lsn::FIRST) {
            replayed.see(&record?.bytes);
        }
        std::mem::forget(wal);
        Ok(replayed)
    }

    fn truncate(&self, before: u64) -> Outcome<()> {
        self.wal.truncate_before(Lsn(Lsn::FIRST.0 + before))?;
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(self.wal.close()?)
    }
}

pub struct Handle<'log, F: Fs> {
    wal: &'log Wal<F>,
}

impl<F: Fs> Writer for Handle<'_, F> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        match records {
            [record] => self.wal.append(*record).map(drop)?,
            records => self.wal.append_batch(records.iter().copied()).map(drop)?,
        }
        Ok(())
    }
}
