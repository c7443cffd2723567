//! Who commits for tasks: a thread of its own, or a task of a simulation.

use std::fmt;
use std::pin::pin;

use crate::Wal;
use crate::fs::{Fs, StdFs};

/// Commits what tasks append. Dropped before its time, it refuses what they wait for with
/// [`Reject::Closed`](crate::Reject::Closed), and everything they append later.
#[must_use = "nothing is committed until it runs"]
pub struct Committer<F: Fs = StdFs> {
    wal: Wal<F>,
    /// Whether it has a thread of its own, which may wait for more to join a group.
    may_wait: bool,
}

impl<F: Fs> Committer<F> {
    pub(super) fn new(wal: Wal<F>, may_wait: bool) -> Self {
        Self { wal, may_wait }
    }

    /// Commits until the log is closed or poisoned, or all handles are gone and nothing waits; blocks this thread.
    pub fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        // Dropped on an error, the committer refuses what tasks wait for.
        if let Ok(runtime) = runtime {
            runtime.block_on(self.run_async());
        }
    }

    /// As [`run`](Self::run), as a task that does its I/O where it is polled: for simulated disks. Between two
    /// groups it lets other tasks run, so that they join the next.
    pub async fn run_async(mut self) {
        let bell = self.wal.inner.committer.clone();
        loop {
            let mut rung = pin!(bell.notified());
            // Counted as a listener before looking, so that no ring is missed in between.
            rung.as_mut().enable();
            if self.step() {
                tokio::task::yield_now().await;
            } else if self.wal.inner.is_done() {
                return;
            } else {
                rung.await;
            }
        }
    }

    /// Commits one group, if anything waits and nobody else commits; whether it did. What
    /// [`Wal::maintain`] does is not done here.
    pub fn step(&mut self) -> bool {
        self.wal.inner.commit(self.may_wait)
    }
}

impl<F: Fs> Drop for Committer<F> {
    fn drop(&mut self) {
        self.wal.inner.close_tasks();
    }
}

impl<F: Fs> fmt::Debug for Committer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("wal", &self.wal).finish_non_exhaustive()
    }
}
