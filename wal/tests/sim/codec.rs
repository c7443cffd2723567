//! Bodies of frames that are compressed: golden directories whose codecs' bytes were put together by hand, logs written
//! with each codec, and what is refused.

use std::path::PathBuf;

use crate::harness::{DIR, path};
use crate::writer::{COMPRESSED, IEEE, Segment, Tie};
use forebay_wal::format::Unsupported;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{OpenError, View};

type Stored = fn(&[u8], u8, usize) -> Vec<u8>;

/// The body `head` and `run` times `byte`, as it is stored with snappy: a literal, then copies from one byte before.
fn snappy(head: &[u8], byte: u8, run: usize) -> Vec<u8> {
    let raw_len = head.len() + run;
    let mut stored = u32::try_from(raw_len).unwrap().to_le_bytes().to_vec();
    let low = |value: usize| value.to_le_bytes()[0];
    stored.extend([low(raw_len) | 0x80, low(raw_len >> 7), low(head.len() << 2)]);
    stored.extend([head, &[byte]].concat());
    let mut left = run - 1;
    while left > 0 {
        let copy = left.min(64);
        stored.extend([low((copy - 1) << 2 | 2), 1, 0]);
        left -= copy;
    }
    stored
}

/// The same with zstd: a frame in one segment that says its length, of a raw block and one byte repeated.
fn zstd(head: &[u8], byte: u8, run: usize) -> Vec<u8> {
    let raw_len = u32::try_from(head.len() + run).unwrap();
    let mut stored = raw_len.to_le_bytes().to_vec();
    stored.extend(0xFD2F_B528_u32.to_le_bytes());
    stored.push(0b0110_0000);
    stored.extend(u16::try_from(raw_len - 256).unwrap().to_le_bytes());
    let block = |kind: usize, len: usize, last: usize| (len << 3 | kind << 1 | last).to_le_bytes();
    stored.extend(&block(0, head.len(), 0)[..3]);
    stored.extend(head);
    stored.extend(&block(1, run, 1)[..3]);
    stored.push(byte);
    stored
}

/// A plain frame, one that is compressed, one record in two fragments each compressed for itself, and a plain one.
fn log(codec: u8, stored: Stored) -> Vec<u8> {
    let mut only = Segment::new(IEEE, 1, 70 + u64::from(codec), COMPRESSED, "");
    only.start(1, Tie::default(), 1).data(&["plain"]);
    only.packed((codec, 0), 1, &stored(b"\xAC\x02", b'a', 300)).sync();
    only.packed((codec, 1), 0, &stored(b"\xD8\x04", b'b', 298));
    only.packed((codec, 3), 1, &stored(b"b", b'b', 301)).data(&["end"]).sync().clean_close();
    only.file()
}

const GOLDEN: [(&str, u8, Stored); 2] = [("v1-snappy", 1, snappy), ("v1-zstd", 2, zstd)];

fn golden(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    dir.join("wal-0000000000000001.seg")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn the_same_directories_made_today_are_the_same_to_the_byte() {
    for (name, codec, stored) in GOLDEN {
        assert!(std::fs::read(golden(name)).unwrap() == log(codec, stored), "{name} differs");
    }
}

#[test]
#[ignore = "makes the golden directories"]
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn make_the_golden_directories() {
    for (name, codec, stored) in GOLDEN {
        std::fs::create_dir_all(golden(name).parent().unwrap()).unwrap();
        std::fs::write(golden(name), log(codec, stored)).unwrap();
    }
}

fn plant(segment: &[u8]) -> SimFs {
    let disk = SimFs::new(0);
    disk.plant(path(1), segment).unwrap();
    disk
}

/// Why a log of this segment is not looked at.
fn refused(segment: &[u8]) -> Unsupported {
    match View::open_in(plant(segment), DIR).unwrap_err() {
        OpenError::Unsupported { what, .. } => what,
        error => panic!("{error}"),
    }
}

#[test]
fn a_codec_that_nobody_announced_or_knows_is_refused_by_name() {
    let with = |features, codec, body: &[u8]| {
        let mut only = Segment::new(IEEE, 1, 7, features, "");
        only.start(1, Tie::default(), 1).packed((codec, 0), 1, body);
        only.file()
    };
    for (name, codec, stored) in [("snappy", 1, snappy as Stored), ("zstd", 2, zstd)] {
        let what = refused(&with(0, codec, &stored(b"\xAC\x02", b'a', 300)));
        assert_eq!(what, Unsupported::Codec(codec));
        assert_eq!(what.to_string(), format!("bodies compressed with {name}"));
    }
    assert_eq!(refused(&with(COMPRESSED, 3, &[9, 0, 0, 0, 1])), Unsupported::Codec(3));
    assert_eq!(refused(&with(COMPRESSED, 9, &[])), Unsupported::Codec(9));
}

#[cfg(not(feature = "snappy"))]
#[test]
fn without_the_feature_snappy_is_refused_by_name() {
    assert_eq!(refused(&log(1, snappy)), Unsupported::Codec(1));
}

#[cfg(not(feature = "zstd"))]
#[test]
fn without_the_feature_zstd_is_refused_by_name() {
    assert_eq!(refused(&log(2, zstd)), Unsupported::Codec(2));
}

#[cfg(all(feature = "snappy", feature = "zstd"))]
mod built {
    use crate::harness::{Session, life, options, read_all, record};
    use forebay_wal::fs::sim::Survive;
    use forebay_wal::{Compression, Durability, Event, Lsn, Options, Wal};

    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Snappy, Compression::Zstd { level: 1 }];

    fn with(compression: Compression) -> Options {
        Options { compression, max_frame: 2048, ..options() }
    }

    fn look(segment: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, OpenError> {
        let (view, _) = View::open_in(plant(segment), DIR)?;
        Ok(view
            .reader(Lsn(0))
            .map(Result::unwrap)
            .map(|record| (record.lsn.0, record.bytes.to_vec()))
            .collect())
    }

    fn expected() -> Vec<(u64, Vec<u8>)> {
        let records = [b"plain".to_vec(), vec![b'a'; 300], vec![b'b'; 600], b"end".to_vec()];
        (1..).zip(records).collect()
    }

    #[test]
    fn golden_logs_are_read_gone_on_with_and_followed() {
        for (name, codec, stored) in GOLDEN {
            let segment = log(codec, stored);
            assert_eq!(look(&segment).unwrap(), expected(), "{name}");
            let (wal, report) = Wal::open_in(plant(&segment), DIR, options()).unwrap();
            assert!(report.clean && report.next_lsn == Lsn(5), "{name}: {report:?}");
            wal.append("more").unwrap();
            let mut tail = wal.tail(Lsn::FIRST, Durability::Synced);
            let more = [(5, b"more".to_vec())];
            for (lsn, bytes) in expected().into_iter().chain(more) {
                let Event::Record(found) = tail.next().unwrap() else { panic!("{name}") };
                assert_eq!((found.lsn.0, found.bytes.to_vec()), (lsn, bytes), "{name}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_gives_other_records() {
        for (name, codec, stored) in GOLDEN {
            let segment = log(codec, stored);
            let end = segment.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in 4096..end {
                for bit in 0..8 {
                    let mut segment = segment.clone();
                    segment[at] ^= 1 << bit;
                    match look(&segment) {
                        Ok(records) => assert!(expected().starts_with(&records), "{name}: byte {at}"),
                        Err(OpenError::Corrupt(_)) => {}
                        Err(error) => panic!("{name}: byte {at}: {error}"),
                    }
                }
            }
        }
    }

    /// Their sums fit, and what they say of their length is a lie.
    #[test]
    fn a_hostile_length_costs_no_memory() {
        for (name, codec, stored) in GOLDEN {
            let honest = stored(b"\xAC\x02", b'a', 300);
            let front = |raw_len: u32| (raw_len, [&raw_len.to_le_bytes(), &honest[4..]].concat());
            let mut lies = [0, 301, 303, 64 << 20, 256 << 20, (256 << 20) + 1, u32::MAX].map(front).to_vec();
            // What zstd itself says is the same, and there is next to nothing behind it.
            let huge = 256_u32 << 20;
            let head = [0x28, 0xB5, 0x2F, 0xFD, 0xA0];
            let zstd = [&huge.to_le_bytes()[..], &head, &huge.to_le_bytes(), &[0; 24]].concat();
            lies.extend((codec == 2).then_some((huge, zstd)));
            for (raw_len, lie) in lies {
                let mut only = Segment::new(IEEE, 1, 7, COMPRESSED, "");
                only.start(1, Tie::default(), 1).data(&["a"]).sync().packed((codec, 0), 1, &lie);
                let segment = only.file();
                let mut seen = None;
                let memory = allocation_counter::measure(|| seen = Some(look(&segment)));
                assert!(memory.bytes_max < 1 << 20, "{name}, {raw_len}: {}", memory.bytes_max);
                let seen = seen.unwrap().unwrap();
                assert_eq!(seen, [(1, b"a".to_vec())], "{name}, {raw_len}: the rest is torn");
            }
        }
    }

    /// Records that compress and some that do not, alone and in batches, in fragments, and too long to be copied.
    fn fill(wal: &Wal<SimFs>) {
        let noise = |len: usize| {
            let mut state = 7_u64;
            let draw = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                state.to_be_bytes()[0]
            };
            (0..len).map(draw).collect::<Vec<u8>>()
        };
        for id in 1..30 {
            let len = |id: u64| usize::try_from(id * 131 % 900).unwrap();
            wal.append_batch((0..id % 5 + 1).map(|more| record(id, len(id + more)))).unwrap();
            match id % 10 {
                3 => drop(wal.append_batch([noise(600), record(id, 700)]).unwrap()),
                5 => drop(wal.append(record(id, 5000)).unwrap()),
                7 => drop(wal.append_batch([record(id, 20_000), noise(3000), record(id, 17_000)]).unwrap()),
                9 => drop(wal.append(noise(20_000)).unwrap()),
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back_whatever_compresses_it() {
        let mut plain = None;
        let mut bytes = Vec::new();
        for compression in ALL {
            let disk = SimFs::new(0);
            let (wal, _) = Wal::open_in(disk.clone(), DIR, with(compression)).unwrap();
            let mut tail = wal.tail(Lsn::FIRST, Durability::Written);
            fill(&wal);
            let records = read_all(&wal);
            let mut followed = Vec::new();
            while let Some(event) = tail.try_next().unwrap() {
                if let Event::Record(record) = event {
                    followed.push((record.lsn.0, record.bytes.to_vec()));
                }
            }
            assert!(followed == records, "{compression:?}: a tail sees what a reader does");
            bytes.push(wal.usage().log_bytes);
            drop((wal, tail));
            let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, with(compression)).unwrap();
            assert!(read_all(&wal) == records && report.records == records.len() as u64);
            assert!(*plain.get_or_insert(records.clone()) == records, "{compression:?}");
            let (_, looked) = View::open_in(disk, DIR).unwrap();
            assert_eq!(looked.records, report.records);
        }
        assert!(bytes[1] < bytes[0] * 3 / 4 && bytes[2] < bytes[1], "{bytes:?}");
    }

    #[test]
    fn a_codec_may_change_from_one_opening_to_the_next() {
        let mut disk = SimFs::new(0);
        let mut next = 1;
        for round in 0..9 {
            disk = disk.restart();
            let (wal, report) = Wal::open_in(disk.clone(), DIR, with(ALL[round % 3])).unwrap();
            assert_eq!(report.next_lsn, Lsn(next));
            for _ in 0..4 {
                assert_eq!(wal.append(record(next, 1500)).unwrap(), Lsn(next));
                next += 1;
            }
            wal.reserve().unwrap();
            let records = read_all(&wal);
            assert!(records.iter().all(|(lsn, bytes)| *bytes == record(*lsn, 1500)));
            assert_eq!(records.len() as u64, next - 1);
            wal.close().unwrap();
        }
    }

    #[test]
    fn promises_are_kept_across_crashes_with_compression() {
        for (compression, mut op) in ALL[1..].iter().zip(0..) {
            // Between them, at every operation.
            loop {
                let disk = SimFs::new(op);
                disk.crash_at(op);
                let mut session = Session::new(disk, with(*compression));
                for step in life() {
                    session.step(&step);
                    if session.disk.has_crashed() {
                        break;
                    }
                }
                session.wal = None;
                if !session.disk.has_crashed() {
                    assert!(op > 150, "the life has {op} operations");
                    break;
                }
                let (disk, ledger) = (session.disk, session.ledger);
                for survive in
                    [Survive::Nothing, Survive::Everything, Survive::Seeded(op), Survive::Seeded(!op)]
                {
                    let mut after = Session::new(disk.crash(survive), with(*compression));
                    after.ledger = ledger.clone();
                    after
                        .open()
                        .unwrap_or_else(|error| panic!("{compression:?}, {op}, {survive:?}: {error}"));
                }
                op += 2;
            }
        }
    }
}
