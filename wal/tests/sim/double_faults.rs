//! Every two faults of a log at once, repaired, and the repair crashed anywhere: salvage loses nothing that a reader of
//! its own finds, a cut keeps all that lies before, and either comes to the same whatever interrupts it.
//!
//! Every crash is made with `WAL_EXHAUSTIVE=1`, some of them otherwise.

use std::path::Path;

use crate::checker::{Files, Records, first_damage, low, places, readable};
use crate::harness::{DIR, changes, options, path, read_all, record};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{OpenError, Options, RecoveryReport, RepairPolicy, Wal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// And, of the last segment, the mark that it was closed.
    LostSeal,
    /// With the header of the frame behind it, which would say as much.
    LostStart,
    Missing,
    FlippedHeader,
    /// In the middle of the last frame but one.
    CutTail,
}

use Fault::{CutTail, FlippedHeader, LostSeal, LostStart, Missing};

const FAULTS: [Fault; 5] = [LostSeal, LostStart, Missing, FlippedHeader, CutTail];

fn strike(golden: &Files, files: &mut Files, (number, fault): (u64, Fault)) {
    let frames = places(&golden[&number]);
    let Some(bytes) = files.get_mut(&number) else { return };
    match fault {
        LostSeal => {
            if let Some(byte) = bytes.get_mut(frames.last().unwrap() + 12) {
                *byte ^= 1;
            }
        }
        LostStart => bytes[4096..4200].fill(0),
        Missing => drop(files.remove(&number)),
        FlippedHeader => bytes[50] ^= 1,
        CutTail => bytes.truncate(frames[frames.len() - 2] + 36),
    }
}

/// Records 3 to 16 in three segments, closed.
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn golden() -> Files {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    (1..=3).map(|n| (n, std::fs::read(dir.join(format!("wal-{n:016x}.seg"))).unwrap())).collect()
}

/// Four records in each of four segments, not closed; a checkpoint in the second.
fn unclosed() -> Files {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    for id in 1..=16 {
        wal.append(record(id, 90)).unwrap();
        match id {
            6 => wal.checkpoint(wal.next_lsn(), &[7; 500]).unwrap(),
            4 | 8 | 12 => wal.rotate().unwrap(),
            _ => {}
        }
    }
    (1..=4).map(|number| (number, disk.peek(path(number)).unwrap())).collect()
}

fn plant(files: &Files) -> SimFs {
    let disk = SimFs::new(0);
    for (number, bytes) in files {
        disk.plant(path(*number), bytes).unwrap();
    }
    disk
}

fn open(disk: &SimFs, repair: RepairPolicy) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, Options { repair, ..options() })
}

/// What is read from the low watermark on, also where that was lost.
fn read(wal: &Wal<SimFs>, low: u64) -> Records {
    read_all(wal).into_iter().filter(|(lsn, _)| *lsn >= low).collect()
}

fn is_exhaustive() -> bool {
    std::env::var_os("WAL_EXHAUSTIVE").is_some()
}

/// Every fault alone, and every two.
fn pairs(segments: u64) -> Vec<Vec<(u64, Fault)>> {
    let all: Vec<_> = (1..=segments).flat_map(|n| FAULTS.map(|fault| (n, fault))).collect();
    let two = all.iter().enumerate().flat_map(|(index, a)| all.iter().skip(index).map(move |b| vec![*a, *b]));
    two.collect()
}

fn sweep(golden: &Files, repair: RepairPolicy) -> usize {
    let (mut crashes, mut unreadable) = (0, 0);
    let whole = readable(golden, golden);
    for (index, faults) in (0..).zip(pairs(golden.len() as u64)) {
        let mut files = golden.clone();
        faults.iter().for_each(|fault| strike(golden, &mut files, *fault));
        let expected = match repair {
            RepairPolicy::Salvage => readable(golden, &files),
            _ => {
                let next = first_damage(golden, &files);
                whole.range(..next).map(|(lsn, bytes)| (*lsn, bytes.clone())).collect()
            }
        };
        let (wal, report) = match open(&plant(&files), repair) {
            Ok(opened) => opened,
            // Nothing says which log this was, or what is left is a log that never had a record.
            Err(error) => {
                assert!(expected.is_empty(), "{faults:?}, {repair:?}: {error}");
                unreadable += 1;
                continue;
            }
        };
        let found = read(&wal, low(golden));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{faults:?}, {repair:?}"
        );
        assert_eq!(found, expected, "{faults:?}, {repair:?}");
        let (all, next) = (read_all(&wal), report.next_lsn);
        drop(wal);
        let mut before = None;
        for op in 0_u64.. {
            if !is_exhaustive() && (op + index) % 61 != 0 {
                // Still there must be an end.
                if op > 2000 {
                    break;
                }
                continue;
            }
            let disk = plant(&files);
            disk.crash_at(op);
            let died = open(&disk, repair).is_err();
            if !disk.has_crashed() {
                break;
            }
            assert!(died, "{faults:?}, {repair:?}: it lived on at {op}");
            let done = Some(changes(&disk));
            if std::mem::replace(&mut before, done) == done {
                continue;
            }
            let survivals = [Survive::Nothing, Survive::Everything, Survive::Seeded(op)];
            let first = usize::try_from(index % 3).unwrap();
            let some = if is_exhaustive() { &survivals[..] } else { &survivals[first..=first] };
            for &survive in some {
                let disk = disk.crash(survive);
                let (wal, report) = open(&disk, repair)
                    .unwrap_or_else(|error| panic!("{faults:?}, {repair:?}, {op}, {survive:?}: {error}"));
                let lsns =
                    |records: &[(u64, Vec<u8>)]| records.iter().map(|(lsn, _)| *lsn).collect::<Vec<_>>();
                let found = read_all(&wal);
                assert_eq!(lsns(&found), lsns(&all), "{faults:?}, {repair:?}, {op}, {survive:?}");
                assert!(found == all, "{faults:?}, {repair:?}, {op}, {survive:?}");
                assert_eq!(report.next_lsn, next, "{faults:?}, {repair:?}, {op}, {survive:?}");
                crashes += 1;
            }
        }
    }
    println!("{repair:?}: {crashes} crashes, {unreadable} pairs that leave nothing");
    crashes
}

#[test]
fn salvage_of_a_closed_log_loses_nothing_that_can_be_read() {
    assert!(sweep(&golden(), RepairPolicy::Salvage) > 50);
}

#[test]
fn salvage_of_a_log_that_crashed_loses_nothing_that_can_be_read() {
    assert!(sweep(&unclosed(), RepairPolicy::Salvage) > 50);
}

#[test]
fn a_cut_of_a_closed_log_keeps_what_lies_before() {
    assert!(sweep(&golden(), RepairPolicy::TruncateAt) > 50);
}

#[test]
fn a_cut_of_a_log_that_crashed_keeps_what_lies_before() {
    assert!(sweep(&unclosed(), RepairPolicy::TruncateAt) > 50);
}
