//! Damage to durable records: told for what it is, and repaired where that is asked for.

use std::path::Path;

use crate::checker::{Files, Records, Verdict, first_damage, judge, readable};
use crate::harness::{DIR, changes, options, path, read_all};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{DamageClass, Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal, verify_in};

/// The golden log: records 3 to 16 in three segments, closed.
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn golden() -> Files {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    (1..=3).map(|n| (n, std::fs::read(dir.join(format!("wal-{n:016x}.seg"))).unwrap())).collect()
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

/// From the low watermark on, also where the damage has taken that.
fn read(wal: &Wal<SimFs>) -> Records {
    read_all(wal).into_iter().filter(|(lsn, _)| *lsn >= 3).collect()
}

/// Damage to a file, and what is said of it.
type Case = (String, Files);

/// A flipped bit in every so many bytes of those that say anything, and in some of the others.
fn flips(step: usize) -> impl Iterator<Item = Case> {
    let golden = golden();
    let places = golden.clone().into_iter().flat_map(move |(number, bytes)| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 40;
        let places =
            (0..bytes.len()).filter(move |at| *at < 128 || (4096..end).contains(at) || at % 509 == 0);
        places.map(move |at| (number, at))
    });
    places.step_by(step).map(move |(number, at)| {
        let mut files = golden.clone();
        files.get_mut(&number).unwrap()[at] ^= 1 << (at % 8);
        (format!("segment {number} byte {at}"), files)
    })
}

/// Sectors and files that are away, elsewhere, or of somebody else.
fn losses() -> Vec<Case> {
    let golden = golden();
    let mut cases = Vec::new();
    for (number, bytes) in &golden {
        for at in (0..5632).step_by(512) {
            let mut files = golden.clone();
            files.get_mut(number).unwrap()[at..at + 512].fill(0);
            cases.push((format!("segment {number} without the sector at {at}"), files));
        }
        let mut files = golden.clone();
        files.remove(number);
        cases.push((format!("no segment {number}"), files));
        for len in [0, 100, 4096, 4200, 4500, bytes.len() - 8] {
            let mut files = golden.clone();
            files.get_mut(number).unwrap().truncate(len);
            cases.push((format!("segment {number} cut to {len}"), files));
        }
        for other in number + 1..=3 {
            let mut files = golden.clone();
            let (a, b) = (golden[number].clone(), golden[&other].clone());
            files.extend([(*number, b), (other, a)]);
            cases.push((format!("segments {number} and {other} swapped"), files));
        }
    }
    cases
}

#[test]
fn damage_is_classed_as_a_checker_of_its_own_does() {
    let mut met = std::collections::HashSet::new();
    for (what, files) in flips(7).chain(losses()) {
        let found = match open(&plant(&files), RepairPolicy::TruncateTail) {
            Ok((_, report)) => Verdict::Reads { next_lsn: report.next_lsn.0, torn: report.torn.is_some() },
            Err(OpenError::Corrupt(damage)) => match damage.class {
                DamageClass::BadHeader(_) => Verdict::BadHeader(damage.segment),
                DamageClass::DamagedDurable => Verdict::Damaged(damage.segment),
                DamageClass::MissingSegment => Verdict::Missing(damage.segment),
                DamageClass::Foreign => Verdict::Foreign(damage.segment),
                class => panic!("{what}: {class}"),
            },
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(found, judge(&files), "{what}");
        met.insert(std::mem::discriminant(&found));
    }
    assert_eq!(met.len(), 5, "every class was met");
}

/// The records that are whole in segments whose place in the log is known.
fn whole(files: &Files) -> Records {
    readable(&golden(), files)
}

#[test]
fn salvage_keeps_every_record_that_is_whole() {
    for (what, files) in flips(7).chain(losses()) {
        let disk = plant(&files);
        let (wal, report) =
            open(&disk, RepairPolicy::Salvage).unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = whole(&files);
        assert_eq!(read(&wal).keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
        assert_eq!(read(&wal), expected, "{what}");
        let lost = |lsn: &u64| report.lost.iter().any(|lsns| lsns.contains(&Lsn(*lsn)));
        let (first, next) = (report.first_lsn.0.max(3), report.next_lsn.0);
        for lsn in first..next {
            assert_eq!(
                expected.contains_key(&lsn),
                !lost(&lsn),
                "{what}: record {lsn} is there, or said to be lost"
            );
        }
        assert_eq!(report.damaged.is_empty(), matches!(judge(&files), Verdict::Reads { .. }), "{what}");
        let lsn = wal.append("goes on").unwrap();
        assert_eq!(lsn.0, next);
        drop(wal);
        let (wal, report) =
            open(&disk.restart(), RepairPolicy::Fail).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(report.damaged.is_empty() && report.lost.is_empty());
        let mut expected = expected;
        expected.insert(lsn.0, b"goes on".to_vec());
        assert_eq!(read(&wal), expected, "{what}: for good");
    }
}

#[test]
fn a_cut_keeps_what_lies_before_the_first_damage_and_no_more() {
    for (what, files) in flips(7).chain(losses()) {
        let disk = plant(&files);
        let (wal, report) =
            open(&disk, RepairPolicy::TruncateAt).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (found, next) = (read(&wal), first_damage(&golden(), &files));
        assert_eq!(found, whole(&golden()).into_iter().filter(|(lsn, _)| *lsn < next).collect(), "{what}");
        let lost = report.lost.first().map_or(report.next_lsn.0, |lsns| lsns.start.0);
        assert!(report.lost.len() <= 1 && next == lost, "{what}: {next} of {:?}", report.lost);
        let lsn = wal.append("goes on").unwrap();
        assert_eq!(lsn, report.next_lsn);
        drop(wal);
        let (wal, again) =
            open(&disk.restart(), RepairPolicy::Fail).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(again.damaged.is_empty() && again.lost.is_empty());
        let mut expected = found;
        expected.insert(lsn.0, b"goes on".to_vec());
        assert_eq!(read(&wal), expected, "{what}: for good");
    }
}

/// One of each: a body, a start frame, a seal, a header, a file away, and two in each other's place.
fn one_of_each() -> Vec<Case> {
    let golden = golden();
    let flipped = |number: u64, at: usize| {
        let mut files = golden.clone();
        files.get_mut(&number).unwrap()[at] ^= 1;
        (format!("segment {number} byte {at}"), files)
    };
    let seal = golden[&1].iter().rposition(|byte| *byte != 0).unwrap();
    let flips = [(1, 4230), (2, 4230), (3, 4100), (1, seal), (1, 50), (2, 50)]
        .map(|(number, at)| flipped(number, at));
    let whole = |what: &String| what.starts_with("no segment") || what.ends_with("swapped");
    flips.into_iter().chain(losses().into_iter().filter(|(what, _)| whole(what))).collect()
}

/// Whatever a repair is interrupted by, the next one comes to the same records and the same next number.
#[test]
fn a_repair_that_crashes_at_every_operation_comes_to_the_same_log() {
    for repair in [RepairPolicy::Salvage, RepairPolicy::TruncateAt] {
        for (what, files) in one_of_each() {
            let (wal, report) = open(&plant(&files), repair).unwrap();
            let (expected, next) = (read(&wal), report.next_lsn);
            let mut before = None;
            for op in 0.. {
                let disk = plant(&files);
                disk.crash_at(op);
                let died = open(&disk, repair).is_err();
                if !disk.has_crashed() {
                    break;
                }
                assert!(died, "{what}: it lived on at {op}");
                if before.replace(changes(&disk)) == Some(changes(&disk)) {
                    continue;
                }
                for survive in [Survive::Nothing, Survive::Everything, Survive::Seeded(op)] {
                    let (disk, what) =
                        (disk.crash(survive), format!("{what}, {repair:?}, {op}, {survive:?}"));
                    let (wal, report) = open(&disk, repair).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(read(&wal), expected, "{what}");
                    assert_eq!(report.next_lsn, next, "{what}");
                    let kept = disk.list(Path::new("/log/quarantine")).unwrap_or_default();
                    let kept = kept.iter().map(|name| disk.peek(format!("/log/quarantine/{name}")).unwrap());
                    let kept: Vec<_> = kept.collect();
                    for (number, bytes) in &files {
                        let there = disk.peek(path(*number)).is_ok_and(|now| now == *bytes);
                        assert!(there || kept.contains(bytes), "{what}: segment {number} is kept");
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_repair_replaces_is_kept() {
    let mut files = golden();
    files.get_mut(&2).unwrap()[4230] ^= 1;
    for repair in [RepairPolicy::Salvage, RepairPolicy::TruncateAt] {
        let disk = plant(&files);
        let (_, report) = open(&disk, repair).unwrap();
        let kept: Vec<_> = report.quarantined.iter().map(|path| disk.peek(path).unwrap()).collect();
        assert!(kept.contains(&files[&2]), "{repair:?}");
        assert_eq!(kept.contains(&files[&3]), repair == RepairPolicy::TruncateAt);
        assert_eq!(disk.list(Path::new("/log/quarantine")).unwrap().len(), kept.len());
    }
}

#[test]
fn records_that_are_gone_with_a_file_are_named_by_its_neighbours() {
    let refused = |files: &Files| match open(&plant(files), RepairPolicy::Fail) {
        Err(OpenError::Corrupt(damage)) => (damage.segment, damage.lsns.start.0..damage.lsns.end.0),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    };
    let without = |number: u64, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = golden();
        change(files.get_mut(&number).unwrap());
        refused(&files)
    };
    let header = |bytes: &mut Vec<u8>| bytes[50] ^= 1;
    assert_eq!(without(1, &header), (1, 3..9));
    assert_eq!(without(2, &header), (2, 9..9), "the seal before it tells all that its header did");
    let foreign = |bytes: &mut Vec<u8>| *bytes = golden()[&1].clone();
    assert_eq!(without(2, &foreign), (2, 9..12));
    let mut files = golden();
    files.remove(&2);
    assert_eq!(refused(&files), (2, 9..12));
}

#[test]
fn a_look_at_a_damaged_log_tells_all_of_it_and_writes_nothing() {
    let mut files = golden();
    files.get_mut(&1).unwrap()[4230] ^= 1;
    files.get_mut(&2).unwrap()[4230] ^= 1;
    files.get_mut(&3).unwrap()[50] ^= 1;
    let disk = plant(&files);
    let report = verify_in(disk.clone(), DIR).unwrap();
    let told: Vec<_> = report.damaged.iter().map(|damage| (damage.segment, damage.lsns.clone())).collect();
    let (all, salvaged) = (golden(), open(&plant(&files), RepairPolicy::Salvage).unwrap().1);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[2], (3, Lsn(12)..Lsn(12)), "nothing but its header");
    assert_eq!(
        (&report.damaged, report.next_lsn, report.records),
        (&salvaged.damaged, salvaged.next_lsn, salvaged.records)
    );
    // Segment 1 has lost its first record, which the low watermark hid.
    assert_eq!(report.lost, [Lsn(9)..Lsn(10)]);
    assert_eq!(report.lost, salvaged.lost);
    assert!(files.iter().all(|(number, bytes)| disk.peek(path(*number)).unwrap() == *bytes));
    assert_eq!(disk.list(DIR.as_ref()).unwrap().len(), all.len(), "no lock, no quarantine");
}

/// Any damage at all: what is read is true, and a repair is done once.
#[test]
fn whatever_is_damaged_what_is_left_is_true() {
    let (golden, mut opened) = (golden(), 0);
    let all = whole(&golden);
    for seed in 0..120_usize {
        let mut files = golden.clone();
        let mut state = seed;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..=below(4) {
            let number = 1 + below(3) as u64;
            let (from, to, len) = (4096 + below(1400) / 8 * 8, 4096 + below(1400) / 8 * 8, 1 + below(300));
            match (below(3), files.get_mut(&number)) {
                (0, Some(bytes)) => bytes[from..from + len].fill(seed.to_le_bytes()[0]),
                (1, Some(bytes)) => bytes.copy_within(from..from + len, to),
                (_, _) if below(4) == 0 => drop(files.remove(&number)),
                _ => {}
            }
        }
        for repair in [RepairPolicy::Salvage, RepairPolicy::TruncateAt] {
            let disk = plant(&files);
            let Ok((wal, report)) = open(&disk, repair) else { continue };
            opened += 1;
            let found = read(&wal);
            assert!(found.iter().all(|(lsn, bytes)| all.get(lsn) == Some(bytes)), "{seed}, {repair:?}");
            let (wal, again) = open(&disk.restart(), RepairPolicy::TruncateTail).unwrap();
            assert_eq!((read(&wal), again.next_lsn), (found, report.next_lsn), "{seed}, {repair:?}");
        }
    }
    assert!(opened > 150, "{opened}");
}

#[test]
fn a_repair_without_space_changes_nothing_and_is_done_once_there_is_some() {
    let mut files = golden();
    files.get_mut(&2).unwrap()[4230] ^= 1;
    for repair in [RepairPolicy::Salvage, RepairPolicy::TruncateAt] {
        let (wal, _) = open(&plant(&files), repair).unwrap();
        let expected = read(&wal);
        // Enough for the segment and not for the copy, in the end.
        for budget in [0, 4096, 8192, 12_288] {
            let disk = plant(&files);
            disk.set_budget(Some(budget));
            let error = open(&disk, repair).map(drop).unwrap_err();
            let full = match &error {
                OpenError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
                error => matches!(error, OpenError::QuarantineFull { segment: 2, bytes: 8192, .. }),
            };
            assert!(full, "{error}");
            assert!(files.iter().all(|(number, bytes)| disk.peek(path(*number)).unwrap() == *bytes));
            disk.set_budget(None);
            assert_eq!(read(&open(&disk, repair).unwrap().0), expected, "{repair:?}, {budget}");
        }
    }
}
