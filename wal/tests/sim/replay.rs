//! Reading: from anywhere, while the log grows, and only what is durable.

use std::io::ErrorKind;

use crate::harness::{DIR, options, read_all, record};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{Lsn, OpenError, Options, ReadError, RepairPolicy, Wal};

fn log(records: u64) -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    for id in 1..=records {
        wal.append(record(id, usize::try_from(id * 13 % 900).unwrap())).unwrap();
    }
    (disk, wal)
}

#[test]
fn a_reader_starts_at_any_record() {
    let (disk, wal) = log(60);
    assert!(wal.usage().segments > 5);
    let (after, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!((report.records, report.next_lsn), (60, Lsn(61)));
    for wal in [wal, after] {
        for from in 0..=62 {
            let lsns: Vec<u64> = wal.reader(Lsn(from)).map(|record| record.unwrap().lsn.0).collect();
            assert_eq!(lsns, (from.max(1)..=60).collect::<Vec<_>>());
        }
        assert_eq!(wal.reader(Lsn(33)).next().unwrap().unwrap().bytes, record(33, 33 * 13));
    }
}

/// Memory is used again only when nobody holds a slice of it.
#[test]
fn what_was_read_stays_as_it_was_for_whoever_holds_it() {
    let (_, wal) = log(60);
    let (mut owned, mut lent) = (wal.reader(Lsn::FIRST), wal.reader(Lsn::FIRST));
    let held: Vec<_> = owned.by_ref().map(Result::unwrap).collect();
    for (record, id) in held.iter().zip(1..) {
        let other = lent.next_ref().unwrap().unwrap();
        assert_eq!((other.lsn, other.stream, other.bytes), (record.lsn, record.stream, &record.bytes[..]));
        assert_eq!(record.bytes, crate::harness::record(id, usize::try_from(id * 13 % 900).unwrap()));
    }
    assert!(held.len() == 60 && lent.next_ref().is_none());
}

#[test]
fn a_reader_that_has_caught_up_goes_on_with_what_comes() {
    let (_, wal) = log(0);
    let mut reader = wal.reader(Lsn::FIRST);
    assert!(reader.next().is_none());
    for id in 1..=60 {
        wal.append(record(id, usize::try_from(id * 37 % 1500).unwrap())).unwrap();
        if id % 7 == 0 {
            wal.rotate().unwrap();
        }
        assert_eq!(reader.next_lsn(), Lsn(id));
        let next = reader.next().unwrap().unwrap();
        assert_eq!(
            (next.lsn, next.bytes.to_vec()),
            (Lsn(id), record(id, usize::try_from(id * 37 % 1500).unwrap()))
        );
        assert!(reader.next().is_none() && reader.next().is_none());
    }
}

#[test]
fn a_reader_from_the_future_waits_for_it() {
    let (_, wal) = log(3);
    let mut reader = wal.reader(Lsn(6));
    for id in 4..=5 {
        wal.append(record(id, 1)).unwrap();
        assert!(reader.next().is_none());
    }
    wal.append("six").unwrap();
    assert_eq!(reader.next().unwrap().unwrap().bytes, "six");
}

#[test]
fn bytes_that_changed_since_the_opening_are_noticed() {
    let (disk, wal) = log(20);
    let path = format!("{DIR}/wal-{:016x}.seg", 2);
    let mut bytes = disk.peek(&path).unwrap();
    bytes[4096 + 96 + 32 + 5] ^= 1;
    disk.plant(&path, &bytes).unwrap();
    let mut reader = wal.reader(Lsn::FIRST);
    let error = reader.by_ref().find_map(Result::err).unwrap();
    let ReadError::Corrupt(damage) = error else { panic!("{error}") };
    assert_eq!((damage.segment, damage.lsns.start), (2, reader.next_lsn()));
    assert!(reader.next().is_none(), "the reader has ended");
}

#[test]
fn a_reader_whose_read_fails_tries_again_from_the_same_place() {
    let (disk, wal) = log(40);
    let begin = disk.op_count();
    let expected = read_all(&wal);
    let mut failures = 0;
    for ahead in 0..disk.op_count() - begin {
        // Twice in a row, so that the second try fails too.
        (0..2).for_each(|n| disk.fail_at(disk.op_count() + ahead + n, Fault::Error(ErrorKind::Other)));
        let mut found = Vec::new();
        let mut reader = wal.reader(Lsn::FIRST);
        while let Some(read) = reader.next() {
            match read {
                Ok(record) => found.push((record.lsn.0, record.bytes.to_vec())),
                Err(ReadError::Io { .. }) => {
                    assert_eq!(reader.next_lsn().0, found.len() as u64 + 1);
                    failures += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(found == expected, "a fault {ahead} operations ahead: {} records", found.len());
    }
    assert!(failures > 20, "{failures} reads failed");
}

#[test]
fn a_torn_tail_is_dropped_and_nothing_before_it() {
    let (disk, wal) = log(4);
    disk.fail_next(Op::Sync, 0, Fault::PowerCut);
    assert!(wal.append(record(5, 1400)).is_err());
    let mut torn = 0;
    for seed in 0..20 {
        let image = disk.crash(Survive::Seeded(seed));
        let fail = Options { repair: RepairPolicy::Fail, ..options() };
        let refused = match Wal::open_in(image.restart(), DIR, fail) {
            Ok(_) => None,
            Err(OpenError::TornTail(torn)) => Some(torn),
            Err(error) => panic!("{error}"),
        };
        let (wal, report) = Wal::open_in(image, DIR, options()).unwrap();
        assert_eq!(refused.map(|torn| torn.bytes), report.torn.as_ref().map(|torn| torn.bytes.clone()));
        assert_eq!(read_all(&wal).len(), if report.next_lsn == Lsn(6) { 5 } else { 4 });
        assert_eq!(wal.append("next").unwrap(), report.next_lsn);
        torn += usize::from(report.torn.is_some());
    }
    assert!(torn > 5, "{torn} of 20 images are torn");
}

#[test]
fn the_report_says_what_was_proven() {
    let (disk, wal) = log(4);
    let open = |disk: SimFs| Wal::open_in(disk, DIR, options()).unwrap().1;
    let report = open(disk.crash(Survive::Nothing));
    assert_eq!((report.clean, report.next_lsn, report.proven_lsn), (false, Lsn(5), Lsn(4)));
    wal.close().unwrap();
    let report = open(disk.crash(Survive::Nothing));
    assert_eq!((report.clean, report.next_lsn, report.proven_lsn), (true, Lsn(5), Lsn(5)));
}
