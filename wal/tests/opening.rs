//! What opening believes, removes and keeps, of files that no crash leaves behind.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Options, RepairPolicy, Wal};
use harness::{DIR, options, path, read_all, record};

/// Makes a log of one record a segment, the last of them being written.
fn log(segments: u64, options: Options) -> (SimFs, Wal<SimFs>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
    for id in 1..=segments {
        wal.append(record(id, 10)).unwrap();
        if id < segments {
            wal.rotate().unwrap();
        }
    }
    (disk, wal)
}

fn quarantined(disk: &SimFs) -> Vec<String> {
    disk.names(format!("{DIR}/quarantine")).unwrap_or_default()
}

/// They were taken for a torn tail: the log did not count as closed, and each opening kept another copy of them.
#[test]
fn bytes_behind_the_capacity_do_not_exist() {
    let (disk, wal) = log(1, options());
    wal.close().unwrap();
    let whole = disk.peek(path(1)).unwrap();
    for behind in [b"garbage".as_slice(), &whole[4096..4096 + 96 + 48], &[0xFF; 9000]] {
        disk.plant(path(1), &[&whole, behind].concat()).unwrap();
        for _ in 0..2 {
            let careful = Options { repair: RepairPolicy::Fail, ..options() };
            let (wal, report) = Wal::open_in(disk.clone(), DIR, careful).unwrap();
            assert!(report.clean && report.torn.is_none(), "{report:?}");
            assert_eq!(read_all(&wal).len(), 1);
        }
        assert!(quarantined(&disk).is_empty());
    }
}
