//! G14 and G16 for tasks: what waits is woken once, files are read and written by other threads, and who goes away loses
//! nothing.

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, options, record};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::aio::{self, AsyncWal};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::{Fault, Op, SimFs};
use forebay_wal::{AppendError, Event, Lsn, OpenError, Options, ReadError, Reject, SyncPolicy, Wal};
use futures_core::Stream;
use parking_lot::{Condvar, Mutex};

fn log() -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    (disk, wal)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks a tail once, and drops the future.
fn ask(tail: &mut aio::Tail<SimFs>, waker: &Waker) -> Option<Event> {
    match pin!(tail.next()).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(event) => Some(event.unwrap()),
        Poll::Pending => None,
    }
}

/// A tail that looks now and then would wake for nothing, and one that is told of everything as well.
#[test]
fn a_task_is_woken_when_there_is_news_for_it_and_not_otherwise() {
    let (disk, wal) = log();
    let (log, _committer) = AsyncWal::unstarted(wal);
    let wal = log.wal();
    wal.append("a").unwrap();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let woken = || wakes.0.swap(0, Ordering::Relaxed);
    let mut tail = log.tail(Lsn::FIRST, Synced).unwrap();
    let mut shown = |waker| {
        let mut shown = Vec::new();
        while let Some(event) = ask(&mut tail, waker) {
            shown.push(match event {
                Event::Record(record) => record.lsn.0.to_string(),
                Event::Closed => return vec!["closed".to_owned()],
                other => format!("{other:?}"),
            });
        }
        shown
    };
    assert_eq!(shown(&waker), ["1"]);
    let nothing = |what: &dyn Fn()| {
        what();
        assert_eq!(woken(), 0);
    };
    nothing(&|| drop(wal.reserve()));
    nothing(&|| drop(wal.append_with("b", Buffered)));
    nothing(&|| drop(wal.append_with("c", Written)));
    nothing(&|| drop(wal.maintain()));
    nothing(&|| drop(wal.pin("somebody", Lsn(1))));
    wal.sync().unwrap();
    assert_eq!((woken(), shown(&waker).join(" ")), (1, "2 3".to_owned()), "once for both");
    nothing(&|| drop(wal.sync()));
    nothing(&|| drop(wal.truncate_before(Lsn(2))));
    nothing(&|| drop(wal.checkpoint(Lsn(2), b"")));
    disk.fail_next(Op::Write, 0, Fault::Error(ErrorKind::Other));
    nothing(&|| assert!(wal.append("refused").is_err()));
    wal.rotate().unwrap();
    assert_eq!((woken(), shown(&waker).join(" ")), (1, "Rotated { segment: 2 }".to_owned()));
    wal.append("d").unwrap();
    wal.append("e").unwrap();
    assert_eq!((woken(), shown(&waker).join(" ")), (1, "4 5".to_owned()), "it has not asked in between");
    wal.close().unwrap();
    assert_eq!((woken(), shown(&waker).join(" ")), (1, "closed".to_owned()));
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let (disk, wal) = log();
    let (log, _committer) = AsyncWal::unstarted(wal);
    let mut tail = log.tail(Lsn::FIRST, Written).unwrap();
    let mut seen = Vec::new();
    for id in 1..=40 {
        assert_eq!(ask(&mut tail, Waker::noop()), None);
        assert_eq!(tail.next_lsn(), Lsn(id));
        log.wal().append(record(id, usize::try_from(id * 37 % 1500).unwrap())).unwrap();
        if id % 7 == 0 {
            drop(tail.next());
            disk.fail_next(Op::Read, 0, Fault::Error(ErrorKind::Other));
            let mut next = pin!(tail.next());
            let read = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(read, Poll::Ready(Err(ReadError::Io { .. }))), "{read:?}");
        }
        loop {
            match ask(&mut tail, Waker::noop()) {
                Some(Event::Record(record)) => seen.push((record.lsn.0, record.bytes.to_vec())),
                Some(Event::Rotated { .. }) => {}
                other => break assert_eq!(other, None),
            }
        }
    }
    assert_eq!(seen, crate::harness::read_all(log.wal()));
    // Who is dropped while it waits is forgotten when the next one comes, and told no more.
    (0..5).for_each(|_| drop(ask(&mut log.tail(Lsn(50), Written).unwrap(), Waker::noop())));
    log.wal().append("last").unwrap();
    assert!(matches!(ask(&mut tail, Waker::noop()), Some(Event::Record(_))));
}

#[test]
fn a_stream_ends_behind_the_end_of_the_log() {
    let (_, wal) = log();
    let (log, _committer) = AsyncWal::unstarted(wal);
    let mut tail = log.tail(Lsn::FIRST, Synced).unwrap();
    log.wal().append("a").unwrap();
    log.wal().close().unwrap();
    let mut next = || Pin::new(&mut tail).poll_next(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(next(), Poll::Ready(Some(Ok(Event::Record(_))))));
    assert!(matches!(next(), Poll::Ready(Some(Ok(Event::Closed)))));
    assert!(matches!(next(), Poll::Ready(None)));
}

/// Nothing of the disk is touched on the thread that runs the tasks, once it is named.
#[derive(Default)]
struct Elsewhere {
    tasks: Mutex<Option<ThreadId>>,
    reads: AtomicU64,
    changes: AtomicU64,
}

impl Elsewhere {
    fn tasks_run_here(&self) {
        *self.tasks.lock() = Some(std::thread::current().id());
    }

    fn counts(&self, calls: &AtomicU64) {
        calls.fetch_add(1, Ordering::Relaxed);
        assert_ne!(*self.tasks.lock(), Some(std::thread::current().id()), "the disk is used where tasks run");
    }
}

impl Watch for Elsewhere {
    fn before(&self, _: Op) {
        self.counts(&self.changes);
    }

    fn read(&self, _: &SimFs) {
        self.counts(&self.reads);
    }
}

/// A log that nobody has open any more, as soon as that is so.
fn opened_again<W: Watch>(fs: &Watched<W>) -> Wal<SimFs> {
    loop {
        match Wal::open_in(fs.disk.clone(), DIR, options()) {
            Err(OpenError::Locked { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap().0,
        }
    }
}

#[test]
fn a_started_log_is_read_and_written_by_threads_of_its_own() {
    let fs = Watched::new(SimFs::new(0), Arc::<Elsewhere>::default());
    let options = Options { segment_bytes: 64 << 10, max_frame: 2048, ..options() };
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options).unwrap();
    block_on(async {
        let log = AsyncWal::start(wal).unwrap();
        let mut tails = [(); 2].map(|()| log.tail(Lsn::FIRST, Synced).unwrap());
        fs.watch.tasks_run_here();
        for round in 0..20_u64 {
            let sent: Vec<_> = (0..50).map(|_| log.append(vec![7; 200])).collect();
            for append in sent {
                append.await.unwrap();
            }
            for tail in &mut tails {
                let mut next = round * 50 + 1;
                while next <= (round + 1) * 50 {
                    if let Event::Record(record) = tail.next().await.unwrap() {
                        assert_eq!(record.lsn.0, next);
                        next += 1;
                    }
                }
            }
        }
        assert!(log.wal().stats().rotations > 2);
        log.close().await.unwrap();
        for mut tail in tails {
            assert_eq!(tail.next().await.unwrap(), Event::Closed);
        }
    });
    let Elsewhere { reads, changes, .. } = &*fs.watch;
    assert!(reads.load(Ordering::Relaxed) > 0 && changes.load(Ordering::Relaxed) > 0);
}

#[test]
fn whatever_is_asked_of_a_started_log_is_done_elsewhere_and_so_is_its_end() {
    let fs = Watched::new(SimFs::new(0), Arc::<Elsewhere>::default());
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options()).unwrap();
    block_on(async {
        let log = AsyncWal::start(wal).unwrap();
        fs.watch.tasks_run_here();
        for id in 0..10 {
            log.append(record(id, 900)).await.unwrap();
        }
        log.rotate().await.unwrap();
        let stream = log.stream("a stream").await.unwrap();
        stream.append_with("of it", Written).await.unwrap();
        log.checkpoint(Lsn(5), b"five").await.unwrap();
        stream.truncate_before(Lsn(12)).await.unwrap();
        assert!(log.truncate_before(Lsn(10)).await.unwrap().segments > 0);
        log.drop_stream("a stream").await.unwrap();
        log.sync().await.unwrap();
        // Nobody waits for these, and the log goes while they are in memory.
        for id in 12..20 {
            log.append_with(record(id, 10), Buffered).await.unwrap();
        }
    });
    assert_eq!(opened_again(&fs).next_lsn(), Lsn(20));
}

/// Making a segment is held up.
#[derive(Default)]
struct Making {
    /// Whether it is, and whether somebody is at it.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Watch for Making {
    fn before(&self, op: Op) {
        let mut state = self.state.lock();
        while op == Op::CreateNew && state.0 {
            state.1 = true;
            self.changed.notify_all();
            self.changed.wait(&mut state);
        }
    }
}

impl Making {
    fn set(&self, held: bool) {
        self.state.lock().0 = held;
        self.changed.notify_all();
    }

    fn await_somebody(&self) {
        let mut state = self.state.lock();
        while !state.1 {
            self.changed.wait(&mut state);
        }
    }
}

/// Whoever dropped it waited for the thread that made a segment.
#[test]
fn the_last_handle_of_a_log_that_broke_waits_for_nobody() {
    let fs = Watched::new(SimFs::new(0), Arc::<Making>::default());
    let sync = SyncPolicy::Interval(Duration::from_secs(1));
    let (wal, _) = Wal::open_in(fs.clone(), DIR, Options { sync, ..options() }).unwrap();
    wal.append_with("before", Synced).unwrap();
    wal.reserve().unwrap();
    fs.watch.set(true);
    block_on(async {
        let log = AsyncWal::start(wal).unwrap();
        log.rotate().await.unwrap();
        fs.watch.await_somebody();
        fs.disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        let lost = log.append_with("lost", Synced).await;
        assert!(matches!(lost, Err(AppendError::Indeterminate(_))), "{lost:?}");
    });
    fs.watch.set(false);
    assert!(opened_again(&fs).next_lsn() >= Lsn(2));
}

/// It was refused as a closed one, and stayed locked.
#[test]
fn a_log_that_broke_is_unlocked_by_closing_it_when_its_committer_has_ended() {
    let (disk, wal) = log();
    wal.append("before").unwrap();
    let (log, committer) = AsyncWal::unstarted(wal);
    disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
    let lost = log.append("lost");
    block_on(committer.run_async());
    assert!(matches!(block_on(lost), Err(AppendError::Indeterminate(_))));
    let poisoned = |error| matches!(error, Err(AppendError::Rejected(Reject::Poisoned)));
    assert!(poisoned(block_on(log.append("late")).map(drop)) && poisoned(block_on(log.close())));
    Wal::open_in(disk, DIR, options()).expect("closing lets the next opener in");
}

/// Reads are held up, or panic.
#[derive(Default)]
struct Reads {
    state: Mutex<Hold>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum Hold {
    #[default]
    No,
    Wait,
    Panic,
}

impl Watch for Reads {
    fn read(&self, _: &SimFs) {
        let mut state = self.state.lock();
        while *state == Hold::Wait {
            self.changed.wait(&mut state);
        }
        if *state == Hold::Panic {
            *state = Hold::No;
            drop(state);
            panic!("the disk has had enough");
        }
    }
}

impl Reads {
    fn set(&self, hold: Hold) {
        *self.state.lock() = hold;
        self.changed.notify_all();
    }
}

/// A started log of three records, which a thread reads for its tails.
fn started() -> (AsyncWal<Watched<Reads>>, Arc<Reads>) {
    let fs = Watched::new(SimFs::new(0), Arc::<Reads>::default());
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options()).unwrap();
    for id in 1..=3 {
        wal.append(record(id, 10)).unwrap();
        wal.rotate().unwrap();
    }
    (AsyncWal::start(wal).unwrap(), fs.watch)
}

fn next<F: Fs>(tail: &mut aio::Tail<F>) -> Result<Event, ReadError> {
    block_on(tail.next())
}

/// It came back as it had gone, with its pin.
#[test]
fn a_tail_that_is_detached_while_it_is_read_for_holds_nothing() {
    let (log, reads) = started();
    let mut tail = log.tail(Lsn::FIRST, Synced).unwrap();
    reads.set(Hold::Wait);
    assert!(pin!(tail.next()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut tail = tail.detached();
    reads.set(Hold::No);
    assert!(matches!(next(&mut tail), Ok(Event::Record(record)) if record.lsn == Lsn(1)));
    assert_eq!(log.wal().usage().pinned_by, None);
    assert_eq!(log.wal().truncate_before(Lsn(4)).unwrap().low, Lsn(4));
    assert!(matches!(next(&mut tail), Ok(Event::Gap { from: Lsn(2), to: Lsn(4) })));
}

/// The thread that reads ended with it, and all later tails had nobody.
#[test]
fn a_panic_in_a_read_ends_one_tail_and_no_other() {
    let (log, reads) = started();
    let [mut lost, mut other] = [(); 2].map(|()| log.tail(Lsn::FIRST, Synced).unwrap());
    reads.set(Hold::Panic);
    assert!(matches!(next(&mut lost), Err(ReadError::Poisoned(_))));
    assert!(matches!(next(&mut lost), Err(ReadError::Poisoned(_))), "it is lost");
    for tail in [&mut other, &mut log.tail(Lsn::FIRST, Synced).unwrap()] {
        let first = next(tail);
        assert!(matches!(&first, Ok(Event::Record(record)) if record.lsn == Lsn(1)), "{first:?}");
    }
    assert!(log.wal().poisoned().is_none());
}

/// Somebody fails to make a segment while another syncs a record; and a tail looks in between.
#[derive(Default)]
struct Between {
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Watch for Between {
    fn before(&self, op: Op) {
        let act = if op == Op::Sync { self.act.lock().take() } else { None };
        if let Some(act) = act {
            act();
        }
    }
}

/// Such a tail ended for good before a record that was acknowledged after it.
#[test]
fn a_tail_of_a_log_that_broke_waits_for_the_sync_that_is_under_way() {
    let fs = Watched::new(SimFs::new(0), Arc::<Between>::default());
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options()).unwrap();
    wal.append("before").unwrap();
    let log = AsyncWal::start(wal.clone()).unwrap();
    let tail = Arc::new(Mutex::new(log.tail(Lsn::FIRST, Synced).unwrap()));
    assert!(matches!(next(&mut *tail.lock()), Ok(Event::Record(_))));
    let (looks, breaks, disk) = (tail.clone(), wal.clone(), fs.disk.clone());
    *fs.watch.act.lock() = Some(Box::new(move || {
        disk.fail_next(Op::SyncDir, 0, Fault::Error(ErrorKind::Other));
        assert!(breaks.reserve().is_err() && breaks.poisoned().is_some());
        let mut tail = looks.lock();
        let early = pin!(tail.next()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(early.is_pending(), "{early:?}");
    }));
    assert_eq!(wal.append("meanwhile").unwrap(), Lsn(2));
    let last = next(&mut *tail.lock());
    assert!(matches!(&last, Ok(Event::Record(record)) if record.lsn == Lsn(2)), "{last:?}");
    assert!(matches!(next(&mut *tail.lock()), Err(ReadError::Poisoned(_))));
}
