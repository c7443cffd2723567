//! What all parts of one open log share: where it lives, its settings and its accounts.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::codec::Packer;
use crate::directory::Directory;
use crate::error::Reject;
use crate::format::Features;
use crate::fs::{File, Fs, is_full};
use crate::options::Options;
use crate::stats::Counters;

pub(crate) struct Home<F: Fs> {
    pub(crate) fs: F,
    pub(crate) dir: Arc<Path>,
    pub(crate) options: Options,
    pub(crate) log_id: [u8; 16],
    pub(crate) salts: Salts,
    /// What the headers of segments have that are made from now on.
    pub(crate) features: Mutex<Features>,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) counters: Counters,
    /// Used by the one who writes.
    pub(crate) packer: Mutex<Packer>,
    /// No segment was to be had when last tried, and none was given back since: not worth trying before one is
    /// needed.
    pub(crate) starved: AtomicBool,
    /// Whether a segment is ready for when this one is full.
    pub(crate) ahead: AtomicBool,
}

impl<F: Fs> Home<F> {
    /// Bytes that files may still take. A file system that cannot tell is asked by making the file.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.fs.free_bytes(&self.dir).unwrap_or(u64::MAX)
    }

    /// The disk has no room for so many bytes.
    pub(crate) fn no_space(&self, needed: u64) -> Reject {
        let free = self.fs.free_bytes(&self.dir).ok().filter(|free| *free < u64::MAX);
        Reject::NoSpace { dir: self.dir.clone(), needed, free }
    }

    /// A failed call, that was to bring so many bytes to the disk and changed nothing durable.
    pub(crate) fn refusal(&self, error: &io::Error, bytes: u64) -> Reject {
        match is_full(error) {
            true => self.no_space(bytes),
            false => Reject::Io { dir: self.dir.clone(), kind: error.kind() },
        }
    }

    /// Syncs a file and keeps the account of it.
    pub(crate) fn sync(&self, file: &F::File) -> io::Result<()> {
        let begin = self.options.time.monotonic_ns();
        let result = file.sync_data();
        let took = self.options.time.monotonic_ns().saturating_sub(begin);
        self.counters.synced(took, result.is_ok());
        if result.is_ok() {
            self.counters.unsynced_since(None);
        }
        result
    }
}

/// Salts from a seed (splitmix64): no two of a log are alike for all practical purposes.
#[derive(Debug)]
pub(crate) struct Salts {
    state: AtomicU64,
}

impl Salts {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A seed from the process's random state, which the system's entropy fills.
    pub(crate) fn random_seed() -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(())
    }

    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
