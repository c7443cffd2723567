//! What a log counts and times, on the disk's own clock.

use crate::harness::damage::{files, frames, opens, plant, with_checkpoints};
use crate::harness::{DIR, options, path, record};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{Corruptions, Lsn, Options, ReadError, RepairPolicy, Wal};

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

#[test]
fn the_segment_made_ahead_is_counted_and_so_is_the_want_of_one() {
    let disk = SimFs::new(0);
    let wal = open(&disk);
    wal.append("a").unwrap();
    let ahead = || (wal.stats().reserve_bytes, wal.stats().starved);
    assert_eq!(ahead(), (0, false));
    wal.reserve().unwrap();
    assert_eq!((ahead(), wal.stats().disk_bytes), ((8192, false), 2 * 8192));
    wal.rotate().unwrap();
    disk.set_budget(Some(0));
    assert!(wal.reserve().is_err());
    assert_eq!(ahead(), (0, true));
    disk.set_budget(None);
    wal.reserve().unwrap();
    assert_eq!(ahead(), (8192, false));
}

fn classes(
    Corruptions { damaged_durable, missing_segment, bad_header, foreign, .. }: Corruptions,
) -> [u64; 4] {
    [damaged_durable, missing_segment, bad_header, foreign]
}

#[test]
fn damage_is_counted_by_its_class() {
    let whole = with_checkpoints(true);
    let mut damaged = whole.clone();
    let segment = damaged.get_mut(&1).unwrap();
    let record = frames(segment)[1];
    segment[record + 40] ^= 1;
    let mut missing = whole.clone();
    missing.remove(&2);
    let mut headless = whole.clone();
    headless.get_mut(&2).unwrap()[30] ^= 1;
    for (what, files, expected) in [
        ("whole", whole, [0; 4]),
        ("damaged", damaged, [1, 0, 0, 0]),
        ("missing", missing, [0, 1, 0, 0]),
        ("headless", headless, [0, 0, 1, 0]),
    ] {
        let (wal, report) = opens(what, &plant(&files), RepairPolicy::Salvage);
        assert_eq!(classes(wal.stats().corruptions), expected, "{what}: {report:?}");
    }
}

/// Whoever reads a record whose bytes have changed ends there, and it is one damage, however often it is asked.
#[test]
fn damage_that_a_reader_comes_upon_is_counted_once() {
    let disk = plant(&with_checkpoints(true));
    let (wal, _) = opens("whole", &disk, RepairPolicy::Fail);
    let mut segment = files(&disk, [1])[&1].clone();
    let record = frames(&segment)[1];
    segment[record + 40] ^= 1;
    disk.plant(path(1), &segment).unwrap();
    let mut reader = wal.reader(Lsn(0));
    assert!(matches!(reader.next(), Some(Err(ReadError::Corrupt(_)))) && reader.next().is_none());
    assert_eq!(classes(wal.stats().corruptions), [1, 0, 0, 0]);
    let mut tail = wal.tail(Lsn(0), Synced);
    for _ in 0..2 {
        assert!(matches!(tail.try_next(), Err(ReadError::Corrupt(_))));
    }
    assert_eq!(classes(wal.stats().corruptions), [2, 0, 0, 0]);
}
