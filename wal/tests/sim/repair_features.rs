//! Repairs of logs that have more than plain records, beside a reader of its own: streams, aligned groups, compressed
//! bodies, files used again, labels, burned numbers, checkpoints, and earlier repairs.
//!
//! Every fault is crashed in every way with `WAL_EXHAUSTIVE=1`, some of them otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checker::{Files, first_damage, judge, low, places, readable_of_streams, streams};
use crate::harness::damage::{REPAIRS, plant};
use crate::harness::{DIR, changes, options, path, record};
use forebay_wal::format::{Checksum, Label};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{Compression, Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal, verify_in};

type Read = BTreeMap<u64, (u64, Vec<u8>)>;

/// The golden directories.
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn golden() -> Vec<(String, Files)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut logs = Vec::new();
    for name in [
        "v1-aligned",
        "v1-burned",
        "v1-checkpoint",
        "v1-recycled",
        "v1-salvaged",
        "v1-snappy",
        "v1-streams",
        "v1-zstd",
    ] {
        let file = |n: u64| std::fs::read(dir.join(name).join(format!("wal-{n:016x}.seg"))).ok();
        logs.push((name.to_owned(), (1..=3).filter_map(|n| Some((n, file(n)?))).collect()));
    }
    logs
}

/// Everything at once, in four segments or more whose first ones had other lives: two streams from the beginning, one
/// that comes later, all of which give something up, and one that is dropped in a segment that is not the last, fragments, a checkpoint, a batch of several streams; not closed.
fn all_in_one(commit_align: u32, compression: Compression) -> Files {
    let disk = SimFs::new(0);
    let all = Options {
        commit_align,
        compression,
        segment_bytes: 12_288,
        checksum: Checksum::Crc32c,
        label: Label::new(b"all in one"),
        ..options()
    };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, all).unwrap();
    let line = |id: u64, len: usize| record(id % 3, 40).repeat(len / 40);
    for id in 0..40 {
        wal.append(line(id, 800)).unwrap();
    }
    wal.truncate_before(wal.next_lsn()).unwrap();
    let [orders, audit, brief] = ["orders", "audit", "brief"].map(|name| wal.stream(name).unwrap());
    brief.append("brief").unwrap();
    for id in 0..24 {
        match id % 4 {
            0 => orders.append(line(id, 1200)),
            1 => audit.append(record(id, 60)),
            2 => wal.append(line(id, 700)),
            _ => orders.append(record(id, 300)),
        }
        .unwrap();
        match id {
            7 => drop(orders.truncate_before(Lsn(wal.next_lsn().0 - 4)).unwrap()),
            8 => drop(wal.drop_stream("brief").unwrap()),
            11 => wal.checkpoint(Lsn(wal.next_lsn().0 - 2), &[7; 300]).unwrap(),
            5 | 10 | 16 => wal.rotate().unwrap(),
            13 => drop(wal.stream("late").unwrap().append("late").unwrap()),
            20 => drop(audit.truncate_before(Lsn(wal.next_lsn().0 - 4)).unwrap()),
            _ => {}
        }
    }
    drop((orders, audit, brief, wal));
    let names = disk.names(DIR).unwrap();
    let numbers = (1..100).filter(|number| names.contains(&format!("wal-{number:016x}.seg")));
    let files: Files = numbers.map(|number| (number, disk.peek(path(number)).unwrap())).collect();
    assert!(files.len() >= 4 && !files.contains_key(&1), "{:?}", files.keys());
    files
}

fn made() -> Vec<(String, Files)> {
    let kinds = [
        (0, Compression::None),
        (512, Compression::None),
        (1024, Compression::Snappy),
        (0, Compression::Zstd { level: 1 }),
    ];
    kinds.map(|(align, codec)| (format!("all in one, {align}, {codec:?}"), all_in_one(align, codec))).into()
}

/// Each frame with a byte of its body flipped, or of its header where it has none; each header; each file away, and cut
/// in the middle of a frame.
fn single_faults(golden: &Files) -> Vec<(String, Files)> {
    let mut cases = Vec::new();
    let mut case = |what: String, change: &dyn Fn(&mut Files)| {
        let mut files = golden.clone();
        change(&mut files);
        cases.push((what, files));
    };
    for (&number, bytes) in golden {
        let places = places(bytes);
        for &at in &places {
            let body = bytes[at + 4..at + 8] != [0; 4];
            let byte = at + if body { 33 } else { 12 };
            case(format!("segment {number}, byte {byte}"), &|files| {
                files.get_mut(&number).unwrap()[byte] ^= 1;
            });
        }
        let middle = places[places.len() / 2] + 36;
        case(format!("segment {number} cut to {middle}"), &|files| {
            files.get_mut(&number).unwrap().truncate(middle);
        });
        case(format!("segment {number}, header"), &|files| files.get_mut(&number).unwrap()[50] ^= 1);
        case(format!("no segment {number}"), &|files| drop(files.remove(&number)));
    }
    cases
}

fn open(disk: &SimFs, repair: RepairPolicy) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, Options { repair, ..options() })
}

fn read(wal: &Wal<SimFs>, low: u64) -> Read {
    let records = wal.reader(Lsn(0)).map(Result::unwrap);
    let records = records.map(|record| (record.lsn.0, (record.stream.into(), record.bytes.to_vec())));
    records.filter(|(lsn, _)| *lsn >= low).collect()
}

fn named(report: &RecoveryReport) -> Vec<(u64, String, u64)> {
    report.streams.iter().map(|def| (def.id.into(), def.name.clone(), def.low)).collect()
}

fn kept(report: &RecoveryReport) -> Option<(u64, Vec<u8>)> {
    report.checkpoint.as_ref().map(|checkpoint| (checkpoint.lsn, checkpoint.meta.to_vec()))
}

/// What must be left, by the reader of its own.
fn expected(golden: &Files, files: &Files, repair: RepairPolicy) -> (Read, u64) {
    match repair {
        RepairPolicy::Salvage => (readable_of_streams(golden, files), u64::MAX),
        _ => {
            let next = first_damage(golden, files);
            let mut all = readable_of_streams(golden, golden);
            drop(all.split_off(&next));
            (all, next)
        }
    }
}

fn check(golden: &Files, (what, files): &(String, Files), repair: RepairPolicy) {
    let what = format!("{what}, {repair:?}");
    let low = low(golden);
    let disk = plant(files);
    let looked = verify_in(disk.clone(), DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (wal, report) = open(&disk, repair).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (records, end) = expected(golden, files, repair);
    let found = read(&wal, low);
    assert_eq!(found.keys().collect::<Vec<_>>(), records.keys().collect::<Vec<_>>(), "{what}");
    assert!(found == records, "{what}");
    let whole = matches!(judge(files), crate::checker::Verdict::Reads { .. });
    assert_eq!(report.damaged.is_empty(), whole, "{what}: {:?}", report.damaged);
    let lost = |lsn: &u64| report.lost.iter().any(|lsns| lsns.contains(&Lsn(*lsn)));
    if !whole {
        // Where the end of the log is lost nothing says how many there were.
        for lsn in readable_of_streams(golden, golden).keys().filter(|lsn| **lsn < report.next_lsn.0) {
            assert!(
                records.contains_key(lsn) != lost(lsn),
                "{what}: record {lsn} is there, or said to be lost"
            );
        }
    }
    let (streams, checkpoint) = (streams(golden, files, end), crate::checker::checkpoint(golden, files));
    assert_eq!(named(&report), streams, "{what}");
    assert_eq!(kept(&report), checkpoint, "{what}");
    if repair == RepairPolicy::Salvage {
        assert_eq!(
            (named(&looked), kept(&looked)),
            (streams.clone(), checkpoint.clone()),
            "{what}: as verified"
        );
        let counts = |report: &RecoveryReport| (report.next_lsn, report.records, report.lost.clone());
        assert_eq!(counts(&looked), counts(&report), "{what}: as verified");
    }
    // Each stream holds what it has, also where nothing is appended to it.
    let (again, _) =
        open(&disk.restart(), RepairPolicy::Fail).unwrap_or_else(|error| panic!("{what}: {error}"));
    let gone = again.truncate_before(again.next_lsn()).unwrap().low.0;
    for (id, name, low) in &streams {
        let first = records.iter().find(|(lsn, (stream, _))| stream == id && *lsn >= low);
        assert!(first.is_none_or(|(lsn, _)| gone <= *lsn), "{what}: {name} holds {first:?}, not {gone}");
    }
    drop(again);
    // The log goes on, each stream under its id, and what was repaired is so for good.
    let mut records = records;
    for (id, name, low) in &streams {
        let stream = wal.stream(name).unwrap();
        assert_eq!((u64::from(stream.id()), stream.low().0), (*id, *low), "{what}");
        records.insert(stream.append("goes on").unwrap().0, (*id, b"goes on".to_vec()));
    }
    let lsn = wal.append("and on").unwrap();
    assert_eq!(lsn.0, report.next_lsn.0 + streams.len() as u64);
    records.insert(lsn.0, (0, b"and on".to_vec()));
    wal.rotate().unwrap();
    drop(wal);
    for disk in [disk.restart(), disk.crash(Survive::Nothing)] {
        let (wal, again) = open(&disk, RepairPolicy::Fail).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(read(&wal, low) == records, "{what}: for good");
        assert_eq!((named(&again), kept(&again)), (streams.clone(), checkpoint.clone()), "{what}: for good");
    }
}

#[test]
fn a_repair_of_a_golden_log_leaves_what_a_reader_of_its_own_finds() {
    for (name, golden) in golden() {
        for (what, files) in single_faults(&golden) {
            // Of a log of one segment without its header, or its file, nothing is left to be repaired.
            if readable_of_streams(&golden, &files).is_empty() {
                continue;
            }
            let case = (format!("{name}, {what}"), files);
            REPAIRS.into_iter().for_each(|repair| check(&golden, &case, repair));
        }
    }
}

#[test]
fn a_repair_of_a_log_with_all_in_one_leaves_what_a_reader_of_its_own_finds() {
    for (name, golden) in made() {
        for (what, files) in single_faults(&golden) {
            let case = (format!("{name}, {what}"), files);
            REPAIRS.into_iter().for_each(|repair| check(&golden, &case, repair));
        }
    }
}

fn is_exhaustive() -> bool {
    std::env::var_os("WAL_EXHAUSTIVE").is_some()
}

#[test]
fn a_repair_that_crashes_at_every_operation_comes_to_the_same_log() {
    let logs = golden().into_iter().chain(made().into_iter().skip(1).take(2));
    for (index, (name, golden)) in logs.enumerate() {
        let (low, all) = (low(&golden), single_faults(&golden));
        let step = if is_exhaustive() { 1 } else { all.len() / 3 };
        for (what, files) in all.into_iter().skip(index % 3).step_by(step) {
            for repair in REPAIRS {
                let Ok((wal, report)) = open(&plant(&files), repair) else { continue };
                let (records, next) = (read(&wal, low), report.next_lsn);
                let mut before = None;
                for op in 0.. {
                    let disk = plant(&files);
                    disk.crash_at(op);
                    let died = open(&disk, repair).is_err();
                    if !disk.has_crashed() {
                        break;
                    }
                    let what = format!("{name}, {what}, {repair:?}, {op}");
                    assert!(died, "{what}: it lived on");
                    if before.replace(changes(&disk)) == Some(changes(&disk)) {
                        continue;
                    }
                    let survivals = [Survive::Nothing, Survive::Everything, Survive::Seeded(op)];
                    let first = usize::try_from(op % 3).unwrap();
                    for &survive in if is_exhaustive() { &survivals[..] } else { &survivals[first..=first] } {
                        let again = open(&disk.crash(survive), repair);
                        let (wal, again) =
                            again.unwrap_or_else(|error| panic!("{what}, {survive:?}: {error}"));
                        assert!(read(&wal, low) == records, "{what}, {survive:?}");
                        assert_eq!(again.next_lsn, next, "{what}, {survive:?}");
                        assert_eq!(named(&again), named(&report), "{what}, {survive:?}");
                        assert_eq!(kept(&again), kept(&report), "{what}, {survive:?}");
                    }
                }
            }
        }
    }
}
