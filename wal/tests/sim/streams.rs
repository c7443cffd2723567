//! Named streams: what each has, and holds, in a log that they share.

use std::collections::BTreeMap;

use crate::harness::{DIR, options, path, read_all, record};
use crate::writer::{IEEE, RECYCLED, STREAMS, Segment, Tie};
use forebay_wal::Durability::{Buffered, Synced};
use forebay_wal::format::{Features, Header};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, Options, RecoveryReport, Reject, Stream, Time, Wal};

const LEN: usize = 900;

fn open(disk: &SimFs) -> (Wal<SimFs>, RecoveryReport) {
    Wal::open_in(disk.clone(), DIR, options()).unwrap()
}

fn lsns(stream: &Stream<SimFs>) -> Vec<u64> {
    stream.reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect()
}

#[test]
fn streams_share_numbers_frames_and_syncs_and_are_read_apart() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    let [orders, audit] = ["orders", "audit"].map(|name| wal.stream(name).unwrap());
    let before = (disk.count(Op::Sync), wal.stats().groups);
    assert_eq!(orders.append_with("a", Buffered).unwrap(), Lsn(1));
    assert_eq!(audit.append_batch_with(["b", "c"], Buffered).unwrap(), Lsn(2)..Lsn(4));
    assert_eq!(wal.append_with("d", Buffered).unwrap(), Lsn(4));
    assert_eq!(orders.append(vec![7; 2000]).unwrap(), Lsn(5));
    assert_eq!((disk.count(Op::Sync) - before.0, wal.stats().groups - before.1), (1, 1));
    let (after, report) = open(&disk.crash(Survive::Nothing));
    let defs: Vec<_> = report.streams.iter().map(|def| (def.id, &def.name[..], def.low)).collect();
    assert_eq!(defs, [(1, "orders", 1), (2, "audit", 1)]);
    let [orders, audit] = ["orders", "audit"].map(|name| after.stream(name).unwrap());
    assert_eq!((lsns(&orders), lsns(&audit)), (vec![1, 5], vec![2, 3]));
    assert_eq!(read_all(&after).len(), 5);
    assert_eq!(orders.reader(Lsn(2)).next().unwrap().unwrap().bytes, vec![7; 2000]);
}

/// From the format's document alone.
#[test]
fn a_log_with_streams_is_the_one_that_a_second_writer_makes() {
    const LONG: &str = "0123456789";
    let disk = SimFs::new(0);
    let time = Time::new(|| 0, || 1_700_000_000_000_000_000);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { time, ..options() }).unwrap();
    let orders = wal.stream("orders").unwrap();
    orders.append("x").unwrap();
    let audit = wal.stream("audit").unwrap();
    audit.append_batch_with(["y", LONG], Buffered).unwrap();
    orders.append_with("z", Buffered).unwrap();
    wal.append_with("plain", Buffered).unwrap();
    wal.sync().unwrap();
    orders.truncate_before(Lsn(3)).unwrap();
    wal.checkpoint(Lsn(4), b"kept").unwrap();
    wal.rotate().unwrap();
    audit.append("w").unwrap();
    wal.close().unwrap();

    let found = [1, 2].map(|number| disk.peek(path(number)).unwrap());
    let salts = [0, 1].map(|index: usize| Header::decode(&found[index]).unwrap().salt);
    let mut first = Segment::new(IEEE, 1, salts[0], STREAMS, "");
    first.start(1, Tie::default(), 1).stream(1, 0, 1, "orders").sync();
    first.frame((2, 0), 1, b"\x01\x01x").sync();
    first.stream(2, 0, 2, "audit").sync();
    first.frame((2, 0), 3, b"\x02\x01y\x02\x0A0123456789\x01\x01z").data(&["plain"]).sync();
    first.stream(1, 0, 3, "orders").sync();
    first.checkpoint(4, "kept").sync();
    let tie = first.seal(2, salts[1], 0);
    let mut last = Segment::new(IEEE, 2, salts[1], STREAMS, "");
    last.start(6, tie, 1).stream(1, 0, 3, "orders").stream(2, 0, 2, "audit").checkpoint(4, "kept");
    last.frame((2, 0), 1, b"\x02\x01w").sync().clean_close();
    for (segment, found) in [(first, &found[0]), (last, &found[1])] {
        let mut expected = segment.file();
        // The log's identity, and the sum of the header with it.
        expected[24..40].copy_from_slice(&found[24..40]);
        let sum = crate::writer::crc(IEEE, &[&expected[..124]]);
        expected[124..128].copy_from_slice(&sum.to_le_bytes());
        // A file that is sealed may be cut behind the seal.
        assert!(expected[..found.len()] == found[..], "{} bytes", found.len());
    }
}

#[test]
fn a_segment_goes_when_every_stream_has_passed_it() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    let [fast, slow, idle] = ["fast", "slow", "idle"].map(|name| wal.stream(name).unwrap());
    slow.append(record(1, LEN)).unwrap();
    for id in 0..20 {
        fast.append(record(id, LEN)).unwrap();
    }
    let middle = slow.append(record(1, LEN)).unwrap();
    for id in 0..20 {
        fast.append(record(id, LEN)).unwrap();
    }
    let segments = wal.usage().segments;
    assert_eq!(fast.truncate_before(wal.next_lsn()).unwrap().low, Lsn(1));
    assert_eq!(wal.truncate_before(Lsn(u64::MAX)).unwrap().low, Lsn(1), "there are none of no stream");
    let pinned = wal.usage().pinned_by.unwrap();
    assert_eq!((&*pinned.name, pinned.lsn, wal.usage().segments), ("slow", Lsn(1), segments));
    let done = slow.truncate_before(middle).unwrap();
    assert!(done.segments > 2 && done.low == middle, "{done:?}");
    assert_eq!((lsns(&slow), lsns(&fast), fast.low()), (vec![middle.0], vec![], wal.next_lsn()));
    let plain = wal.append("of no stream").unwrap();
    slow.truncate_before(wal.next_lsn()).unwrap();
    assert_eq!(wal.watermarks().low, plain, "which nobody has given up");
    assert_eq!(wal.truncate_before(plain.next()).unwrap().low, plain.next());
    assert_eq!((wal.usage().pinned_by, idle.low()), (None, Lsn(1)));
    // A record that comes is held from the moment at which it has a number.
    let held = idle.append_with("buffered", Buffered).unwrap();
    assert_eq!(wal.truncate_before(held.next()).unwrap().low, held);
}

#[test]
fn a_log_that_is_all_streams_gives_back_what_they_have_passed() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    let stream = wal.stream("only").unwrap();
    for id in 0..30 {
        let lsn = stream.append(record(id, LEN)).unwrap();
        stream.truncate_before(lsn).unwrap();
    }
    assert!(wal.usage().segments <= 2);
    let recycled = Header::decode(&disk.peek(path(6)).unwrap_or_default());
    let features = recycled.map_or(Features(STREAMS | RECYCLED), |header| header.features);
    assert_eq!(features, Features(STREAMS | RECYCLED));
    let (wal, _) = open(&disk.crash(Survive::Nothing));
    let stream = wal.stream("only").unwrap();
    let next = wal.next_lsn();
    assert_eq!(stream.truncate_before(next).unwrap().low, next, "none are of no stream");
}

/// Each was taken for one with records up to the end, and so was what belongs to no stream.
#[test]
fn an_opening_knows_up_to_where_each_stream_has_records() {
    for len in [10, LEN] {
        let disk = SimFs::new(0);
        let (wal, _) = open(&disk);
        let [idle, early, late] = ["idle", "early", "late"].map(|name| wal.stream(name).unwrap());
        idle.append("given up").unwrap();
        let batch = |id: u64| (id..id + 3).map(|id| record(id, len));
        let early_end = early.append_batch_with(batch(0), Synced).unwrap().end;
        wal.rotate().unwrap();
        let plain = wal.append_batch(batch(3)).unwrap();
        let late_end = late.append_batch_with(batch(6), Synced).unwrap().end;
        wal.rotate().unwrap();
        idle.truncate_before(Lsn(2)).unwrap();
        let (wal, _) = open(&disk.crash(Survive::Nothing));
        let pinned = || wal.usage().pinned_by.map(|pinned| (pinned.name.to_string(), pinned.lsn));
        let [early, late] = ["early", "late"].map(|name| wal.stream(name).unwrap());
        assert_eq!(pinned(), Some(("early".to_owned(), Lsn(1))));
        early.truncate_before(early_end).unwrap();
        assert_eq!(pinned(), Some(("late".to_owned(), Lsn(1))), "{len}");
        assert_eq!(late.truncate_before(late_end).unwrap().low, Lsn(1), "{len}: some are of no stream");
        assert_eq!((pinned(), wal.truncate_before(plain.end).unwrap().low), (None, plain.end));
        assert_eq!(late.truncate_before(late_end).unwrap().low, late_end, "{len}: and no later one");
        assert_eq!(wal.usage().segments, 1);
    }
}

#[test]
fn streams_that_cannot_be_are_refused_with_the_limit() {
    let (wal, _) = open(&SimFs::new(0));
    for name in [String::new(), "n".repeat(256)] {
        let refused = wal.stream(&name).unwrap_err();
        assert!(matches!(refused, AppendError::Rejected(Reject::BadName { len }) if len == name.len()));
    }
    // An eighth of a segment is 1,024 bytes, of which each takes 48 and its name.
    let names: Vec<String> = (0..20).map(|id| format!("{id:016}")).collect();
    for (id, name) in (1..17).zip(&names) {
        assert_eq!(wal.stream(name).unwrap().id(), id);
    }
    let refused = wal.stream(&names[16]).unwrap_err();
    assert!(matches!(refused, AppendError::Rejected(Reject::TooManyStreams { limit: 16 })), "{refused}");
    assert_eq!((wal.stream(&names[3]).unwrap().id(), wal.stats().rejected.too_large), (4, 3));
}

/// What a life with streams has been told.
#[derive(Debug, Default)]
struct Told {
    /// Stream and bytes by number.
    records: BTreeMap<u64, (&'static str, Vec<u8>)>,
    /// The low watermark of each stream is at least, and at most, here.
    lows: BTreeMap<&'static str, (u64, u64)>,
}

const NAMES: [&str; 3] = ["orders of the first customer, with a long name", "audit", "plain"];

/// Appends to streams, and gives up what they have, until the end or that of the disk.
fn live(disk: &SimFs, told: &mut Told) -> Result<(), AppendError> {
    let Ok((wal, _)) = Wal::open_in(disk.clone(), DIR, options()) else { return Ok(()) };
    for id in 0..36_u64 {
        let name = NAMES[usize::try_from(id % 5 % 3).unwrap()];
        let stream = if name == "plain" { None } else { Some(wal.stream(name)?) };
        let bytes = record(id, LEN);
        let lsn = match &stream {
            Some(stream) => stream.append_with(bytes.clone(), Synced)?,
            None => wal.append(bytes.clone())?,
        };
        told.records.insert(lsn.0, (name, bytes));
        if id % 4 == 3 {
            let low = told.lows.entry(name).or_insert((1, 1));
            low.1 = lsn.0;
            match &stream {
                Some(stream) => stream.truncate_before(lsn)?,
                None => wal.truncate_before(lsn)?,
            };
            low.0 = lsn.0;
        }
        if id % 11 == 10 {
            wal.checkpoint(lsn, &[7; 200])?;
        }
    }
    Ok(())
}

#[test]
fn wherever_the_power_goes_every_stream_has_what_it_was_told() {
    let mut deaths = 0;
    for op in 0.. {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let mut told = Told::default();
        let done = live(&disk, &mut told);
        if !disk.has_crashed() {
            done.unwrap();
            break;
        }
        deaths += 1;
        for survive in [Survive::Nothing, Survive::Everything].into_iter().chain((0..6).map(Survive::Seeded))
        {
            let (wal, report) = open(&disk.crash(survive));
            let names: BTreeMap<u32, &str> =
                report.streams.iter().map(|def| (def.id, &def.name[..])).chain([(0, "plain")]).collect();
            let found: BTreeMap<u64, _> = wal
                .reader(Lsn(0))
                .map(Result::unwrap)
                .map(|record| (record.lsn.0, (names.get(&record.stream).copied(), record.bytes)))
                .collect();
            for (lsn, (name, bytes)) in &told.records {
                let low = told.lows.get(name).map_or(1, |low| low.1);
                let record = found.get(lsn);
                let is_there = record.is_some_and(|(stream, found)| *stream == Some(name) && found == bytes);
                assert!(is_there || *lsn < low, "died at {op}, {survive:?}: {lsn} of {name}: {record:?}");
            }
            for def in &report.streams {
                let (least, most) = told.lows.get(&def.name[..]).copied().unwrap_or((1, 1));
                let first = told.records.iter().find(|(_, (name, _))| *name == def.name);
                let named = first.map_or(report.next_lsn.0, |(lsn, _)| *lsn);
                assert!((least.min(named)..=most.max(named)).contains(&def.low), "died at {op}: {def:?}");
            }
        }
    }
    assert!(deaths > 150, "{deaths}");
}
