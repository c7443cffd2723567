//! Appending: what it answers, who shares a sync, and what is refused.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, options, read_all, record};
use bytes::Bytes;
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, OpenError, Options, Reject, Wal};
use parking_lot::{Condvar, Mutex};

fn open(disk: &SimFs, options: Options) -> Wal<SimFs> {
    Wal::open_in(disk.clone(), DIR, options).unwrap().0
}

#[test]
fn an_append_answers_consecutive_lsns_from_one_and_is_durable() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    assert_eq!(wal.next_lsn(), Lsn::FIRST);
    assert_eq!(wal.append("a").unwrap(), Lsn(1));
    assert_eq!(wal.append_batch(["b", "c"]).unwrap(), Lsn(2)..Lsn(4));
    assert_eq!(wal.append(Bytes::from_static(b"")).unwrap(), Lsn(4));
    assert_eq!(wal.append_batch(Vec::<&str>::new()).unwrap(), Lsn(5)..Lsn(5));
    let after = open(&disk.crash(Survive::Nothing), options());
    let bytes: Vec<_> = read_all(&after).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [&b"a"[..], b"b", b"c", b""]);
    assert_eq!(after.watermarks().durable, Lsn(5));
}

#[test]
fn an_empty_batch_does_nothing() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    wal.append("a").unwrap();
    let before = (disk.op_count(), wal.stats());
    for _ in 0..3 {
        assert_eq!(wal.append_batch(Vec::<&str>::new()).unwrap(), Lsn(2)..Lsn(2));
    }
    assert_eq!((disk.op_count(), wal.stats()), before);
    wal.append("b").unwrap();
    assert_eq!(read_all(&open(&disk.crash(Survive::Nothing), options())).len(), 2);
}

#[test]
fn records_of_any_size_up_to_the_limit_come_back() {
    let disk = SimFs::new(0);
    let limits = Options { max_record_bytes: 100_000, ..options() };
    let wal = open(&disk, limits.clone());
    let lens = [0, 1, 127, 128, 510, 511, 512, 1024, 3000, 7000, 40_000, 99_980];
    for (id, len) in lens.into_iter().enumerate() {
        wal.append(record(id as u64, len)).unwrap();
    }
    let found = read_all(&open(&disk.crash(Survive::Nothing), limits));
    let expected: Vec<_> = lens.into_iter().zip(0..).map(|(len, id)| (id + 1, record(id, len))).collect();
    assert!(found == expected);
    let error = wal.append(vec![0; 100_000]).unwrap_err();
    let too_large = Reject::TooLarge { dir: Path::new(DIR).into(), len: 100_003, limit: 100_000 };
    assert!(matches!(&error, AppendError::Rejected(reason) if *reason == too_large), "{error}");
    assert_eq!(error.to_string(), format!("record of 100003 bytes exceeds the limit of 100000 of log {DIR}"));
    assert_eq!(wal.stats().rejected.too_large, 1);
}

#[test]
fn a_second_opener_is_turned_away_until_the_first_lets_go() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    let second = || Wal::open_in(disk.clone(), DIR, options());
    assert!(matches!(second(), Err(OpenError::Locked { .. })));
    let clone = wal.clone();
    drop(wal);
    assert!(matches!(second(), Err(OpenError::Locked { .. })), "a clone is still there");
    clone.close().unwrap();
    second().unwrap();
}

#[test]
fn another_process_is_turned_away() {
    const LOG: &str = "FOREBAY_WAL_LOG_TO_OPEN";
    const TURNED_AWAY: i32 = 41;
    const LET_IN: i32 = 42;
    if let Some(dir) = std::env::var_os(LOG) {
        let code = match Wal::open(Path::new(&dir), options()) {
            Ok(_) => LET_IN,
            Err(OpenError::Locked { .. }) => TURNED_AWAY,
            Err(error) => panic!("{error}"),
        };
        std::process::exit(code);
    }
    let scratch = tempfile::tempdir().unwrap();
    let another = || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "append::another_process_is_turned_away"]).env(LOG, scratch.path());
        child.output().unwrap().status.code()
    };
    let (wal, _) = Wal::open(scratch.path(), options()).unwrap();
    assert_eq!(another(), Some(TURNED_AWAY));
    wal.close().unwrap();
    assert_eq!(another(), Some(LET_IN));
    assert!(Wal::open(scratch.path(), options()).is_ok(), "the other process has ended");
}

#[test]
fn the_operating_systems_files_serve_as_well() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("deep/er");
    let (wal, report) = Wal::open(&dir, options()).unwrap();
    assert!(report.clean && report.records == 0);
    assert!(matches!(Wal::open(&dir, options()), Err(OpenError::Locked { .. })));
    for id in 0..50 {
        wal.append(record(id, 200)).unwrap();
    }
    wal.close().unwrap();
    assert!(matches!(wal.append("late"), Err(AppendError::Rejected(Reject::Closed))));
    let (wal, report) = Wal::open(&dir, options()).unwrap();
    assert!(report.clean && report.records == 50 && report.segments > 3, "{report:?}");
    let expected: Vec<_> = (0..50).map(|id| (id + 1, record(id, 200))).collect();
    assert_eq!(read_all(&wal), expected);
    drop(wal);
    let (wal, report) = Wal::open(&dir, options()).unwrap();
    assert!(report.clean, "nothing was written since");
    wal.append("unclean").unwrap();
    drop(wal);
    assert!(!Wal::open(&dir, options()).unwrap().1.clean);
}

#[test]
fn a_closed_log_says_so_and_its_successor_starts_clean() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    wal.append("a").unwrap();
    wal.close().unwrap();
    for error in [wal.append("b").map(drop), wal.rotate(), wal.reserve().map(drop), wal.close()] {
        assert!(matches!(error, Err(AppendError::Rejected(Reject::Closed))), "{error:?}");
    }
    let segments = disk.names(DIR).unwrap().len();
    let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert!(report.clean);
    wal.append("b").unwrap();
    assert_eq!(disk.names(DIR).unwrap().len(), segments, "the segment goes on behind the mark");
    assert_eq!(read_all(&wal).len(), 2);
}

/// Syncs wait until it opens.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(bool, u64)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        self.state.lock().0 = closed;
        self.changed.notify_all();
    }

    /// Waits until `n` syncs have come to the gate.
    fn await_arrivals(&self, n: u64) {
        let mut state = self.state.lock();
        while state.1 < n {
            self.changed.wait(&mut state);
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            self.changed.wait(&mut state);
        }
    }
}

impl Watch for Gate {
    fn before(&self, op: Op) {
        if op == Op::Sync {
            self.pass();
        }
    }
}

fn gated(options: Options) -> (Wal<Watched<Gate>>, Arc<Gate>, SimFs) {
    let fs = Watched::new(SimFs::new(0), Arc::<Gate>::default());
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options).unwrap();
    wal.append("warm").unwrap();
    (wal, fs.watch, fs.disk)
}

#[test]
fn threads_that_wait_share_one_frame_and_one_sync() {
    const THREADS: u64 = 8;
    let (wal, gate, disk) = gated(Options { segment_bytes: 1 << 16, max_frame: 1 << 16, ..options() });
    let before = wal.stats();
    gate.set(true);
    std::thread::scope(|scope| {
        let append = |id| {
            let wal = &wal;
            move || wal.append(record(id, 10)).unwrap()
        };
        let first = scope.spawn(append(0));
        gate.await_arrivals(2);
        let rest: Vec<_> = (1..THREADS).map(|id| scope.spawn(append(id))).collect();
        let records = (0..THREADS).map(|id| record(id, 10).len() as u64 + 1).sum::<u64>();
        let queued = records + (THREADS - 1) * 256;
        while wal.stats().inflight_bytes < queued {
            std::thread::yield_now();
        }
        gate.set(false);
        let mut lsns: Vec<Lsn> = rest.into_iter().map(|thread| thread.join().unwrap()).collect();
        lsns.push(first.join().unwrap());
        lsns.sort();
        assert_eq!(lsns, (2..2 + THREADS).map(Lsn).collect::<Vec<_>>());
    });
    let after = wal.stats();
    assert_eq!(after.syncs - before.syncs, 2, "one alone, one for all that came meanwhile");
    assert_eq!(after.groups - before.groups, 2);
    assert_eq!(after.appended_records - before.appended_records, THREADS);
    assert!(disk.count(Op::Sync) >= after.syncs);
    assert_eq!(read_all(&wal).len() as u64, THREADS + 1);
}

#[test]
fn threads_append_read_rotate_and_truncate_at_once() {
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    let acked = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (wal, acked) = (&wal, &acked);
            scope.spawn(move || {
                for id in 0..60 {
                    let bytes = record(thread * 1000 + id, usize::try_from(id * 41 % 700).unwrap());
                    let lsn = wal.append(bytes.clone()).unwrap();
                    acked.lock().push((lsn.0, bytes));
                }
            });
        }
        let wal = &wal;
        scope.spawn(move || {
            for lsn in 0..40 {
                wal.rotate().unwrap();
                wal.reserve().unwrap();
                wal.truncate_before(Lsn(lsn * 2)).unwrap();
            }
        });
        scope.spawn(move || {
            let mut reader = wal.reader(Lsn::FIRST);
            let mut next = reader.next_lsn();
            while next < Lsn(241) {
                let Some(read) = reader.next() else {
                    std::thread::yield_now();
                    continue;
                };
                assert_eq!(read.unwrap().lsn, next, "in order, without gaps, while all else goes on");
                next = next.next();
            }
        });
    });
    let mut acked = acked.into_inner();
    acked.sort();
    let (after, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    let low = usize::try_from(report.first_lsn.0 - 1).unwrap();
    assert!(acked.len() == 240 && read_all(&after) == acked[low..]);
}

#[test]
fn handles_may_be_sent_and_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Wal>();
    shared::<forebay_wal::Pin>();
    shared::<AppendError>();
    shared::<OpenError>();
    fn sent<T: Send + 'static>() {}
    sent::<forebay_wal::Reader>();
}

#[test]
fn every_rejection_names_the_log_and_its_numbers() {
    let disk = SimFs::new(0);
    let limits =
        Options { max_log_bytes: Some(2 * 8192), max_record_bytes: 500, segment_bytes: 8192, ..options() };
    let refusal = |wal: &Wal<SimFs>| loop {
        match wal.append(vec![1; 400]) {
            Ok(_) => {}
            Err(AppendError::Rejected(reason)) => return reason.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let wal = open(&disk, limits);
    let too_large = wal.append(vec![1; 501]).unwrap_err().to_string();
    assert_eq!(too_large, format!("record of 503 bytes exceeds the limit of 500 of log {DIR}"));
    assert_eq!(refusal(&wal), format!("log {DIR} of 16384 bytes is at its limit of 16384"));
    let disk = SimFs::new(0);
    let wal = open(&disk, options());
    wal.append("a").unwrap();
    disk.set_budget(Some(0));
    assert_eq!(refusal(&wal), format!("{DIR} has no space for 8192 bytes, 0 are free"));
    disk.set_budget(None);
    disk.fail_next(Op::Write, 0, Fault::Error(io::ErrorKind::PermissionDenied));
    assert_eq!(refusal(&wal), format!("write to log {DIR} failed and was taken back: permission denied"));
}

#[test]
fn what_waits_is_bounded_and_refused_beyond() {
    let (wal, gate, _) = gated(Options { max_inflight_bytes: 1000, ..options() });
    gate.set(true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| wal.append(vec![1; 600]));
        gate.await_arrivals(2);
        let refused = wal.append(vec![2; 600]);
        let reason = Reject::Backpressure { dir: Path::new(DIR).into(), inflight: 602, limit: 1000 };
        assert!(matches!(refused, Err(AppendError::Rejected(r)) if r == reason));
        gate.set(false);
        first.join().unwrap().unwrap();
    });
    wal.append(vec![3; 1200]).expect("a large record goes when nothing waits");
    assert_eq!(wal.stats().rejected.backpressure, 1);
    assert_eq!(read_all(&wal).len(), 3);
}

#[test]
fn a_log_that_broke_is_unlocked_only_when_nobody_writes() {
    let (wal, gate, disk) = gated(options());
    let second = || Wal::open_in(disk.clone(), DIR, options());
    gate.set(true);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| wal.append("under way"));
        gate.await_arrivals(2);
        // The directory's sync fails, while the append waits for its own.
        disk.fail_next(Op::SyncDir, 0, Fault::Error(io::ErrorKind::Other));
        let broken = wal.reserve();
        let closing = scope.spawn(|| wal.close());
        // A close that does not wait has time to go wrong.
        let waits = (0..5000).all(|_| {
            std::thread::yield_now();
            !closing.is_finished()
        });
        let locked = second();
        gate.set(false);
        writing.join().unwrap().unwrap();
        assert!(matches!(closing.join().unwrap(), Err(AppendError::Rejected(Reject::Poisoned))));
        assert!(matches!(broken, Err(AppendError::Indeterminate(_))), "{broken:?}");
        assert!(waits && matches!(locked, Err(OpenError::Locked { .. })), "unlocked under a writer");
    });
    second().unwrap();
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

    #[test]
    fn many_futures_become_one_group() {
        let wal = open(&SimFs::new(0), Options { max_frame: 1 << 16, ..options() });
        let (log, mut committer) = AsyncWal::unstarted(wal.clone());
        let mut futures: Vec<_> = (0..20).map(|id| log.append(record(id, 20))).collect();
        assert!(futures.iter_mut().all(|future| poll(future).is_pending()));
        assert!(committer.step() && !committer.step());
        for (future, lsn) in futures.iter_mut().zip(1..) {
            assert!(matches!(poll(future), Poll::Ready(Ok(found)) if found == Lsn(lsn)));
        }
        assert_eq!((wal.stats().groups, wal.stats().syncs), (1, 1));
    }

    #[test]
    fn an_empty_batch_waits_for_nobody() {
        let (log, mut committer) = AsyncWal::unstarted(open(&SimFs::new(0), options()));
        let nothing = poll(&mut log.append_batch(Vec::<&str>::new()));
        assert!(matches!(nothing, Poll::Ready(Ok(lsns)) if lsns == (Lsn(1)..Lsn(1))));
        assert!(!committer.step(), "nothing was queued");
    }

    #[test]
    fn a_dropped_future_neither_loses_nor_doubles_nor_blocks() {
        let disk = SimFs::new(0);
        let (log, mut committer) = AsyncWal::unstarted(open(&disk, options()));
        drop(log.append("never polled"));
        let mut polled = log.append("polled");
        assert!(poll(&mut polled).is_pending());
        drop(polled);
        let mut kept = log.append("kept");
        assert!(committer.step());
        let mut unread = log.append("done, not read");
        assert!(committer.step() && !committer.step());
        assert!(matches!(poll(&mut kept), Poll::Ready(Ok(Lsn(3)))));
        assert!(matches!(poll(&mut unread), Poll::Ready(Ok(Lsn(4)))));
        let bytes: Vec<_> = read_all(log.wal()).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes, [&b"never polled"[..], b"polled", b"kept", b"done, not read"]);
    }

    #[test]
    fn without_a_committer_tasks_are_refused_and_threads_are_not() {
        let (log, committer) = AsyncWal::unstarted(open(&SimFs::new(0), options()));
        let mut waiting = log.append("waiting");
        drop(committer);
        let closed = |answer| matches!(answer, Poll::Ready(Err(AppendError::Rejected(Reject::Closed))));
        assert!(closed(poll(&mut waiting)));
        assert!(closed(poll(&mut log.append("late"))));
        assert_eq!(log.wal().append("by a thread").unwrap(), Lsn(1));
    }

    #[test]
    fn the_committer_does_not_end_while_a_thread_leads_and_a_task_waits() {
        let (wal, gate, _) = gated(options());
        let (log, committer) = AsyncWal::unstarted(wal.clone());
        gate.set(true);
        let (mut queued, ended_early) = std::thread::scope(|scope| {
            let leading = scope.spawn(|| wal.append("by a thread"));
            gate.await_arrivals(2);
            let queued = log.append("by a task");
            drop(log);
            let mut running = Box::pin(committer.run_async());
            let ended_early = poll(&mut running).is_ready();
            gate.set(false);
            leading.join().unwrap().unwrap();
            // Another thread may take the task's record along: the committer ends all the same.
            while !ended_early && poll(&mut running).is_pending() {
                std::thread::yield_now();
            }
            (queued, ended_early)
        });
        assert!(matches!(poll(&mut queued), Poll::Ready(Ok(Lsn(3)))));
        assert!(!ended_early);
        assert_eq!(read_all(&wal).len(), 3);
    }

    #[test]
    fn the_committing_thread_ends_when_a_thread_has_done_its_work() {
        let (wal, gate, _) = gated(options());
        let (log, committer) = AsyncWal::unstarted(wal.clone());
        gate.set(true);
        std::thread::scope(|scope| {
            let leading = scope.spawn(|| wal.append("first"));
            gate.await_arrivals(2);
            let queued = log.append("by a task");
            let following = scope.spawn(|| wal.append("second"));
            let ending = scope.spawn(|| committer.run());
            drop(log);
            gate.set(false);
            leading.join().unwrap().unwrap();
            following.join().unwrap().unwrap();
            ending.join().unwrap();
            drop(queued);
        });
        assert_eq!(read_all(&wal).len(), 4);
    }

    /// It waited for the write under way, on the thread that polled it.
    #[test]
    fn closing_a_broken_log_blocks_no_task_and_is_over_when_it_is_unlocked() {
        let (wal, gate, disk) = gated(options());
        let (log, _committer) = AsyncWal::unstarted(wal.clone());
        gate.set(true);
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| wal.append("under way"));
            gate.await_arrivals(2);
            disk.fail_next(Op::SyncDir, 0, Fault::Error(io::ErrorKind::Other));
            assert!(matches!(wal.reserve(), Err(AppendError::Indeterminate(_))));
            let polling = scope.spawn(|| {
                let mut closing = Box::pin(log.close());
                let first = poll(&mut closing);
                (first.is_pending(), closing)
            });
            let polled = (0..1_000_000).any(|_| {
                std::thread::yield_now();
                polling.is_finished()
            });
            let locked = Wal::open_in(disk.clone(), DIR, options());
            gate.set(false);
            assert!(polled && matches!(locked, Err(OpenError::Locked { .. })));
            let (pending, mut closing) = polling.join().unwrap();
            assert!(pending);
            writing.join().unwrap().unwrap();
            let answer = loop {
                match poll(&mut closing) {
                    Poll::Ready(answer) => break answer,
                    Poll::Pending => std::thread::yield_now(),
                }
            };
            assert!(matches!(answer, Err(AppendError::Rejected(Reject::Poisoned))));
        });
        Wal::open_in(disk, DIR, options()).unwrap();
    }

    #[tokio::test]
    async fn as_a_task_the_committer_runs_without_threads() {
        let disk = SimFs::new(0);
        let (log, committer) = AsyncWal::unstarted(open(&disk, options()));
        let committer = tokio::spawn(committer.run_async());
        let writers: Vec<_> = (0..10)
            .map(|writer| {
                let log = log.clone();
                tokio::spawn(async move {
                    for id in 0..20 {
                        log.append(record(writer * 100 + id, 50)).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(log.append_batch(["x", "y"]).await.unwrap(), Lsn(201)..Lsn(203));
        log.rotate().await.unwrap();
        assert!(log.truncate_before(Lsn(150)).await.unwrap().segments > 0);
        let stats = log.wal().stats();
        assert!(stats.groups < 100, "{} groups for 200 appends", stats.groups);
        log.close().await.unwrap();
        committer.await.unwrap();
        let (wal, report) = Wal::open_in(disk, DIR, options()).unwrap();
        assert!(report.clean);
        assert_eq!(read_all(&wal).first().unwrap().0, 150);
    }

    #[tokio::test]
    async fn the_committing_thread_serves_tasks_and_threads_and_ends_with_the_handles() {
        let scratch = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(scratch.path(), options()).unwrap();
        let log = AsyncWal::start(wal.clone()).unwrap();
        let by_task = {
            let log = log.clone();
            tokio::spawn(async move {
                for id in 0..20 {
                    log.append(record(id, 10)).await.unwrap();
                }
            })
        };
        let by_thread = {
            let wal = wal.clone();
            tokio::task::spawn_blocking(move || {
                for id in 100..120 {
                    wal.append(record(id, 10)).unwrap();
                }
            })
        };
        by_task.await.unwrap();
        by_thread.await.unwrap();
        assert_eq!(read_all(&wal).len(), 40);
        log.close().await.unwrap();
        drop((log, wal));
        let (wal, report) = Wal::open(scratch.path(), options()).unwrap();
        assert!(report.clean && report.records == 40);
        drop(wal);
    }
}
