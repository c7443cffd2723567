//! The processes that sample, in turn: A, B, C, then B, C, A, and so on, all on the same file system.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::cell::Cell;
use crate::child::{Kind, Task, sync_all};
use crate::fill;
use crate::log::{Contender, Level, Setup};
use crate::sample::Sample;

/// How long, how much, and where.
#[derive(Clone, Debug)]
pub struct Scale {
    pub rounds: usize,
    pub time: Duration,
    pub segment_bytes: u64,
    /// Of the rows in which segments are filled.
    pub small_segment_bytes: u64,
    pub replay_bytes: u64,
    pub lines: Option<PathBuf>,
    pub dir: PathBuf,
}

/// What was measured of a row.
#[derive(Debug)]
pub struct Row {
    pub cell: Cell,
    /// Of each contender one a round.
    pub samples: BTreeMap<Contender, Vec<Sample>>,
    /// Who could not, and what it said.
    pub failures: BTreeMap<Contender, String>,
}

impl Row {
    /// Takes all samples.
    pub fn measure(cell: Cell, contenders: &[Contender], scale: &Scale) -> Outcome<Self> {
        let place = tempfile::Builder::new().prefix("forebay-wal-peers-").tempdir_in(&scale.dir)?;
        let stage = Stage { cell: &cell, scale, place: &place, filled: RefCell::default() };
        let mut able: Vec<Contender> = contenders.iter().copied().filter(|&who| cell.has(who)).collect();
        let mut failures = BTreeMap::new();
        let mut samples: BTreeMap<Contender, Vec<Sample>> = BTreeMap::new();
        if cell.kind != Kind::Append {
            able.retain(|&who| {
                stage.prepare(who).map_err(|error| failures.insert(who, error.to_string())).is_ok()
            });
        }
        let rounds = if cell.kind == Kind::Fill { 1 } else { scale.rounds };
        for round in 0..rounds {
            let mut order = able.clone();
            order.rotate_left(round % able.len().max(1));
            for who in order {
                match stage.sample(who) {
                    Ok(sample) => samples.entry(who).or_default().push(sample),
                    Err(error) => {
                        failures.insert(who, error.to_string());
                        samples.remove(&who);
                        able.retain(|&other| other != who);
                    }
                }
            }
        }
        Ok(Self { cell, samples, failures })
    }
}

/// Rows in which segments are filled end when enough are.
const LONG: Duration = Duration::from_secs(60);

struct Stage<'a> {
    cell: &'a Cell,
    scale: &'a Scale,
    place: &'a TempDir,
    /// Of each log that was filled to be read.
    filled: RefCell<BTreeMap<Contender, u64>>,
}

impl Stage<'_> {
    /// Fills what is to be read or opened; once for each.
    fn prepare(&self, who: Contender) -> Outcome<()> {
        let dir = self.place.path().join(who.name());
        match self.cell.kind {
            Kind::Replay => {
                let records = self.run(who, Kind::Fill, &dir)?.records;
                self.filled.borrow_mut().insert(who, records);
                Ok(())
            }
            Kind::Recover => {
                self.run(who, Kind::Abandon, &dir)?;
                fill::tear(&dir)
            }
            _ => Ok(()),
        }
    }

    fn sample(&self, who: Contender) -> Outcome<Sample> {
        let prepared = self.place.path().join(who.name());
        if self.cell.kind == Kind::Replay {
            let sample = self.run(who, Kind::Replay, &prepared)?;
            return match self.filled.borrow().get(&who) {
                Some(&filled) if filled == sample.records => Ok(sample),
                filled => Err(format!("gave back {} records of {filled:?}", sample.records).into()),
            };
        }
        let fresh = tempfile::Builder::new().prefix(who.name()).tempdir_in(self.place)?;
        if self.cell.kind == Kind::Recover {
            fill::copy(&prepared, fresh.path())?;
        }
        sync_all(self.place.path())?;
        self.run(who, self.cell.kind, fresh.path())
    }

    /// A process that does it, and what it says.
    fn run(&self, who: Contender, kind: Kind, dir: &Path) -> Outcome<Sample> {
        std::fs::create_dir_all(dir)?;
        let task = serde_json::to_string(&self.task(who, kind, dir))?;
        let output = Command::new(std::env::current_exe()?)
            .args([crate::args::CHILD, &task])
            .env("WALRUS_QUIET", "1")
            .env("WALRUS_DATA_DIR", dir)
            .stdin(Stdio::null())
            .output()?;
        let found = Sample::find(&String::from_utf8_lossy(&output.stdout));
        found.filter(|_| output.status.success()).ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.is_empty() && !line.starts_with("note: "));
            format!("{}: {}", output.status, last.unwrap_or("it says nothing")).into()
        })
    }

    fn task(&self, who: Contender, kind: Kind, dir: &Path) -> Task {
        let Scale { segment_bytes, small_segment_bytes, replay_bytes, .. } = *self.scale;
        let cell = self.cell;
        let segment_bytes = if cell.rotates { small_segment_bytes } else { segment_bytes };
        // No row but those of rotation fills a segment, whatever the log adds to a record.
        let payload_bytes = match cell.kind {
            Kind::Append | Kind::Calls if cell.rotates => 8 * segment_bytes,
            Kind::Replay => replay_bytes,
            Kind::Truncate => 8 * segment_bytes,
            Kind::Recover => replay_bytes / 32,
            // Each of them may be synced.
            Kind::Fill => 4_096 * 64 * cell.batch.min(16) as u64,
            _ => segment_bytes / 2,
        };
        // A log that is only filled is filled as fast as it can be.
        let level = if who.keeps(cell.level) || kind == Kind::Append { cell.level } else { Level::Synced };
        let whole = who == Contender::OkayWal && matches!(cell.kind, Kind::Replay | Kind::Recover);
        let whole = whole || who == Contender::Floor && cell.kind != Kind::Append;
        Task {
            contender: who,
            kind,
            dir: dir.to_path_buf(),
            setup: Setup {
                level,
                codec: cell.codec,
                // okaywal gives a full segment back at once, and the floor has but one file.
                segment_bytes: if whole {
                    payload_bytes + payload_bytes / 4 + (1 << 20)
                } else {
                    segment_bytes
                },
                writers: cell.writers,
                // What is only prepared is so by as much at once as walrus takes.
                batch: if kind == cell.kind && cell.kind != Kind::Truncate { cell.batch } else { 1_000 },
                record_bytes: match cell.record {
                    crate::load::Record::Bytes(bytes) => bytes,
                    crate::load::Record::Line => 256,
                },
                keep_bytes: if cell.kind == Kind::Truncate { 2 * segment_bytes } else { 10 << 30 },
            },
            record: cell.record,
            lines: self.scale.lines.clone(),
            sync_cost: cell.sync_cost,
            time: if cell.rotates { LONG } else { self.scale.time },
            payload_bytes,
        }
    }
}
