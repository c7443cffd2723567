//! G18: memory is bounded by what may wait and by what a reader holds, and not by how long the log is.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::StdFs;
use forebay_wal::{AppendError, Durability, Event, Lsn, Options, Reject, View, Wal};

/// What a walk over a file holds of it.
const WINDOW: u64 = 64 << 10;

fn options() -> Options {
    Options { segment_bytes: 64 << 10, max_frame: 16 << 10, ..Options::default() }
}

/// A log of so many segments, in the files of the operating system.
fn log(segments: usize, record: &[u8]) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open_in(StdFs, scratch.path(), options()).unwrap();
    while wal.usage().segments < segments {
        wal.append_batch(vec![record.to_vec(); 10]).unwrap();
    }
    scratch
}

fn peak(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

#[test]
fn opening_and_looking_take_as_much_of_a_long_log_as_of_a_short_one() {
    for segments in [2, 40] {
        let scratch = log(segments, &[7; 1000]);
        let looked = peak(|| drop(View::open(scratch.path()).unwrap()));
        let opened = peak(|| drop(Wal::open_in(StdFs, scratch.path(), options()).unwrap()));
        assert!(looked < 3 * WINDOW && opened < 3 * WINDOW, "{segments}: {looked}, {opened}");
    }
}

#[test]
fn a_reader_holds_a_frame_and_no_more_of_a_long_log_than_of_a_short_one() {
    for segments in [2, 40] {
        let scratch = log(segments, &[7; 1000]);
        let (wal, report) = Wal::open_in(StdFs, scratch.path(), options()).unwrap();
        let mut records = 0;
        let read = peak(|| {
            records = wal.reader(Lsn(0)).map(|record| record.unwrap().bytes.len() as u64 / 1000).sum::<u64>()
        });
        assert_eq!(records, report.records);
        let frame = u64::from(options().max_frame);
        // A window makes place for a longer one.
        assert!(read < 2 * WINDOW + 2 * frame, "{segments}: {read}");
    }
}

#[test]
fn a_reader_of_fragments_holds_the_record_that_they_are() {
    let len = 1_000_000;
    let scratch = log(3, &vec![7; 1000]);
    let (wal, _) = Wal::open_in(StdFs, scratch.path(), options()).unwrap();
    let first = wal.append(vec![1; len]).unwrap();
    wal.append_batch(vec![vec![2; len / 5]; 5]).unwrap();
    wal.append(vec![3; len]).unwrap();
    let read = peak(|| {
        assert_eq!(wal.reader(first).map(|record| record.unwrap().bytes.len()).sum::<usize>(), 3 * len)
    });
    assert!(read < 3 * len as u64, "{read}");
}

/// A body is in memory as it was before compression, once, and not all that is left of the log.
#[test]
#[cfg(feature = "snappy")]
fn a_reader_of_compressed_bodies_holds_one_of_them_as_it_was() {
    const FRAME: u32 = 1 << 20;
    for batches in [2, 12] {
        let scratch = tempfile::tempdir().unwrap();
        let packed = Options {
            segment_bytes: 4 << 20,
            max_frame: FRAME,
            compression: forebay_wal::Compression::Snappy,
            ..Options::default()
        };
        let (wal, _) = Wal::open_in(StdFs, scratch.path(), packed).unwrap();
        for _ in 0..batches {
            wal.append_batch(vec![vec![7; 1000]; 1000]).unwrap();
        }
        let stored = wal.stats().physical_bytes;
        assert!(stored < batches * u64::from(FRAME) / 10, "{stored} bytes for {batches} batches");
        let mut records = 0;
        let read = peak(|| records = wal.reader(Lsn(0)).map(|record| u64::from(record.is_ok())).sum());
        assert_eq!(records, batches * 1000);
        assert!(read < u64::from(FRAME) + 3 * WINDOW, "{batches}: {read}");
    }
}

/// What a tail holds while it follows: what it reads at once, or one frame while the window makes place for it.
#[test]
fn a_tail_holds_a_frame_and_a_window_however_far_it_is_behind_and_whatever_comes() {
    for (segments, len) in [(2, 100), (40, 1000)] {
        let scratch = log(segments, &vec![7; len]);
        let (wal, report) = Wal::open_in(StdFs, scratch.path(), options()).unwrap();
        let mut tail = wal.tail(Lsn(0), Durability::Written);
        let (mut records, frame) = (0, u64::from(options().max_frame));
        let mut follow = || {
            while let Some(event) = tail.try_next().unwrap() {
                records += u64::from(matches!(event, Event::Record(_)));
            }
        };
        let held = peak(&mut follow);
        assert!(held < WINDOW + frame + 4096, "{held} to catch up with {segments} segments");
        for len in [10, 3000, 16_000, 10, 60_000] {
            wal.append_with(vec![7; len], Durability::Written).unwrap();
            let more = peak(&mut follow);
            // The window is there already; fragments are joined.
            let joined = if len > 16_384 { 2 * len as u64 } else { 0 };
            assert!(more < frame + joined + 4096, "{more} for a record of {len} bytes");
        }
        assert_eq!(records, report.records + 5);
    }
}

#[test]
fn what_waits_takes_no_more_than_it_may() {
    const MOST: u64 = 1 << 20;
    for len in [0, 1, 100, 3000, 100_000] {
        let scratch = tempfile::tempdir().unwrap();
        let options = Options { max_inflight_bytes: MOST, ..options() };
        let (wal, _) = Wal::open_in(StdFs, scratch.path(), options).unwrap();
        let (log, committer) = AsyncWal::unstarted(wal);
        let mut waiting = Vec::with_capacity(10_000);
        let memory = allocation_counter::measure(|| {
            while waiting.len() < 10_000 && log.wal().stats().rejected.backpressure == 0 {
                waiting.push(log.append(vec![3; len]));
            }
        });
        assert!((2..10_000).contains(&waiting.len()), "{len}: {} appends wait", waiting.len());
        let held = u64::try_from(memory.bytes_current).unwrap();
        assert!(held < MOST + MOST / 4 + (64 << 10), "{len}: {held} bytes for {}", waiting.len());
        let refused =
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(waiting.pop().unwrap());
        assert!(matches!(refused, Err(AppendError::Rejected(Reject::Backpressure { .. }))), "{refused:?}");
        drop(committer);
    }
}

/// What a codec had made of the longest batch stayed for as long as the log.
#[cfg(feature = "snappy")]
#[test]
fn what_compressing_a_long_batch_took_is_given_back() {
    const LEN: usize = 8 << 20;
    let scratch = tempfile::tempdir().unwrap();
    let compression = forebay_wal::Compression::Snappy;
    let (wal, _) = Wal::open_in(StdFs, scratch.path(), Options { compression, ..options() }).unwrap();
    wal.append("the first").unwrap();
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    let long: Vec<u8> = (0..LEN).map(|_| noise()).collect();
    let memory = allocation_counter::measure(|| assert_eq!(wal.append(&long[..]).unwrap(), Lsn(2)));
    assert!(memory.bytes_max > LEN as u64, "{memory:?}");
    assert!(memory.bytes_current < 16 * i64::from(options().max_frame), "{memory:?}");
}
