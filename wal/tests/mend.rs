//! Repairs of damage that tests/repair.rs does not make: to logs with a checkpoint, and in more places than one.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{Options, RecoveryReport, RepairPolicy, Wal, verify_in};
use harness::damage::{
    Files, REPAIRS, files, flip, frames, lsns, open, opens, plain, plant, single_faults, with_checkpoints,
};
use harness::looks::Looks;
use harness::{DIR, changes, options, path, read_all, record};

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

/// The end of one file and the beginning of the next are neighbours on many disks.
#[test]
fn salvage_keeps_what_is_whole_where_a_seal_and_the_start_behind_it_are_lost() {
    let mut lost_seal = plain(3);
    flip(&mut lost_seal, 1, -1);
    let mut missing = plain(3);
    missing.remove(&1);
    let mut no_header = plain(3);
    no_header.get_mut(&1).unwrap()[50] ^= 1;
    for (mut files, expected) in [
        (lost_seal, vec![1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
        (missing, (6..13).collect()),
        (no_header, (6..13).collect()),
    ] {
        // The start frame, and what says which number the first record has.
        files.get_mut(&2).unwrap()[4096..4200].fill(0);
        let (wal, report) = opens("neighbours", &plant(&files), RepairPolicy::Salvage);
        assert_eq!(lsns(&wal), expected);
        let lost: Vec<u64> = report.lost.iter().flat_map(|lsns| lsns.start.0..lsns.end.0).collect();
        assert_eq!(lost, (1..13).filter(|lsn| !expected.contains(lsn)).collect::<Vec<_>>());
    }
}

/// A segment of another log, in this one's place.
fn stranger(number: u64) -> Vec<u8> {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { salt_seed: Some(7), ..options() }).unwrap();
    for id in 0..number {
        wal.append(record(id, 90)).unwrap();
        wal.rotate().unwrap();
    }
    wal.append(record(99, 90)).unwrap();
    disk.peek(path(number)).unwrap()
}

/// Two faults, of which the second hides what the first repair has done from the next.
fn double_faults() -> Vec<(&'static str, Files)> {
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = plain(4);
        change(&mut files);
        files
    };
    vec![
        (
            "a record, and the next segment",
            with(&|files| {
                flip(files, 1, 3);
                files.remove(&2);
            }),
        ),
        (
            "a record, and the header behind",
            with(&|files| {
                flip(files, 1, 3);
                flip(files, 1, -1);
                files.get_mut(&2).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a seal, and the header behind",
            with(&|files| {
                flip(files, 1, -1);
                files.get_mut(&2).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a record, and the next two segments",
            with(&|files| {
                flip(files, 1, 3);
                files.remove(&2);
                files.get_mut(&3).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a record, and another log's segment",
            with(&|files| {
                flip(files, 1, 3);
                files.insert(2, stranger(2));
                files.retain(|number, _| *number < 4);
            }),
        ),
        (
            "a record, and two of another log's segments",
            with(&|files| {
                flip(files, 2, 3);
                files.insert(3, stranger(3));
                files.insert(1, stranger(1));
                files.extend((5..=6).map(|number| (number, plain(6)[&number].clone())));
            }),
        ),
    ]
}

#[test]
fn a_repair_of_two_faults_may_crash_anywhere() {
    for repair in REPAIRS {
        for (what, files) in double_faults() {
            let (wal, report) = opens(what, &plant(&files), repair);
            let (expected, next) = (read_all(&wal), report.next_lsn);
            // Where the first segment is another's nothing lies before the first damage.
            assert!(
                !expected.is_empty() || repair == RepairPolicy::TruncateAt && what.contains("two of another")
            );
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
                    let (wal, report) = opens(&format!("{what}, {op}"), &disk.crash(survive), repair);
                    assert_eq!(read_all(&wal), expected, "{what}, {repair:?}, {op}, {survive:?}");
                    assert_eq!(report.next_lsn, next, "{what}, {repair:?}, {op}, {survive:?}");
                }
            }
        }
    }
}

#[test]
fn a_log_of_any_length_is_repaired_with_few_files_open() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 0..40 {
        wal.append(record(id, 90)).unwrap();
        wal.rotate().unwrap();
    }
    wal.append("last").unwrap();
    drop(wal);
    let mut files = files(&disk, 1..=41);
    for number in [3, 20, 38] {
        flip(&mut files, number, 1);
    }
    let watched = Looks::at(plant(&files), |_, _| {});
    assert_eq!(verify_in(watched.clone(), DIR).unwrap().damaged.len(), 3);
    for repair in REPAIRS {
        let watched = Looks::at(plant(&files), |_, _| {});
        Wal::open_in(watched.clone(), DIR, Options { repair, ..options() }).unwrap();
        assert!(watched.watch.most_open() < 10, "{repair:?}: {} files", watched.watch.most_open());
    }
    assert!(watched.watch.most_open() < 10, "{} files", watched.watch.most_open());
}

#[test]
fn a_repair_that_fails_leaves_no_file_that_it_had_begun() {
    let mut files = plain(3);
    flip(&mut files, 2, 1);
    for repair in REPAIRS {
        for budget in [0, 4096, 8192, 12_288] {
            let disk = plant(&files);
            let before = disk.allocated();
            disk.set_budget(Some(before + budget));
            if open(&disk, repair).is_err() {
                let spares = disk.names(DIR).unwrap().into_iter().filter(|name| name.starts_with("spare"));
                assert_eq!(spares.count(), 0, "{repair:?}, {budget}");
            }
        }
    }
}

/// A repair would hand on no streams, and their ids would be given to others.
#[test]
fn a_damaged_log_with_streams_or_aligned_groups_is_left_as_it_is() {
    for (align, what) in [(0, "streams"), (512, "aligned groups")] {
        let disk = SimFs::new(0);
        let wide = Options { commit_align: align, ..options() };
        let (wal, _) = Wal::open_in(disk.clone(), DIR, wide.clone()).unwrap();
        if align == 0 {
            wal.stream("orders").unwrap().append("a").unwrap();
        }
        wal.append("b").unwrap();
        wal.append("c").unwrap();
        drop(wal);
        let whole = files(&disk, 1..=1);
        let places = frames(&whole[&1]);
        // The first frame behind the start: the only one that names the stream.
        let mut damaged = whole.clone();
        damaged.get_mut(&1).unwrap()[places[1] + 33] ^= 1;
        for repair in REPAIRS {
            let disk = plant(&damaged);
            let refused = Wal::open_in(disk.clone(), DIR, Options { repair, ..wide.clone() }).unwrap_err();
            let told = refused.to_string();
            assert!(told.contains(&format!("{what} to be repaired")), "{repair:?}: {told}");
            assert!(files(&disk, 1..=1) == damaged, "{repair:?}");
        }
    }
}
