//! Records that are buffered, written or synced: what each promises, when operations fail, the process dies or the
//! power goes.

use std::io::ErrorKind;

use crate::harness::{DIR, Session, Step, options, read_all, record};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive, SyncModel};
use forebay_wal::{AppendError, Lsn, Options, Reject, Wal, Watermarks};

fn open(disk: &SimFs) -> Wal<SimFs> {
    Wal::open_in(disk.clone(), DIR, options()).unwrap().0
}

fn marks(appended: u64, written: u64, durable: u64) -> Watermarks {
    let (appended, written, durable) = (Lsn(appended), Lsn(written), Lsn(durable));
    Watermarks { appended, written, durable, low: Lsn(1) }
}

/// Records of all levels, behind and in front of each other, over several segments, in frames and in fragments.
fn life() -> Vec<Step> {
    use Step::{Append, Close, Reopen, Reserve, Rotate, Sync, Truncate, With};
    vec![
        With(Buffered, vec![10]),
        With(Buffered, vec![20, 30]),
        With(Written, vec![40]),
        With(Buffered, vec![700]),
        With(Buffered, vec![]),
        Append(10),
        With(Written, vec![900, 5]),
        With(Written, vec![1100]),
        With(Buffered, vec![60]),
        Rotate,
        With(Written, vec![1200]),
        With(Written, vec![2200]),
        Sync,
        With(Buffered, vec![300]),
        With(Buffered, vec![300]),
        With(Buffered, vec![10]),
        Truncate(50),
        With(Written, vec![1]),
        With(Buffered, vec![2]),
        Reopen,
        With(Written, vec![900]),
        With(Buffered, vec![9]),
        Close,
        With(Written, vec![1300]),
        Reserve,
        With(Written, vec![2500]),
        With(Written, vec![2500]),
        With(Buffered, vec![10_000]),
        With(Buffered, vec![8]),
        Append(7),
        With(Buffered, vec![6]),
        With(Written, vec![5]),
        With(Buffered, vec![4]),
    ]
}

/// The life on a disk that was prepared; the log is left as it is when that is over.
fn live(disk: SimFs) -> Session {
    let mut session = Session::new(disk, options());
    for step in life() {
        session.step(&step);
        if session.disk.has_crashed() {
            break;
        }
    }
    session
}

fn lifetime() -> u64 {
    let session = live(SimFs::new(0));
    let ops = session.disk.op_count();
    assert!(ops > 100 && session.wal.unwrap().poisoned().is_none());
    ops
}

/// Opens what is left on the disk, and lets the log go on.
fn lives_on(disk: SimFs, died: &Session, power_cut: bool, what: &str) {
    let mut session = Session::new(disk, options());
    session.ledger = died.ledger.clone();
    if power_cut {
        session.ledger.power_cut();
    }
    session.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    for step in [Step::With(Buffered, vec![3]), Step::With(Written, vec![600]), Step::Append(9)] {
        assert!(session.step(&step), "{what}: {step:?}");
    }
    session.wal = None;
    session.disk = session.disk.crash(Survive::Nothing);
    session.open().unwrap_or_else(|error| panic!("{what}, again: {error}"));
}

#[test]
fn each_level_waits_for_what_it_says_and_no_more() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    let before = disk.op_count();
    assert_eq!(wal.append_with("a", Buffered).unwrap(), Lsn(1));
    assert_eq!((disk.op_count(), wal.watermarks()), (before, marks(2, 1, 1)));
    assert_eq!(wal.append_batch_with(["b", "c"], Written).unwrap(), Lsn(2)..Lsn(4));
    assert_eq!(disk.count(Op::Sync), 1, "of the segment's making");
    assert_eq!(wal.watermarks(), marks(4, 4, 1));
    assert_eq!(wal.append_with("d", Buffered).unwrap(), Lsn(4));
    assert_eq!(wal.append("e").unwrap(), Lsn(5));
    assert_eq!((disk.count(Op::Sync), wal.watermarks()), (2, marks(6, 6, 6)));
    assert_eq!(read_all(&wal).len(), 5);
}

#[test]
fn a_full_frame_is_written_though_nobody_waits() {
    let wal = open(&SimFs::new(0));
    for _ in 0..20 {
        wal.append_with(&[7; 100], Buffered).unwrap();
    }
    let marks = wal.watermarks();
    assert!(marks.appended == Lsn(21) && marks.written >= Lsn(16), "{marks:?}");
    assert_eq!((marks.durable, wal.stats().groups), (Lsn(1), 3));
}

#[test]
fn a_sync_and_a_wait_do_what_is_missing_and_nothing_twice() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    for record in ["a", "b", "c"] {
        wal.append_with(record, Buffered).unwrap();
    }
    wal.wait(Lsn(2), Buffered).unwrap();
    assert_eq!(wal.watermarks(), marks(4, 1, 1));
    wal.wait(Lsn(2), Written).unwrap();
    assert_eq!(wal.watermarks(), marks(4, 4, 1));
    wal.wait(Lsn(3), Synced).unwrap();
    let ops = disk.op_count();
    assert_eq!((wal.sync().unwrap(), disk.op_count()), (Lsn(4), ops));
    wal.append_with("d", Written).unwrap();
    assert_eq!(wal.sync().unwrap(), Lsn(5));
    assert_eq!(disk.count(Op::Write), 2 + 2, "one for both groups, the others made the segment");
    let error = wal.wait(Lsn(5), Buffered).unwrap_err();
    assert_eq!(error.to_string(), "record 5 was not appended, the next is 5");
}

#[test]
fn a_log_that_is_dropped_writes_what_it_has_in_memory() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append_with("a", Buffered).unwrap();
    let killed = disk.restart();
    drop(wal);
    assert_eq!(read_all(&open(&killed)).len(), 0);
    assert_eq!(read_all(&open(&disk)).len(), 1);
}

#[test]
fn closing_makes_all_of_it_durable() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append_with("a", Written).unwrap();
    wal.append_with("b", Buffered).unwrap();
    wal.close().unwrap();
    wal.wait(Lsn(2), Synced).unwrap();
    assert!(matches!(wal.append_with("c", Buffered), Err(AppendError::Rejected(Reject::Closed))));
    let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert!(report.clean && read_all(&wal).len() == 2);
}

#[test]
fn what_is_buffered_is_bounded_by_writing_it() {
    let limit = Options { max_inflight_bytes: 300, ..options() };
    let (wal, _) = Wal::open_in(SimFs::new(0), DIR, limit).unwrap();
    for _ in 0..20 {
        wal.append_with(&[7; 100], Buffered).unwrap();
        assert!(wal.stats().inflight_bytes <= 300);
    }
    wal.append_with(&[7; 1000], Buffered).expect("a long record goes alone");
    wal.append_with(&[7; 100], Synced).expect("what is in its way is written first");
}

#[test]
fn the_process_dies_at_every_operation_and_written_records_stay() {
    let mut lost = 0;
    for op in 0..lifetime() {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let died = live(disk);
        lives_on(died.disk.restart(), &died, false, &format!("killed at {op}"));
        lost += usize::from(died.ledger.soft.keys().any(|lsn| *lsn >= died.ledger.written));
    }
    assert!(lost > 10, "{lost} deaths had something to lose");
}

#[test]
fn the_power_goes_at_every_operation_and_an_end_of_the_log_at_most_is_lost() {
    let mut soft = 0;
    for op in 0..lifetime() {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let died = live(disk);
        soft += usize::from(!died.ledger.soft.is_empty());
        let effects = died.disk.effects();
        let mut images = vec![Survive::Nothing, Survive::Everything];
        images.extend((0..effects.min(12)).flat_map(|n| [Survive::Only(n), Survive::AllBut(n)]));
        images.extend((0..3).map(Survive::Seeded));
        for survive in images {
            lives_on(died.disk.crash(survive), &died, true, &format!("died at {op}, {survive:?}"));
        }
    }
    assert!(soft > 30, "{soft} deaths had something to lose");
}

#[test]
fn any_operation_may_fail_with_buffered_records_behind() {
    let ops = lifetime();
    let (other, full) = (ErrorKind::Other, ErrorKind::StorageFull);
    let (keep, revert) = (SyncModel::KeepCache, SyncModel::RevertCache);
    let lives = [(Fault::Error(other), keep), (Fault::Late(other), keep), (Fault::Partial(full), revert)];
    for ((fault, model), op) in lives.into_iter().flat_map(|life| (0..ops).map(move |op| (life, op))) {
        let disk = SimFs::new(op);
        disk.set_sync_model(model);
        disk.fail_at(op, fault);
        let mut session = live(disk);
        let what = format!("{fault:?} at {op}, {model:?}");
        lives_on(session.disk.restart(), &session, false, &what);
        session.step(&Step::Sync);
        session.wal = None;
        lives_on(session.disk.crash(Survive::Seeded(op)), &session, true, &what);
    }
}

#[test]
fn a_refused_record_takes_no_number_and_what_is_buffered_waits_for_the_next_try() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    wal.append_with("b", Buffered).unwrap();
    disk.fail_next(Op::Write, 0, Fault::Partial(ErrorKind::StorageFull));
    let refused = wal.append_with("c", Written);
    assert!(matches!(refused, Err(AppendError::Rejected(Reject::NoSpace { .. }))), "{refused:?}");
    assert_eq!(wal.watermarks(), marks(3, 2, 2));
    disk.fail_next(Op::Write, 0, Fault::Partial(ErrorKind::StorageFull));
    assert!(matches!(wal.sync(), Err(AppendError::Rejected(Reject::NoSpace { .. }))));
    assert_eq!(wal.append("d").unwrap(), Lsn(3));
    let expected = [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, b"d".to_vec())];
    assert_eq!(read_all(&open(&disk.crash(Survive::Nothing))), expected);
}

#[test]
fn after_a_failed_sync_nothing_reports_durability() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    wal.append_with("b", Written).unwrap();
    wal.append_with("c", Buffered).unwrap();
    disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
    assert!(matches!(wal.sync(), Err(AppendError::Indeterminate(_))));
    let marks = wal.watermarks();
    assert_eq!((marks.appended, marks.durable), (Lsn(4), Lsn(2)));
    for (lsn, level) in [(2, Written), (2, Synced), (3, Buffered), (3, Synced)] {
        let answer = wal.wait(Lsn(lsn), level);
        assert!(matches!(answer, Err(AppendError::Indeterminate(_))), "{lsn} {level:?}: {answer:?}");
    }
    wal.wait(Lsn(1), Synced).expect("it was durable before");
    for level in [Buffered, Written, Synced] {
        let answer = wal.append_with("d", level);
        assert!(matches!(answer, Err(AppendError::Rejected(Reject::Poisoned))), "{answer:?}");
    }
    assert!(matches!(wal.sync(), Err(AppendError::Indeterminate(_))));
    assert_eq!((wal.watermarks(), disk.count(Op::Sync)), (marks, 3));
}

#[test]
fn an_empty_batch_of_any_level_does_nothing() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append_with("a", Buffered).unwrap();
    let before = disk.op_count();
    for level in [Buffered, Written, Synced] {
        assert_eq!(wal.append_batch_with(Vec::<&str>::new(), level).unwrap(), Lsn(2)..Lsn(2));
    }
    assert_eq!(disk.op_count(), before);
}

#[test]
fn many_unsynced_groups_prove_nothing_and_are_found_again() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    for id in 0..20 {
        wal.append_with(record(id, 300), Written).unwrap();
    }
    assert!(wal.stats().rotations > 0);
    let durable = wal.watermarks().durable;
    assert!(durable > Lsn(1), "a segment that is followed by another is durable");
    let (after, report) = Wal::open_in(disk.restart(), DIR, options()).unwrap();
    assert_eq!((report.next_lsn, report.torn.is_none()), (Lsn(21), true));
    assert_eq!(report.proven_lsn, durable, "no more than that was proven");
    // And it is durable from here on.
    drop(after);
    for seed in 0..20 {
        let crashed = disk.crash(Survive::Seeded(seed));
        let (_, report) = Wal::open_in(crashed, DIR, options()).unwrap();
        assert!((durable..=Lsn(21)).contains(&report.next_lsn), "{report:?}");
    }
}

#[cfg(feature = "tokio")]
mod tasks {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use forebay_wal::aio::AsyncWal;

    use super::*;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The answer of a future that has one.
    fn ready<F: Future + Unpin>(mut future: F) -> F::Output {
        match poll(&mut future) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("not answered"),
        }
    }

    #[test]
    fn futures_are_ready_at_their_level() {
        let disk = SimFs::new(0);
        let (log, mut committer) = AsyncWal::unstarted(open(&disk));
        assert_eq!(ready(log.append_with("a", Buffered)).unwrap(), Lsn(1));
        assert!(!committer.step(), "nobody waits");
        let written = log.append_with("b", Written);
        assert!(committer.step());
        assert_eq!((ready(written).unwrap(), disk.count(Op::Sync)), (Lsn(2), 1));
        let (mut waiting, dropped) = (log.wait(Lsn(1), Synced), log.wait(Lsn(2), Synced));
        drop(dropped);
        assert!(poll(&mut waiting).is_pending());
        assert!(committer.step() && !committer.step());
        ready(waiting).unwrap();
        assert_eq!(log.wal().watermarks(), marks(3, 3, 3));
        ready(Box::pin(log.sync())).unwrap();
        assert!(matches!(ready(log.wait(Lsn(3), Synced)), Err(AppendError::Rejected(_))));
    }

    #[test]
    fn what_is_buffered_goes_out_with_a_full_frame_and_with_the_last_handle() {
        let disk = SimFs::new(0);
        let (log, mut committer) = AsyncWal::unstarted(open(&disk));
        for _ in 0..5 {
            assert!(!committer.step());
            ready(log.append_with(&[7; 120], Buffered)).unwrap();
        }
        assert!(committer.step(), "a frame is full");
        ready(log.append_with("end", Buffered)).unwrap();
        let wal = log.wal().clone();
        drop(log);
        assert!(committer.step() && !committer.step());
        assert_eq!(wal.watermarks(), marks(7, 7, 1));
    }

    /// Refused records lie between buffered ones, in the group that fails and in what comes meanwhile.
    #[test]
    fn a_refused_number_in_front_of_a_buffered_record_is_burned() {
        for late in [false, true] {
            let disk = SimFs::new(0);
            let (log, mut committer) = AsyncWal::unstarted(open(&disk));
            ready(log.append_with("kept 1", Buffered)).unwrap();
            let refused = [log.append_with("never 2", Written), log.append_with(vec![2; 900], Synced)];
            ready(log.append_batch_with(["kept 4", "kept 5"], Buffered)).unwrap();
            let last = log.append("never 6");
            let kind = ErrorKind::Other;
            disk.fail_next(Op::Write, 0, if late { Fault::Late(kind) } else { Fault::Partial(kind) });
            assert!(committer.step());
            for future in refused.into_iter().chain([last]) {
                assert!(matches!(ready(future), Err(AppendError::Rejected(Reject::Io { .. }))));
            }
            assert_eq!(log.wal().next_lsn(), Lsn(6), "the last number was given to nobody");
            let next = log.append("next 6");
            assert!(committer.step());
            assert_eq!(ready(next).unwrap(), Lsn(6));
            let expected: Vec<_> = [(1, "kept 1"), (4, "kept 4"), (5, "kept 5"), (6, "next 6")]
                .map(|(lsn, bytes)| (lsn, bytes.as_bytes().to_vec()))
                .into();
            assert_eq!(read_all(log.wal()), expected);
            let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
            assert_eq!((read_all(&wal), report.next_lsn), (expected, Lsn(7)));
            assert_eq!(wal.append("later").unwrap(), Lsn(7), "no number is used again");
        }
    }

    #[test]
    fn a_rotation_comes_between_the_records_it_was_asked_between() {
        let disk = SimFs::new(0);
        let (log, mut committer) = AsyncWal::unstarted(open(&disk));
        let before = log.append("before");
        let mut rotation = Box::pin(log.rotate());
        assert!(poll(&mut rotation).is_pending());
        let after = log.append_with("after", Written);
        assert!(committer.step());
        assert_eq!((ready(before).unwrap(), ready(after).unwrap()), (Lsn(1), Lsn(2)));
        ready(rotation).unwrap();
        let mut truncation = Box::pin(log.truncate_before(Lsn(2)));
        assert!(poll(&mut truncation).is_pending() && committer.step());
        assert_eq!(ready(truncation).unwrap().segments, 1);
    }

    #[test]
    fn on_a_full_disk_the_committer_ends_and_does_not_try_for_ever() {
        let disk = SimFs::new(0);
        let (log, mut committer) = AsyncWal::unstarted(open(&disk));
        disk.set_budget(Some(0));
        ready(log.append_with("a", Buffered)).unwrap();
        drop(log);
        assert!(committer.step() && !committer.step());
    }
}
