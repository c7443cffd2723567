//! A file system that panics: the log breaks, nobody waits for ever, and the next opening finds what was promised.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, options, read_all};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::fs::sim::{Op, SimFs};
use forebay_wal::{AppendError, Lsn, Reject, Wal};
use parking_lot::{Condvar, Mutex};

/// When it panics, and how many have come to where it does.
#[derive(Debug, Default)]
struct Trap {
    state: Mutex<(Armed, u64)>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Armed {
    #[default]
    No,
    /// Waits, and then panics as it is told.
    Wait,
    Write,
    Sync,
}

impl Trap {
    fn set(&self, armed: Armed) {
        self.state.lock().0 = armed;
        self.changed.notify_all();
    }

    fn step(&self, at: Armed) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 == Armed::Wait {
            self.changed.wait(&mut state);
        }
        if state.0 == at {
            state.0 = Armed::No;
            drop(state);
            panic!("the disk has had enough");
        }
    }

    /// Waits until so many writes and syncs were begun.
    fn await_steps(&self, n: u64) {
        let mut state = self.state.lock();
        while state.1 < n {
            self.changed.wait(&mut state);
        }
    }
}

impl Watch for Trap {
    fn before(&self, op: Op) {
        match op {
            Op::Write => self.step(Armed::Write),
            Op::Sync => self.step(Armed::Sync),
            _ => {}
        }
    }
}

fn open() -> (Wal<Watched<Trap>>, Arc<Trap>, SimFs) {
    let fs = Watched::new(SimFs::new(0), Arc::<Trap>::default());
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options()).unwrap();
    wal.append("before").unwrap();
    (wal, fs.watch, fs.disk)
}

fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

#[test]
fn a_panic_of_the_file_system_ends_all_writing() {
    for (armed, written) in [(Armed::Write, 1), (Armed::Sync, 2)] {
        let (wal, trap, disk) = open();
        wal.append_with("buffered", Buffered).unwrap();
        trap.set(armed);
        assert!(panics(|| wal.append("in the middle")));
        assert_eq!(wal.poisoned().unwrap().operation, "committing");
        for level in [Buffered, Written, Synced] {
            let answer = wal.append_with("after", level);
            assert!(matches!(answer, Err(AppendError::Rejected(Reject::Poisoned))), "{answer:?}");
        }
        assert!(matches!(wal.wait(Lsn(2), Synced), Err(AppendError::Indeterminate(_))));
        assert!(matches!(wal.sync(), Err(AppendError::Indeterminate(_))));
        assert!(matches!(wal.close(), Err(AppendError::Rejected(Reject::Poisoned))));
        assert_eq!(wal.watermarks().durable, Lsn(2));
        let (wal, _) = Wal::open_in(disk, DIR, options()).expect("closing lets the next opener in");
        assert_eq!(read_all(&wal).len() as u64, 2 * written - 1);
    }
}

/// As in okaywal, where the flag that somebody syncs stayed set and all others waited for ever.
#[test]
fn a_panic_frees_all_who_wait() {
    let (wal, trap, _) = open();
    let waiting = |wal: &Wal<Watched<Trap>>| wal.stats().inflight_bytes;
    trap.set(Armed::Wait);
    let before = trap.state.lock().1;
    std::thread::scope(|scope| {
        let leading = scope.spawn(|| panics(|| wal.append("leads")));
        trap.await_steps(before + 1);
        let idle = waiting(&wal);
        let behind = [Written, Synced].map(|level| {
            let wal = &wal;
            scope.spawn(move || wal.append_with("behind", level))
        });
        while waiting(&wal) < idle + 2 * 256 {
            std::thread::yield_now();
        }
        trap.set(Armed::Write);
        assert!(leading.join().unwrap());
        for behind in behind {
            let answer = behind.join().unwrap();
            assert!(matches!(answer, Err(AppendError::Rejected(Reject::Poisoned))), "{answer:?}");
        }
    });
    assert!(wal.poisoned().is_some());
    assert_eq!(wal.stats().inflight_bytes, 0);
}

/// Work that the leader had taken along, and not begun.
#[cfg(feature = "tokio")]
#[test]
fn a_panic_answers_what_was_asked_for_behind_the_record() {
    let (wal, trap, _) = open();
    let (log, mut committer) = forebay_wal::aio::AsyncWal::unstarted(wal.clone());
    let record = log.append_with("a record", Synced);
    let mut truncation = Box::pin(log.truncate_before(Lsn(1)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(truncation.as_mut().poll(&mut context).is_pending());
    trap.set(Armed::Write);
    assert!(panics(|| committer.step()));
    let answer = truncation.as_mut().poll(&mut context);
    assert!(matches!(answer, std::task::Poll::Ready(Err(AppendError::Indeterminate(_)))), "{answer:?}");
    drop(record);
}
