//! One segment after the other: what rotation costs, what bounds the log, who is accused.

use crate::harness::{DIR, options, read_all, record};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, OpenError, Options, Reject, Wal};

fn open(disk: &SimFs, options: Options) -> Wal<SimFs> {
    Wal::open_in(disk.clone(), DIR, options).unwrap().0
}

fn segments(disk: &SimFs) -> Vec<String> {
    let mut names = disk.names(DIR).unwrap();
    names.retain(|name| name.starts_with("wal-"));
    names
}

#[test]
fn with_a_segment_made_ahead_rotation_creates_nothing() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    wal.append("a").unwrap();
    assert!(wal.reserve().unwrap() && !wal.reserve().unwrap());
    let made = [Op::CreateNew, Op::Rename, Op::SyncDir, Op::Allocate].map(|op| disk.count(op));
    let syncs = disk.count(Op::Sync);
    let mut appends = 0;
    while wal.stats().rotations == 0 {
        wal.append(record(appends, 300)).unwrap();
        appends += 1;
    }
    let after = [Op::CreateNew, Op::Rename, Op::SyncDir, Op::Allocate].map(|op| disk.count(op));
    assert_eq!(made, after);
    assert_eq!(disk.count(Op::Sync) - syncs, appends + 1, "one more for the seal");
}

/// A sync of a whole segment is one that every append waits behind that comes meanwhile.
#[test]
fn a_segment_made_ahead_goes_to_the_media_in_small_shares_and_one_that_is_waited_for_at_once() {
    let disk = SimFs::new(0);
    let wal = open(&disk, Options { segment_bytes: 1 << 20, ..options() });
    let syncs_of = |make: &dyn Fn()| {
        let before = disk.count(Op::Sync);
        make();
        disk.count(Op::Sync) - before
    };
    let first = syncs_of(&|| assert_eq!(wal.append("a").unwrap(), Lsn(1)));
    assert_eq!(first, 2, "the segment, the record");
    assert_eq!(syncs_of(&|| assert!(wal.reserve().unwrap())), 4, "of 256 KiB");
    assert_eq!(syncs_of(&|| wal.rotate().unwrap()), 1, "the seal");
    wal.append("b").unwrap();
    assert_eq!(syncs_of(&|| wal.rotate().unwrap()), 2, "another segment, the seal");
}

#[test]
fn segments_are_numbered_without_gaps_and_sealed_ones_are_no_longer_than_needed() {
    let disk = SimFs::new(0);
    let wal = open(&disk, Options { segment_bytes: 1 << 14, ..options() });
    wal.rotate().unwrap();
    assert!(segments(&disk).is_empty(), "there is nothing to end");
    for id in 0..5 {
        wal.append(record(id, 10)).unwrap();
        wal.rotate().unwrap();
        wal.rotate().unwrap();
    }
    let names = segments(&disk);
    let expected: Vec<_> = (1..=6).map(|number| format!("wal-{number:016x}.seg")).collect();
    assert_eq!(names, expected, "an empty segment is not ended");
    let sizes: Vec<_> = names.iter().map(|name| disk.peek(format!("{DIR}/{name}")).unwrap().len()).collect();
    assert!(sizes[..5].iter().all(|&size| size < 4096 + 300), "{sizes:?}");
    assert_eq!(wal.usage().log_bytes, sizes.iter().map(|&size| size as u64).sum::<u64>());
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_size() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    wal.append("small").unwrap();
    wal.reserve().unwrap();
    wal.append(record(1, 50_000)).unwrap();
    wal.append("small again").unwrap();
    assert_eq!(segments(&disk).len(), 2, "the segment made ahead was replaced");
    let after = open(&disk.crash(Survive::Nothing), options());
    assert_eq!(read_all(&after)[1], (2, record(1, 50_000)));
}

#[test]
fn a_log_at_its_limit_says_who_pins_it_and_goes_on_when_let() {
    let limit = 5 * 8192;
    let disk = SimFs::new(0);
    let wal = open(&disk, Options { max_log_bytes: Some(limit), ..options() });
    let pin = wal.pin("slow tenant", Lsn(3));
    let _young = wal.pin("fast tenant", Lsn(20));
    let refused = loop {
        match wal.append(record(1, 700)) {
            Ok(_) => assert!(wal.usage().log_bytes <= limit),
            Err(AppendError::Rejected(reason)) => break reason,
            Err(error) => panic!("{error}"),
        }
    };
    let Reject::QuotaExceeded { limit: at, used, pinned_by: Some(by), .. } = refused.clone() else {
        panic!("{refused:?}")
    };
    assert_eq!((at, &*by.name, by.lsn, by.bytes), (limit, "slow tenant", Lsn(3), used));
    assert!(refused.to_string().contains("of which \"slow tenant\" holds"), "{refused}");
    assert_eq!(wal.usage().pinned_by, Some(by));
    assert!(!wal.reserve().is_ok_and(|made| made), "nothing is made ahead beyond the limit");

    let end = wal.next_lsn();
    assert_eq!(wal.truncate_before(end).unwrap().segments, 0, "the pin holds");
    assert!(wal.append(record(2, 700)).is_err());
    drop(pin);
    assert!(wal.truncate_before(end).unwrap().segments > 0);
    wal.append(record(3, 700)).unwrap();
}

#[test]
fn a_record_that_the_limit_leaves_no_place_for_is_too_large() {
    for limit in [2 * 8192, 4 * 8192, 5 * 8192 + 77, 1 << 20] {
        let wal = open(&SimFs::new(0), Options { max_log_bytes: Some(limit), ..options() });
        let error = wal.append(vec![0; usize::try_from(limit).unwrap()]).unwrap_err();
        let AppendError::Rejected(Reject::TooLarge { limit: longest, .. }) = error else { panic!("{error}") };
        assert!(longest > limit / 25, "{longest} of {limit}");
        // What is not too large fits, however often, once all before it is given up.
        let longest = vec![0; usize::try_from(longest - 3).unwrap()];
        for _ in 0..5 {
            wal.append(longest.clone()).unwrap();
            assert!(wal.usage().log_bytes <= limit);
            wal.truncate_before(wal.next_lsn()).unwrap();
        }
    }
}

#[test]
fn without_pins_nobody_is_accused() {
    let wal = open(&SimFs::new(0), Options { max_log_bytes: Some(2 * 8192), ..options() });
    let error = (0..100).find_map(|id| wal.append(record(id, 700)).err()).unwrap();
    assert!(matches!(error, AppendError::Rejected(Reject::QuotaExceeded { pinned_by: None, .. })));
}

#[test]
fn a_limit_below_two_segments_is_refused() {
    let options = Options { max_log_bytes: Some(8192), ..options() };
    let error = Wal::open_in(SimFs::new(0), DIR, options).unwrap_err();
    assert!(matches!(error, OpenError::Options(_)), "{error}");
}

#[test]
fn a_log_may_be_reopened_with_other_sizes() {
    let disk = SimFs::new(0);
    let mut expected = Vec::new();
    for (round, (segment_bytes, max_frame)) in
        [(8192, 512), (1 << 16, 1 << 15), (12_288, 600)].into_iter().enumerate()
    {
        let wal = open(&disk, Options { segment_bytes, max_frame, ..options() });
        for id in 0..20 {
            let bytes = record(round as u64 * 100 + id, 500);
            expected.push((wal.append(bytes.clone()).unwrap().0, bytes));
        }
        if round == 1 {
            wal.close().unwrap();
        }
    }
    assert!(read_all(&open(&disk, options())) == expected);
}

#[test]
fn a_log_leaves_free_what_it_was_told_to() {
    let disk = SimFs::new(0);
    let wal = open(&disk, Options { min_free_bytes: 20_000, ..options() });
    wal.append("a").unwrap();
    let made = || [Op::CreateNew, Op::Allocate, Op::Remove].map(|op| disk.count(op));
    let before = made();
    for (free, fits) in [(20_000, false), (28_191, false), (28_672, true)] {
        disk.set_budget(Some(disk.allocated() + free));
        assert_eq!(wal.reserve().ok(), fits.then_some(true), "{free} bytes free");
        assert_eq!(before == made(), !fits, "what does not fit is not tried");
    }
}
