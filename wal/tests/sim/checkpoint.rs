//! What the caller keeps in the log about it: it outlives rotation, truncation, crashes and full disks.

use crate::harness::{DIR, options, record};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{AppendError, Durability, Lsn, OpenError, Options, RecoveryReport, Reject, Wal};

fn open(disk: &SimFs, options: Options) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, options)
}

fn kept(report: &RecoveryReport) -> Option<(u64, Vec<u8>)> {
    report.checkpoint.as_ref().map(|checkpoint| (checkpoint.lsn, checkpoint.meta.to_vec()))
}

#[test]
fn the_newest_checkpoint_is_what_the_next_opening_tells() {
    let disk = SimFs::new(0);
    let (wal, report) = open(&disk, options()).unwrap();
    assert_eq!(kept(&report), None);
    wal.append_batch(["a", "b"]).unwrap();
    wal.checkpoint(Lsn(2), b"first").unwrap();
    wal.checkpoint(Lsn(99), b"second").unwrap();
    let newest = Some((3, b"second".to_vec()));
    for disk in [disk.restart(), disk.crash(Survive::Nothing)] {
        assert_eq!(kept(&open(&disk, options()).unwrap().1), newest, "of no records that are not there");
    }
    wal.close().unwrap();
    let (wal, report) = open(&disk, options()).unwrap();
    assert_eq!((kept(&report), report.clean), (newest, true));
    wal.checkpoint(Lsn(3), b"").unwrap();
    assert_eq!(kept(&open(&disk.crash(Survive::Nothing), options()).unwrap().1), Some((3, Vec::new())));
}

#[test]
fn every_segment_begins_with_a_copy_of_it() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, options()).unwrap();
    wal.append("a").unwrap();
    wal.checkpoint(Lsn(1), b"kept").unwrap();
    for id in 0..50 {
        wal.append(record(id, 900)).unwrap();
        if id % 9 == 0 {
            // The segment with the frame that was written for it goes.
            wal.truncate_before(wal.next_lsn()).unwrap();
        }
        let (_, report) = open(&disk.crash(Survive::Nothing), options()).unwrap();
        assert_eq!(kept(&report), Some((1, b"kept".to_vec())), "record {id}");
    }
    assert!(wal.stats().rotations > 9);
    // Also a segment that gets no record before its seal.
    for _ in 0..3 {
        wal.rotate().unwrap();
        wal.checkpoint(Lsn(7), b"again").unwrap();
        wal.rotate().unwrap();
        wal.truncate_before(wal.next_lsn()).unwrap();
        let (_, report) = open(&disk.crash(Survive::Nothing), options()).unwrap();
        assert_eq!(kept(&report), Some((7, b"again".to_vec())));
    }
}

#[test]
fn a_record_longer_than_a_segment_finds_room_behind_the_copy() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, options()).unwrap();
    wal.append("a").unwrap();
    wal.checkpoint(Lsn(1), &[7; 1024]).unwrap();
    for len in [3000, 8000, 12_000, 20_000] {
        wal.append(record(1, len)).unwrap();
        wal.rotate().unwrap();
    }
    let (_, report) = open(&disk.crash(Survive::Nothing), options()).unwrap();
    assert_eq!((report.next_lsn, kept(&report)), (Lsn(6), Some((1, vec![7; 1024]))));
}

/// A life with checkpoints, up to its end or the disk's; what the last one said, and what one said whose fate is open.
fn live(disk: &SimFs, len: usize) -> Result<(), (Option<u8>, Option<u8>)> {
    let Ok((wal, _)) = open(disk, options()) else { return Err((None, None)) };
    let mut said = None;
    for id in 0..24_u8 {
        let done = match id % 4 {
            0 => wal.checkpoint(wal.next_lsn(), &vec![id; len]).map_err(|error| (error, Some(id))),
            1 | 2 => wal.append(record(id.into(), 900)).map(drop).map_err(|error| (error, None)),
            _ => wal.truncate_before(wal.next_lsn()).map(drop).map_err(|error| (error, None)),
        };
        match done {
            Ok(()) if id % 4 == 0 => said = Some(id),
            Ok(()) => {}
            Err((AppendError::Rejected(_), _)) => return Err((said, None)),
            Err((_, open)) => return Err((said, open)),
        }
    }
    Ok(())
}

#[test]
fn wherever_the_power_goes_one_of_two_checkpoints_is_there() {
    // The copy behind a start frame lies in its sector, and goes beyond.
    let undecided = [300, 1000].map(wherever_the_power_goes);
    assert!(undecided.iter().all(|&deaths| deaths > 10), "{undecided:?} deaths in a checkpoint");
}

fn wherever_the_power_goes(len: usize) -> usize {
    let mut undecided = 0;
    for op in 0.. {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let Err((said, open_one)) = live(&disk, len) else { break };
        undecided += usize::from(open_one.is_some());
        for survive in [Survive::Nothing, Survive::Everything].into_iter().chain((0..6).map(Survive::Seeded))
        {
            let (_, report) = open(&disk.crash(survive), options()).unwrap();
            let found = report.checkpoint.map(|checkpoint| checkpoint.meta[0]);
            assert!(
                found == said || open_one.is_some() && found == open_one,
                "died at {op}, {survive:?}: {found:?}"
            );
        }
    }
    undecided
}

#[test]
fn a_checkpoint_that_is_too_long_is_refused_with_the_limit() {
    let longest = |segment_bytes, fits: usize| {
        let (wal, _) = open(&SimFs::new(0), Options { segment_bytes, ..options() }).unwrap();
        wal.checkpoint(Lsn(1), &vec![1; fits]).unwrap();
        let refused = wal.checkpoint(Lsn(1), &vec![1; fits + 1]).unwrap_err();
        let (len, limit) = (fits as u64 + 1, fits as u64);
        assert!(
            matches!(refused, AppendError::Rejected(Reject::TooLarge { len: l, limit: m, .. }) if (l, m) == (len, limit))
        );
        assert_eq!(wal.stats().rejected.too_large, 1);
    };
    longest(8192, 1024);
    longest(1 << 20, 64 << 10);
}

#[test]
fn a_thousand_checkpoints_and_truncations_find_room_on_a_full_disk() {
    let disk = SimFs::new(0);
    let options = || Options { segment_bytes: 1 << 20, max_frame: 1 << 16, ..options() };
    let (wal, _) = open(&disk, options()).unwrap();
    disk.set_budget(Some(3 << 20));
    let fill = || (0..).take_while(|id| wal.append(record(*id, 20_000)).is_ok()).count();
    assert!(fill() > 80);
    disk.set_budget(Some(0));
    for round in 0..1000_u64 {
        wal.checkpoint(wal.next_lsn(), &vec![round.to_le_bytes()[0]; 64 << 10]).unwrap();
        wal.truncate_before(wal.next_lsn()).unwrap();
        if round % 100 == 0 {
            assert!(fill() > 0, "round {round}");
        }
    }
    let (_, report) = open(&disk.crash(Survive::Nothing), options()).unwrap();
    assert_eq!(kept(&report).unwrap().1, vec![231; 64 << 10]);
}

/// Checkpoints that give back nothing find room for some, and leave some for truncations.
#[test]
fn checkpoints_do_not_use_up_what_truncations_need() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, Options { segment_bytes: 1 << 16, max_frame: 4096, ..options() }).unwrap();
    disk.set_budget(Some(3 << 16));
    while wal.append(record(1, 500)).is_ok() {}
    disk.set_budget(Some(0));
    let made = (0..100).take_while(|_| wal.checkpoint(Lsn(1), &[1; 1000]).is_ok()).count();
    assert!((10..50).contains(&made), "{made}");
    assert!(wal.truncate_before(wal.next_lsn()).unwrap().segments > 0);
    wal.checkpoint(wal.next_lsn(), &[2; 1000]).unwrap();
    wal.append(record(1, 500)).unwrap();
}

/// It would speak of records that are not there, and no opening believes that.
#[test]
fn a_checkpoint_of_records_that_could_not_be_written_is_refused() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, options()).unwrap();
    wal.append("first").unwrap();
    wal.append_with("told and not written", Durability::Buffered).unwrap();
    disk.fail_next(Op::Write, 0, Fault::Error(std::io::ErrorKind::Other));
    let refused = wal.checkpoint(Lsn(3), b"of both");
    assert!(matches!(refused, Err(AppendError::Rejected(Reject::Io { .. }))), "{refused:?}");
    disk.fail_next(Op::Write, 0, Fault::Error(std::io::ErrorKind::Other));
    wal.checkpoint(Lsn(2), b"of the first").unwrap();
    wal.append("third").unwrap();
    let (wal, report) = open(&disk.crash(Survive::Nothing), options()).unwrap();
    assert_eq!((report.records, kept(&report)), (3, Some((2, b"of the first".to_vec()))));
    assert_eq!(wal.reader(Lsn(0)).count(), 3);
}

/// The copy takes its place in the segment also where segments are smaller than they were.
#[test]
fn a_checkpoint_fits_also_where_segments_have_become_smaller() {
    for rotated_before in [true, false] {
        let disk = SimFs::new(0);
        let large = Options { segment_bytes: 1 << 20, ..options() };
        let (wal, _) = open(&disk, large).unwrap();
        wal.append("first").unwrap();
        let newest = Some((2, vec![7; 64 << 10]));
        wal.checkpoint(Lsn(2), &[7; 64 << 10]).unwrap();
        if rotated_before {
            wal.rotate().unwrap();
        }
        drop(wal);
        let small = || Options { segment_bytes: 8192, ..options() };
        let (wal, _) = open(&disk, small()).unwrap();
        if !rotated_before {
            wal.rotate().unwrap();
        }
        for id in 0..20 {
            wal.append(record(id, 900)).unwrap();
        }
        wal.rotate().unwrap();
        drop(wal);
        let (wal, report) = open(&disk.crash(Survive::Nothing), small()).unwrap();
        assert_eq!((report.records, kept(&report)), (21, newest));
        assert_eq!(wal.reader(Lsn(0)).count(), 21);
    }
}

/// The segment that it needs was larger than half of what the log may take.
#[test]
fn the_longest_record_that_a_limit_allows_fits_beside_the_longest_checkpoint() {
    let limited = Options { max_log_bytes: Some(4 * 8192), ..options() };
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, limited.clone()).unwrap();
    let refused = wal.append(vec![0; 1 << 20]);
    let Err(AppendError::Rejected(Reject::TooLarge { limit, .. })) = refused else { panic!("{refused:?}") };
    wal.checkpoint(Lsn(1), &[7; 8192 / 8]).unwrap();
    let longest = usize::try_from(limit).unwrap() - 2;
    for _ in 0..3 {
        let lsn = wal.append(vec![1; longest]).unwrap();
        wal.truncate_before(lsn).unwrap();
    }
    assert_eq!(wal.next_lsn(), Lsn(4));
}
