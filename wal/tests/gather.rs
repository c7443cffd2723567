//! Many writers share every sync, and not every other: counted, on a disk that takes its time by its own clock.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_wal::fs::sim::{Op, SimFile, SimFs, SimLock};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{Options, Wal};
use harness::{DIR, options};

/// A sync lasts until every thread that is still at it has come to its append, as one of a millisecond does.
#[derive(Debug, Clone)]
struct Slow {
    disk: SimFs,
    threads: Arc<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    alive: AtomicUsize,
    appending: AtomicUsize,
}

struct SlowFile(SimFile, Arc<Threads>);

impl Fs for Slow {
    type File = SlowFile;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<SlowFile> {
        Ok(SlowFile(self.disk.create_new(path)?, self.threads.clone()))
    }
    fn open(&self, path: &Path) -> io::Result<SlowFile> {
        Ok(SlowFile(self.disk.open(path)?, self.threads.clone()))
    }
    fn open_read(&self, path: &Path) -> io::Result<SlowFile> {
        self.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.disk.try_lock(path)
    }
}

impl File for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write_vectored_at(bufs, offset)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let Threads { alive, appending } = &*self.1;
        while appending.load(Ordering::SeqCst) < alive.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Records in a group, on average, of so many writers.
fn records_in_a_group(writers: usize, gather: bool) -> u64 {
    let appends = 100 * writers;
    let begun = AtomicUsize::new(0);
    let disk = SimFs::new(0);
    let fs = Slow { disk: disk.clone(), threads: Arc::default() };
    let frames = Options { segment_bytes: 1 << 20, max_frame: 1 << 16, ..options() };
    let options = Options { gather, time: disk.time(), ..frames };
    let (wal, _) = Wal::open_in(fs.clone(), DIR, options).unwrap();
    wal.append("the segment is made").unwrap();
    disk.set_latency(Op::Sync, 1_000_000);
    let before = wal.stats();
    let Threads { alive, appending } = &*fs.threads;
    alive.store(writers, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                // All end at nearly the same time, as they would not if each had its number of appends.
                while begun.fetch_add(1, Ordering::SeqCst) < appends {
                    appending.fetch_add(1, Ordering::SeqCst);
                    wal.append("a record").unwrap();
                    appending.fetch_sub(1, Ordering::SeqCst);
                }
                alive.fetch_sub(1, Ordering::SeqCst);
                // Whoever waits for this one to come back has waited for long enough.
                disk.advance(1_000_000);
            });
        }
    });
    let after = wal.stats();
    assert_eq!(after.appended_records - before.appended_records, appends as u64);
    (after.appended_records - before.appended_records) / (after.groups - before.groups)
}

#[test]
fn sixty_four_writers_share_every_sync() {
    let gathered = records_in_a_group(64, true);
    assert!(gathered >= 50, "{gathered} records in a group");
}

#[test]
fn without_gathering_they_share_every_other() {
    let not = records_in_a_group(64, false);
    assert!(not <= 40, "{not} records in a group");
}

#[test]
fn a_single_writer_waits_for_nobody() {
    assert_eq!(records_in_a_group(1, true), 1);
}
