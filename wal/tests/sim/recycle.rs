//! Files that truncations give back and rotation uses again.

use std::sync::Arc;

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, Session, Step, options, path, read_all, record};
use forebay_wal::format::{Features, Header};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, Options, Reject, Wal};
use parking_lot::Mutex;

/// A few records a segment, so that lives are short.
const LEN: usize = 900;

fn open(disk: &SimFs) -> Wal<SimFs> {
    Wal::open_in(disk.clone(), DIR, options()).unwrap().0
}

fn spares(disk: &SimFs) -> Vec<String> {
    let mut names = disk.names(DIR).unwrap();
    names.retain(|name| name.starts_with("spare-"));
    names
}

/// Appends until the log has rotated `times` more.
fn rotate_by_size(wal: &Wal<SimFs>, times: u64) {
    let until = wal.stats().rotations + times;
    while wal.stats().rotations < until {
        wal.append(record(until, LEN)).unwrap();
    }
}

/// A log that has given back `files` whole segments.
fn with_spares(files: u64) -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(1);
    let wal = open(&disk);
    rotate_by_size(&wal, files);
    assert_eq!(wal.truncate_before(wal.next_lsn()).unwrap().segments as u64, files);
    assert_eq!(spares(&disk).len() as u64, files.min(4));
    (disk, wal)
}

#[test]
fn a_segment_is_made_of_a_file_that_was_given_back() {
    let (disk, wal) = with_spares(1);
    let usage = wal.usage();
    assert_eq!((usage.log_bytes, usage.spare_bytes, wal.stats().spare_bytes), (8192, 8192, 8192));
    let inodes = disk.allocated();
    assert!(wal.reserve().unwrap());
    assert_eq!((spares(&disk).len(), disk.allocated(), wal.stats().recycled_segments), (0, inodes, 1));
    let header = Header::decode(&disk.peek(path(3)).unwrap()).unwrap();
    assert_eq!((header.features, header.segment), (Features::RECYCLED, 3));
    rotate_by_size(&wal, 1);
    let before = read_all(&wal);
    assert!(!before.is_empty() && read_all(&open(&disk.crash(Survive::Nothing))) == before);
}

#[test]
fn in_the_steady_state_rotation_makes_nothing_and_a_segment_costs_one_page() {
    let (disk, wal) = with_spares(2);
    let calls = |ops: &[Op]| ops.iter().map(|op| disk.count(*op)).sum::<u64>();
    let naming = [Op::CreateNew, Op::Rename, Op::Remove, Op::SyncDir, Op::Allocate, Op::SetLen, Op::Open];
    let anew = [Op::CreateNew, Op::Allocate, Op::SetLen, Op::Remove];
    let (made_anew, room) = (calls(&anew), disk.allocated());
    for round in 0..20 {
        let writes = disk.count(Op::Write);
        wal.reserve().unwrap();
        assert_eq!(disk.count(Op::Write) - writes, 1, "the header");
        let before = calls(&naming);
        rotate_by_size(&wal, 1);
        assert_eq!(calls(&naming), before, "round {round}");
        wal.truncate_before(wal.next_lsn()).unwrap();
    }
    assert_eq!((calls(&anew), disk.allocated()), (made_anew, room));
    assert_eq!(wal.stats().recycled_segments, 20);
}

/// Trap 24: space that is only allocated costs a change of metadata with every first write to it.
#[test]
fn a_segment_that_is_made_anew_is_filled_with_zeros() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { segment_bytes: 4 << 20, ..options() }).unwrap();
    let before = disk.count(Op::Write);
    wal.reserve().unwrap();
    let writes = disk.count(Op::Write) - before;
    assert!(writes > 64, "{writes} writes, each of 64 KiB of zeros at most, and one of the header");
}

#[test]
fn no_more_files_are_kept_than_were_asked_for() {
    let (disk, wal) = with_spares(6);
    assert_eq!(wal.usage().spare_bytes, 4 * 8192);
    drop(wal);
    let keep = |max_spare_segments| {
        let options = Options { max_spare_segments, ..options() };
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
        (wal.usage().spare_bytes, spares(&disk).len())
    };
    assert_eq!((keep(9), keep(3), keep(0)), ((4 * 8192, 4), (3 * 8192, 3), (0, 0)));
}

#[test]
fn files_of_another_size_are_not_kept() {
    let (disk, wal) = with_spares(2);
    drop(wal);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { segment_bytes: 12_288, ..options() }).unwrap();
    assert_eq!((wal.usage().spare_bytes, spares(&disk).len()), (0, 0));
    let (disk, wal) = with_spares(0);
    wal.append(record(1, 10_000)).unwrap();
    rotate_by_size(&wal, 1);
    let done = wal.truncate_before(wal.next_lsn()).unwrap();
    assert_eq!((done.segments, spares(&disk).len()), (1, 0), "it was made for a long record");
}

#[test]
fn spares_go_before_anything_is_refused_for_want_of_their_bytes() {
    // The limit of the log.
    let limit = Options { max_log_bytes: Some(6 * 8192), ..options() };
    let disk = SimFs::new(1);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, limit).unwrap();
    rotate_by_size(&wal, 4);
    wal.truncate_before(wal.next_lsn()).unwrap();
    assert_eq!(wal.usage().spare_bytes, 4 * 8192);
    wal.append(record(1, 16_000)).unwrap();
    let usage = wal.usage();
    assert!(usage.log_bytes + usage.spare_bytes <= 6 * 8192 && usage.spare_bytes > 0, "{usage:?}");
    // The disk.
    let (disk, wal) = with_spares(4);
    disk.set_budget(Some(disk.allocated()));
    wal.append(record(1, 18_000)).unwrap();
    assert!((1..4).contains(&spares(&disk).len()));
    // Where that would not help they stay.
    let (disk, wal) = with_spares(4);
    disk.set_budget(Some(disk.allocated()));
    let refused = wal.append(record(1, 60_000)).unwrap_err();
    assert!(matches!(refused, AppendError::Rejected(Reject::NoSpace { .. })), "{refused}");
    assert_eq!(spares(&disk).len(), 4);
}

#[test]
fn a_log_never_takes_more_than_its_limit_with_its_spares() {
    let limit = 5 * 8192;
    let (wal, _) =
        Wal::open_in(SimFs::new(1), DIR, Options { max_log_bytes: Some(limit), ..options() }).unwrap();
    for id in 0..200 {
        if wal.append(record(id, LEN)).is_err() {
            wal.truncate_before(Lsn(wal.next_lsn().0 - id % 9)).unwrap();
        }
        let usage = wal.usage();
        assert!(usage.log_bytes + usage.spare_bytes <= limit, "{usage:?}");
    }
    assert!(wal.stats().recycled_segments > 5);
}

/// Makes a segment at the moment at which a truncation has renamed files and not synced their names, as the thread that
/// makes segments ahead may.
#[derive(Default)]
struct Beside(Mutex<Option<Wal<Watched<Self>>>>);

impl Watch for Beside {
    fn before(&self, op: Op) {
        let wal = if op == Op::SyncDir { self.0.lock().take() } else { None };
        if let Some(wal) = wal {
            let refused = wal.reserve();
            let full = matches!(refused, Err(AppendError::Rejected(Reject::QuotaExceeded { .. })));
            assert!(full, "{refused:?}");
        }
    }
}

#[test]
fn a_segment_that_is_made_beside_a_truncation_stays_within_the_limit() {
    let beside = Arc::<Beside>::default();
    let options = Options { max_log_bytes: Some(4 * 8192), ..options() };
    let fs = Watched::new(SimFs::new(1), beside.clone());
    let (wal, _) = Wal::open_in(fs, DIR, options).unwrap();
    while wal.usage().segments < 4 {
        wal.append(record(1, LEN)).unwrap();
    }
    *beside.0.lock() = Some(wal.clone());
    assert_eq!(wal.truncate_before(wal.next_lsn()).unwrap().segments, 3);
    assert!(beside.0.lock().is_none());
    assert!(wal.reserve().unwrap());
    let usage = wal.usage();
    assert_eq!((usage.log_bytes, usage.spare_bytes), (2 * 8192, 2 * 8192));
}

/// A reader that stands in a segment without records does not hold it: what it finds there may be another's.
#[test]
fn a_reader_goes_on_where_the_file_under_it_was_used_again() {
    let (_, wal) = with_spares(3);
    rotate_by_size(&wal, 1);
    let mut reader = wal.reader(Lsn::FIRST);
    let first = reader.next().unwrap().unwrap();
    let seen = 1 + reader.count();
    assert_eq!(seen as u64, wal.next_lsn().0 - first.lsn.0);
}

#[test]
fn a_full_disk_is_lived_on_with_the_files_there_are() {
    let mut session = Session::new(SimFs::new(0), options());
    session.disk.set_budget(Some(5 * 8192));
    while session.step(&Step::Append(600)) {}
    session.disk.set_budget(Some(0));
    for round in 0..100 {
        assert!(session.step(&Step::Truncate(60)), "round {round}");
        let mut appended = 0;
        while session.step(&Step::Append(600)) {
            appended += 1;
        }
        assert!(appended > 0, "round {round}");
        if round % 10 == 9 {
            session.wal = None;
            session.disk = session.disk.crash(Survive::Seeded(round));
            session.open().unwrap();
        }
    }
    session.disk.set_budget(None);
    assert!(session.step(&Step::Append(20_000)), "it resumes by itself");
}

/// Segments of 64 KiB that are full of small records.
fn wide() -> Options {
    Options { segment_bytes: 1 << 16, max_frame: 4096, ..options() }
}

#[test]
fn a_thousand_truncations_find_room_on_a_full_disk() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, wide()).unwrap();
    disk.set_budget(Some(3 << 16));
    let fill = |wal: &Wal<SimFs>| (0..).take_while(|id| wal.append(record(*id, 500)).is_ok()).count();
    fill(&wal);
    disk.set_budget(Some(0));
    let made = disk.allocated();
    let mut appended = 0;
    for round in 0..1000 {
        // A few records at a time, so that most give back no segment, or all there is.
        let to = if round % 50 == 49 { wal.next_lsn() } else { Lsn(wal.watermarks().low.0 + 7) };
        wal.truncate_before(to).unwrap();
        appended += fill(&wal);
    }
    assert!(appended > 1000, "{appended} records found room that records had given back");
    assert_eq!(disk.allocated(), made);
    disk.set_budget(None);
    wal.append(record(1, 90_000)).unwrap();
}

/// While no further segment can be had.
#[test]
fn records_leave_a_quarter_of_the_last_segment() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, wide()).unwrap();
    let full = |wal: &Wal<SimFs>| {
        while wal.append(record(1, 500)).is_ok() {}
        let segment = disk.peek(path(wal.stats().rotations + 1)).unwrap();
        let end = segment.iter().rposition(|byte| *byte != 0).unwrap();
        let most = (1 << 16) - ((1 << 16) - 4096) / 4;
        assert!((most - 600..most).contains(&end), "{end} of {most}");
        wal.stats().rotations
    };
    wal.append("a").unwrap();
    disk.set_budget(Some(0));
    assert_eq!(full(&wal), 0);
    // Reopened, it still leaves them.
    drop(wal);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, wide()).unwrap();
    assert_eq!(full(&wal), 0);
    // With another in hand they may have them, and all but the same of that one.
    disk.set_budget(Some(2 << 16));
    wal.reserve().unwrap();
    disk.set_budget(Some(0));
    assert_eq!(full(&wal), 1);
    // Where the limit of the log forbids another, and not the disk, they have all of it.
    let limited = Options { max_log_bytes: Some(2 << 16), ..wide() };
    let (wal, _) = Wal::open_in(SimFs::new(0), DIR, limited).unwrap();
    while wal.append(record(1, 500)).is_ok() {}
    assert!(wal.next_lsn() > Lsn(210), "{:?}", wal.watermarks());
}

/// Frames that carry no record have the number of the next one, and may come to lie where a new life looks for them:
/// the log would pass for one that was closed.
#[test]
fn an_old_clean_close_does_not_fit_a_new_life() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    wal.rotate().unwrap();
    // Start, watermark, and the mark of a clean end behind them.
    wal.truncate_before(Lsn(2)).unwrap();
    wal.close().unwrap();
    let salt = |segment| Header::decode(&disk.peek(path(segment)).unwrap()).unwrap().salt;
    let old = salt(2);
    let wal = open(&disk);
    for _ in 0..2 {
        wal.rotate().unwrap();
        wal.truncate_before(Lsn(2)).unwrap();
    }
    assert_eq!(wal.stats().recycled_segments, 2);
    assert_ne!(salt(4), old, "it is the same file");
    let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!((report.clean, report.next_lsn), (false, Lsn(2)));
    assert_eq!(wal.append("b").unwrap(), Lsn(2));
}
