//! What an append allocates, counted by an allocator: nothing, once the buffers have grown.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hint::black_box;

use allocation_counter::measure;
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::fs::StdFs;
use forebay_wal::{Lsn, Options, Wal};

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(count(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn an_append_of_a_record_that_is_copied_allocates_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 16 << 20, max_frame: 64 << 10, ..Options::default() };
    let (wal, _) = Wal::open_in(StdFs, scratch.path(), options).unwrap();
    let (short, long) = (&[7; 64][..], &[7; (16 << 10) - 1][..]);
    let appends = |times: usize, level| {
        for _ in 0..times {
            for record in [short, long] {
                wal.append_with(record, level).unwrap();
            }
        }
    };
    // Both buffers grow to a frame and the record that fills it.
    appends(20, Buffered);
    for (times, level) in [(200, Buffered), (50, Written), (5, Synced)] {
        assert_eq!(count(|| appends(times, level)), 0, "{level:?}");
    }
    assert_eq!(wal.stats().rotations, 0, "a rotation allocates");
    let last = wal.append_with(short, Written).unwrap();
    wal.wait(last, Synced).expect("the place where a thread waits is made once");
    let last = wal.append_with(short, Written).unwrap();
    assert_eq!(count(|| wal.wait(last, Synced).unwrap()), 0);
    assert_eq!(wal.watermarks().durable, last.next());
    assert_eq!(wal.reader(Lsn::FIRST).count() as u64, last.0);
}
