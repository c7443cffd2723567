//! Repairs of damage that tests/repair.rs does not make: to logs with a checkpoint, in more places than one, forged.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_wal::format::{Frag, FrameHeader, Seal, SegmentStart};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{Lsn, OpenError, Options, RecoveryReport, RepairPolicy, Wal, verify_in};
use harness::forge::{data, first_start, forge, frame_header};
use harness::watched::{Watch, Watched};
use harness::{DIR, changes, options, path, read_all, record};

type Files = BTreeMap<u64, Vec<u8>>;

const REPAIRS: [RepairPolicy; 2] = [RepairPolicy::Salvage, RepairPolicy::TruncateAt];

/// Counts open files, and does something after every read.
struct Looks<A> {
    open: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
    after_read: A,
}

impl<A: Fn(&SimFs, usize) + Send + Sync + 'static> Looks<A> {
    /// `after_read` gets the disk, and which read it was.
    fn at(disk: SimFs, after_read: A) -> Watched<Self> {
        let [open, most, reads] = [0; 3].map(AtomicUsize::new);
        Watched::new(disk, Arc::new(Self { open, most, reads, after_read }))
    }
}

impl<A: Fn(&SimFs, usize) + Send + Sync + 'static> Watch for Looks<A> {
    fn read(&self, disk: &SimFs) {
        (self.after_read)(disk, self.reads.fetch_add(1, Ordering::Relaxed));
    }
    fn opened(&self) {
        self.most.fetch_max(self.open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn plant(files: &Files) -> SimFs {
    let disk = SimFs::new(0);
    for (number, bytes) in files {
        disk.plant(path(*number), bytes).unwrap();
    }
    disk
}

fn files(disk: &SimFs, numbers: impl IntoIterator<Item = u64>) -> Files {
    numbers.into_iter().map(|number| (number, disk.peek(path(number)).unwrap())).collect()
}

fn open(disk: &SimFs, repair: RepairPolicy) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, Options { repair, ..options() })
}

fn opens(what: &str, disk: &SimFs, repair: RepairPolicy) -> (Wal<SimFs>, RecoveryReport) {
    open(disk, repair).unwrap_or_else(|error| panic!("{what}, {repair:?}: {error}"))
}

/// Where the frames of a segment begin, its seal's or the last one's end behind them.
fn frames(segment: &[u8]) -> Vec<usize> {
    let mut at = 4096;
    let mut all = vec![at];
    while let Some(head) = segment.get(at..at + 32).filter(|head| head[20] != 0) {
        at += (32 + u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize).next_multiple_of(8);
        all.push(at);
    }
    all
}

/// Three segments of four records each, not closed; the newest checkpoint was written in the second one, if not `late`
/// in the third.
fn with_checkpoints(late: bool) -> Files {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 1..=12 {
        wal.append(record(id, 90)).unwrap();
        match id {
            2 => wal.checkpoint(Lsn(2), &[1; 700]).unwrap(),
            6 => wal.checkpoint(Lsn(5), &[2; 700]).unwrap(),
            10 if late => wal.checkpoint(Lsn(9), &[3; 700]).unwrap(),
            4 | 8 => wal.rotate().unwrap(),
            _ => {}
        }
    }
    files(&disk, 1..=3)
}

/// Each frame with its first body byte flipped, each header, each file away.
fn single_faults(golden: &Files) -> Vec<(String, Files)> {
    let mut cases = Vec::new();
    for (&number, bytes) in golden {
        let places = frames(bytes);
        for at in places.iter().take(places.len() - 1).map(|at| at + 33).chain([50]) {
            let mut files = golden.clone();
            files.get_mut(&number).unwrap()[at] ^= 1;
            cases.push((format!("segment {number}, byte {at}"), files));
        }
        let mut files = golden.clone();
        files.remove(&number);
        cases.push((format!("no segment {number}"), files));
    }
    cases
}

fn kept(report: &RecoveryReport) -> Option<(u64, u8)> {
    report.checkpoint.as_ref().map(|checkpoint| (checkpoint.lsn, checkpoint.meta[0]))
}

#[test]
fn a_repair_carries_the_newest_checkpoint_on() {
    for repair in REPAIRS {
        for (what, damaged) in single_faults(&with_checkpoints(false)) {
            // Without its last segment the log is what it was, and a missing file is not a fault.
            let disk = plant(&damaged);
            let (wal, report) = opens(&what, &disk, repair);
            assert_eq!(kept(&report), Some((5, 2)), "{what}, {repair:?}");
            assert!(report.next_lsn.0 >= 9, "{what}, {repair:?}");
            wal.append("goes on").unwrap();
            drop(wal);
            let (wal, report) = opens(&what, &disk.crash(Survive::Nothing), RepairPolicy::Fail);
            assert_eq!(kept(&report), Some((5, 2)), "{what}, {repair:?}: for good");
            wal.rotate().unwrap();
            wal.append("and on").unwrap();
            wal.truncate_before(wal.next_lsn()).unwrap();
        }
    }
}

#[test]
fn a_checkpoint_that_is_lost_gives_way_to_the_newest_that_is_not() {
    let golden = with_checkpoints(true);
    let third = &golden[&3];
    let at = frames(third).into_iter().rev().find(|at| third.get(at + 20) == Some(&5)).unwrap();
    let mut damaged = golden.clone();
    damaged.get_mut(&3).unwrap()[at + 40] ^= 1;
    for repair in REPAIRS {
        let (wal, report) = opens("lost", &plant(&damaged), repair);
        assert_eq!(kept(&report), Some((5, 2)), "{repair:?}");
        let salvaged = repair == RepairPolicy::Salvage;
        assert_eq!(read_all(&wal).len(), if salvaged { 12 } else { 10 });
    }
    // A cut keeps what was said behind it, as what was truncated may be kept nowhere else.
    let mut damaged = golden;
    let second = frames(&damaged[&1])[2];
    damaged.get_mut(&1).unwrap()[second + 40] ^= 1;
    let (wal, report) = opens("cut", &plant(&damaged), RepairPolicy::TruncateAt);
    assert_eq!((kept(&report), read_all(&wal).len()), (Some((9, 3)), 1));
}

/// `segments` of four records each, not closed.
fn plain(segments: u64) -> Files {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 1..=segments * 4 {
        wal.append(record(id, 90)).unwrap();
        if id % 4 == 0 && id < segments * 4 {
            wal.rotate().unwrap();
        }
    }
    files(&disk, 1..=segments)
}

/// Flips a bit of the n-th frame's body, counted from the end where it is negative.
fn flip(files: &mut Files, number: u64, frame: isize) {
    let bytes = files.get_mut(&number).unwrap();
    let all = frames(bytes);
    let index = if frame < 0 { all.len() as isize - 1 + frame } else { frame };
    bytes[all[usize::try_from(index).unwrap()] + 33] ^= 1;
}

fn lsns<F: Fs>(wal: &Wal<F>) -> Vec<u64> {
    read_all(wal).into_iter().map(|(lsn, _)| lsn).collect()
}

/// The end of one file and the beginning of the next are neighbours on many disks.
#[test]
fn salvage_keeps_what_is_whole_where_a_seal_and_the_start_behind_it_are_lost() {
    let mut lost_seal = plain(3);
    flip(&mut lost_seal, 1, -1);
    let mut missing = plain(3);
    missing.remove(&1);
    let mut no_header = plain(3);
    no_header.get_mut(&1).unwrap()[50] ^= 1;
    for (mut files, expected) in [
        (lost_seal, vec![1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
        (missing, (6..13).collect()),
        (no_header, (6..13).collect()),
    ] {
        // The start frame, and what says which number the first record has.
        files.get_mut(&2).unwrap()[4096..4200].fill(0);
        let (wal, report) = opens("neighbours", &plant(&files), RepairPolicy::Salvage);
        assert_eq!(lsns(&wal), expected);
        let lost: Vec<u64> = report.lost.iter().flat_map(|lsns| lsns.start.0..lsns.end.0).collect();
        assert_eq!(lost, (1..13).filter(|lsn| !expected.contains(lsn)).collect::<Vec<_>>());
    }
}

/// A segment of another log, in this one's place.
fn stranger(number: u64) -> Vec<u8> {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { salt_seed: Some(7), ..options() }).unwrap();
    for id in 0..number {
        wal.append(record(id, 90)).unwrap();
        wal.rotate().unwrap();
    }
    wal.append(record(99, 90)).unwrap();
    disk.peek(path(number)).unwrap()
}

/// Two faults, of which the second hides what the first repair has done from the next.
fn double_faults() -> Vec<(&'static str, Files)> {
    let with = |change: &dyn Fn(&mut Files)| {
        let mut files = plain(4);
        change(&mut files);
        files
    };
    vec![
        (
            "a record, and the next segment",
            with(&|files| {
                flip(files, 1, 3);
                files.remove(&2);
            }),
        ),
        (
            "a record, and the header behind",
            with(&|files| {
                flip(files, 1, 3);
                flip(files, 1, -1);
                files.get_mut(&2).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a seal, and the header behind",
            with(&|files| {
                flip(files, 1, -1);
                files.get_mut(&2).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a record, and the next two segments",
            with(&|files| {
                flip(files, 1, 3);
                files.remove(&2);
                files.get_mut(&3).unwrap()[50] ^= 1;
            }),
        ),
        (
            "a record, and another log's segment",
            with(&|files| {
                flip(files, 1, 3);
                files.insert(2, stranger(2));
                files.retain(|number, _| *number < 4);
            }),
        ),
        (
            "a record, and two of another log's segments",
            with(&|files| {
                flip(files, 2, 3);
                files.insert(3, stranger(3));
                files.insert(1, stranger(1));
                files.extend((5..=6).map(|number| (number, plain(6)[&number].clone())));
            }),
        ),
    ]
}

#[test]
fn a_repair_of_two_faults_may_crash_anywhere() {
    for repair in REPAIRS {
        for (what, files) in double_faults() {
            let (wal, report) = opens(what, &plant(&files), repair);
            let (expected, next) = (read_all(&wal), report.next_lsn);
            // Where the first segment is another's nothing lies before the first damage.
            assert!(
                !expected.is_empty() || repair == RepairPolicy::TruncateAt && what.contains("two of another")
            );
            let mut before = None;
            for op in 0.. {
                let disk = plant(&files);
                disk.crash_at(op);
                let died = open(&disk, repair).is_err();
                if !disk.has_crashed() {
                    break;
                }
                assert!(died, "{what}: it lived on at {op}");
                if before.replace(changes(&disk)) == Some(changes(&disk)) {
                    continue;
                }
                for survive in [Survive::Nothing, Survive::Everything, Survive::Seeded(op)] {
                    let (wal, report) = opens(&format!("{what}, {op}"), &disk.crash(survive), repair);
                    assert_eq!(read_all(&wal), expected, "{what}, {repair:?}, {op}, {survive:?}");
                    assert_eq!(report.next_lsn, next, "{what}, {repair:?}, {op}, {survive:?}");
                }
            }
        }
    }
}

#[test]
fn a_log_of_any_length_is_repaired_with_few_files_open() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk, RepairPolicy::Fail).unwrap();
    for id in 0..40 {
        wal.append(record(id, 90)).unwrap();
        wal.rotate().unwrap();
    }
    wal.append("last").unwrap();
    drop(wal);
    let mut files = files(&disk, 1..=41);
    for number in [3, 20, 38] {
        flip(&mut files, number, 1);
    }
    let watched = Looks::at(plant(&files), |_, _| {});
    assert_eq!(verify_in(watched.clone(), DIR).unwrap().damaged.len(), 3);
    for repair in REPAIRS {
        let watched = Looks::at(plant(&files), |_, _| {});
        Wal::open_in(watched.clone(), DIR, Options { repair, ..options() }).unwrap();
        let most = watched.watch.most.load(Ordering::Relaxed);
        assert!(most < 10, "{repair:?}: {most} files");
    }
    let most = watched.watch.most.load(Ordering::Relaxed);
    assert!(most < 10, "{most} files");
}

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
    let digest = forebay_wal::format::Header::decode(&segment).unwrap().digest();
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

#[test]
fn a_repair_that_fails_leaves_no_file_that_it_had_begun() {
    let mut files = plain(3);
    flip(&mut files, 2, 1);
    for repair in REPAIRS {
        for budget in [0, 4096, 8192, 12_288] {
            let disk = plant(&files);
            let before = disk.allocated();
            disk.set_budget(Some(before + budget));
            if open(&disk, repair).is_err() {
                let spares = disk.names(DIR).unwrap().into_iter().filter(|name| name.starts_with("spare"));
                assert_eq!(spares.count(), 0, "{repair:?}, {budget}");
            }
        }
    }
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
