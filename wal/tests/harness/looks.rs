//! A look at a log through a disk that counts its open files, and changes it between two reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_wal::fs::sim::SimFs;

use super::watched::{Watch, Watched};

/// Counts open files, and does something after every read.
pub(crate) struct Looks<A> {
    open: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
    after_read: A,
}

impl<A: Fn(&SimFs, usize) + Send + Sync + 'static> Looks<A> {
    /// `after_read` gets the disk, and which read it was.
    pub(crate) fn at(disk: SimFs, after_read: A) -> Watched<Self> {
        let [open, most, reads] = [0, 0, 0].map(AtomicUsize::new);
        Watched::new(disk, Arc::new(Self { open, most, reads, after_read }))
    }

    /// Most files that were open at a time.
    pub(crate) fn most_open(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl<A: Fn(&SimFs, usize) + Send + Sync + 'static> Watch for Looks<A> {
    fn read(&self, disk: &SimFs) {
        (self.after_read)(disk, self.reads.fetch_add(1, Ordering::Relaxed));
    }
    fn opened(&self) {
        self.most.fetch_max(self.open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
