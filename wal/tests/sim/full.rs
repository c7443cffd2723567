//! Streams of a log at its limit, or on a full disk: what they give up is given back all the same.

use crate::harness::{DIR, options};
use forebay_wal::Durability::Written;
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{AppendError, Lsn, Options, Reject, Stream, Wal};

/// What keeps a log from growing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Full {
    Limit,
    Disk,
}

/// A log, full of the records of so many streams.
struct Log {
    disk: SimFs,
    options: Options,
    full: Full,
    wal: Wal<SimFs>,
    streams: Vec<Stream<SimFs>>,
}

impl Log {
    fn filled(full: Full, streams: usize, commit_align: u32) -> Self {
        let segment_bytes = if commit_align == 0 { 8192 } else { 4096 + 8 * u64::from(commit_align) };
        let max_log_bytes = (full == Full::Limit).then_some(3 * segment_bytes);
        let options = Options { segment_bytes, max_log_bytes, commit_align, ..options() };
        let disk = SimFs::new(0);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options.clone()).unwrap();
        let streams = (0..streams).map(|id| wal.stream(&id.to_string()).unwrap()).collect();
        let mut log = Self { disk, options, full, wal, streams };
        while log.wal.usage().segments < 3 {
            log.append().unwrap();
        }
        log.stop();
        let refused = loop {
            if let Err(error) = log.append() {
                break error;
            }
        };
        let AppendError::Rejected(reason) = &refused else { panic!("{refused}") };
        assert_eq!(matches!(reason, Reject::QuotaExceeded { .. }), full == Full::Limit, "{reason}");
        log
    }

    /// The disk has no more than there is.
    fn stop(&self) {
        if self.full == Full::Disk {
            self.disk.set_budget(Some(0));
        }
    }

    /// One small batch to each stream, and nothing where the log is full.
    fn append(&mut self) -> Result<(), AppendError> {
        for stream in &self.streams {
            stream.append_batch_with(vec!["x"; 20], Written)?;
        }
        self.wal.sync().map(drop)
    }

    fn died(self) -> Self {
        let disk = self.disk.crash(Survive::Nothing);
        let log = Self { disk: disk.clone(), ..self };
        log.stop();
        let (wal, _) = Wal::open_in(disk, DIR, log.options.clone()).unwrap();
        let streams = log.streams.iter().map(|stream| wal.stream(stream.name()).unwrap()).collect();
        Self { wal, streams, ..log }
    }
}

/// Its end was taken for what the log ended with, and so whoever it belonged to held what others had.
#[test]
fn a_record_that_is_refused_holds_nothing() {
    for full in [Full::Limit, Full::Disk] {
        let log = Log::filled(full, 2, 0);
        let next = log.wal.next_lsn();
        assert_eq!(log.streams[0].truncate_before(next).unwrap().segments, 0);
        assert!(log.streams[0].append(vec![7; 500]).is_err(), "{full:?}");
        assert!(log.wal.append(vec![7; 500]).is_err(), "{full:?}");
        assert!(log.streams[1].truncate_before(next).unwrap().segments > 0, "{full:?}");
        assert_eq!((log.wal.watermarks().low, log.wal.usage().pinned_by), (next, None), "{full:?}");
    }
}

/// A stream's truncation wanted room for a frame that says so, was refused, and so was every later one.
#[test]
fn a_full_log_gives_back_what_its_streams_give_up_one_after_the_other() {
    for full in [Full::Limit, Full::Disk] {
        for (streams, commit_align) in [(1, 0), (2, 0), (7, 0), (1, 512), (3, 512), (2, 4096)] {
            for dies in [false, true] {
                let what = format!("{full:?}, {streams} streams, {commit_align}, {dies}");
                let mut log = Log::filled(full, streams, commit_align);
                if dies {
                    log = log.died();
                }
                // Its number is taken back, and holds nothing.
                assert!(log.wal.append(vec![7; 500]).is_err(), "{what}");
                log.wal.truncate_before(Lsn(u64::MAX)).unwrap();
                let next = log.wal.next_lsn();
                let mut freed = 0;
                for stream in &log.streams {
                    assert_eq!(freed, 0, "{what}: others hold them");
                    freed = stream
                        .truncate_before(next)
                        .unwrap_or_else(|error| panic!("{what}: {error}"))
                        .segments;
                }
                assert!(freed > 0, "{what}");
                assert_eq!((log.wal.watermarks().low, log.wal.usage().pinned_by), (next, None), "{what}");
                assert!(log.streams.iter().all(|stream| stream.low() == next), "{what}: there was room then");
                log.append().unwrap_or_else(|error| panic!("{what}: {error}"));
                let log = log.died();
                assert!(log.streams.iter().all(|stream| stream.low() == next), "{what}: it was durable");
            }
        }
    }
}

/// Each took some of what is held back for those that give back a segment.
#[test]
fn truncations_that_give_back_nothing_take_nothing_from_those_that_do() {
    for full in [Full::Limit, Full::Disk] {
        for commit_align in [0, 512] {
            let mut log = Log::filled(full, 2, commit_align);
            let (next, segments) = (log.wal.next_lsn(), log.wal.usage().segments);
            for lsn in 1..next.0 {
                assert_eq!(log.streams[0].truncate_before(Lsn(lsn)).unwrap().segments, 0);
            }
            assert_eq!((log.wal.watermarks().low, log.wal.usage().segments), (Lsn(1), segments));
            assert!(log.streams[0].low() < next);
            assert!(log.streams[1].truncate_before(next).unwrap().segments > 0, "{full:?}, {commit_align}");
            log.append().unwrap();
        }
    }
}

#[test]
fn a_full_log_gives_back_what_a_stream_held_that_is_dropped() {
    for full in [Full::Limit, Full::Disk] {
        for commit_align in [0, 4096] {
            let mut log = Log::filled(full, 2, commit_align);
            let next = log.wal.next_lsn();
            assert_eq!(log.streams[0].truncate_before(next).unwrap().segments, 0);
            assert!(log.wal.drop_stream("1").unwrap().segments > 0, "{full:?}, {commit_align}");
            log.streams.pop();
            log.append().unwrap();
            let log = log.died();
            assert_eq!((log.streams[0].low(), log.wal.watermarks().low), (next, next));
            assert_eq!(log.wal.stream("1").unwrap().id(), 3);
        }
    }
}

/// A log that a crash had left was taken for one whose segment cannot have streams, and wanted another.
#[test]
fn a_stream_can_be_named_on_a_full_disk_after_a_crash() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.stream("early").unwrap().append("a").unwrap();
    let disk = disk.crash(Survive::Nothing);
    disk.set_budget(Some(0));
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    let late = wal.stream("late").unwrap();
    assert_eq!((late.id(), late.append("b").unwrap()), (2, Lsn(2)));
    let (_, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!((report.streams.len(), report.next_lsn), (2, Lsn(3)));
}
