//! Giving back whole segments, and what holds them.

use std::io::ErrorKind;

use crate::harness::{DIR, Session, Step, options, read_all, record};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{DamageClass, Lsn, OpenError, Options, Wal};

/// A log of five segments with two records each, LSNs 1 to 10, the last of them being written.
fn log() -> (SimFs, Wal<SimFs>) {
    log_keeping(options().max_spare_segments)
}

/// The same, keeping so many of the files that it gives back.
fn log_keeping(max_spare_segments: usize) -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { max_spare_segments, ..options() }).unwrap();
    for id in 1..=10 {
        wal.append(record(id, 10)).unwrap();
        if id % 2 == 0 && id < 10 {
            wal.rotate().unwrap();
        }
    }
    assert_eq!(wal.usage().segments, 5);
    (disk, wal)
}

fn first_after(disk: &SimFs) -> u64 {
    let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    let records = read_all(&wal);
    assert_eq!(records.first().map_or(report.next_lsn.0, |(lsn, _)| *lsn), report.first_lsn.0);
    report.first_lsn.0
}

#[test]
fn only_whole_segments_go_and_the_watermark_hides_the_rest() {
    let (disk, wal) = log();
    let before = wal.usage().log_bytes;
    let done = wal.truncate_before(Lsn(6)).unwrap();
    assert_eq!((done.segments, done.low, done.remaining), (2, Lsn(6), 0));
    assert_eq!(wal.usage().log_bytes, before - done.bytes);
    assert_eq!(read_all(&wal).first().unwrap().0, 6, "record 5 is on disk and gone");
    assert_eq!(wal.watermarks().low, Lsn(6));
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), 6);
    assert_eq!(wal.truncate_before(Lsn(3)).unwrap().low, Lsn(6), "the watermark never sinks");
    let done = wal.truncate_before(Lsn(999)).unwrap();
    assert_eq!((done.segments, done.low), (2, Lsn(11)), "the segment being written stays");
    assert_eq!(wal.append("next").unwrap(), Lsn(11));
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), 11);
}

#[test]
fn removed_files_that_come_back_stay_gone() {
    let (disk, wal) = log_keeping(0);
    // The files vanish, the directory is not synced: any subset may be back after the crash.
    disk.fail_next(Op::SyncDir, 0, Fault::PowerCut);
    assert!(wal.truncate_before(Lsn(7)).is_err());
    assert_eq!(disk.effects(), 3, "three names are in the air");
    for survive in
        [Survive::Nothing, Survive::Everything, Survive::Only(0), Survive::Only(1), Survive::AllBut(1)]
    {
        let image = disk.crash(survive);
        let (_, report) = Wal::open_in(image.clone(), DIR, options()).unwrap();
        let expected = match survive {
            Survive::Nothing => 3,
            Survive::Everything => 0,
            Survive::Only(_) => 2,
            _ => 1,
        };
        assert_eq!((report.first_lsn, report.leftovers), (Lsn(7), expected), "{survive:?}");
        assert_eq!(image.names(DIR).unwrap().iter().filter(|name| name.starts_with("wal-")).count(), 2);
    }
}

#[test]
fn a_segment_missing_above_the_watermark_is_damage() {
    let (disk, wal) = log();
    wal.truncate_before(Lsn(4)).unwrap();
    for (number, lsns) in [(2, Lsn(4)..Lsn(5)), (3, Lsn(5)..Lsn(7))] {
        let image = disk.crash(Survive::Nothing);
        forebay_wal::fs::Fs::remove(&image, format!("{DIR}/wal-{number:016x}.seg").as_ref()).unwrap();
        match Wal::open_in(image, DIR, options()) {
            Err(OpenError::Corrupt(damage)) => {
                assert_eq!((damage.class, damage.segment), (DamageClass::MissingSegment, number));
                assert_eq!(damage.lsns, lsns);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_cannot_be_removed_or_kept_is_tried_again() {
    for (keep, op) in [(0, Op::Remove), (4, Op::Rename)] {
        let (disk, wal) = log_keeping(keep);
        let before = disk.count(op);
        disk.fail_next(op, 0, Fault::Error(ErrorKind::PermissionDenied));
        let done = wal.truncate_before(Lsn(5)).unwrap();
        assert_eq!((done.segments, done.remaining), (1, 1));
        let done = wal.truncate_before(Lsn(5)).unwrap();
        assert_eq!((done.segments, done.remaining), (1, 0));
        assert_eq!(disk.count(op) - before, 3);
    }
}

#[test]
fn pins_and_readers_hold_what_they_need() {
    let (_, wal) = log();
    let pin = wal.pin("index", Lsn(4));
    assert_eq!(wal.truncate_before(Lsn(9)).unwrap().low, Lsn(4));
    pin.advance(Lsn(7));
    let mut reader = wal.reader(Lsn(5));
    assert_eq!(wal.truncate_before(Lsn(9)).unwrap().low, Lsn(5));
    let rest: Vec<u64> = reader.by_ref().map(|record| record.unwrap().lsn.0).collect();
    assert_eq!(rest, [5, 6, 7, 8, 9, 10]);
    assert_eq!(wal.truncate_before(Lsn(9)).unwrap().low, Lsn(7), "a reader lets go of what it has read");
    drop((pin, reader));
    assert_eq!(wal.truncate_before(Lsn(9)).unwrap().low, Lsn(9));
    assert_eq!(wal.pin("late", Lsn(1)).lsn(), Lsn(9), "what is gone cannot be pinned");
}

#[test]
fn a_low_watermark_survives_rotation_and_more_truncations() {
    let (disk, wal) = log();
    for lsn in 2..=10 {
        wal.truncate_before(Lsn(lsn)).unwrap();
        assert_eq!(first_after(&disk.crash(Survive::Nothing)), lsn);
    }
    wal.rotate().unwrap();
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), 10);
    wal.append("x").unwrap();
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), 10);
}

/// Appends until the log takes no more; the last record.
fn fill(wal: &Wal<SimFs>) -> Lsn {
    while wal.append(record(1, 10)).is_ok() {}
    assert!(wal.poisoned().is_none());
    Lsn(wal.next_lsn().0 - 1)
}

/// Many watermarks inside the oldest segment must not use up the room of the one that gives it back.
fn nibbles_and_then_bites(disk: &SimFs, wal: &Wal<SimFs>) {
    let low = wal.watermarks().low.0;
    for lsn in low..low + 40 {
        let done = wal.truncate_before(Lsn(lsn)).unwrap();
        assert!(done.segments == 0 && done.low <= Lsn(lsn));
        assert_eq!(wal.watermarks().low, done.low);
    }
    let low = wal.watermarks().low.0;
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), low);
    let done = wal.truncate_before(Lsn(low + 80)).unwrap();
    assert!(done.segments >= 1 && done.low == Lsn(low + 80), "{done:?}");
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), low + 80);
}

#[test]
fn a_log_at_its_limit_can_always_be_truncated() {
    let options = Options { max_log_bytes: Some(8 * 8192), ..options() };
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options.clone()).unwrap();
    fill(&wal);
    nibbles_and_then_bites(&disk, &wal);
    fill(&wal);
    drop(wal);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options.clone()).unwrap();
    fill(&wal);
    nibbles_and_then_bites(&disk, &wal);
    // One segment at a time, each time with no room for anything but the watermark.
    let last = fill(&wal);
    let bases: Vec<u64> = (wal.watermarks().low.0..last.0).step_by(30).collect();
    for lsn in bases {
        fill(&wal);
        wal.truncate_before(Lsn(lsn)).unwrap();
        assert!(wal.usage().log_bytes <= 8 * 8192, "{:?}", wal.usage());
    }
}

#[test]
fn a_limit_lowered_below_what_there_is_does_not_stop_truncations() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    for id in 1..=60 {
        wal.append(record(id, 10)).unwrap();
        wal.rotate().unwrap();
    }
    wal.close().unwrap();
    let options = Options { max_log_bytes: Some(2 * 8192), ..options() };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
    fill(&wal);
    for lsn in 2..=60 {
        assert_eq!(wal.truncate_before(Lsn(lsn)).unwrap().segments, 1);
    }
    assert_eq!(first_after(&disk.crash(Survive::Nothing)), 60);
}

#[test]
fn a_full_disk_can_be_truncated_too() {
    let disk = SimFs::new(0);
    disk.set_budget(Some(8 * 8192));
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    fill(&wal);
    // Somebody else takes what the truncation gives back.
    disk.set_budget(Some(0));
    nibbles_and_then_bites(&disk, &wal);
    nibbles_and_then_bites(&disk, &wal);
}

/// The watermark stood at the end of the log already when the log rotated: the old segment was removed before the new
/// one had a frame that tells of it, and the log did not open any more.
#[test]
fn a_segment_goes_only_when_the_next_one_tells_what_was_before_it() {
    let mut session = Session::new(SimFs::new(1), options());
    for step in [Step::Append(10), Step::Truncate(100), Step::Rotate, Step::Truncate(0)] {
        assert!(session.step(&step), "{step:?}");
    }
    session.wal = None;
    session.disk = session.disk.crash(Survive::Nothing);
    session.open().unwrap();
    assert!(session.step(&Step::Append(20)));
}
