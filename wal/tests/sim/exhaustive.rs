//! A log of three segments, damaged in every way there is a list of: told for what it is, as a checker says that knows
//! the format's document and not the crate; no panic, no record that was not written, no memory beyond the windows.
//!
//! Every damage is made with `WAL_EXHAUSTIVE=1` (best with `--release`), a sample of some kinds otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checker::frames::{sum_frame, sum_header};
use crate::checker::{Files, Verdict, judge};
use crate::harness::{DIR, options, path, record};
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{DamageClass, Lsn, OpenError, Options, Wal};

/// Opening reads by windows of 64 KiB and keeps no record; the rest is the simulated disk.
const MOST_MEMORY: u64 = 1 << 20;

/// A log, how its records read, and the disk that it is on.
struct Golden {
    files: Files,
    records: BTreeMap<u64, Vec<u8>>,
    disk: SimFs,
}

impl Golden {
    /// The golden directory of format version 1, closed, or as it was before that.
    #[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
    fn v1(closed: bool) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
        let file = |number| std::fs::read(dir.join(format!("wal-{number:016x}.seg"))).unwrap();
        let mut files: Files = (1..=3).map(|number| (number, file(number))).collect();
        if !closed {
            let last = files.get_mut(&3).unwrap();
            let end = last.iter().rposition(|byte| *byte != 0).unwrap();
            // The mark of a closed log is a header without a body, and its sum of nothing is never zero.
            last[(end & !7) - 24..].fill(0);
        }
        let records = (3..=16).map(|id| (id, record(id, usize::try_from(id * 97 % 400).unwrap())));
        Self::new(files, records.collect())
    }

    fn new(files: Files, records: BTreeMap<u64, Vec<u8>>) -> Self {
        let disk = SimFs::new(0);
        for (number, bytes) in &files {
            disk.plant(path(*number), bytes).unwrap();
        }
        Self { files, records, disk }
    }

    /// Opens the log with these files in place of its own, none for one that is missing, and holds what comes of it
    /// against the checker.
    fn with(&self, what: impl Fn() -> String, changed: &[(u64, Option<&[u8]>)]) -> Verdict {
        let disk = self.disk.restart();
        let mut files = self.files.clone();
        for (number, bytes) in changed {
            match bytes {
                Some(bytes) => {
                    disk.plant(path(*number), bytes).unwrap();
                    files.insert(*number, bytes.to_vec());
                }
                None => {
                    forebay_wal::fs::Fs::remove(&disk, path(*number).as_ref()).unwrap();
                    files.remove(number);
                }
            }
        }
        let expected = judge(&files);
        let mut found = None;
        let memory = allocation_counter::measure(|| found = Some(self.open(&disk)));
        assert_eq!(found, Some(expected), "{}", what());
        assert!(memory.bytes_max < MOST_MEMORY, "{}: {} bytes", what(), memory.bytes_max);
        expected
    }

    fn open(&self, disk: &SimFs) -> Verdict {
        let (wal, report) = match Wal::open_in(disk.clone(), DIR, options()) {
            Ok(opened) => opened,
            Err(OpenError::Corrupt(damage)) => {
                // Not by `segment`: of a file that is elsewhere that is the number in its header.
                let number = (1..10).find(|number| damage.path == Path::new(&path(*number))).unwrap();
                return match damage.class {
                    DamageClass::BadHeader(_) => Verdict::BadHeader(number),
                    DamageClass::DamagedDurable => Verdict::Damaged(number),
                    DamageClass::MissingSegment => Verdict::Missing(number),
                    DamageClass::Foreign => Verdict::Foreign(number),
                    other => panic!("{other}"),
                };
            }
            Err(error) => panic!("{error}"),
        };
        let mut next = report.first_lsn.0;
        for read in wal.reader(Lsn(0)) {
            let read = read.unwrap();
            assert_eq!(read.lsn.0, next);
            assert!(self.records.get(&next).is_some_and(|record| read.bytes == record[..]), "record {next}");
            next += 1;
        }
        assert_eq!(next, report.next_lsn.0);
        Verdict::Reads { next_lsn: next, torn: report.torn.is_some() }
    }
}

fn is_exhaustive() -> bool {
    std::env::var_os("WAL_EXHAUSTIVE").is_some()
}

/// All of `0..n`, or one of so many.
fn sample(n: usize, step: usize, phase: u64) -> impl Iterator<Item = usize> {
    let step = if is_exhaustive() { 1 } else { step };
    let phase = usize::try_from(phase).unwrap() % step;
    (phase..n).step_by(step)
}

/// How often each kind of verdict came out.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        let kind = match verdict {
            Verdict::Reads { torn: false, .. } => "reads",
            Verdict::Reads { torn: true, .. } => "torn",
            Verdict::BadHeader(_) => "bad header",
            Verdict::Damaged(_) => "damaged",
            Verdict::Missing(_) => "missing",
            Verdict::Foreign(_) => "foreign",
        };
        *self.0.entry(kind).or_default() += 1;
    }

    fn met(&self, kinds: &[&str]) {
        println!("{:?}", self.0);
        assert!(kinds.iter().all(|kind| self.0.contains_key(kind)), "{kinds:?} of {:?}", self.0);
    }
}

#[test]
fn the_checker_reads_the_golden_log() {
    for closed in [true, false] {
        let golden = Golden::v1(closed);
        let verdict = golden.with(|| format!("closed: {closed}"), &[]);
        assert_eq!(verdict, Verdict::Reads { next_lsn: 17, torn: false });
    }
}

#[test]
fn every_flipped_bit_is_told_for_what_it_is() {
    let mut tally = Tally::default();
    for (closed, golden) in [true, false].map(|closed| (closed, Golden::v1(closed))) {
        for (&number, bytes) in &golden.files {
            let mut bytes = bytes.clone();
            for bit in sample(bytes.len() * 8, 89, number) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                tally.add(golden.with(
                    || format!("closed: {closed}, segment {number}, byte {} bit {}", bit / 8, bit % 8),
                    &[(number, Some(&bytes))],
                ));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    tally.met(&["reads", "torn", "bad header", "damaged"]);
}

#[test]
fn every_length_that_a_file_is_cut_to_is_told_for_what_it_is() {
    let mut tally = Tally::default();
    for golden in [true, false].map(Golden::v1) {
        for (&number, bytes) in &golden.files {
            for len in sample(bytes.len(), 29, number) {
                let what = || format!("segment {number} cut to {len}");
                tally.add(golden.with(what, &[(number, Some(&bytes[..len]))]));
            }
        }
    }
    tally.met(&["reads", "bad header", "damaged"]);
}

#[test]
fn every_sector_of_zeros_is_told_for_what_it_is() {
    let mut tally = Tally::default();
    for golden in [true, false].map(Golden::v1) {
        for (&number, bytes) in &golden.files {
            for at in (0..bytes.len()).step_by(512) {
                let mut bytes = bytes.clone();
                bytes[at..at + 512].fill(0);
                let what = || format!("segment {number} has zeros at {at}");
                tally.add(golden.with(what, &[(number, Some(&bytes))]));
            }
        }
    }
    tally.met(&["reads", "bad header", "damaged"]);
}

#[test]
fn every_two_sectors_that_changed_places_are_told_for_what_they_are() {
    let mut tally = Tally::default();
    for golden in [true, false].map(Golden::v1) {
        let sectors: Vec<(u64, usize)> = golden
            .files
            .iter()
            .flat_map(|(&n, bytes)| (0..bytes.len()).step_by(512).map(move |at| (n, at)))
            .collect();
        let pairs: Vec<_> = (0..sectors.len()).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        for n in sample(pairs.len(), 3, 1) {
            let [a, b] = [pairs[n].0, pairs[n].1].map(|n| sectors[n]);
            let mut files = golden.files.clone();
            let sector = |files: &Files, (n, at): (u64, usize)| files[&n][at..at + 512].to_vec();
            let (first, second) = (sector(&files, a), sector(&files, b));
            files.get_mut(&a.0).unwrap()[a.1..a.1 + 512].copy_from_slice(&second);
            files.get_mut(&b.0).unwrap()[b.1..b.1 + 512].copy_from_slice(&first);
            let changed: Vec<_> = files.iter().map(|(n, bytes)| (*n, Some(&bytes[..]))).collect();
            tally.add(golden.with(|| format!("{a:?} for {b:?}"), &changed));
        }
    }
    tally.met(&["reads", "bad header", "damaged"]);
}

#[test]
fn every_file_that_is_missing_or_in_anothers_place_is_told_for_what_it_is() {
    let mut tally = Tally::default();
    for golden in [true, false].map(Golden::v1) {
        for missing in 1..8_u64 {
            let gone: Vec<_> = (1..=3).filter(|n| missing >> (n - 1) & 1 == 1).map(|n| (n, None)).collect();
            tally.add(golden.with(|| format!("without {gone:?}"), &gone));
        }
        for order in [[1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let moved: Vec<_> =
                (1..=3).zip(order).map(|(n, from)| (n, Some(&golden.files[&from][..]))).collect();
            tally.add(golden.with(|| format!("in the order {order:?}"), &moved));
        }
        let (other, _) = another(7);
        for mask in 1..8_u64 {
            let theirs: Vec<_> =
                (1..=3).filter(|n| mask >> (n - 1) & 1 == 1).map(|n| (n, Some(&other[&n][..]))).collect();
            if mask < 7 {
                tally.add(golden.with(|| format!("{mask:b} of another log"), &theirs));
            }
        }
        for extra in [4, 5, 9] {
            tally.add(golden.with(|| format!("and {extra} of another log"), &[(extra, Some(&other[&3]))]));
        }
    }
    tally.met(&["missing", "foreign"]);
}

/// Another log of as many segments, whose records are like those of the golden one.
fn another(seed: u64) -> (Files, BTreeMap<u64, Vec<u8>>) {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { salt_seed: Some(seed), ..options() }).unwrap();
    let records: BTreeMap<_, _> = (1..=12).map(|id| (id, record(id, 90))).collect();
    for (id, record) in &records {
        wal.append(record.clone()).unwrap();
        if id % 4 == 0 && *id < 12 {
            wal.rotate().unwrap();
        }
    }
    ((1..=3).map(|number| (number, disk.peek(path(number)).unwrap())).collect(), records)
}

#[test]
fn what_is_appended_to_a_file_was_never_part_of_it() {
    for golden in [true, false].map(Golden::v1) {
        for (&number, bytes) in &golden.files {
            for garbage in [&[1][..], &[0; 4096], &[0xFF; 700], &golden.files[&1], &bytes[4096..]] {
                let longer = [bytes, garbage].concat();
                let what = || format!("{} bytes behind segment {number}", garbage.len());
                let verdict = golden.with(what, &[(number, Some(&longer))]);
                assert_eq!(verdict, Verdict::Reads { next_lsn: 17, torn: false });
            }
        }
    }
}

/// Lengths that lie, under sums that fit.
#[test]
fn a_length_that_lies_takes_no_memory() {
    let mut tally = Tally::default();
    for golden in [true, false].map(Golden::v1) {
        for (&number, bytes) in &golden.files {
            for capacity in [8192_u64, 1 << 20, 1 << 30, 16 << 30] {
                for len in [3000_u32, 4097, 1 << 16, 1 << 20, 200 << 20, 256 << 20, u32::MAX] {
                    let mut bytes = bytes.clone();
                    bytes[56..64].copy_from_slice(&capacity.to_le_bytes());
                    sum_header(&mut bytes);
                    // Behind the start, which has 96 bytes.
                    bytes[4192 + 4..4192 + 8].copy_from_slice(&len.to_le_bytes());
                    sum_frame(&mut bytes, 4192);
                    let what = || format!("segment {number} of {capacity} has a frame of {len}");
                    tally.add(golden.with(what, &[(number, Some(&bytes))]));
                }
            }
            let mut bytes = bytes.clone();
            bytes[4192 + 32..4192 + 41]
                .copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
            sum_frame(&mut bytes, 4192);
            let what = || format!("segment {number} has a record of 2^63 - 1 bytes");
            tally.add(golden.with(what, &[(number, Some(&bytes))]));
        }
    }
    tally.met(&["damaged"]);
}
