//! Many writers share every sync, and not every other: counted, on a disk that takes its time by its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::watched::{Watch, Watched};
use crate::harness::{DIR, options};
use forebay_wal::fs::sim::{Op, SimFs};
use forebay_wal::{Options, Wal};

#[derive(Debug, Default)]
struct Threads {
    alive: AtomicUsize,
    appending: AtomicUsize,
}

/// A sync lasts until every thread that is still at it has come to its append, as one of a millisecond does.
impl Watch for Threads {
    fn before(&self, op: Op) {
        while op == Op::Sync && self.appending.load(Ordering::SeqCst) < self.alive.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }
}

/// Records in a group, on average, of so many writers.
fn records_in_a_group(writers: usize, gather: bool) -> u64 {
    let appends = 100 * writers;
    let begun = AtomicUsize::new(0);
    let disk = SimFs::new(0);
    let threads = Arc::<Threads>::default();
    let frames = Options { segment_bytes: 1 << 20, max_frame: 1 << 16, ..options() };
    let options = Options { gather, time: disk.time(), ..frames };
    let (wal, _) = Wal::open_in(Watched::new(disk.clone(), threads.clone()), DIR, options).unwrap();
    wal.append("the segment is made").unwrap();
    disk.set_latency(Op::Sync, 1_000_000);
    let before = wal.stats();
    let Threads { alive, appending } = &*threads;
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
