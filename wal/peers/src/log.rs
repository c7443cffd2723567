//! What every log is asked to do, and who they are.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// When an append returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// The record is in the process.
    Buffered,
    /// The kernel has it.
    Written,
    /// The kernel has it, and the media within ten milliseconds.
    Interval,
    /// The media have it.
    Synced,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Written => "written",
            Self::Interval => "interval",
            Self::Synced => "synced",
        }
    }
}

/// How what is appended is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    None,
    /// Snappy; raft-engine's LZ4, which is all that it has.
    Snappy,
    /// Zstandard at level 1.
    Zstd,
}

/// How a log is to be opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub level: Level,
    pub codec: Codec,
    pub segment_bytes: u64,
    pub writers: usize,
    pub batch: usize,
    /// Payload of a record; that of the longest, where they differ.
    pub record_bytes: usize,
    /// Below this size of the whole log nothing need be given back.
    pub keep_bytes: u64,
}

/// What threads can append to.
pub trait Writers: Sync {
    type Writer<'log>: Writer
    where
        Self: 'log;

    /// A handle for one thread, the `number`th.
    fn writer(&self, number: usize) -> Outcome<Self::Writer<'_>>;

    /// Returns when what the log prepares ahead, in the background, is there.
    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

/// A log under test.
pub trait Log: Writers + Sized {
    /// Opens or makes the log in `dir`.
    fn open(dir: &Path, setup: &Setup) -> Outcome<Self>;

    /// How many threads append, and how many records each hands over at once.
    fn crew(setup: &Setup) -> (usize, usize) {
        (setup.writers, setup.batch)
    }

    /// All that a restart does: opens the log in `dir` and looks at every record, in order. What is open then stays so,
    /// as its end is not a part of it.
    fn replay(dir: &Path, setup: &Setup) -> Outcome<Replayed>;

    /// Opens the log that a crash left in `dir`, and no more than that; its end is not a part of it either.
    fn recover(dir: &Path, setup: &Setup) -> Outcome<()> {
        Self::open(dir, setup).map(std::mem::forget)
    }

    /// Gives back what is older than the record of this number, counted from 0.
    fn truncate(&self, before: u64) -> Outcome<()> {
        let _ = before;
        Err("has no truncation to a place".into())
    }

    /// Ends in order.
    fn close(self) -> Outcome<()> {
        Ok(())
    }
}

/// What a replay has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    pub records: u64,
    pub bytes: u64,
}

impl Replayed {
    pub fn see(&mut self, record: &[u8]) {
        self.records += 1;
        self.bytes += std::hint::black_box(record).len() as u64;
    }
}

/// A thread's handle to a log.
pub trait Writer {
    /// Appends the records as one unit and returns when they are as safe as the [`Level`] says.
    fn append(&mut self, records: &[&[u8]]) -> Outcome<()>;
}

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Contender {
    Forebay,
    Floor,
    OkayWal,
    RaftEngine,
    MRecordLog,
    Walrus,
    Durability,
}

impl Contender {
    pub const ALL: [Self; 7] = [
        Self::Forebay,
        Self::Floor,
        Self::OkayWal,
        Self::RaftEngine,
        Self::MRecordLog,
        Self::Walrus,
        Self::Durability,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forebay => "forebay",
            Self::Floor => "floor",
            Self::OkayWal => "okaywal",
            Self::RaftEngine => "raft-engine",
            Self::MRecordLog => "mrecordlog",
            Self::Walrus => "walrus",
            Self::Durability => "durability",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Whether it can append with this promise.
    pub fn keeps(self, level: Level) -> bool {
        match self {
            Self::Forebay | Self::Floor | Self::Durability => true,
            Self::OkayWal => level == Level::Synced,
            // `OnDelay` is a delay of the flush to the kernel; it never syncs.
            Self::MRecordLog => matches!(level, Level::Buffered | Level::Written),
            Self::RaftEngine | Self::Walrus => level != Level::Buffered,
        }
    }

    /// Whether it has the codec, or one like it.
    pub fn compresses(self, codec: Codec) -> bool {
        match codec {
            Codec::None => true,
            Codec::Snappy => matches!(self, Self::Forebay | Self::RaftEngine),
            Codec::Zstd => self == Self::Forebay,
        }
    }

    /// Whether a reader can follow it while it is written.
    pub fn is_followed(self) -> bool {
        matches!(self, Self::Forebay | Self::Walrus)
    }

    /// Whether it can remove old records up to a place.
    pub fn truncates(self) -> bool {
        !matches!(self, Self::Floor | Self::OkayWal | Self::Walrus)
    }
}
