//! One sample, in a process of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay_wal::fs::StdFs;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::counted::Counted;
use crate::drive::{Drive, closed_loop, nanoseconds};
use crate::fill::{fill, stored_bytes};
use crate::follow::{self, Follow};
use crate::load::{Load, Record};
use crate::log::{Contender, Level, Log, Setup};
use crate::logs::durability::Durability;
use crate::logs::floor::Floor;
use crate::logs::forebay::Forebay;
use crate::logs::mrecordlog::MRecordLog;
use crate::logs::okaywal::OkayWal;
use crate::logs::raft_engine::RaftEngine;
use crate::logs::walrus::Walrus;
use crate::sample::Sample;
use crate::sync;

/// What the process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub contender: Contender,
    pub kind: Kind,
    pub dir: PathBuf,
    pub setup: Setup,
    pub record: Record,
    pub lines: Option<PathBuf>,
    /// What a sync is made to cost.
    pub sync_cost: Duration,
    /// How long it appends, at most.
    pub time: Duration,
    /// How much it appends, at most, or exactly where it fills.
    pub payload_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Threads that append to a new log.
    Append,
    /// The same, ours only, and what is asked of the file system is counted.
    Calls,
    /// Fills a new log, and says how much lies on the disk.
    Fill,
    /// Fills a new log and dies.
    Abandon,
    /// Opens a log and reads all of it.
    Replay,
    /// Opens a log that a crash has left.
    Recover,
    /// Fills a new log and gives back its older half.
    Truncate,
    /// A thread that appends to a new log, and one that reads it meanwhile.
    Follow,
}

/// After this long something hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Does the task that the process was started with, and prints its sample.
pub fn run(task: &str) -> Outcome<()> {
    let task: Task = serde_json::from_str(task)?;
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        eprintln!("hangs: not done after {} s", LIMIT.as_secs());
        std::process::exit(3);
    });
    let sample = match (task.kind, task.contender) {
        (Kind::Calls, _) => calls(&task)?,
        (Kind::Follow, Contender::Forebay) => followed::<Forebay>(&task)?,
        (Kind::Follow, Contender::Walrus) => followed::<Walrus>(&task)?,
        (_, Contender::Forebay) => sample::<Forebay>(&task)?,
        (_, Contender::Floor) => sample::<Floor>(&task)?,
        (_, Contender::OkayWal) => sample::<OkayWal>(&task)?,
        (_, Contender::RaftEngine) => sample::<RaftEngine>(&task)?,
        (_, Contender::MRecordLog) => sample::<MRecordLog>(&task)?,
        (_, Contender::Walrus) => sample::<Walrus>(&task)?,
        (_, Contender::Durability) => sample::<Durability>(&task)?,
    };
    println!("{}", sample.to_line()?);
    // Whatever still runs has no part in it, and an abandoned log is not closed.
    std::process::exit(0);
}

fn sample<L: Log>(task: &Task) -> Outcome<Sample> {
    let load = || Load::of(task.record, task.lines.as_deref());
    let (dir, setup) = (task.dir.as_path(), &task.setup);
    match task.kind {
        Kind::Append | Kind::Calls => {
            let log = L::open(dir, setup)?;
            let sample = closed_loop(&log, &load()?, &drive(task, L::crew(setup)), || settle(task))?;
            log.close()?;
            Ok(sample)
        }
        Kind::Fill => {
            let load = load()?;
            let log = L::open(dir, setup)?;
            let before = stored_bytes(dir)?;
            let records = fill(&log, &load, setup.batch, task.payload_bytes)?;
            log.close()?;
            let stored_bytes = stored_bytes(dir)?.saturating_sub(before);
            Ok(Sample {
                records,
                payload_bytes: records * load.record_bytes(),
                stored_bytes,
                ..Sample::default()
            })
        }
        Kind::Abandon => {
            let log = L::open(dir, setup)?;
            let records = fill(&log, &load()?, setup.batch, task.payload_bytes)?;
            std::mem::forget(log);
            Ok(Sample { records, ..Sample::default() })
        }
        Kind::Replay => {
            let begun = Instant::now();
            let replayed = L::replay(dir, setup)?;
            let elapsed_ns = nanoseconds(begun.elapsed());
            Ok(Sample {
                records: replayed.records,
                payload_bytes: replayed.bytes,
                elapsed_ns,
                ..Sample::default()
            })
        }
        Kind::Recover => {
            let before = sync::so_far().calls;
            let begun = Instant::now();
            L::recover(dir, setup)?;
            let elapsed_ns = nanoseconds(begun.elapsed());
            Ok(Sample { records: 1, elapsed_ns, syncs: sync::so_far().calls - before, ..Sample::default() })
        }
        Kind::Truncate => {
            let log = L::open(dir, setup)?;
            let records = fill(&log, &load()?, setup.batch, task.payload_bytes)?;
            log.settle()?;
            settle(task)?;
            let before = stored_bytes(dir)?;
            let begun = Instant::now();
            log.truncate(records / 2)?;
            let elapsed_ns = nanoseconds(begun.elapsed());
            let given_back = before.saturating_sub(stored_bytes(dir)?);
            Ok(Sample { records: 1, elapsed_ns, stored_bytes: given_back, ..Sample::default() })
        }
        Kind::Follow => Err("cannot be followed".into()),
    }
}

fn followed<L: Log + Follow>(task: &Task) -> Outcome<Sample> {
    let log = L::open(&task.dir, &task.setup)?;
    let sample = follow::lag(&log, task.setup.record_bytes, task.time, || settle(task))?;
    log.close()?;
    Ok(sample)
}

/// Ours on the file system that counts.
fn calls(task: &Task) -> Outcome<Sample> {
    let fs = Counted::<StdFs>::default();
    let log = Forebay::over(fs.clone(), &task.dir, &task.setup)?;
    let crew = <Forebay as Log>::crew(&task.setup);
    let load = Load::of(task.record, task.lines.as_deref())?;
    let mut sample = closed_loop(&log, &load, &drive(task, crew), || {
        settle(task)?;
        fs.take();
        Ok(())
    })?;
    sample.calls = fs.take();
    Ok(sample)
}

fn drive(task: &Task, (threads, batch): (usize, usize)) -> Drive {
    // A call that syncs takes so long that a look at the clock is nothing beside it.
    let every = if task.setup.level == Level::Synced || batch > 1 { 1 } else { 16 };
    Drive { threads, batch, time: task.time, payload_bytes: task.payload_bytes, every }
}

/// Nothing that was prepared is left for the first sync that is measured, and from now on syncs cost what they shall.
fn settle(task: &Task) -> Outcome<()> {
    sync_all(&task.dir)?;
    sync::cost(task.sync_cost);
    Ok(())
}

/// Everything of the file system that holds `dir` is on the media.
pub fn sync_all(dir: &Path) -> Outcome<()> {
    Ok(rustix::fs::syncfs(std::fs::File::open(dir)?)?)
}
