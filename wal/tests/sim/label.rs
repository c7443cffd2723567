//! A directory that is another log's: told by what the logs are called, before anything is touched.

use crate::harness::{DIR, options, path, read_all};
use forebay_wal::format::{Header, Label};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, OpenError, Options, RepairPolicy, Wal};

fn named(label: &str) -> Option<Label> {
    Label::new(label.as_bytes())
}

fn open(disk: &SimFs, label: Option<Label>, repair: RepairPolicy) -> Result<Wal<SimFs>, OpenError> {
    Ok(Wal::open_in(disk.clone(), DIR, Options { label, repair, ..options() })?.0)
}

fn labels(disk: &SimFs, segments: u64) -> Vec<String> {
    let header = |segment| Header::decode(&disk.peek(path(segment)).unwrap()).unwrap();
    (1..=segments).map(|segment| header(segment).label.to_string()).collect()
}

/// Four segments of one record each.
fn log(disk: &SimFs, label: Option<Label>) {
    let wal = open(disk, label, RepairPolicy::Fail).unwrap();
    for id in 1..=3 {
        wal.append(crate::harness::record(id, 100)).unwrap();
        wal.rotate().unwrap();
    }
    wal.append("last").unwrap();
}

#[test]
fn every_segment_says_what_the_log_is_called() {
    let disk = SimFs::new(0);
    log(&disk, named("ingester-1"));
    assert_eq!(labels(&disk, 4), ["ingester-1"; 4]);
    // It stays so where nobody says anything.
    let wal = open(&disk, None, RepairPolicy::Fail).unwrap();
    wal.append("more").unwrap();
    wal.truncate_before(Lsn(5)).unwrap();
    for _ in 0..4 {
        wal.rotate().unwrap();
        wal.append("again").unwrap();
    }
    let last = disk.names(DIR).unwrap().into_iter().filter(|name| name.starts_with("wal-")).max().unwrap();
    let header = Header::decode(&disk.peek(format!("{DIR}/{last}")).unwrap()).unwrap();
    assert_eq!((header.label, header.segment > 8), (named("ingester-1").unwrap(), true));
}

#[test]
fn a_log_without_a_label_takes_one() {
    let disk = SimFs::new(0);
    log(&disk, None);
    let wal = open(&disk, named("ingester-1"), RepairPolicy::Fail).unwrap();
    wal.append("more").unwrap();
    assert_eq!(labels(&disk, 5), ["", "", "", "", "ingester-1"]);
    assert_eq!(read_all(&wal).len(), 5);
    drop(wal);
    assert!(open(&disk, named("ingester-2"), RepairPolicy::Fail).is_err());
}

#[test]
fn another_log_is_refused_by_its_name_and_left_as_it_is() {
    for repair in [RepairPolicy::TruncateTail, RepairPolicy::TruncateAt, RepairPolicy::Salvage] {
        for damaged in [false, true] {
            let made = SimFs::new(0);
            log(&made, named("ingester-1"));
            let disk = SimFs::new(0);
            for segment in 1..=4 {
                let mut bytes = made.peek(path(segment)).unwrap();
                bytes[4200] ^= u8::from(damaged && segment == 2);
                disk.plant(path(segment), &bytes).unwrap();
            }
            let before: Vec<_> = (1..=4).map(|segment| disk.peek(path(segment)).unwrap()).collect();
            let refused = open(&disk, named("ingester-2"), repair).unwrap_err();
            let message = format!("{} is of the log \"ingester-1\", wanted is \"ingester-2\"", path(4));
            assert_eq!(refused.to_string(), message);
            assert!(matches!(refused, OpenError::AnotherLog { .. }));
            assert_eq!(disk.list(DIR.as_ref()).unwrap().len(), 4, "not even a lock file");
            assert!((1..=4).zip(before).all(|(segment, bytes)| disk.peek(path(segment)).unwrap() == bytes));
            let ours = open(&disk, named("ingester-1"), repair);
            let expected = !damaged || repair != RepairPolicy::TruncateTail;
            assert_eq!(ours.is_ok(), expected, "{repair:?}, {damaged}: {ours:?}");
        }
    }
    // Also where it has a lock file, and whatever it is asked to be called.
    let disk = SimFs::new(0);
    log(&disk, named("ingester-1"));
    let refused = open(&disk, named(""), RepairPolicy::Fail).unwrap_err();
    assert!(matches!(refused, OpenError::AnotherLog { wanted, .. } if wanted == Label::default()));
}
