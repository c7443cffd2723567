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
                if segment {
                    // A refusal is told to the append that needs the segment; a failure has poisoned the log.
                    let _ = inner.prepare();
                }
                // As here: what could not be written now is tried again an interval later.
                due_in_ns = inner.maintain().unwrap_or_else(|_| inner.retry_in_ns());
            }
        })?;
        Ok(Self { stop: Box::new(move || bell.doorbell.stop()), thread: Some(thread) })
    }
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
