//! When records are synced for which no append waits: on the disk's own clock, with the power cut in between.

use std::time::Duration;

use crate::harness::{DIR, options, read_all};
use forebay_wal::Durability::{Buffered, Written};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, Options, SyncPolicy, Wal};
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn open(disk: &SimFs, sync: SyncPolicy) -> Wal<SimFs> {
    let options = Options { sync, time: disk.time(), ..options() };
    Wal::open_in(disk.clone(), DIR, options).unwrap().0
}

fn interval(ms: u64) -> SyncPolicy {
    SyncPolicy::Interval(Duration::from_millis(ms))
}

/// How many records a power cut would leave.
fn durable(disk: &SimFs) -> usize {
    let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    read_all(&wal).len()
}

#[test]
fn an_interval_is_kept_also_when_nothing_comes_behind() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(10));
    assert_eq!(wal.maintain().unwrap(), None, "there is nothing to sync");
    wal.append("a").unwrap();
    assert_eq!((wal.watermarks().written, durable(&disk)), (Lsn(2), 0));
    assert_eq!(wal.maintain().unwrap(), Some(10 * MS));
    disk.advance(4 * MS);
    wal.append_with("b", Buffered).unwrap();
    disk.advance(5 * MS);
    assert_eq!((wal.maintain().unwrap(), durable(&disk)), (Some(MS), 0));
    disk.advance(MS);
    assert_eq!((wal.maintain().unwrap(), durable(&disk)), (None, 2));
    let ops = disk.op_count();
    disk.advance(99 * MS);
    assert_eq!((wal.maintain().unwrap(), disk.op_count()), (None, ops), "idle costs nothing");
}

#[test]
fn a_record_that_comes_during_a_sync_has_its_own_interval() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(10));
    disk.set_latency(Op::Sync, 3 * MS);
    wal.append("a").unwrap();
    disk.advance(10 * MS);
    assert_eq!(wal.maintain().unwrap(), None);
    wal.append("b").unwrap();
    disk.advance(2 * MS);
    assert_eq!(wal.maintain().unwrap(), Some(8 * MS));
}

#[test]
fn an_append_that_is_synced_takes_the_others_along() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(10));
    wal.append("a").unwrap();
    wal.append_with("b", forebay_wal::Durability::Synced).unwrap();
    assert_eq!((wal.maintain().unwrap(), durable(&disk)), (None, 2));
}

#[test]
fn what_cannot_be_synced_now_is_due_still() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(10));
    wal.append_with("a", Buffered).unwrap();
    disk.advance(10 * MS);
    disk.set_budget(Some(0));
    assert!(matches!(wal.maintain(), Err(AppendError::Rejected(_))));
    disk.set_budget(None);
    assert_eq!((wal.maintain().unwrap(), durable(&disk)), (None, 1));
    assert!(wal.append_with("b", Written).is_ok());
    disk.fail_next(Op::Sync, 0, Fault::Error(std::io::ErrorKind::Other));
    disk.advance(10 * MS);
    assert!(matches!(wal.maintain(), Err(AppendError::Indeterminate(_))));
    assert_eq!(wal.maintain().unwrap(), None, "a log that broke has nothing to do");
}

#[test]
fn so_many_bytes_are_synced_by_the_append_that_makes_them() {
    let disk = SimFs::new(0);
    let wal = open(&disk, SyncPolicy::Bytes(1000));
    let mut syncs = Vec::new();
    for _ in 0..12 {
        wal.append(&[7; 200]).unwrap();
        syncs.push(durable(&disk));
        assert!(wal.stats().unsynced_bytes < 1000);
    }
    assert_eq!(syncs, [0, 0, 0, 4, 4, 4, 4, 4, 9, 9, 9, 9], "frames count with their headers");
    for _ in 0..10 {
        wal.append_with(&[7; 100], Buffered).unwrap();
        assert!(wal.stats().unsynced_bytes < 1000);
    }
    assert!(durable(&disk) > 12);
}

#[test]
fn nothing_is_synced_that_nobody_asked_for() {
    let disk = SimFs::new(0);
    let wal = open(&disk, SyncPolicy::Manual);
    for _ in 0..10 {
        wal.append(&[7; 200]).unwrap();
    }
    assert_eq!((wal.maintain().unwrap(), durable(&disk)), (None, 0));
    assert_eq!(wal.stats().unsynced_records, 10);
    wal.sync().unwrap();
    assert_eq!((durable(&disk), wal.stats().unsynced_records, wal.stats().unsynced_bytes), (10, 0, 0));
}

#[test]
fn the_threads_keep_the_interval() {
    let soon = SyncPolicy::Interval(Duration::from_millis(1));
    let scratch = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(scratch.path(), Options { sync: soon, ..Options::default() }).unwrap();
    for lsn in 1..4 {
        wal.append_with("a", if lsn == 2 { Buffered } else { Written }).unwrap();
        while wal.watermarks().durable <= Lsn(lsn) {
            std::thread::yield_now();
        }
    }
}

#[cfg(feature = "tokio")]
#[test]
fn the_async_front_keeps_it_where_the_log_has_no_thread() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(1));
    let log = forebay_wal::aio::AsyncWal::start(wal.clone()).unwrap();
    drop(log.append("a"));
    while wal.watermarks().durable <= Lsn(1) {
        disk.advance(MS / 10);
        std::thread::yield_now();
    }
}

/// Two writes without a sync between them, of which the second breaks the log: the bytes of the first were due.
#[cfg(feature = "tokio")]
#[test]
fn what_is_due_is_not_synced_in_a_log_that_broke() {
    let disk = SimFs::new(0);
    let wal = open(&disk, SyncPolicy::Bytes(1));
    let (log, mut committer) = forebay_wal::aio::AsyncWal::unstarted(wal.clone());
    let mut nothing_to_do = Box::pin(log.truncate_before(Lsn(1)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let first = log.append_with("a", Written);
    assert!(nothing_to_do.as_mut().poll(&mut context).is_pending());
    let second = log.append_with("b", Written);
    let kind = std::io::ErrorKind::Other;
    wal.reserve().unwrap();
    let syncs = disk.count(Op::Sync);
    disk.fail_next(Op::Write, 1, Fault::Late(kind));
    disk.fail_next(Op::Sync, 0, Fault::Error(kind));
    assert!(committer.step());
    assert!(nothing_to_do.as_mut().poll(&mut context).is_ready());
    drop((first, second));
    assert_eq!(wal.poisoned().unwrap().operation, "taking back a write");
    assert!(!committer.step(), "nothing is due any more");
    assert_eq!((wal.watermarks().durable, disk.count(Op::Sync)), (Lsn(1), syncs + 1));
}

/// The kernel reports a lost write once: a second sync would succeed and mean nothing.
#[cfg(feature = "tokio")]
#[test]
fn what_is_due_is_not_synced_again_after_a_sync_that_failed() {
    let disk = SimFs::new(0);
    let wal = open(&disk, SyncPolicy::Bytes(1));
    let (log, mut committer) = forebay_wal::aio::AsyncWal::unstarted(wal.clone());
    wal.reserve().unwrap();
    let record = log.append_with("a", Written);
    disk.fail_next(Op::Sync, 0, Fault::Error(std::io::ErrorKind::Other));
    assert!(committer.step());
    let syncs = disk.count(Op::Sync);
    assert!(!committer.step());
    assert_eq!((wal.watermarks().durable, disk.count(Op::Sync)), (Lsn(1), syncs));
    assert!(wal.poisoned().is_some());
    drop(record);
}

/// Nobody commits for tasks any more: what they had brought is due no more.
#[cfg(feature = "tokio")]
#[test]
fn nothing_is_due_of_records_that_were_given_up() {
    let disk = SimFs::new(0);
    let wal = open(&disk, interval(1));
    let (log, committer) = forebay_wal::aio::AsyncWal::unstarted(wal.clone());
    let record = log.append_with("a", Written);
    drop(committer);
    disk.advance(5 * MS);
    assert_eq!(wal.maintain().unwrap(), None);
    drop(record);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// G6, at any moment: what was appended an interval and a sync ago is on the media.
    #[test]
    fn no_record_is_on_the_way_for_longer_than_the_interval_and_a_sync(
        steps in prop::collection::vec((0..4_u8, 0..15_u64, 0..600_usize), 1..60),
    ) {
        const INTERVAL: u64 = 10 * MS;
        const SYNC: u64 = 2 * MS;
        let disk = SimFs::new(0);
        let wal = open(&disk, interval(10));
        disk.set_latency(Op::Sync, SYNC);
        let clock = std::cell::Cell::new(0);
        let mut came: Vec<u64> = Vec::new();
        for (what, ms, len) in steps {
            match what {
                0 => wal.append_with(vec![1; len], Buffered).map(drop),
                1 => wal.append_with(vec![1; len], Written).map(drop),
                2 => wal.rotate(),
                _ => Ok(()),
            }
            .unwrap();
            if what < 2 {
                came.push(clock.get());
            }
            // Time passes, and whoever keeps the interval comes when it said it would.
            let until = clock.get() + ms * MS;
            while let Some(due) = wal.maintain().unwrap().filter(|due| clock.get() + due <= until) {
                disk.advance(due);
                clock.set(clock.get() + due);
            }
            disk.advance(until - clock.get());
            clock.set(until);
            let late = came.iter().take_while(|at| **at + INTERVAL + SYNC <= clock.get()).count();
            prop_assert!(durable(&disk) >= late, "{} of {late}", durable(&disk));
        }
    }
}

/// It answered that something was due at once, for as long as nobody else wrote the record.
#[cfg(feature = "tokio")]
#[test]
fn what_a_task_has_brought_is_synced_in_time_as_well() {
    let disk = SimFs::new(0);
    let (log, _committer) = forebay_wal::aio::AsyncWal::unstarted(open(&disk, interval(10)));
    let append = log.append_with("a", Written);
    disk.advance(10 * MS);
    assert_eq!((log.wal().maintain().unwrap(), durable(&disk)), (None, 1));
    drop(append);
}
