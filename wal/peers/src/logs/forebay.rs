//! Ours.

use std::path::Path;

use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{Compression, Durability, Event, Lsn, Options, SyncPolicy, Wal};

use crate::Outcome;
use crate::follow::Follow;
use crate::log::{Codec, Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::{INTERVAL, Ticker};

pub struct Forebay<F: Fs = StdFs> {
    wal: Wal<F>,
    level: Durability,
    _ticker: Option<Ticker>,
}

impl<F: Fs> Forebay<F> {
    /// The same log on a file system that is watched. Of itself it would have no thread that makes segments ahead.
    pub fn over(fs: F, dir: &Path, setup: &Setup) -> Outcome<Self> {
        let (wal, _) = Wal::open_in(fs, dir, options(setup))?;
        let ahead = wal.clone();
        let ticker = Ticker::start(move || drop(ahead.reserve()));
        Ok(Self { wal, level: durability(setup.level), _ticker: Some(ticker) })
    }
}

/// What an append waits for; an interval is kept by the log.
fn durability(level: Level) -> Durability {
    match level {
        Level::Buffered => Durability::Buffered,
        Level::Written | Level::Interval => Durability::Written,
        Level::Synced => Durability::Synced,
    }
}

fn options(setup: &Setup) -> Options {
    let sync = match setup.level {
        Level::Interval => SyncPolicy::Interval(INTERVAL),
        _ => SyncPolicy::default(),
    };
    let compression = match setup.codec {
        Codec::None => Compression::None,
        Codec::Snappy => Compression::Snappy,
        Codec::Zstd => Compression::Zstd { level: 1 },
    };
    let defaults = Options::default();
    // What all writers hand over at once, and as much behind a sync; by default 16 MiB wait and more is refused.
    let inflight = 3 * (setup.writers * setup.batch * setup.record_bytes) as u64;
    let max_inflight_bytes = defaults.max_inflight_bytes.max(inflight);
    Options { segment_bytes: setup.segment_bytes, sync, compression, max_inflight_bytes, ..defaults }
}

impl<F: Fs> Writers for Forebay<F> {
    type Writer<'log> = Handle<'log, F>;

    fn writer(&self, _: usize) -> Outcome<Handle<'_, F>> {
        Ok(Handle { wal: &self.wal, level: self.level })
    }

    /// Goes on to the first segment, where records may so far be in memory only, and makes the next one, or waits for
    /// the thread that does.
    fn settle(&self) -> Outcome<()> {
        self.wal.sync()?;
        self.wal.reserve()?;
        Ok(())
    }
}

impl Log for Forebay {
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self> {
        let (wal, _) = Wal::open(dir, options(setup))?;
        Ok(Self { wal, level: durability(setup.level), _ticker: None })
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

impl Follow for Forebay {
    /// Sleeps where there is nothing to see.
    fn follow(&self, mut see: impl FnMut(&[u8]) -> bool) -> Outcome<()> {
        let mut tail = self.wal.tail(Lsn::FIRST, self.level);
        loop {
            match tail.next()? {
                Event::Record(record) if !see(&record.bytes) => return Ok(()),
                Event::Closed => return Err("was closed".into()),
                _ => {}
            }
        }
    }
}

pub struct Handle<'log, F: Fs> {
    wal: &'log Wal<F>,
    level: Durability,
}

impl<F: Fs> Writer for Handle<'_, F> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        match records {
            [record] => self.wal.append_with(*record, self.level).map(drop)?,
            records => self.wal.append_batch_with(records.iter().copied(), self.level).map(drop)?,
        }
        Ok(())
    }
}
