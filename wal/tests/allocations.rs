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

/// Records of 100 bytes in frames of 8 KiB.
fn log(scratch: &std::path::Path, records: usize) -> Wal {
    let options = Options { segment_bytes: 16 << 20, max_frame: 8 << 10, ..Options::default() };
    let (wal, _) = Wal::open_in(StdFs, scratch, options).unwrap();
    wal.append_batch(vec![&[7; 100]; 10]).unwrap();
    for _ in 0..records / 50 {
        wal.append_batch_with(vec![&[7; 100]; 50], Written).unwrap();
    }
    wal.sync().unwrap();
    wal
}

/// A window was made anew, and filled with zeros, for every frame, and each frame copied.
#[test]
fn a_reader_reads_into_the_same_memory_over_and_over() {
    let scratch = tempfile::tempdir().unwrap();
    let wal = log(scratch.path(), 40_000);
    let mut reader = wal.reader(Lsn::FIRST);
    let first = count(|| assert!(reader.next_ref().unwrap().is_ok()));
    assert!(first < 10, "{first} for a file and a window");
    let mut records = 1;
    let lent = count(|| {
        while let Some(record) = reader.next_ref() {
            records += u64::from(record.unwrap().bytes == [7; 100]);
        }
    });
    assert_eq!((records + 1, lent), (wal.next_lsn().0, 0), "records and allocations");
    let mut reader = wal.reader(Lsn::FIRST);
    drop(reader.next());
    let (mut records, windows) = (1, 40_000 * 102 / (56 << 10) + 2);
    let owned = count(|| {
        records += reader.map(|record| u64::from(record.unwrap().bytes[..] == [7; 100])).sum::<u64>()
    });
    assert_eq!(records + 1, wal.next_lsn().0);
    assert!(owned <= windows, "{owned} allocations for {windows} windows");
}

#[cfg(all(feature = "snappy", feature = "zstd"))]
#[test]
fn bodies_are_compressed_and_brought_back_in_the_same_memory() {
    use forebay_wal::Compression;
    for compression in [Compression::Snappy, Compression::Zstd { level: 1 }] {
        let scratch = tempfile::tempdir().unwrap();
        let options =
            Options { segment_bytes: 16 << 20, max_frame: 8 << 10, compression, ..Options::default() };
        let (wal, _) = Wal::open_in(StdFs, scratch.path(), options).unwrap();
        let append = |times: usize| {
            for number in 0..times {
                // Frames of many lengths.
                for _ in 0..number % 40 {
                    wal.append_with(&[7; 100], Buffered).unwrap();
                }
                wal.append_with(&[8; 100], Written).unwrap();
            }
        };
        append(80);
        assert_eq!(count(|| append(200)), 0, "{compression:?}");
        wal.sync().unwrap();
        let mut reader = wal.reader(Lsn::FIRST);
        let mut read = |most: u64| {
            let mut records = 0;
            while records < most
                && let Some(record) = reader.next_ref()
            {
                assert_eq!(record.unwrap().bytes.len(), 100);
                records += 1;
            }
            records
        };
        let warm = read(1000);
        let mut rest = 0;
        assert_eq!(count(|| rest = read(u64::MAX)), 0, "{compression:?}");
        assert_eq!(warm + rest + 1, wal.next_lsn().0);
    }
}
