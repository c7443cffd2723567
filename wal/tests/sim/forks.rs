//! Two copies of one log that went different ways: their segments have the same id, numbers and LSNs, and are whole.

use crate::harness::{DIR, options, path, read_all};
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{DamageClass, OpenError, Options, Wal};

/// Goes on with a copy of a log.
fn goes_on(disk: &SimFs, salt_seed: u64, records: [&str; 3]) -> SimFs {
    let copy = disk.restart();
    let options = Options { salt_seed: Some(salt_seed), ..options() };
    let (wal, _) = Wal::open_in(copy.clone(), DIR, options).unwrap();
    wal.append(records[0]).unwrap();
    wal.append(records[1]).unwrap();
    wal.rotate().unwrap();
    wal.append(records[2]).unwrap();
    wal.close().unwrap();
    copy
}

/// Restored from a copy, one of the files was another day's: records of both ways came back as one log.
#[test]
fn a_segment_of_the_same_log_that_went_another_way_is_foreign() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.append("both").unwrap();
    wal.rotate().unwrap();
    drop(wal);
    let (one, other) = (goes_on(&disk, 1, ["a1", "a2", "a3"]), goes_on(&disk, 2, ["b1", "b2", "b3"]));
    for segment in 2..=3 {
        let mixed = one.restart();
        mixed.plant(path(segment), &other.peek(path(segment)).unwrap()).unwrap();
        match Wal::open_in(mixed, DIR, options()) {
            Err(OpenError::Corrupt(damage)) => {
                assert_eq!(damage.class, DamageClass::Foreign, "{segment}: {damage}");
            }
            Ok((wal, _)) => panic!("{segment}: {:?}", read_all(&wal)),
            Err(error) => panic!("{segment}: {error}"),
        }
    }
    let all = one.restart();
    (2..=3).for_each(|segment| all.plant(path(segment), &other.peek(path(segment)).unwrap()).unwrap());
    let (wal, _) = Wal::open_in(all, DIR, options()).unwrap();
    assert_eq!(read_all(&wal).last().unwrap().1, b"b3", "all of one way is a log");
}
