//! The thread of a log that no append waits for: it makes segments ahead, and syncs when the policy says so.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::fs::Fs;
use crate::leader::Inner;

/// Wakes the thread.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    rings: Mutex<Rings>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rings {
    segment: bool,
    sync: bool,
    over: bool,
}

impl Doorbell {
    /// A segment is wanted.
    pub(crate) fn ring(&self) {
        self.rings.lock().segment = true;
        self.changed.notify_one();
    }

    /// There is something that has to be synced one day.
    pub(crate) fn ring_for_sync(&self) {
        self.rings.lock().sync = true;
        self.changed.notify_one();
    }

    /// Whether a segment was wanted.
    #[cfg(test)]
    pub(crate) fn hush(&self) -> bool {
        std::mem::take(&mut self.rings.lock().segment)
    }

    fn is_over(&self) -> bool {
        self.rings.lock().over
    }

    fn stop(&self) {
        self.rings.lock().over = true;
        self.changed.notify_one();
    }

    /// Blocks until it rings, or for so many nanoseconds; whether a segment is wanted, or `None` when it is over.
    fn wait(&self, due_in_ns: Option<u64>) -> Option<bool> {
        let mut rings = self.rings.lock();
        while !rings.segment && !rings.sync && !rings.over {
            match due_in_ns {
                None => self.changed.wait(&mut rings),
                Some(ns) => {
                    if self.changed.wait_for(&mut rings, Duration::from_nanos(ns)).timed_out() {
                        break;
                    }
                }
            }
        }
        rings.sync = false;
        (!rings.over).then(|| std::mem::take(&mut rings.segment))
    }
}

/// The thread; dropping it waits for what it is at.
pub(crate) struct Keeper {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn spawn<F: Fs>(inner: Arc<Inner<F>>) -> io::Result<Self> {
        let bell = inner.clone();
        let thread = std::thread::Builder::new().name("wal-keeper".into()).spawn(move || {
            inner.doorbell.ring();
            let mut due_in_ns = None;
            while let Some(segment) = inner.doorbell.wait(due_in_ns) {
                due_in_ns = turn(&inner, segment);
            }
            inner.reserve.lock().abandon(&inner.home);
        })?;
        Ok(Self { stop: Box::new(move || bell.doorbell.stop()), thread: Some(thread) })
    }
}

/// Syncs what is due, and makes the segment that is wanted, in shares, after each of which it syncs what has become due;
/// in how many nanoseconds there is something to do again.
fn turn<F: Fs>(inner: &Inner<F>, segment: bool) -> Option<u64> {
    // What could not be written now is tried again an interval later; a failure has poisoned the log.
    let maintain = || inner.maintain().unwrap_or_else(|_| inner.retry_in_ns());
    let mut due_in_ns = maintain();
    let mut wanted = segment;
    while wanted && !inner.doorbell.is_over() {
        // A refusal is told to the append that needs the segment.
        wanted = inner.prepare_some().is_ok_and(|ready| !ready);
        due_in_ns = maintain();
    }
    due_in_ns
}

impl Drop for Keeper {
    fn drop(&mut self) {
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread leaves its work to the appends, and has poisoned the log where it led.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Durability::{Buffered, Written};
    use crate::fs::Fs;
    use crate::fs::sim::{Fault, Op, SimFs, Survive};
    use crate::{Lsn, Options, SyncPolicy, Wal};

    #[test]
    fn what_is_due_is_synced_before_a_segment_is_made() {
        let disk = SimFs::new(0);
        let sync = SyncPolicy::Interval(Duration::from_millis(1));
        let options = Options { segment_bytes: 8192, sync, time: disk.time(), ..Options::default() };
        let (wal, _) = Wal::open_in(disk.clone(), "/log", options.clone()).unwrap();
        wal.append_with("a", Written).unwrap();
        disk.advance(1_000_000);
        disk.fail_next(Op::CreateNew, 0, Fault::PowerCut);
        turn(&wal.inner, true);
        assert!(disk.has_crashed());
        let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), "/log", options).unwrap();
        assert_eq!(wal.next_lsn(), Lsn(2));
    }

    #[test]
    fn what_becomes_due_while_a_segment_is_made_does_not_wait_for_the_end_of_it() {
        let disk = SimFs::new(0);
        let sync = SyncPolicy::Interval(Duration::from_millis(2));
        let options = Options { segment_bytes: 4 << 20, sync, time: disk.time(), ..Options::default() };
        let (wal, _) = Wal::open_in(disk.clone(), "/log", options.clone()).unwrap();
        wal.append_with("a", Written).unwrap();
        disk.set_latency(Op::Sync, 1_000_000);
        disk.fail_next(Op::Sync, 4, Fault::PowerCut);
        turn(&wal.inner, true);
        assert!(disk.has_crashed());
        let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), "/log", options).unwrap();
        assert_eq!(wal.next_lsn(), Lsn(2));
    }

    #[test]
    fn a_segment_that_is_half_made_is_finished_by_who_needs_it_and_gone_where_the_log_is_closed() {
        let disk = SimFs::new(0);
        let options = Options { segment_bytes: 1 << 20, ..Options::default() };
        let (wal, _) = Wal::open_in(disk.clone(), "/log", options).unwrap();
        wal.append("a").unwrap();
        let begin = || {
            assert!(!wal.inner.prepare_some().unwrap());
            assert!(!wal.inner.prepare_some().unwrap());
        };
        let files = || disk.list(Path::new("/log")).unwrap().len();
        begin();
        let (half, made) = (files(), disk.count(Op::CreateNew));
        wal.rotate().unwrap();
        assert_eq!((files(), disk.count(Op::CreateNew)), (half, made));
        let used = wal.usage().log_bytes;
        begin();
        assert_eq!((files(), wal.usage().log_bytes), (half + 1, used + (1 << 20)));
        wal.close().unwrap();
        assert_eq!((files(), wal.usage().log_bytes), (half, used));
        assert!(wal.inner.prepare_some().is_err());
    }

    #[test]
    fn what_cannot_be_synced_is_tried_again_after_a_pause_whatever_the_interval() {
        let disk = SimFs::new(0);
        let sync = SyncPolicy::Interval(Duration::ZERO);
        let options = Options { segment_bytes: 8192, sync, time: disk.time(), ..Options::default() };
        let (wal, _) = Wal::open_in(disk.clone(), "/log", options).unwrap();
        wal.append_with("a", Buffered).unwrap();
        disk.set_budget(Some(0));
        assert_eq!(turn(&wal.inner, false), Some(1_000_000));
        disk.set_budget(None);
        assert_eq!(turn(&wal.inner, false), None);
        assert_eq!(wal.watermarks().durable, Lsn(2));
    }
}
