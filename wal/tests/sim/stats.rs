//! What a log counts and times, on the disk's own clock.

use crate::harness::{DIR, options, record};
use forebay_wal::Durability::{Buffered, Written};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{Options, Wal};

const MS: u64 = 1_000_000;

fn open(disk: &SimFs) -> Wal<SimFs> {
    let options = Options { time: disk.time(), ..options() };
    Wal::open_in(disk.clone(), DIR, options).unwrap().0
}

/// How many are in the class of less than so many microseconds.
fn below(times: [u64; 24], us: u64) -> u64 {
    times[us.ilog2() as usize]
}

#[test]
fn syncs_and_those_who_waited_for_them_are_counted_by_how_long_that_took() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("made").unwrap();
    let before = wal.stats();
    disk.set_latency(Op::Sync, 3 * MS);
    wal.append("a").unwrap();
    wal.append_with("b", Written).unwrap();
    wal.append_with("c", Buffered).unwrap();
    disk.set_latency(Op::Sync, 5000);
    wal.append("d").unwrap();
    let after = wal.stats();
    for (times, earlier) in [(after.sync_times, before.sync_times), (after.append_waits, before.append_waits)]
    {
        assert_eq!(below(times, 4096) - below(earlier, 4096), 1, "of 3 ms");
        assert_eq!(below(times, 8) - below(earlier, 8), 1, "of 5 us");
        assert_eq!(times.iter().sum::<u64>() - earlier.iter().sum::<u64>(), 2);
    }
}

#[test]
fn what_is_not_synced_lags_behind_from_its_write_on() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    disk.advance(7 * MS);
    assert_eq!(wal.stats().durable_lag_ns, 0);
    wal.append_with("b", Written).unwrap();
    disk.advance(2 * MS);
    wal.append_with("c", Written).unwrap();
    disk.advance(MS);
    assert_eq!(wal.stats().durable_lag_ns, 3 * MS);
    wal.sync().unwrap();
    disk.advance(MS);
    assert_eq!(wal.stats().durable_lag_ns, 0);
}

#[test]
fn rotations_are_timed() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    wal.reserve().unwrap();
    disk.set_latency(Op::Sync, 2 * MS);
    wal.rotate().unwrap();
    let stats = wal.stats();
    assert_eq!((stats.rotations, stats.rotation_ns, stats.longest_rotation_ns), (1, 2 * MS, 2 * MS));
}

#[test]
fn what_an_opening_found_is_counted() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append_batch(["a", "b", "c"]).unwrap();
    wal.append_with(record(1, 3000), Written).unwrap();
    let torn = (0..64).map(|seed| disk.crash(Survive::Seeded(seed)));
    let (wal, report) = torn
        .map(|disk| {
            disk.set_latency(Op::Read, MS);
            Wal::open_in(disk.clone(), DIR, Options { time: disk.time(), ..options() }).unwrap()
        })
        .find(|(_, report)| report.torn.is_some())
        .expect("one of many power cuts leaves a torn tail");
    let (stats, torn) = (wal.stats(), report.torn.unwrap());
    assert_eq!((stats.recovered_records, stats.lost_records), (3, 0));
    assert_eq!(stats.torn_bytes, torn.bytes.end - torn.bytes.start);
    assert!(stats.recovery_ns >= MS && stats.recovery_ns == report.elapsed_ns);
}
