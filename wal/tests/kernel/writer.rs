//! The process that things happen to: it appends, and says before and after what it was promised.
//!
//! One line a promise, in one write each, so that a kill leaves whole lines: `trying KEY`, then `acked LSN KEY`,
//! `rejected KEY` or `unknown KEY`; `cutting LSN`, then `cut LSN`; `synced LSN`; `opening`, `closed`.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{AppendError, Durability, Lsn, Options, Wal};

use crate::machine::{Chance, argument};

/// How an append is made and what its answer is worth.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) name: &'static str,
    durability: Durability,
    /// What was acknowledged is there after `kill -9`.
    pub(crate) outlives_process: bool,
    /// And after a power cut.
    pub(crate) outlives_power: bool,
}

pub(crate) const LEVELS: &[Level] = &[
    level("synced", Durability::Synced, (true, true)),
    level("written", Durability::Written, (true, false)),
    level("buffered", Durability::Buffered, (false, false)),
];

const fn level(
    name: &'static str,
    durability: Durability,
    (outlives_process, outlives_power): (bool, bool),
) -> Level {
    Level { name, durability, outlives_process, outlives_power }
}

/// A batch: which life of the log, which of its threads, which of that one's batches, and how many records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) life: u64,
    pub(crate) thread: u64,
    pub(crate) batch: u64,
    pub(crate) records: u64,
}

impl Key {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten();
        Some(Self { life: next()?, thread: next()?, batch: next()?, records: next()? })
    }

    /// One of its records: its name, then bytes that depend on it; a few are larger than a segment.
    pub(crate) fn record(self, index: u64) -> Vec<u8> {
        let mut chance = Chance(self.life << 48 ^ self.thread << 40 ^ self.batch << 8 ^ index);
        let most = if chance.below(60) == 0 { 20_000 } else { 700 };
        let mut bytes = format!("{self}.{index}:").into_bytes();
        bytes.extend((0..chance.below(most)).map(|_| chance.below(256).to_le_bytes()[0]));
        bytes
    }

    /// The batch and the index of a record, if it is one as it was made.
    pub(crate) fn of(record: &[u8]) -> Option<(Self, u64)> {
        let name = record.split(|byte| *byte == b':').next()?;
        let (key, index) = std::str::from_utf8(name).ok()?.rsplit_once('.')?;
        let (key, index) = (Self::parse(key)?, index.parse().ok()?);
        (index < key.records && key.record(index) == record).then_some((key, index))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.life, self.thread, self.batch, self.records)
    }
}

/// Small segments and frames, so that a few records rotate and fragment.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 16 << 10, max_frame: 1024, ..Options::default() }
}

/// Says a line; where nobody listens any more there is nothing left to do.
fn say(line: fmt::Arguments<'_>) {
    if std::io::stdout().write_all(format!("{line}\n").as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Says what came of a batch; whether it was acknowledged.
fn tell(key: Key, outcome: &Result<Range<Lsn>, AppendError>) -> bool {
    match outcome {
        Ok(lsns) => say(format_args!("acked {} {key}", lsns.start)),
        Err(AppendError::Rejected(reason)) => say(format_args!("rejected {key} {reason}")),
        Err(error) => say(format_args!("unknown {key} {error}")),
    }
    outcome.is_ok()
}

/// Two threads that append at the level asked for, rotate and truncate, until they are stopped or refused.
pub(crate) fn live(dir: &Path) {
    let argument = argument();
    let (level, life) = argument.split_once(' ').unwrap();
    let level = LEVELS.iter().find(|known| known.name == level).unwrap();
    let life = life.parse().unwrap();
    say(format_args!("opening"));
    let (wal, _) = Wal::open(dir, options()).unwrap();
    let (wal, goes_on) = (&wal, &AtomicBool::new(true));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for batch in 0.. {
                    let key = Key { life, thread, batch, records: if batch % 7 == 3 { 4 } else { 1 } };
                    say(format_args!("trying {key}"));
                    let records = (0..key.records).map(|index| key.record(index));
                    if !tell(key, &wal.append_batch_with(records, level.durability)) {
                        goes_on.store(false, Ordering::Relaxed);
                    }
                    if !goes_on.load(Ordering::Relaxed) {
                        return;
                    }
                    match (thread, batch % 16) {
                        (0, 9) => truncate(wal, wal.next_lsn().0.saturating_sub(40)),
                        (1, 15) => drop(wal.rotate()),
                        (1, 7) => sync(wal),
                        _ => {}
                    }
                }
            });
        }
    });
}

fn truncate<F: Fs>(wal: &Wal<F>, to: u64) {
    say(format_args!("cutting {to}"));
    if let Ok(done) = wal.truncate_before(Lsn(to)) {
        say(format_args!("cut {}", done.low));
    }
}

fn sync<F: Fs>(wal: &Wal<F>) {
    if let Ok(lsn) = wal.sync() {
        say(format_args!("synced {lsn}"));
    }
}

/// One thread, the same calls every time: so the n-th system call is always the same.
pub(crate) fn script(dir: &Path) {
    say(format_args!("opening"));
    let (wal, _) = match Wal::open_in(StdFs, dir, options()) {
        Ok(opened) => opened,
        Err(error) => return say(format_args!("not opened: {error}")),
    };
    for batch in 0..40 {
        let key = Key { life: 1, thread: 0, batch, records: if batch % 7 == 3 { 4 } else { 1 } };
        say(format_args!("trying {key}"));
        let records: Vec<_> = (0..key.records).map(|index| key.record(index)).collect();
        tell(key, &wal.append_batch(records));
        match batch {
            8 | 16 => drop(wal.reserve()),
            12 => drop(wal.rotate()),
            20 | 35 => truncate(&wal, batch - 5),
            _ => {}
        }
    }
    if wal.close().is_ok() {
        say(format_args!("closed"));
    }
}

/// Eight threads that append in turns, as often as they can.
pub(crate) fn crowd(dir: &Path) {
    let (wal, _) = Wal::open_in(StdFs, dir, options()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let wal = &wal;
            scope.spawn(move || {
                for batch in 0..10 {
                    wal.append(Key { life: 0, thread, batch, records: 1 }.record(0)).unwrap();
                }
            });
        }
    });
    let (records, syncs) = (wal.stats().appended_records, wal.stats().syncs);
    assert!(records == 80 && syncs * 2 < records, "{syncs} syncs for {records} records");
}

/// Nothing but an opening.
pub(crate) fn open(dir: &Path) {
    drop(Wal::open_in(StdFs, dir, options()).unwrap());
}
