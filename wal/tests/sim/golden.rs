//! A log of format version 1, made once and only read since: whole, damaged in every place, and beyond reason.

use std::path::{Path, PathBuf};

use crate::harness::forge::{data, first_start, forge, frame_header};
use crate::harness::{DIR, options, read_all, record};
use forebay_wal::format::{Checksum, Frag, Header, SegmentStart};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{DamageClass, Lsn, OpenError, Options, RecoveryReport, Wal};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Records of the golden log by LSN; those below 3 are hidden by its low watermark.
fn records() -> Vec<(u64, Vec<u8>)> {
    (1..=16).map(|id| (id, record(id, usize::try_from(id * 97 % 400).unwrap()))).collect()
}

/// The recipe: three segments, a batch in fragments, both checksums, a low watermark, a clean end.
fn make<F: Fs>(fs: F, dir: &Path) {
    let bytes =
        |range: std::ops::Range<usize>| records()[range].iter().map(|(_, b)| b.clone()).collect::<Vec<_>>();
    let (wal, _) = Wal::open_in(fs.clone(), dir, options()).unwrap();
    for record in bytes(0..3) {
        wal.append(record).unwrap();
    }
    wal.append_batch(bytes(3..8)).unwrap();
    wal.rotate().unwrap();
    for record in bytes(8..11) {
        wal.append(record).unwrap();
    }
    wal.truncate_before(Lsn(3)).unwrap();
    wal.close().unwrap();
    let (wal, _) = Wal::open_in(fs, dir, Options { checksum: Checksum::Crc32c, ..options() }).unwrap();
    wal.rotate().unwrap();
    wal.append_batch(bytes(11..13)).unwrap();
    for record in bytes(13..16) {
        wal.append(record).unwrap();
    }
    wal.close().unwrap();
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn name(segment: u64) -> String {
    format!("wal-{segment:016x}.seg")
}

#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn golden() -> Vec<Vec<u8>> {
    (1..=3).map(|segment| std::fs::read(golden_dir().join(name(segment))).unwrap()).collect()
}

fn plant(segments: &[Vec<u8>]) -> SimFs {
    let disk = SimFs::new(0);
    for (bytes, segment) in segments.iter().zip(1..) {
        disk.plant(format!("{DIR}/{}", name(segment)), bytes).unwrap();
    }
    disk
}

/// What opening finds: the report and the LSN after the last record, all of which are as they were.
fn open(disk: SimFs) -> Result<(RecoveryReport, u64), OpenError> {
    let (wal, report) = Wal::open_in(disk, DIR, options())?;
    let found = read_all(&wal);
    let next = found.last().map_or(3, |(lsn, _)| lsn + 1);
    assert_eq!(
        found,
        records()[2..usize::try_from(next - 1).unwrap()],
        "records as they were, from the first on"
    );
    Ok((report, next))
}

#[test]
fn the_golden_log_reads_as_it_was_written() {
    let (report, next) = open(plant(&golden())).unwrap();
    assert!(report.clean && report.torn.is_none());
    assert_eq!((next, report.segments, report.first_lsn), (17, 3, Lsn(3)));
}

#[test]
fn the_same_log_made_today_is_the_same_to_the_byte() {
    let disk = SimFs::new(0);
    make(disk.clone(), Path::new(DIR));
    for (bytes, segment) in golden().iter().zip(1..) {
        assert!(
            disk.peek(format!("{DIR}/{}", name(segment))).unwrap() == *bytes,
            "segment {segment} differs"
        );
    }
}

/// A frame as an independent reader finds it: where it begins, where its body ends, what it says was synced.
#[derive(Debug, Clone, Copy)]
struct Frame {
    at: usize,
    end: usize,
    synced: usize,
    next_lsn: u64,
}

fn frames(segment: &[u8]) -> Vec<Frame> {
    let u32_at = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let mut frames = Vec::new();
    let mut at = 4096;
    while u32_at(at) != 0 {
        let end = at + 32 + u32_at(at + 4);
        let lsn = u64::from_le_bytes(segment[at + 8..at + 16].try_into().unwrap());
        frames.push(Frame { at, end, synced: u32_at(at + 24) * 8, next_lsn: lsn + u32_at(at + 16) as u64 });
        at = end.next_multiple_of(8);
    }
    frames
}

#[derive(Debug, PartialEq)]
enum Expect {
    /// All is read, nothing is cut.
    Harmless,
    /// All before this LSN is read; what is left behind is cut.
    Short(u64),
    BadHeader(u64),
    Damaged(u64),
}

/// What must come of damage to these bytes of a segment, from the format alone.
fn expect(golden: &[Vec<u8>], segment: usize, damage: std::ops::Range<usize>, zeroed: bool) -> Expect {
    let number = segment as u64 + 1;
    let touches = |from: usize, to: usize| damage.start < to && from < damage.end;
    if touches(0, 128) {
        return Expect::BadHeader(number);
    }
    let frames = frames(&golden[segment]);
    let Some(broken) = frames.iter().position(|frame| touches(frame.at, frame.end)) else {
        let behind = frames.last().unwrap().end.next_multiple_of(8);
        let tail = segment == 2 && damage.end > behind && !zeroed;
        return if tail { Expect::Short(17) } else { Expect::Harmless };
    };
    let at = frames[broken].at;
    let proof = frames.iter().any(|frame| !touches(frame.at, frame.at + 32) && frame.synced > at);
    match segment < 2 || proof {
        true => Expect::Damaged(number),
        false => Expect::Short(frames[..broken].last().unwrap().next_lsn),
    }
}

fn check(what: &str, disk: SimFs, expected: &Expect) {
    let found = match open(disk) {
        Ok((report, 17)) if report.torn.is_none() && report.clean => Expect::Harmless,
        Ok((_, next)) => Expect::Short(next),
        Err(OpenError::Corrupt(damage)) => match damage.class {
            DamageClass::BadHeader(_) => Expect::BadHeader(damage.segment),
            DamageClass::DamagedDurable => Expect::Damaged(damage.segment),
            class => panic!("{what}: {class}"),
        },
        Err(error) => panic!("{what}: {error}"),
    };
    assert_eq!(found, *expected, "{what}");
}

#[test]
fn a_flipped_bit_anywhere_is_told_for_what_it_is() {
    let golden = golden();
    let mut counts = [0; 4];
    for segment in 0..3 {
        let end = frames(&golden[segment]).last().unwrap().end + 40;
        for at in
            (0..golden[segment].len()).filter(|at| *at < 128 || (4096..end).contains(at) || at % 97 == 0)
        {
            let expected = expect(&golden, segment, at..at + 1, false);
            let mut segments = golden.clone();
            segments[segment][at] ^= 1 << (at % 8);
            check(&format!("segment {} byte {at}", segment + 1), plant(&segments), &expected);
            counts[match expected {
                Expect::Harmless => 0,
                Expect::Short(_) => 1,
                Expect::BadHeader(_) => 2,
                Expect::Damaged(_) => 3,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|&count| count > 50), "every class was met: {counts:?}");
}

#[test]
fn a_zeroed_sector_is_told_for_what_it_is() {
    let golden = golden();
    for segment in 0..3 {
        for at in (0..golden[segment].len()).step_by(512) {
            let expected = expect(&golden, segment, at..at + 512, true);
            let mut segments = golden.clone();
            segments[segment][at..at + 512].fill(0);
            check(&format!("segment {} sector at {at}", segment + 1), plant(&segments), &expected);
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_told_for_what_it_is() {
    let golden = golden();
    for segment in 0..3 {
        let number = segment as u64 + 1;
        let end = frames(&golden[segment]).last().unwrap().end;
        for len in (0..golden[segment].len()).filter(|len| len % 61 == 0 || len.abs_diff(end) < 10) {
            let expected = match len {
                0..128 => Expect::BadHeader(number),
                _ if segment == 2 || len < end => Expect::Damaged(number),
                _ => Expect::Harmless,
            };
            let mut segments = golden.clone();
            segments[segment].truncate(len);
            check(&format!("segment {number} cut to {len}"), plant(&segments), &expected);
        }
    }
}

#[test]
fn a_missing_or_misplaced_segment_is_noticed() {
    let damage = |disk: SimFs| match open(disk) {
        Err(OpenError::Corrupt(damage)) => (damage.class, damage.segment),
        other => panic!("{other:?}"),
    };
    for segment in 1..=3 {
        let disk = plant(&golden());
        disk.remove(format!("{DIR}/{}", name(segment)).as_ref()).unwrap();
        assert_eq!(damage(disk), (DamageClass::MissingSegment, segment), "even the first and the last");
    }
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        let mut segments = golden();
        segments.swap(a, b);
        assert_eq!(damage(plant(&segments)).0, DamageClass::Foreign);
    }
    let other = SimFs::new(0);
    let (wal, _) = Wal::open_in(other.clone(), DIR, Options { salt_seed: Some(7), ..options() }).unwrap();
    (0..2).for_each(|id| {
        wal.append(record(id, 1)).unwrap();
        wal.rotate().unwrap();
    });
    for segment in 0..2 {
        let mut segments = golden();
        segments[segment] = other.peek(format!("{DIR}/{}", name(segment as u64 + 1))).unwrap();
        assert_eq!(damage(plant(&segments)), (DamageClass::Foreign, segment as u64 + 1));
    }
}

#[test]
fn a_frame_of_another_log_is_no_frame_of_this_one() {
    let log = |seed, records: u64| {
        let disk = SimFs::new(0);
        let options = Options { salt_seed: Some(seed), ..options() };
        let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
        (0..records).for_each(|id| assert_eq!(wal.append("same length").unwrap(), Lsn(id + 1)));
        disk.peek(format!("{DIR}/{}", name(1))).unwrap()
    };
    let (mut ours, theirs) = (log(1, 2), log(2, 3));
    let behind = frames(&ours).last().unwrap().end.next_multiple_of(8);
    let last = *frames(&theirs).last().unwrap();
    assert_eq!(last.at, behind, "their third frame lies where ours would");
    ours[last.at..last.end].copy_from_slice(&theirs[last.at..last.end]);
    let (wal, report) = Wal::open_in(plant(&[ours]), DIR, options()).unwrap();
    assert_eq!(read_all(&wal).len(), 2);
    assert_eq!(report.torn.unwrap().lsns, Lsn(3)..Lsn(3), "not a header is believed");
}

/// A change that a disk, or somebody, may make to the files of a log.
#[derive(Debug, Clone)]
enum Edit {
    Put(usize, usize, Vec<u8>),
    Move(usize, usize, usize, usize),
    Cut(usize, usize),
    Drop(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || prop_oneof![1 => 0..8192_usize, 3 => 4096..6000_usize];
    prop_oneof![
        4 => (0..3_usize, at(), prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(s, at, b)| Edit::Put(s, at, b)),
        2 => (0..3_usize, at(), at(), 1..2000_usize).prop_map(|(s, from, to, len)| Edit::Move(s, from / 8 * 8, to / 8 * 8, len)),
        1 => (0..3_usize, at()).prop_map(|(s, len)| Edit::Cut(s, len)),
        1 => (0..3_usize).prop_map(Edit::Drop),
    ]
}

/// A segment of whole frames: most go on where the one before ended, the rest say anything.
fn forged() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![Just(0_u64), Just(1), Just(2), Just(u64::MAX), any::<u64>()];
    let often = |value| prop_oneof![6 => Just(value), 1 => number()];
    let kind = prop_oneof![4 => 1..=9_u8, 1 => any::<u8>()];
    let frag = prop_oneof![Just(Frag::Whole), Just(Frag::First), Just(Frag::Middle), Just(Frag::Last)];
    let body = || prop::collection::vec(any::<u8>(), 0..80);
    let wild = (kind, frag, number(), any::<u32>(), 0..1500_u32, body()).prop_map(Some);
    let frame = (body(), prop_oneof![4 => Just(None), 1 => wild]);
    let start = (often(1), often(0), often(1), number());
    let frames = prop::collection::vec(frame, 0..8);
    let segment = prop_oneof![4 => Just(1), 1 => 1..4_u64];
    (segment, start, frames).prop_map(|(segment, (base_lsn, prev_segment, low_watermark, epoch), frames)| {
        let start = SegmentStart { segment, base_lsn, prev_segment, low_watermark, epoch, ..first_start() };
        let mut next_lsn = base_lsn;
        let frames = frames.into_iter().map(|(record, wild)| match wild {
            Some((kind, frag, first_lsn, records, synced8, body)) => {
                let (records, first_lsn) = if kind == 1 { (records, first_lsn) } else { (0, base_lsn) };
                (frame_header(kind, frag, first_lsn, records, synced8), body)
            }
            None => {
                let frame = frame_header(1, Frag::Whole, next_lsn, 1, 512);
                next_lsn = next_lsn.saturating_add(1);
                (frame, [&[u8::try_from(record.len()).unwrap()], &record[..]].concat())
            }
        });
        forge(&start, 8192, frames)
    })
}

#[test]
fn a_segment_of_very_many_frames_opens_in_one_pass() {
    // All of one sync: were each looked for among those before it, this would take minutes.
    let pads = (0..100_000).map(|_| (frame_header(8, Frag::Whole, 1, 0, 512), Vec::new()));
    let segment = forge(&first_start(), 4 << 20, pads);
    let (_, report) = Wal::open_in(plant(&[segment]), DIR, options()).unwrap();
    assert_eq!((report.next_lsn, report.torn), (Lsn(1), None));
}

#[test]
fn a_frame_without_records_is_walked_past() {
    // The last one proves that those before it were synced.
    let frames = [
        data(1, 1, 512, b"\x01a"),
        data(2, 0, 524, b""),
        data(2, 0, 524, b""),
        data(2, 1, 532, b"\x01b"),
        data(3, 0, 537, b""),
    ];
    let (wal, report) = Wal::open_in(plant(&[forge(&first_start(), 8192, frames)]), DIR, options()).unwrap();
    assert_eq!((report.next_lsn, report.torn), (Lsn(3), None));
    assert_eq!(wal.append("c").unwrap(), Lsn(3));
    let expected = [(1, b"a".to_vec()), (2, b"b".to_vec()), (3, b"c".to_vec())];
    assert_eq!(read_all(&wal), expected);
    // One that says it has none, and has some, is not what anybody wrote.
    let frames = [data(1, 1, 512, b"\x01a"), data(2, 0, 524, b"\x01b")];
    let (_, report) = Wal::open_in(plant(&[forge(&first_start(), 8192, frames)]), DIR, options()).unwrap();
    assert_eq!((report.next_lsn, report.torn.is_some()), (Lsn(2), true));
}

#[test]
fn burned_numbers_are_passed_over_and_never_given_again() {
    let burned = |first_lsn, records, synced8| {
        (frame_header(128, Frag::Whole, first_lsn, records, synced8), b"rejected".to_vec())
    };
    let frames = [
        data(1, 1, 512, b"\x01a"),
        burned(2, 1000, 524),
        data(1002, 1, 529, b"\x01b"),
        burned(1003, 1, 529),
        burned(1004, 2, 529),
    ];
    let (wal, report) = Wal::open_in(plant(&[forge(&first_start(), 8192, frames)]), DIR, options()).unwrap();
    assert_eq!((report.next_lsn, report.torn), (Lsn(1006), None));
    let mut reader = wal.reader(Lsn(500));
    assert_eq!(reader.next().unwrap().unwrap().lsn, Lsn(1002));
    assert!(reader.next().is_none());
    assert_eq!(reader.next_lsn(), Lsn(1006), "behind the burned ones");
    assert_eq!(wal.append("c").unwrap(), Lsn(1006));
    let expected = [(1, b"a".to_vec()), (1002, b"b".to_vec()), (1006, b"c".to_vec())];
    assert_eq!(read_all(&wal), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mangled_log_gives_true_records_or_an_error(edits in prop::collection::vec(edit(), 1..5)) {
        let mut segments = golden();
        let mut dropped = [false; 3];
        for edit in edits {
            match edit {
                Edit::Put(segment, at, new) => {
                    let end = segments[segment].len().min(at + new.len());
                    if at < end {
                        segments[segment][at..end].copy_from_slice(&new[..end - at]);
                    }
                }
                Edit::Move(segment, from, to, len) => {
                    let len = len.min(segments[segment].len().saturating_sub(from.max(to)));
                    if len > 0 {
                        segments[segment].copy_within(from..from + len, to);
                    }
                }
                Edit::Cut(segment, len) => segments[segment].truncate(len),
                Edit::Drop(segment) => dropped[segment] = true,
            }
        }
        let disk = plant(&segments);
        for segment in (0..3).filter(|segment| dropped[*segment]) {
            disk.remove(format!("{DIR}/{}", name(segment as u64 + 1)).as_ref()).unwrap();
        }
        if let Ok((wal, report)) = Wal::open_in(disk, DIR, options())
            && dropped != [true; 3]
        {
            let (first, next) = (report.first_lsn.0, report.next_lsn.0);
            let expected: Vec<_> = records().into_iter().filter(|(lsn, _)| (first..next).contains(lsn)).collect();
            prop_assert_eq!(read_all(&wal), expected);
        }
    }
}

#[test]
fn a_forged_log_does_no_harm() {
    let mut read = 0;
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let counted = std::cell::RefCell::new(&mut read);
    let ran = TestRunner::new(config).run(&prop::collection::vec(forged(), 1..4), |segments| {
        let disk = SimFs::new(0);
        for bytes in &segments {
            let segment = Header::decode(bytes).unwrap().segment;
            disk.plant(format!("{DIR}/{}", name(segment)), bytes).unwrap();
        }
        if let Ok((wal, report)) = Wal::open_in(disk, DIR, options()) {
            let lsns: Vec<u64> =
                wal.reader(Lsn(0)).map_while(Result::ok).map(|record| record.lsn.0).collect();
            let expected = report.first_lsn.0..report.next_lsn.0;
            prop_assert!(
                lsns.iter().copied().eq(expected.clone().take(lsns.len())),
                "{:?} of {:?}",
                lsns,
                expected
            );
            **counted.borrow_mut() += usize::from(lsns.len() > 1);
            if let Ok(lsn) = wal.append("goes on") {
                prop_assert_eq!(lsn, report.next_lsn);
            }
            drop(wal.truncate_before(Lsn(u64::MAX)));
            drop(wal.rotate());
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(read > 40, "{read} logs were read");
}
