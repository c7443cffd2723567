//! What the disk reads wrongly is noticed and never written back, and what it reads late costs time only.

use std::io::ErrorKind;

use crate::harness::{DIR, options, read_all, record};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive, SyncModel};
use forebay_wal::{OpenError, Options, ReadError, Wal};

/// A log of a few segments that was closed, so that everything in it is proven.
fn closed() -> (SimFs, Vec<(u64, Vec<u8>)>) {
    let (disk, wal) = written();
    wal.close().unwrap();
    let records = read_all(&wal);
    assert_eq!(records.len(), 12);
    (disk, records)
}

fn written() -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    for id in 1..=12 {
        wal.append(record(id, 300)).unwrap();
        if id % 5 == 0 {
            wal.rotate().unwrap();
        }
    }
    wal.reserve().unwrap();
    (disk, wal)
}

fn faults() -> impl Iterator<Item = Fault> {
    let bits = [0, 77, 8 * 60 + 3, 8 * 4096 + 5, 8 * 500, 8 * 4500, 8 * 5000 + 1];
    bits.into_iter().map(Fault::Flip).chain([Fault::Stale])
}

/// A bit that was read wrongly once, in bytes that are written again at opening, went to the disk with them; and in the
/// last group of a log that was not closed it made that group a torn tail.
#[test]
fn a_read_that_is_wrong_once_makes_no_damage() {
    let (closed, records) = closed();
    let (left_open, _) = written();
    let mut refused = 0;
    for (log, fault) in [closed, left_open].iter().flat_map(|log| faults().map(move |fault| (log, fault))) {
        for nth in 0.. {
            let disk = log.restart();
            disk.fail_next(Op::Read, nth, fault);
            let opened = Wal::open_in(disk.clone(), DIR, options());
            let reads = disk.count(Op::Read);
            let what = format!("{fault:?} at read {nth}");
            let mut expected = records.clone();
            match opened {
                Ok((wal, _)) => {
                    let lsn = wal.append("goes on").unwrap();
                    assert_eq!(lsn.0, 13, "{what}");
                    expected.push((13, b"goes on".to_vec()));
                }
                Err(OpenError::Corrupt(_) | OpenError::Io { .. }) => refused += 1,
                Err(error) => panic!("{what}: {error}"),
            }
            let disk = disk.crash(Survive::Nothing);
            let (wal, _) = Wal::open_in(disk, DIR, options()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(read_all(&wal) == expected, "{what}");
            if nth >= reads {
                break;
            }
        }
    }
    assert!(refused > 10, "{refused} were noticed");
}

#[test]
fn a_reader_gives_true_records_or_an_error() {
    let (closed, records) = closed();
    let mut noticed = 0;
    for fault in faults() {
        for nth in 0.. {
            let disk = closed.restart();
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            let before = disk.count(Op::Read);
            disk.fail_next(Op::Read, nth, fault);
            let mut found = Vec::new();
            for read in wal.reader(forebay_wal::Lsn(0)) {
                match read {
                    Ok(record) => found.push((record.lsn.0, record.bytes.to_vec())),
                    Err(ReadError::Corrupt(damage)) => {
                        assert!(damage.lsns.start.0 <= found.len() as u64 + 1);
                        noticed += 1;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(records.starts_with(&found));
            if disk.count(Op::Read) - before <= nth {
                break;
            }
            assert!(read_all(&wal) == records, "another reader reads it right");
        }
    }
    assert!(noticed > 5, "{noticed} were noticed");
}

/// The kernel may try to bring a page to the media before it is asked to sync, fail, and tell that to the handles that
/// are open: so the one that wrote is the one to sync by. Another, opened later, would hear of nothing, and the record
/// would be acknowledged and not there.
#[test]
fn a_write_back_that_failed_on_its_own_fails_the_append() {
    for model in [SyncModel::KeepCache, SyncModel::RevertCache] {
        for nth in 0..8 {
            let disk = SimFs::new(nth);
            disk.set_sync_model(model);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
            disk.fail_next(Op::Write, nth, Fault::WriteBack(ErrorKind::Other));
            let acked = (0..12).map_while(|id| wal.append(record(id, 300)).ok()).count() as u64;
            assert!(acked < 12, "{model:?}, write {nth}");
            if wal.poisoned().is_none() {
                // It struck where a segment was made, which was made again then.
                wal.append("goes on").unwrap();
            }
            let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
            assert!(report.next_lsn.0 > acked, "{model:?}, write {nth}: {acked} were acknowledged");
            read_all(&wal);
        }
    }
}

#[test]
fn an_interrupted_read_or_write_is_called_again() {
    let (disk, records) = closed();
    for nth in 0..30 {
        disk.fail_next(Op::Read, 2 * nth, Fault::Interrupt);
    }
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert!(read_all(&wal) == records);
    disk.fail_next(Op::Write, 0, Fault::Interrupt);
    wal.append("a").unwrap();
    assert_eq!(wal.stats().write_failures, 0);
}

#[test]
fn a_slow_disk_shows_in_the_numbers() {
    let disk = SimFs::new(0);
    disk.set_latency(Op::Sync, 3_000_000);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { time: disk.time(), ..options() }).unwrap();
    for _ in 0..5 {
        wal.append("a").unwrap();
    }
    assert_eq!((wal.stats().syncs, wal.stats().sync_ns), (5, 15_000_000));
    drop(wal);
    let (_, report) = Wal::open_in(disk.clone(), DIR, Options { time: disk.time(), ..options() }).unwrap();
    assert_eq!(report.elapsed_ns, 3_000_000, "one sync confirms the end");
}
