//! Repairs of damage that tests/repair.rs does not make: to logs with a checkpoint, and in more places than one.

use crate::harness::damage::{
    Files, REPAIRS, files, flip, frames, lsns, open, opens, plain, plant, single_faults, with_checkpoints,
};
use crate::harness::looks::Looks;
use crate::harness::{DIR, changes, options, path, read_all, record};
use forebay_wal::format::{Features, Unsupported};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{Durability, Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal, verify_in};

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

/// What a reader may ignore a repair would drop.
#[test]
fn a_damaged_log_of_a_later_version_is_left_as_it_is() {
    let mut damaged = plain(3);
    let bytes = damaged.get_mut(&2).unwrap();
    bytes[16] = 5;
    let sum = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(
        lsns(&opens("whole", &plant(&damaged), RepairPolicy::Fail).0).len(),
        12,
        "a reader ignores it"
    );
    flip(&mut damaged, 1, 2);
    for repair in REPAIRS {
        let disk = plant(&damaged);
        let refused = open(&disk, repair).unwrap_err();
        let OpenError::Unsupported { segment: 2, what, .. } = refused else { panic!("{refused}") };
        assert_eq!(what, Unsupported::Repair(Features(5)));
        assert!(refused.to_string().contains("optional feature bits 0x5 to be repaired"), "{refused}");
        assert!(files(&disk, 1..=3) == damaged, "{repair:?}");
    }
}

/// A stream whose only name was in what is lost: its id went to whoever came next, and nothing held its records.
#[test]
fn a_stream_that_has_lost_its_name_keeps_its_records_and_its_id() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    wal.stream("lost-1").unwrap();
    wal.append("of none").unwrap();
    wal.stream("lost-2").unwrap().append("a").unwrap();
    let third = wal.stream("third").unwrap();
    third.append("b").unwrap();
    wal.append("of none").unwrap();
    drop((third, wal));
    let mut damaged = files(&disk, 1..=1);
    // The names of the first and of the second, of which only the second has a record.
    flip(&mut damaged, 1, 1);
    flip(&mut damaged, 1, 3);
    let looked = verify_in(plant(&damaged), DIR).unwrap();
    let disk = plant(&damaged);
    let (wal, report) = opens("salvaged", &disk, RepairPolicy::Salvage);
    let names = |report: &RecoveryReport| -> Vec<(u32, String, u64)> {
        report.streams.iter().map(|def| (def.id, def.name.clone(), def.low)).collect()
    };
    let expected = [(2, "lost-2".to_owned(), 1), (3, "third".to_owned(), 3)];
    assert_eq!((names(&looked), names(&report)), (expected.to_vec(), expected.to_vec()));
    assert_eq!(wal.stream("other").unwrap().id(), 4, "above every id that a record has");
    let lost = wal.stream("lost-2").unwrap();
    assert_eq!((lost.id(), lost.reader(Lsn(0)).count()), (2, 1));
    wal.rotate().unwrap();
    assert_eq!(wal.truncate_before(wal.next_lsn()).unwrap().low, Lsn(1), "and is held");
    // A cut in front of its records has no need of it.
    let (_, report) = opens("cut", &plant(&damaged), RepairPolicy::TruncateAt);
    assert_eq!(names(&report), expected[1..]);
}

/// What named it for the last time came behind its records, and so none of them was its own.
#[test]
fn a_stream_whose_name_was_mended_holds_its_records() {
    for last in [true, false] {
        let disk = SimFs::new(0);
        let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
        let [a, b] = ["a", "b"].map(|name| wal.stream(name).unwrap());
        a.append("1").unwrap();
        b.append("2").unwrap();
        a.truncate_before(wal.next_lsn()).unwrap();
        wal.rotate().unwrap();
        b.append("3").unwrap();
        let first = a.append("4").unwrap();
        if !last {
            wal.rotate().unwrap();
            b.append("5").unwrap();
        }
        drop((a, b, wal));
        let mut damaged = files(&disk, if last { 1..=2 } else { 1..=3 });
        // The copy of what names the first one.
        flip(&mut damaged, 2, 1);
        for repair in REPAIRS {
            let what = format!("{last}, {repair:?}");
            let disk = plant(&damaged);
            let (wal, report) = opens(&what, &disk, repair);
            let kept = wal.stream("a").unwrap().reader(first).count();
            assert_eq!((report.streams.len(), kept > 0), (2, repair == RepairPolicy::Salvage), "{what}");
            drop(wal);
            for _ in 0..2 {
                let (wal, _) = opens(&what, &disk, RepairPolicy::Fail);
                wal.rotate().unwrap();
                wal.stream("b").unwrap().truncate_before(wal.next_lsn()).unwrap();
                let low = wal.truncate_before(wal.next_lsn()).unwrap().low;
                if kept > 0 {
                    assert!(low <= first, "{what}: {low:?}");
                    assert_eq!(&*wal.usage().pinned_by.unwrap().name, "a", "{what}");
                }
            }
        }
    }
}

/// It was taken as it was, without the bit for streams: what was acknowledged in it no policy opened.
#[test]
fn a_segment_that_is_named_already_is_made_for_the_streams_that_a_repair_brings_back() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    wal.stream("x").unwrap().append("1").unwrap();
    wal.drop_stream("x").unwrap();
    let dropped = frames(&disk.peek(path(1)).unwrap()).len() - 2;
    wal.append("2").unwrap();
    drop(wal);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    wal.rotate().unwrap();
    drop(wal);
    let mut damaged = files(&disk, 1..=2);
    assert_eq!(damaged[&2][4096..].iter().find(|byte| **byte != 0), None);
    flip(&mut damaged, 1, isize::try_from(dropped).unwrap());
    let disk = plant(&damaged);
    let (wal, report) = opens("back", &disk, RepairPolicy::Salvage);
    assert_eq!(report.streams.len(), 1);
    let lsn = wal.append("3").unwrap();
    drop(wal);
    let (wal, report) = opens("again", &disk.crash(Survive::Nothing), RepairPolicy::Fail);
    assert_eq!((lsns(&wal).last(), report.streams.len()), (Some(&lsn.0), 1));
}

/// There was no room for what it begins with, and its seal came behind its end.
#[test]
fn a_segment_that_is_named_already_has_room_for_the_streams_that_a_repair_brings_back() {
    let small = |repair| Options { segment_bytes: 8192, repair, ..options() };
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { segment_bytes: 65_536, ..options() }).unwrap();
    for id in 0..80 {
        let name = format!("{id:0>90}");
        wal.stream(&name).unwrap().append("1").unwrap();
        wal.drop_stream(&name).unwrap();
    }
    drop(wal);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, small(RepairPolicy::Fail)).unwrap();
    wal.rotate().unwrap();
    drop(wal);
    let names = disk.names(DIR).unwrap();
    let segments = names.iter().filter(|name| name.starts_with("wal-")).count() as u64;
    let mut damaged = files(&disk, 1..=segments);
    assert_eq!((segments, damaged[&segments].len()), (2, 8192));
    for number in 1..=segments {
        let bytes = damaged.get_mut(&number).unwrap();
        for at in frames(bytes) {
            // What says that they are gone.
            if bytes.get(at + 20) == Some(&7) && bytes[at + 36] == 1 {
                bytes[at + 40] ^= 1;
            }
        }
    }
    let disk = plant(&damaged);
    let (wal, report) = Wal::open_in(disk.clone(), DIR, small(RepairPolicy::Salvage)).unwrap();
    assert_eq!(report.streams.len(), 80);
    wal.append("2").unwrap();
    wal.rotate().unwrap();
    let last = wal.append("3").unwrap();
    drop(wal);
    let (wal, report) = opens("again", &disk.crash(Survive::Nothing), RepairPolicy::Fail);
    assert_eq!((lsns(&wal).last(), report.streams.len()), (Some(&last.0), 80));
}

/// It was taken for a torn tail, as no frame proves the sync of a seal.
#[test]
fn what_lies_before_the_seal_of_a_segment_that_was_cut_is_durable() {
    let large = |repair| Options { segment_bytes: 16_384, repair, ..options() };
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, large(RepairPolicy::Fail)).unwrap();
    wal.append(record(1, 90)).unwrap();
    wal.append_with(record(2, 90), Durability::Written).unwrap();
    wal.append_with(record(3, 90), Durability::Written).unwrap();
    wal.rotate().unwrap();
    drop(wal);
    let mut damaged = files(&disk, 1..=2);
    assert!(damaged[&1].len() < 16_384);
    flip(&mut damaged, 1, 2);
    let looked = verify_in(plant(&damaged), DIR).unwrap();
    let disk = plant(&damaged);
    let (wal, report) = Wal::open_in(disk, DIR, large(RepairPolicy::Salvage)).unwrap();
    assert_eq!((lsns(&wal), report.next_lsn, &report.lost), (vec![1, 3], Lsn(4), &vec![Lsn(2)..Lsn(3)]));
    assert_eq!((looked.next_lsn, looked.lost, looked.torn), (report.next_lsn, report.lost, report.torn));
}

/// As many frames as the one before had streams, which a repair had brought back, were taken for a torn first group.
#[test]
fn a_segment_has_begun_that_says_what_the_one_before_did_not() {
    for said in ["stream", "checkpoint", "low"] {
        for fault in ["dropped", "missing"] {
            let disk = SimFs::new(0);
            let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
            let [a, b, c] = ["a", "b", "c"].map(|name| wal.stream(name).unwrap());
            for stream in [&a, &b, &c] {
                stream.append("1").unwrap();
            }
            wal.rotate().unwrap();
            wal.append("2").unwrap();
            wal.drop_stream("b").unwrap();
            wal.drop_stream("c").unwrap();
            wal.rotate().unwrap();
            match said {
                "stream" => drop(wal.stream("d").unwrap()),
                "checkpoint" => wal.checkpoint(Lsn(3), b"c").unwrap(),
                _ => {
                    wal.truncate_before(Lsn(4)).unwrap();
                    a.truncate_before(Lsn(4)).unwrap();
                }
            }
            drop((a, b, c, wal));
            let names = disk.names(DIR).unwrap();
            let there = |number: &u64| names.contains(&format!("wal-{number:016x}.seg"));
            let mut damaged = files(&disk, (1..=3).filter(there));
            let dropped = damaged[&2].clone();
            for at in frames(&dropped) {
                if dropped.get(at + 20) == Some(&7) && dropped[at + 36] == 1 {
                    damaged.get_mut(&2).unwrap()[at + 40] ^= 1;
                }
            }
            if fault == "missing" {
                damaged.remove(&2);
            }
            for repair in REPAIRS {
                let what = format!("{said}, {fault}");
                let disk = plant(&damaged);
                let (wal, report) = opens(&what, &disk, repair);
                drop(wal);
                let (_, again) = opens(&what, &disk.crash(Survive::Nothing), RepairPolicy::Fail);
                assert_eq!((&again.streams, &again.checkpoint), (&report.streams, &report.checkpoint));
                let names: Vec<_> = report.streams.iter().map(|def| &def.name[..]).collect();
                assert_eq!(names.contains(&"d"), said == "stream", "{what}, {repair:?}");
                assert_eq!(report.checkpoint.is_some(), said == "checkpoint", "{what}, {repair:?}");
                if repair == RepairPolicy::Salvage {
                    assert_eq!(names.len(), if said == "stream" { 2 } else { 1 }, "{what}: {names:?}");
                }
            }
        }
    }
}

/// Bodies behind a header that has rotted were of a kind that the segment before did not know.
#[test]
#[cfg(feature = "snappy")]
fn a_rotten_header_hides_no_feature_that_the_segment_before_had_not() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    wal.append("plain").unwrap();
    drop(wal);
    let packed = Options { compression: forebay_wal::Compression::Snappy, commit_align: 512, ..options() };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, packed).unwrap();
    let long = [7; 400];
    wal.append_batch([&long[..], &long]).unwrap();
    wal.stream("orders").unwrap().append("of a stream").unwrap();
    drop(wal);
    for number in [2, 3] {
        let mut damaged = files(&disk, 1..=3);
        damaged.get_mut(&number).unwrap()[50] ^= 1;
        assert_eq!(verify_in(plant(&damaged), DIR).unwrap().damaged.len(), 1, "{number}");
        for repair in REPAIRS {
            let (wal, report) = opens("rotten", &plant(&damaged), repair);
            let streams: Vec<_> = wal.reader(Lsn(0)).map(|record| record.unwrap().stream).collect();
            assert_eq!((streams, report.lost.len()), (vec![0, 0, 0, 1], 0), "{number}, {repair:?}");
        }
    }
}

/// What was never synced, and of which the media has a part only, was told as damage by a repair of something else.
#[test]
fn what_lies_behind_a_gap_that_was_never_synced_is_a_torn_tail() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    let stream = wal.stream("orders").unwrap();
    for id in 0..4 {
        wal.append(record(id, 90)).unwrap();
    }
    wal.rotate().unwrap();
    wal.append(record(5, 90)).unwrap();
    for id in 0..3 {
        stream.append_with(record(id, 90), Durability::Written).unwrap();
    }
    wal.checkpoint(Lsn(3), b"not acknowledged").unwrap();
    wal.append("proof").unwrap();
    drop((stream, wal));
    let whole = files(&disk, 1..=2);
    let places = frames(&whole[&2]);
    // Start, stream, record 5, three that are written, the checkpoint that synced them, and what proves it.
    let mut damaged = whole.clone();
    flip(&mut damaged, 1, 3);
    let last = damaged.get_mut(&2).unwrap();
    last[places[4] + 33] ^= 1;
    let end = places[7];
    last[end..].fill(0);
    let looked = verify_in(plant(&damaged), DIR).unwrap();
    for repair in REPAIRS {
        let (wal, report) = opens("torn", &plant(&damaged), repair);
        if repair == RepairPolicy::Salvage {
            assert_eq!(lsns(&wal), [1, 3, 4, 5, 6], "as a torn tail alone would leave it");
            assert_eq!((&report.lost, &report.damaged), (&looked.lost, &looked.damaged));
            assert_eq!((report.lost.len(), report.damaged.len()), (1, 1));
            let torn = report.torn.unwrap();
            assert_eq!(looked.torn.as_ref().map(|torn| &torn.bytes), Some(&torn.bytes));
            assert_eq!(torn.bytes, places[4] as u64..end as u64 - zeros(&damaged[&2][..end]));
        } else {
            assert_eq!((lsns(&wal), report.next_lsn), (vec![1], Lsn(7)));
        }
    }
    // Synced, as what lies behind proves, it is lost.
    let mut damaged = whole;
    flip(&mut damaged, 1, 3);
    damaged.get_mut(&2).unwrap()[places[4] + 33] ^= 1;
    let (wal, report) = opens("lost", &plant(&damaged), RepairPolicy::Salvage);
    assert_eq!((lsns(&wal), report.lost.len(), report.torn), (vec![1, 3, 4, 5, 6, 8, 9], 2, None));
    assert!(report.checkpoint.is_some());
}

/// At the end.
fn zeros(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take_while(|byte| **byte == 0).count() as u64
}

/// The first group of the last segment is torn, and only the segment before says all that it was to begin with.
#[test]
fn a_repair_takes_no_segment_for_begun_that_has_not() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    let streams = ["a", "b"].map(|name| wal.stream(&name.repeat(200)).unwrap());
    for id in 0..4 {
        streams[0].append(record(id, 90)).unwrap();
    }
    wal.rotate().unwrap();
    streams[1].append("behind").unwrap();
    drop((streams, wal));
    let whole = files(&disk, 1..=2);
    for lost in [0, 1, 2] {
        let mut damaged = whole.clone();
        flip(&mut damaged, 1, 4);
        // Of start, streams and record all but one is whole.
        let places = frames(&whole[&2]);
        damaged.get_mut(&2).unwrap()[places[lost]..places[lost] + 32].fill(0);
        let looked = verify_in(plant(&damaged), DIR).unwrap();
        let (wal, report) = opens("unbegun", &plant(&damaged), RepairPolicy::Salvage);
        assert_eq!((lsns(&wal), report.streams.len()), (vec![1, 3, 4], 2), "{lost}");
        assert_eq!((report.next_lsn, report.lost.len(), report.damaged.len()), (Lsn(5), 1, 1), "{lost}");
        let torn =
            |report: &RecoveryReport| report.torn.as_ref().map(|torn| (torn.segment, torn.bytes.clone()));
        assert_eq!(torn(&report).map(|(segment, bytes)| (segment, bytes.start)), Some((2, 4096)), "{lost}");
        assert_eq!((torn(&looked), looked.streams), (torn(&report), report.streams), "{lost}");
    }
}
