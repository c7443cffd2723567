//! Looks at damage, and at what nobody wrote: what is told of it is true, and costs no more than the log is long.

use std::path::Path;

use crate::harness::damage::{
    Files, REPAIRS, files, flip, frames, lsns, open, opens, plain, plant, single_faults, with_checkpoints,
};
use crate::harness::forge::{data, first_start, forge, forge_in, frame_header};
use crate::harness::looks::Looks;
use crate::harness::{DIR, path};
use forebay_wal::format::{Features, Frag, FrameHeader, Header, Seal, SegmentStart, StreamDef};
use forebay_wal::fs::sim::{Fault, Op, SimFs};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{DamageClass, Lsn, OpenError, RecoveryReport, RepairPolicy, verify_in};

/// A frame as it lies in the file.
fn bytes_of(header: FrameHeader, body: &[u8]) -> Vec<u8> {
    let segment = forge(&first_start(), 8192, [(header, body.to_vec())]);
    segment[4192..4192 + 32 + body.len()].to_vec()
}

/// A look at a log counted its burned numbers in one read and its records in another.
#[test]
fn numbers_that_are_burned_during_a_look_are_not_counted() {
    let frames = [data(1, 2, 512, b"\x01a\x01b"), (frame_header(128, Frag::Whole, 3, 1, 512), vec![])];
    let segment = forge(&first_start(), 8192, frames);
    let end = 4192 + 40 + 32;
    let more = bytes_of(frame_header(128, Frag::Whole, 4, 1000, 512), b"");
    for strike in 0..12 {
        let disk = plant(&[(1, segment.clone())].into());
        let more = more.clone();
        let watched = Looks::at(disk, move |disk, read| {
            if read == strike {
                let file = disk.open(Path::new(&path(1))).unwrap();
                File::write_vectored_at(&file, &[std::io::IoSlice::new(&more)], end).unwrap();
            }
        });
        let report = verify_in(watched, DIR).unwrap();
        assert_eq!((report.records, report.first_lsn), (2, Lsn(1)), "read {strike}");
    }
}

fn seal(first_lsn: u64, seal: Seal) -> (FrameHeader, Vec<u8>) {
    (frame_header(4, Frag::Whole, first_lsn, 0, 512), seal.encode().to_vec())
}

/// Whoever appended to it later could not read that back.
#[test]
fn a_stream_that_begins_above_the_log_hides_nothing_that_comes() {
    let def = StreamDef { id: 1, flags: 0, low: 1 << 40, name: "s".to_owned() };
    let mut header = Header::new([1; 16], 1, 9, 8192);
    header.features = Features::STREAMS;
    let named = (frame_header(7, Frag::Whole, 3, 0, 512), def.encode());
    let disk =
        plant(&[(1, forge_in(&header, &first_start(), [data(1, 2, 512, b"\x01a\x01b"), named]))].into());
    for lsn in 3..6 {
        let (wal, report) = opens("a stream", &disk, RepairPolicy::Fail);
        assert_eq!((report.streams[0].low, report.next_lsn), (3, Lsn(lsn)));
        let stream = wal.stream("s").unwrap();
        assert_eq!(stream.append("more").unwrap(), Lsn(lsn));
        let read: Vec<_> = stream.reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect();
        assert_eq!(read, (3..=lsn).collect::<Vec<_>>());
        wal.close().unwrap();
    }
}

/// The segment that a seal names was made where it was missing, whatever had its name.
#[test]
fn a_seal_that_names_an_old_segment_overwrites_nothing() {
    let one =
        |next_segment| Seal { end_lsn: 2, frames: 2, data_bytes: 2, next_segment, next_salt: 9, flags: 2 };
    let first = forge(&first_start(), 8192, [data(1, 1, 512, b"\x01a"), seal(2, one(2))]);
    let start = SegmentStart { segment: 2, base_lsn: 2, prev_segment: 1, prev_last_lsn: 1, ..first_start() };
    for next_segment in [1, 0, 7, u64::MAX] {
        let last = Seal { end_lsn: 3, next_salt: 77, ..one(next_segment) };
        let last = forge(&start, 8192, [data(2, 1, 512, b"\x01b"), seal(3, last)]);
        let files: Files = [(1, first.clone()), (2, last)].into();
        for repair in REPAIRS {
            let disk = plant(&files);
            let opened = open(&disk, repair);
            assert!(disk.peek(path(1)).unwrap() == first, "{next_segment}, {repair:?}");
            assert!(opened.is_err() || lsns(&opened.unwrap().0) == [1, 2], "{next_segment}, {repair:?}");
        }
    }
}

/// Of every hole, and every frame that lies, all of the segment was read again.
#[test]
fn holes_cost_what_they_are_long() {
    let frames = 8000_u64;
    let whole = |lsn: u64| data(lsn, 1, 512, b"\x06record");
    let open_fragment = |_| (frame_header(1, Frag::First, 1, 0, 512), b"\x06recor".to_vec());
    let capacity = 1 << 20;
    let kinds: [(&str, Vec<_>); 2] = [
        ("bodies", (1..=frames).map(whole).collect()),
        ("fragments", (1..=frames).map(open_fragment).collect()),
    ];
    for (what, kind) in kinds {
        for every in [1, 2] {
            let last = u32::try_from((4192 + frames * 40) / 8).unwrap();
            let end = (
                frame_header(8, Frag::Whole, if what == "bodies" { frames + 1 } else { 1 }, 0, last),
                vec![],
            );
            let mut segment = forge(&first_start(), capacity, kind.clone().into_iter().chain([end]));
            for frame in (0..frames).step_by(every) {
                if what == "bodies" {
                    segment[usize::try_from(4192 + frame * 40 + 34).unwrap()] ^= 1;
                }
            }
            let disk = plant(&[(1, segment)].into());
            let before = disk.count(Op::Read);
            let report = verify_in(disk.clone(), DIR).unwrap();
            assert!(!report.damaged.is_empty());
            let reads = disk.count(Op::Read) - before;
            // Seventeen pieces of 64 KiB, looked at some times over.
            assert!(reads < 17 * 30, "{what}, every {every}: {reads} reads");
        }
    }
}

/// Headers that begin a group and one that goes on with it, over and over, each body all that lies behind.
#[test]
fn groups_within_groups_come_to_an_end() {
    let capacity = 1 << 18;
    let last = u32::try_from(capacity / 8 - 8).unwrap();
    let end = frame_header(8, Frag::Whole, 2, 0, last);
    let mut segment = forge(&first_start(), capacity, [data(1, 1, 512, b"\x01a")]);
    let digest = Header::decode(&segment).unwrap().digest();
    segment[capacity - 32..].copy_from_slice(&end.encode(&digest));
    for at in (5000..capacity - 5000).step_by(64).collect::<Vec<_>>().into_iter().rev() {
        let body = &segment[at + 64..];
        let middle = FrameHeader {
            body_len: u32::try_from(body.len()).unwrap(),
            body_crc: digest.sum(body),
            ..frame_header(1, Frag::Middle, 2, 0, 512)
        };
        let first = FrameHeader { body_crc: digest.sum(&[]), ..frame_header(1, Frag::First, 2, 0, 512) };
        segment[at..at + 32].copy_from_slice(&first.encode(&digest));
        segment[at + 32..at + 64].copy_from_slice(&middle.encode(&digest));
    }
    let disk = plant(&[(1, segment)].into());
    assert!(verify_in(disk.clone(), DIR).unwrap().lost.is_empty());
    assert!(disk.count(Op::Read) < 1000, "{} reads", disk.count(Op::Read));
}

fn told(report: &RecoveryReport) -> impl PartialEq + std::fmt::Debug {
    let torn = report.torn.as_ref().map(|torn| (torn.segment, torn.bytes.clone(), torn.lsns.clone()));
    let lsns = (report.first_lsn, report.next_lsn, report.records, report.lost.clone());
    (report.checkpoint.clone(), report.damaged.clone(), lsns, torn)
}

#[test]
fn a_look_at_a_damaged_log_tells_what_salvage_leaves() {
    let mut cases = single_faults(&with_checkpoints(true));
    // Burned numbers below the low watermark and above it, and a hole behind them.
    let mut hole = data(12, 1, 512, b"\x01c");
    let burned = |lsn, records| (frame_header(128, Frag::Whole, lsn, records, 512), vec![]);
    let low = (frame_header(6, Frag::Whole, 8, 0, 512), 4_u64.to_le_bytes().to_vec());
    let pad = (frame_header(8, Frag::Whole, 13, 0, 540), vec![]);
    hole.0.synced8 = 512;
    let frames_of = [burned(1, 5), data(6, 2, 512, b"\x01a\x01b"), low, burned(8, 4), hole, pad];
    let mut forged = forge(&first_start(), 8192, frames_of);
    let at = frames(&forged)[5];
    forged[at + 33] ^= 1;
    cases.push(("burned".to_owned(), [(1, forged)].into()));
    // A torn tail, in the last segment and in the next one.
    for (number, at) in [(3, 0), (4, 4096)] {
        let mut files = plain(4);
        files.retain(|other, _| *other <= number);
        let bytes = files.get_mut(&number).unwrap();
        let at = if at == 0 { *frames(bytes).last().unwrap() } else { at };
        bytes[at..].fill(0);
        bytes[at + 8..at + 48].fill(0xEE);
        if number == 3 {
            let seal = frames(bytes)[5];
            bytes[seal..seal + 80].fill(0);
        }
        flip(&mut files, 1, 2);
        cases.push((format!("torn {number}"), files));
    }
    let mut torn = 0;
    for (what, files) in cases {
        let looked = verify_in(plant(&files), DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (_, salvaged) = opens(&what, &plant(&files), RepairPolicy::Salvage);
        assert_eq!(format!("{:?}", told(&looked)), format!("{:?}", told(&salvaged)), "{what}");
        torn += usize::from(looked.torn.is_some() && !looked.damaged.is_empty());
    }
    assert_eq!(torn, 2);
}

/// Numbers came twice, or a reader met the end of a body where the log said that there was more.
#[test]
fn fragments_that_hold_another_number_of_records_than_they_say_are_no_group() {
    let group = |last: &[u8], records| {
        let first = (frame_header(1, Frag::First, 1, 0, 512), b"\x01a\x01".to_vec());
        let last = (frame_header(1, Frag::Last, 1, records, 512), last.to_vec());
        let segment = forge(&first_start(), 8192, [first, last]);
        let (wal, report) = opens("fragments", &plant(&[(1, segment)].into()), RepairPolicy::TruncateTail);
        (lsns(&wal), report.next_lsn.0)
    };
    assert_eq!(group(b"b", 2), (vec![1, 2], 3));
    for (last, records) in [(&b"b"[..], 1), (b"b", 3), (b"", 2), (b"b\x02c", 3)] {
        assert_eq!(group(last, records), (vec![], 1), "{records} in {last:?}");
    }
}

/// A wrong read made damage that the next look would not have found.
#[test]
fn a_look_at_damage_tells_what_two_looks_agree_on() {
    let mut files = plain(2);
    flip(&mut files, 1, 2);
    let expected = verify_in(plant(&files), DIR).unwrap();
    let reads = {
        let disk = plant(&files);
        verify_in(disk.clone(), DIR).unwrap();
        disk.count(Op::Read)
    };
    for read in 0..reads {
        let disk = plant(&files);
        // Of the second frame, where the read is of frames.
        disk.fail_next(Op::Read, read, Fault::Flip(8 * (4300 - 4096)));
        assert_eq!(verify_in(disk, DIR).unwrap(), expected, "read {read} of {reads}");
    }
}

#[test]
fn a_segment_behind_a_seal_that_is_too_short_is_damaged_and_not_another_logs() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    wal.append("only").unwrap();
    wal.rotate().unwrap();
    let mut files = files(&disk, 1..=2);
    files.get_mut(&2).unwrap().truncate(5000);
    let Err(OpenError::Corrupt(refused)) = open(&plant(&files), RepairPolicy::Fail) else { panic!() };
    assert_eq!((refused.segment, &refused.class), (2, &DamageClass::DamagedDurable));
    assert_eq!(verify_in(plant(&files), DIR).unwrap().damaged, [refused]);
}

#[test]
fn a_frame_that_burns_nothing_is_none() {
    let burned = (frame_header(128, Frag::Whole, 2, 0, 512), vec![]);
    let segment = forge(&first_start(), 8192, [data(1, 1, 512, b"\x01a"), burned, data(2, 1, 512, b"\x01b")]);
    let (wal, report) = opens("burned", &plant(&[(1, segment)].into()), RepairPolicy::TruncateTail);
    assert_eq!((lsns(&wal), report.torn.unwrap().bytes.start), (vec![1], 4232));
}

#[test]
fn a_file_that_is_shorter_than_it_says_gets_no_more_than_a_segment() {
    let mut segment = forge(&first_start(), 1 << 24, [data(1, 1, 512, b"\x01a")]);
    segment.truncate(8192);
    for repair in REPAIRS {
        let disk = plant(&[(1, segment.clone())].into());
        let (wal, _) = opens("short", &disk, repair);
        assert_eq!(lsns(&wal), [1]);
        assert_eq!(disk.peek(path(1)).unwrap().len(), 8192, "{repair:?}");
    }
}
