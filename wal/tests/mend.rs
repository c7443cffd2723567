//! Repairs of damage that tests/repair.rs does not make: to logs with a checkpoint, in more places than one, forged.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;

use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal};
use harness::{DIR, options, path, read_all, record};

type Files = BTreeMap<u64, Vec<u8>>;

const REPAIRS: [RepairPolicy; 2] = [RepairPolicy::Salvage, RepairPolicy::TruncateAt];

fn plant(files: &Files) -> SimFs {
    let disk = SimFs::new(0);
    for (number, bytes) in files {
        disk.plant(path(*number), bytes).unwrap();
    }
    disk
}

fn files(disk: &SimFs, numbers: impl IntoIterator<Item = u64>) -> Files {
    numbers.into_iter().map(|number| (number, disk.peek(path(number)).unwrap())).collect()
}

fn open(disk: &SimFs, repair: RepairPolicy) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, Options { repair, ..options() })
}

fn opens(what: &str, disk: &SimFs, repair: RepairPolicy) -> (Wal<SimFs>, RecoveryReport) {
    open(disk, repair).unwrap_or_else(|error| panic!("{what}, {repair:?}: {error}"))
}

/// Where the frames of a segment begin, its seal's or the last one's end behind them.
fn frames(segment: &[u8]) -> Vec<usize> {
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
fn with_checkpoints(late: bool) -> Files {
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
fn single_faults(golden: &Files) -> Vec<(String, Files)> {
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

fn kept(report: &RecoveryReport) -> Option<(u64, u8)> {
    report.checkpoint.as_ref().map(|checkpoint| (checkpoint.lsn, checkpoint.meta[0]))
}

#[test]
fn a_repair_carries_the_newest_checkpoint_on() {
    for repair in REPAIRS {
        for (what, damaged) in single_faults(&with_checkpoints(false)) {
            // Without its last segment the log is what it was, and a missing file is not a fault.
            let disk = plant(&damaged);
            let (wal, report) = opens(&what, &disk, repair);
            assert_eq!(kept(&report), Some((5, 2)), "{what}, {repair:?}");
            assert!(report.next_lsn.0 >= 9, "{what}, {repair:?}");
            wal.append("goes on").unwrap();
            drop(wal);
            let (wal, report) = opens(&what, &disk.crash(Survive::Nothing), RepairPolicy::Fail);
            assert_eq!(kept(&report), Some((5, 2)), "{what}, {repair:?}: for good");
            wal.rotate().unwrap();
            wal.append("and on").unwrap();
            wal.truncate_before(wal.next_lsn()).unwrap();
        }
    }
}

#[test]
fn a_checkpoint_that_is_lost_gives_way_to_the_newest_that_is_not() {
    let golden = with_checkpoints(true);
    let third = &golden[&3];
    let at = frames(third).into_iter().rev().find(|at| third.get(at + 20) == Some(&5)).unwrap();
    let mut damaged = golden.clone();
    damaged.get_mut(&3).unwrap()[at + 40] ^= 1;
    for repair in REPAIRS {
        let (wal, report) = opens("lost", &plant(&damaged), repair);
        assert_eq!(kept(&report), Some((5, 2)), "{repair:?}");
        let salvaged = repair == RepairPolicy::Salvage;
        assert_eq!(read_all(&wal).len(), if salvaged { 12 } else { 10 });
    }
    // A cut keeps what was said behind it, as what was truncated may be kept nowhere else.
    let mut damaged = golden;
    let second = frames(&damaged[&1])[2];
    damaged.get_mut(&1).unwrap()[second + 40] ^= 1;
    let (wal, report) = opens("cut", &plant(&damaged), RepairPolicy::TruncateAt);
    assert_eq!((kept(&report), read_all(&wal).len()), (Some((9, 3)), 1));
}
