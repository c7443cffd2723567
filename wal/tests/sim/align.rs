//! Groups that end where no later write damages them, on a disk that damages whatever is beside one.

use std::collections::BTreeMap;

use crate::harness::{DIR, options, path, read_all, record};
use crate::writer::{ALIGNED, IEEE, Segment, Tie};
use forebay_wal::Durability::Written;
use forebay_wal::format::Header;
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, Options, Time, Wal};

fn aligned(commit_align: u32) -> Options {
    Options { commit_align, segment_bytes: 4096 + 8 * u64::from(commit_align.max(1024)), ..options() }
}

/// From the format's document alone: the same as in the golden directory, but for the identity of the log.
#[test]
fn an_aligned_log_is_the_one_that_a_second_writer_makes() {
    let disk = SimFs::new(0);
    let time = Time::new(|| 0, || 1_700_000_000_000_000_000);
    let wide = Options { commit_align: 512, time, ..options() };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, wide).unwrap();
    let batch = [("b", 127), ("c", 127), ("d", 127), ("e", 71)].map(|(text, times)| text.repeat(times));
    wal.append("a").unwrap();
    wal.append_batch(batch.iter().map(String::as_str)).unwrap();
    wal.append("f").unwrap();
    let found = disk.peek(path(1)).unwrap();
    let mut only = Segment::new(IEEE, 1, Header::decode(&found).unwrap().salt, ALIGNED, "");
    only.start(1, Tie::default(), 1).data(&["a"]).sync();
    only.data(&batch.each_ref().map(String::as_str)).sync().data(&["f"]).sync();
    let mut expected = only.file();
    expected[24..40].copy_from_slice(&found[24..40]);
    let sum = crate::writer::crc(IEEE, &[&expected[..124]]);
    expected[124..128].copy_from_slice(&sum.to_le_bytes());
    assert!(expected == found);
}

#[test]
fn whatever_is_synced_ends_at_a_multiple() {
    for align in [512, 1024, 4096] {
        let disk = SimFs::new(0);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, aligned(align)).unwrap();
        let physical = |wal: &Wal<SimFs>| wal.stats().physical_bytes;
        for id in 0..30 {
            wal.append_with(record(id, 70), Written).unwrap();
            wal.append(record(id, 200)).unwrap();
            assert_eq!(wal.stats().unsynced_bytes, 0);
        }
        wal.truncate_before(Lsn(20)).unwrap();
        wal.checkpoint(Lsn(20), b"kept").unwrap();
        wal.close().unwrap();
        assert!(physical(&wal) < 60 * 400);
        let (wal, report) = Wal::open_in(disk.clone(), DIR, aligned(align)).unwrap();
        assert!(report.clean && report.next_lsn == Lsn(61), "{report:?}");
        wal.append("behind the mark").unwrap();
        let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, aligned(align)).unwrap();
        assert_eq!((report.next_lsn, read_all(&wal).len()), (Lsn(62), 42));
    }
}

/// The frame behind a clean close was filled up, and then what was asked for too, in room that was counted once.
#[test]
fn a_log_that_was_closed_goes_on_whatever_room_is_left() {
    for align in [512, 1024, 4096] {
        for records in 5..45 {
            let disk = SimFs::new(0);
            let options = aligned(align);
            let open = || {
                let opened = Wal::open_in(disk.clone(), DIR, options.clone());
                opened.unwrap_or_else(|error| panic!("{align}, {records} records: {error}")).0
            };
            let wal = open();
            for id in 0..records {
                wal.append(record(id, 900)).unwrap();
            }
            wal.close().unwrap();
            drop(wal);
            for low in (2..records).step_by(3) {
                let wal = open();
                wal.truncate_before(Lsn(low)).unwrap();
                wal.close().unwrap();
            }
            let wal = open();
            let found = read_all(&wal);
            assert_eq!(found.last().map(|(lsn, _)| *lsn), Some(records), "{align}");
            wal.append("more").unwrap();
            wal.rotate().unwrap();
            wal.append("and more").unwrap();
            drop(wal);
            assert_eq!(read_all(&open()).len(), found.len() + 2, "{align}, {records} records");
        }
    }
}

/// The write is taken back, and its place filled up: the sync that made this durable made all before it so.
#[test]
fn a_write_that_is_taken_back_leaves_an_aligned_end() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, aligned(512)).unwrap();
    wal.append_with("a", Written).unwrap();
    wal.reserve().unwrap();
    disk.fail_next(Op::Write, 0, Fault::Partial(std::io::ErrorKind::Other));
    assert!(matches!(wal.append("b"), Err(AppendError::Rejected(_))));
    assert_eq!((wal.watermarks().durable, wal.stats().unsynced_bytes), (Lsn(2), 0));
    let bytes = disk.peek(path(1)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    wal.append("c").unwrap();
    let changed = disk.peek(path(1)).unwrap().iter().zip(&bytes).position(|(a, b)| a != b).unwrap();
    assert!(changed.is_multiple_of(512) && changed > end, "{changed} behind {end}");
    let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, aligned(512)).unwrap();
    assert_eq!(read_all(&wal), [(1, b"a".to_vec()), (2, b"c".to_vec())]);
}

/// Three lives, the second of which ends with a mark, up to that of the disk; what was durable, or an opening told of.
fn live(disk: &SimFs, options: &Options) -> BTreeMap<u64, Vec<u8>> {
    let mut kept = BTreeMap::new();
    for ids in [0..12, 12..16, 16..18] {
        let Ok((wal, _)) = Wal::open_in(disk.clone(), DIR, options.clone()) else { break };
        let records = wal.reader(Lsn(0)).map_while(Result::ok);
        kept.extend(records.map(|record| (record.lsn.0, record.bytes.to_vec())));
        for id in ids.clone() {
            let bytes = record(id, 300);
            if wal.append_with(record(id, 40), Written).is_err() {
                break;
            }
            let Ok(lsn) = wal.append(bytes.clone()) else { break };
            kept.insert(lsn.0, bytes);
        }
        let _ = wal.append_with("left behind", Written);
        if ids.start == 12 {
            let _ = wal.close();
        }
    }
    kept
}

/// How many power cuts on a disk without A2 cost records that were durable, or make a log that does not open.
fn losses(options: &Options) -> (u64, u64) {
    let (mut lost, mut deaths) = (0, 0);
    for op in 0.. {
        let disk = SimFs::new(op);
        disk.set_fragile(4096);
        disk.crash_at(op);
        let kept = live(&disk, options);
        if !disk.has_crashed() {
            return (lost, deaths);
        }
        for seed in 0..6 {
            deaths += 1;
            let found = Wal::open_in(disk.crash(Survive::Seeded(seed)), DIR, options.clone());
            let found: BTreeMap<_, _> =
                found.map(|(wal, _)| read_all(&wal)).unwrap_or_default().into_iter().collect();
            lost += u64::from(kept.iter().any(|(lsn, bytes)| found.get(lsn) != Some(bytes)));
        }
    }
    unreachable!("a life ends")
}

#[test]
fn what_is_durable_needs_no_promise_about_what_lies_beside_a_write() {
    let (lost, deaths) = losses(&aligned(4096));
    assert!(lost == 0 && deaths > 500, "{lost} of {deaths}");
    let (lost, deaths) = losses(&Options { commit_align: 0, ..aligned(4096) });
    assert!(lost > deaths / 20, "without it {lost} of {deaths}");
}
