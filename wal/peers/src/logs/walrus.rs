//! walrus: each writer has a topic of its own; a batch goes through an io_uring that it makes for it.
//!
//! When it syncs is the same for all of a process, and where its files are is the environment's: `rounds` gives each
//! sample a process and sets both variables.

use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency};

use crate::Outcome;
use crate::follow::Follow;
use crate::log::{Level, Log, Replayed, Setup, Writer, Writers};
use crate::ticker::INTERVAL;

const KEY: &str = "log";
/// The first writer's topic, and the only one of a log that is replayed.
const FIRST: &str = "0";
const READ_BYTES: usize = 1 << 20;

pub struct Walrus {
    log: walrus_rust::Walrus,
}

impl Writers for Walrus {
    type Writer<'log> = Handle<'log>;

    fn writer(&self, number: usize) -> Outcome<Handle<'_>> {
        Ok(Handle { log: &self.log, topic: number.to_string() })
    }
}

impl Log for Walrus {
    fn open(_: &Path, setup: &Setup) -> Outcome<Self> {
        let schedule = match setup.level {
            Level::Buffered => return Err("cannot keep a record from the kernel".into()),
            Level::Written => FsyncSchedule::NoFsync,
            Level::Interval => FsyncSchedule::Milliseconds(u64::try_from(INTERVAL.as_millis())?),
            Level::Synced => FsyncSchedule::SyncEach,
        };
        // Where a reader stands is not what is measured.
        let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
        Ok(Self {
            log: walrus_rust::Walrus::with_consistency_and_schedule_for_key(KEY, consistency, schedule)?,
        })
    }

    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed> {
        let log = Self::open(dir, setup)?.log;
        let mut replayed = Replayed::default();
        loop {
            let entries = log.batch_read_for_topic(FIRST, READ_BYTES, true)?;
            if entries.is_empty() {
                std::mem::forget(log);
                return Ok(replayed);
            }
            entries.iter().for_each(|entry| replayed.see(&entry.data));
        }
    }
}

impl Follow for Walrus {
    /// It has nothing that waits: it is asked over and over.
    fn follow(&self, mut see: impl FnMut(&[u8]) -> bool) -> Outcome<()> {
        loop {
            match self.log.read_next(FIRST, true)? {
                Some(entry) if !see(&entry.data) => return Ok(()),
                Some(_) => {}
                None => std::hint::spin_loop(),
            }
        }
    }
}

pub struct Handle<'log> {
    log: &'log walrus_rust::Walrus,
    topic: String,
}

impl Writer for Handle<'_> {
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()> {
        match records {
            [record] => self.log.append_for_topic(&self.topic, record)?,
            records => self.log.batch_append_for_topic(&self.topic, records)?,
        }
        Ok(())
    }
}
