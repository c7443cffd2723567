//! Logs to be damaged, and damage.

use std::collections::BTreeMap;

use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal};

use super::{DIR, options, path, read_all, record};

pub(crate) type Files = BTreeMap<u64, Vec<u8>>;

pub(crate) const REPAIRS: [RepairPolicy; 2] = [RepairPolicy::Salvage, RepairPolicy::TruncateAt];

pub(crate) fn plant(files: &Files) -> SimFs {
    let disk = SimFs::new(0);
    for (number, bytes) in files {
        disk.plant(path(*number), bytes).unwrap();
    }
    disk
}

pub(crate) fn files(disk: &SimFs, numbers: impl IntoIterator<Item = u64>) -> Files {
    numbers.into_iter().map(|number| (number, disk.peek(path(number)).unwrap())).collect()
}

pub(crate) fn open(disk: &SimFs, repair: RepairPolicy) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, Options { repair, ..options() })
}

pub(crate) fn opens(what: &str, disk: &SimFs, repair: RepairPolicy) -> (Wal<SimFs>, RecoveryReport) {
    open(disk, repair).unwrap_or_else(|error| panic!("{what}, {repair:?}: {error}"))
}

/// Where the frames of a segment begin, its seal's or the last one's end behind them.
pub(crate) fn frames(segment: &[u8]) -> Vec<usize> {
    let mut at = 4096;
    let mut all = vec![at];
    while let Some(head) = segment.get(at..at + 32).filter(|head| head[20] != 0) {
        at += (32 + u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize).next_multiple_of(8);
        all.push(at);
    }
    all
}

/// Three segments of four records each, not closed; the newest checkpoint was written in the second one, if not `late`
/// in the third.
pub(crate) fn with_checkpoints(late: bool) -> Files {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 1..=12 {
        wal.append(record(id, 90)).unwrap();
        match id {
            2 => wal.checkpoint(Lsn(2), &[1; 700]).unwrap(),
            6 => wal.checkpoint(Lsn(5), &[2; 700]).unwrap(),
            10 if late => wal.checkpoint(Lsn(9), &[3; 700]).unwrap(),
            4 | 8 => wal.rotate().unwrap(),
            _ => {}
        }
    }
    files(&disk, 1..=3)
}

/// Each frame with its first body byte flipped, each header, each file away.
pub(crate) fn single_faults(golden: &Files) -> Vec<(String, Files)> {
    let mut cases = Vec::new();
    for (&number, bytes) in golden {
        let places = frames(bytes);
        for at in places.iter().take(places.len() - 1).map(|at| at + 33).chain([50]) {
            let mut files = golden.clone();
            files.get_mut(&number).unwrap()[at] ^= 1;
            cases.push((format!("segment {number}, byte {at}"), files));
        }
        let mut files = golden.clone();
        files.remove(&number);
        cases.push((format!("no segment {number}"), files));
    }
    cases
}

/// `segments` of four records each, not closed.
pub(crate) fn plain(segments: u64) -> Files {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 1..=segments * 4 {
        wal.append(record(id, 90)).unwrap();
        if id % 4 == 0 && id < segments * 4 {
            wal.rotate().unwrap();
        }
    }
    files(&disk, 1..=segments)
}

/// Flips a bit of the n-th frame's body, counted from the end where it is negative.
pub(crate) fn flip(files: &mut Files, number: u64, frame: isize) {
    let bytes = files.get_mut(&number).unwrap();
    let all = frames(bytes);
    let index = if frame < 0 { all.len() as isize - 1 + frame } else { frame };
    bytes[all[usize::try_from(index).unwrap()] + 33] ^= 1;
}

pub(crate) fn lsns<F: Fs>(wal: &Wal<F>) -> Vec<u64> {
    read_all(wal).into_iter().map(|(lsn, _)| lsn).collect()
}
