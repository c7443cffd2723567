//! Operations fail, one at a time or all for want of space, and the power goes after it.

use std::io::ErrorKind;

use crate::harness::{DIR, Session, Step, life, options, read_all, record};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive, SyncModel};
use forebay_wal::{AppendError, DamageClass, Lsn, OpenError, Options, Reject, Wal};

/// Lives with one operation failing, as often as there are operations; after each life a power cut.
fn lives_with(fault: Fault, model: SyncModel, mut judge: impl FnMut(u64, &mut Session, bool)) {
    let mut op = 0;
    loop {
        let disk = SimFs::new(op);
        disk.set_sync_model(model);
        disk.fail_at(op, fault);
        let mut session = Session::new(disk, options());
        let mut unharmed = true;
        for step in life() {
            unharmed &= session.step(&step);
        }
        let over = op >= session.disk.op_count();
        session.wal = None;
        judge(op, &mut session, unharmed);
        if over {
            assert!(op > 100, "{op} operations were tried");
            break;
        }
        op += 1;
    }
}

fn promises_hold(op: u64, session: &mut Session) {
    for survive in [Survive::Nothing, Survive::Seeded(op)] {
        let mut after = Session::new(session.disk.crash(survive), options());
        after.ledger = session.ledger.clone();
        after.open().unwrap_or_else(|error| panic!("fault at {op}, {survive:?}: {error}"));
        assert!(after.step(&Step::Append(9)), "fault at {op}");
    }
}

#[test]
fn any_one_operation_may_fail() {
    let kind = ErrorKind::Other;
    for fault in [Fault::Error(kind), Fault::Partial(kind), Fault::Late(kind)] {
        lives_with(fault, SyncModel::KeepCache, |op, session, _| promises_hold(op, session));
    }
}

#[test]
fn any_one_operation_may_fail_where_the_cache_forgets() {
    lives_with(Fault::Partial(ErrorKind::Other), SyncModel::RevertCache, |op, session, _| {
        promises_hold(op, session);
    });
}

#[test]
fn any_one_operation_may_be_interrupted() {
    lives_with(Fault::Interrupt, SyncModel::KeepCache, |op, session, _| promises_hold(op, session));
}

#[test]
fn any_one_operation_may_find_the_disk_full() {
    lives_with(Fault::Partial(ErrorKind::StorageFull), SyncModel::KeepCache, |op, session, _| {
        promises_hold(op, session);
    });
}

#[test]
fn short_reads_and_writes_change_nothing() {
    lives_with(Fault::Short, SyncModel::KeepCache, |op, session, unharmed| {
        assert!(unharmed, "a short operation {op} was noticed");
        session.open().unwrap();
    });
}

/// Opens a log, appends `"a"`, and lets the next operation of a kind fail.
fn with_fault(op: Op, fault: Fault) -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(3);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.append("a").unwrap();
    disk.fail_next(op, 0, fault);
    (disk, wal)
}

#[test]
fn a_write_that_fails_half_way_is_taken_back_and_the_log_goes_on() {
    // As prometheus/prometheus#13027, where the half of a failed record went out with the next one, and the
    // repair then dropped acknowledged ones.
    let (disk, wal) = with_fault(Op::Write, Fault::Partial(ErrorKind::StorageFull));
    let refused = wal.append(record(1, 400)).unwrap_err();
    assert!(matches!(refused, AppendError::Rejected(Reject::NoSpace { .. })), "{refused}");
    assert_eq!(wal.append("c").unwrap(), Lsn(2));
    let (after, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!(report.torn, None);
    assert_eq!(read_all(&after), [(1, b"a".to_vec()), (2, b"c".to_vec())]);
    assert_eq!((wal.stats().write_failures, wal.stats().rejected.no_space), (1, 1));
}

#[test]
fn a_write_that_fails_when_all_is_stored_stays_away_too() {
    let (disk, wal) = with_fault(Op::Write, Fault::Late(ErrorKind::Other));
    let refused = wal.append("b").unwrap_err();
    assert!(matches!(refused, AppendError::Rejected(Reject::Io { kind: ErrorKind::Other, .. })), "{refused}");
    for survive in [Survive::Nothing, Survive::Everything].into_iter().chain((0..16).map(Survive::Seeded)) {
        let (after, _) = Wal::open_in(disk.crash(survive), DIR, options()).unwrap();
        assert_eq!(read_all(&after), [(1, b"a".to_vec())], "{survive:?}");
    }
}

/// What a group can leave that only the media knows: it was stored, the write failed all the same, it was zeroed in
/// the cache, and the sync of the zeros failed. Whatever the log shows next must be what it shows ever after.
#[cfg(feature = "tokio")]
mod ghosts {
    use forebay_wal::aio::AsyncWal;

    use super::*;

    /// A record whose frame, behind the start frame, ends with the first page of frames.
    const TO_PAGE_END: usize = 4096 - 96 - 32 - 2;
    /// A record whose frame is a page.
    const PAGE: usize = 4096 - 32 - 2;

    fn options() -> Options {
        Options { segment_bytes: 1 << 15, max_frame: 4096, ..crate::harness::options() }
    }

    /// Appends records of these lengths as one group of a frame each, which becomes a ghost.
    fn haunt(wal: Wal<SimFs>, disk: &SimFs, lens: [usize; 3]) {
        let (log, mut committer) = AsyncWal::unstarted(wal);
        disk.fail_next(Op::Write, 0, Fault::Late(ErrorKind::Other));
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        let group = lens.map(|len| log.append(vec![0xEE; len]));
        assert!(committer.step());
        assert_eq!(log.wal().poisoned().unwrap().operation, "taking back a write");
        drop(group);
    }

    /// Opens the haunted log, appends records of these lengths, and pulls the plug.
    fn lays_them_to_rest(disk: &SimFs, lens: &[usize], what: &str) {
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
        for len in lens {
            wal.append(vec![1; *len]).unwrap();
        }
        let seen = read_all(&wal);
        let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
        assert!(read_all(&wal) == seen, "{what}");
    }

    #[test]
    fn behind_the_end_of_a_segment() {
        for (seed, appends) in (0..32).flat_map(|seed| [(seed, 0), (seed, 1)]) {
            let disk = SimFs::new(seed);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            wal.append(vec![0; TO_PAGE_END]).unwrap();
            haunt(wal, &disk, [PAGE; 3]);
            lays_them_to_rest(&disk, &[PAGE; 1][..appends], &format!("seed {seed}"));
        }
    }

    /// The next opening takes the CleanClose for the end, and writes no zeros behind it.
    #[test]
    fn behind_a_clean_close() {
        for (seed, appends) in (0..32).flat_map(|seed| [(seed, 0), (seed, 1)]) {
            let disk = SimFs::new(seed);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            wal.append(vec![0; TO_PAGE_END - 32]).unwrap();
            wal.close().unwrap();
            let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            assert!(report.clean);
            haunt(wal, &disk, [PAGE; 3]);
            lays_them_to_rest(&disk, &[PAGE; 1][..appends], &format!("seed {seed}"));
        }
    }

    #[test]
    fn behind_the_end_where_no_other_segment_can_be_had() {
        for seed in 0..32 {
            let disk = SimFs::new(seed);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            wal.append(vec![0; TO_PAGE_END]).unwrap();
            haunt(wal, &disk, [PAGE; 3]);
            disk.set_budget(Some(0));
            lays_them_to_rest(&disk, &[PAGE], &format!("seed {seed}"));
        }
    }

    #[test]
    fn in_a_segment_that_was_never_started() {
        for seed in 0..32 {
            let disk = SimFs::new(seed);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            wal.append("a").unwrap();
            wal.rotate().unwrap();
            haunt(wal, &disk, [TO_PAGE_END, PAGE, PAGE]);
            lays_them_to_rest(&disk, &[TO_PAGE_END], &format!("seed {seed}"));
        }
    }
}

#[test]
fn a_segment_made_ahead_is_not_written_to_once_it_may_be_replaced() {
    for ahead in 0..16 {
        let disk = SimFs::new(0);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
        wal.append(record(0, 10)).unwrap();
        wal.reserve().unwrap();
        disk.fail_at(disk.op_count() + ahead, Fault::Late(ErrorKind::Other));
        // The larger segment takes the name of the one made ahead.
        let oversize = wal.append(record(1, 10_000));
        while wal.poisoned().is_none() && wal.stats().rotations < 2 {
            drop(wal.append(record(2, 500)));
        }
        let seen = read_all(&wal);
        let (after, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
        assert!(read_all(&after).starts_with(&seen), "{oversize:?} by a fault {ahead} operations ahead");
    }
}

#[test]
fn the_first_failed_sync_ends_all_writing() {
    let (disk, wal) = with_fault(Op::Sync, Fault::Error(ErrorKind::Other));
    assert!(matches!(wal.append("b"), Err(AppendError::Indeterminate(_))));
    let syncs = disk.count(Op::Sync);
    let poisoned = |error| matches!(error, Err(AppendError::Rejected(Reject::Poisoned)));
    assert!(poisoned(wal.append("c").map(drop)) && poisoned(wal.rotate()));
    assert!(poisoned(wal.truncate_before(Lsn(2)).map(drop)) && poisoned(wal.reserve().map(drop)));
    assert_eq!(disk.count(Op::Sync), syncs, "no sync is tried again");
    assert_eq!(wal.watermarks().durable, Lsn(2));
    assert_eq!(read_all(&wal), [(1, b"a".to_vec())], "what is durable can be read");
    assert!(wal.stats().poisoned && wal.stats().sync_failures == 1);
    assert_eq!(wal.poisoned().unwrap().operation, "syncing a segment");
    assert!(poisoned(wal.close()));
    Wal::open_in(disk, DIR, options()).expect("closing lets the next opener in");
}

#[test]
fn what_is_read_after_a_failed_sync_is_durable_from_then_on() {
    for model in [SyncModel::KeepCache, SyncModel::RevertCache] {
        for seed in 0..8 {
            let disk = SimFs::new(seed);
            disk.set_sync_model(model);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            wal.append("a").unwrap();
            disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
            assert!(matches!(wal.append("b"), Err(AppendError::Indeterminate(_))));
            drop(wal);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            let seen = read_all(&wal);
            let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
            assert_eq!(read_all(&wal), seen, "{model:?}, seed {seed}");
        }
    }
}

/// A record in one page came to the media with the zeros that are written behind it, whether or not it was written
/// again.
#[test]
fn every_page_of_what_is_read_after_a_failed_sync_is_durable_from_then_on() {
    let mut seen_whole = 0;
    for seed in 0..8 {
        let disk = SimFs::new(seed);
        disk.set_sync_model(SyncModel::KeepCache);
        let options = || Options { segment_bytes: 64 << 10, ..options() };
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
        wal.append("a").unwrap();
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        assert!(matches!(wal.append(record(2, 20_000)), Err(AppendError::Indeterminate(_))));
        drop(wal);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
        let seen = read_all(&wal);
        seen_whole += usize::from(seen.len() == 2);
        let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
        assert!(read_all(&wal) == seen, "seed {seed}");
    }
    assert_eq!(seen_whole, 8, "the cache has it");
}

/// The next opening found the name in the cache, synced a directory that had nothing to sync any more, and put
/// acknowledged records into a file that a power cut then took away.
#[test]
fn a_name_whose_sync_failed_is_made_again_before_it_is_trusted() {
    for model in [SyncModel::KeepCache, SyncModel::RevertCache] {
        for (seed, first) in (0..8).flat_map(|seed| [(seed, true), (seed, false)]) {
            let disk = SimFs::new(seed);
            disk.set_sync_model(model);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            if !first {
                wal.append("a").unwrap();
            }
            disk.fail_next(Op::SyncDir, 0, Fault::Error(ErrorKind::Other));
            assert!(matches!(wal.reserve(), Err(AppendError::Indeterminate(_))));
            drop(wal);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            for record in ["b", "c"] {
                wal.append(record).unwrap();
                wal.rotate().unwrap();
            }
            let seen = read_all(&wal);
            let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
            assert_eq!(read_all(&wal), seen, "{model:?}, seed {seed}, first segment: {first}");
        }
    }
}

#[test]
fn a_sync_that_lies_is_found_out_by_the_next_one() {
    // Outside the assumptions (A1), and still not silent once anything later was synced.
    let options = Options { segment_bytes: 1 << 16, max_frame: 1 << 16, ..options() };
    let mut found_out = 0;
    for seed in 0..8 {
        let disk = SimFs::new(seed);
        disk.set_sync_model(SyncModel::Lie);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options.clone()).unwrap();
        wal.append("a").unwrap();
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        wal.append(record(1, 20_000)).expect("the sync says that all is well");
        wal.append("c").unwrap();
        match Wal::open_in(disk.crash(Survive::Nothing), DIR, options.clone()) {
            Ok((wal, _)) => assert_eq!(read_all(&wal).len(), 3, "seed {seed}"),
            Err(OpenError::Corrupt(damage)) => {
                assert_eq!((damage.class, damage.lsns), (DamageClass::DamagedDurable, Lsn(2)..Lsn(3)));
                found_out += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(found_out > 0);
}

/// Appends until the log refuses for want of space.
fn fill(session: &mut Session) {
    let mut appended = 0;
    while session.step(&Step::Append(600)) {
        appended += 1;
        assert!(appended < 1000, "the disk does not fill up");
    }
    let stats = session.wal.as_ref().unwrap().stats();
    assert!(stats.rejected.no_space > 0 && !stats.poisoned, "{stats:?}");
}

#[test]
fn a_full_disk_refuses_appends_and_serves_all_else() {
    let mut session = Session::new(SimFs::new(0), options());
    session.disk.set_budget(Some(5 * 8192));
    fill(&mut session);
    let (wal, disk) = (session.wal.clone().unwrap(), session.disk.clone());
    assert!(read_all(&wal).len() > 10, "reading works");

    disk.set_budget(Some(7 * 8192));
    assert!(session.step(&Step::Append(600)), "appends resume by themselves");
    disk.set_budget(Some(0));
    fill(&mut session);
    assert!(session.step(&Step::Truncate(70)), "truncating works");
    assert!(wal.usage().segments < 5);
    disk.set_budget(Some(disk.allocated() + 8192));
    assert!(session.step(&Step::Append(600)), "and makes room");
    disk.set_budget(Some(0));
    fill(&mut session);

    drop(wal);
    for died in [disk.restart(), disk.crash(Survive::Nothing)] {
        died.set_budget(Some(0));
        let mut next = Session::new(died, options());
        next.ledger = session.ledger.clone();
        next.open().expect("opening works");
        assert!(next.step(&Step::Truncate(80)), "truncating works after opening");
        let usage = next.wal.as_ref().unwrap().usage();
        assert!(usage.segments <= 2, "{usage:?}");
        next.disk.set_budget(None);
        assert!(next.step(&Step::Append(600)));
        next.disk = next.disk.crash(Survive::Nothing);
        next.open().unwrap();
    }
}

#[test]
fn a_crashed_log_on_a_full_disk_still_uses_up_its_segment() {
    let mut session = Session::new(SimFs::new(0), options());
    assert!(session.step(&Step::Append(10)));
    session.disk.set_budget(Some(0));
    assert!(session.step(&Step::Reopen));
    assert!(session.step(&Step::Append(500)), "there is room behind the end");
    session.disk = session.disk.crash(Survive::Nothing);
    assert_eq!(session.open().unwrap().segments, 1);
}

/// A disk with a torn tail and nothing free, with or without a segment made ahead.
fn torn_and_full(reserve: bool) -> SimFs {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.append("a").unwrap();
    if reserve {
        wal.reserve().unwrap();
    }
    disk.fail_next(Op::Sync, 0, Fault::PowerCut);
    assert!(wal.append(record(1, 900)).is_err());
    let mut images = (0..64).map(|seed| disk.crash(Survive::Seeded(seed)));
    let is_torn = |image: &SimFs| Wal::open_in(image.restart(), DIR, options()).unwrap().1.torn.is_some();
    let torn = images.find(is_torn).expect("one of 64 crashes tears the record");
    torn.set_budget(Some(0));
    torn
}

#[test]
fn a_torn_tail_on_a_full_disk_is_kept_in_place_of_the_segment_made_ahead() {
    let disk = torn_and_full(true);
    let segments = disk.allocated();
    disk.set_budget(Some(segments));
    let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert!(disk.peek(report.torn.unwrap().quarantine.unwrap()).is_ok());
    assert_eq!(read_all(&wal).len(), 1);
}

#[test]
fn a_torn_tail_that_cannot_be_kept_is_not_cut_unless_told_so() {
    let disk = torn_and_full(false);
    let before = disk.peek(format!("{DIR}/wal-{:016x}.seg", 1)).unwrap();
    let refused = Wal::open_in(disk.clone(), DIR, options());
    assert!(matches!(refused, Err(OpenError::QuarantineFull { segment: 1, .. })), "{refused:?}");
    assert_eq!(disk.peek(format!("{DIR}/wal-{:016x}.seg", 1)).unwrap(), before);
    let (wal, report) = Wal::open_in(disk, DIR, Options { quarantine: false, ..options() }).unwrap();
    assert!(report.torn.is_some_and(|torn| torn.quarantine.is_none()));
    assert_eq!(wal.append("b").unwrap(), Lsn(2), "opening and appending need no space");
}
