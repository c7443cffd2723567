//! The directory of a golden log after any accidents, and any forgeries, to its files.

use std::collections::BTreeMap;

use forebay_wal::format::{FRAME_HEADER_LEN, HEADER_LEN, Header};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{
    Lsn, OpenError, Options, ReadError, Record, RecoveryReport, RepairPolicy, Time, View, Wal, verify_in,
};

use super::{DIR, MEMORY, within};

macro_rules! golden {
    ($log:literal, $segment:literal) => {
        include_bytes!(concat!("../../../wal/tests/golden/", $log, "/wal-000000000000000", $segment, ".seg"))
    };
}

/// The golden logs, each the files of its segments.
const LOGS: [&[&[u8]]; 9] = [
    &[golden!("v1", 1), golden!("v1", 2), golden!("v1", 3)],
    &[golden!("v1-aligned", 1)],
    &[golden!("v1-burned", 1)],
    &[golden!("v1-checkpoint", 1), golden!("v1-checkpoint", 2)],
    &[golden!("v1-recycled", 1), golden!("v1-recycled", 2)],
    &[golden!("v1-salvaged", 1), golden!("v1-salvaged", 2)],
    &[golden!("v1-streams", 1), golden!("v1-streams", 2)],
    &[golden!("v1-snappy", 1)],
    &[golden!("v1-zstd", 1)],
];

/// LSN, stream and bytes of each record.
type Records = Vec<(u64, (u32, Vec<u8>))>;

/// What a golden log says.
struct Known {
    records: Records,
    report: RecoveryReport,
}

type Files = BTreeMap<u64, Vec<u8>>;

/// The first byte says which log; then every five are something that happens: what, to which file, where (two), and a
/// byte.
pub fn wal_recover_dir(data: &[u8]) {
    let Some((&which, mut edits)) = data.split_first() else { return };
    let segments = LOGS[usize::from(which) % LOGS.len()];
    let golden: Files = (1..).zip(segments.iter().map(|segment| segment.to_vec())).collect();
    let mut files = golden.clone();
    let mut forged = false;
    while let Some(([what, file, low, high, value], rest)) = edits.split_first_chunk() {
        let at = usize::from(u16::from_le_bytes([*low, *high]));
        forged |= edit(&mut files, *what, 1 + u64::from(*file) % segments.len() as u64, at, *value);
        edits = rest;
    }
    // A forged log may say anything, as long as it says the same each time.
    let known = if forged { None } else { Some(known(&golden)) };
    check(&files, known.as_ref(), most_memory(&files, forged));
}

/// What opening, repairing and reading such a log may take, where no codec makes more of a byte than 32 KiB and only a
/// forged one that much.
fn most_memory(files: &Files, forged: bool) -> u64 {
    let bytes: usize = files.values().map(Vec::len).sum();
    MEMORY + bytes as u64 * if forged { 32 << 10 } else { 8 }
}

/// Does something to a file; whether that is more than an accident.
fn edit(files: &mut Files, what: u8, number: u64, at: usize, value: u8) -> bool {
    let count = files.keys().next_back().copied().unwrap_or(1);
    if what % 8 == 6 {
        if let Some(other) = files.get(&(1 + u64::from(value) % count)).cloned() {
            files.insert(number, other);
        }
        return false;
    }
    let Some(bytes) = files.get_mut(&number).filter(|bytes| !bytes.is_empty()) else { return false };
    let at = at % bytes.len();
    match what % 8 {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value % 8),
        2 => bytes.truncate(at),
        3 => {
            let from = at & !511;
            let to = bytes.len().min(from + 512);
            bytes[from..to].fill(0);
        }
        4 => drop(files.remove(&number)),
        5 => bytes.extend(std::iter::repeat_n(value, usize::from(value) * 8)),
        _ => {
            mend(bytes, at);
            return true;
        }
    }
    false
}

/// Makes the sums fit of the header, or of the frame in which a byte lies.
fn mend(bytes: &mut [u8], byte: usize) {
    let header_len = usize::try_from(HEADER_LEN).expect("a page");
    if byte < header_len {
        let Some(block) = bytes.first_chunk_mut::<128>() else { return };
        let sum = if block[20] == 2 { crc32c::crc32c(&block[..124]) } else { crc32fast::hash(&block[..124]) };
        block[124..].copy_from_slice(&sum.to_le_bytes());
        return;
    }
    let Ok(header) = Header::decode(bytes) else { return };
    let digest = header.digest();
    let mut at = header_len;
    while let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk::<FRAME_HEADER_LEN>) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let body = at + FRAME_HEADER_LEN;
        let end = body.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        if end > bytes.len() {
            return;
        }
        if byte < end.next_multiple_of(8) {
            let sum = digest.sum(&bytes[body..end]);
            bytes[at + 28..body].copy_from_slice(&sum.to_le_bytes());
            let sum = digest.sum(&bytes[at + 4..body]);
            bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            return;
        }
        at = end.next_multiple_of(8);
    }
}

fn disk_of(files: &Files) -> SimFs {
    let disk = SimFs::new(1);
    for (number, bytes) in files {
        let path = format!("{DIR}/wal-{number:016x}.seg");
        disk.plant(path, bytes).expect("an empty disk takes a file");
    }
    if files.is_empty() {
        disk.plant(format!("{DIR}/LOCK"), b"").expect("an empty disk takes a file");
    }
    disk
}

fn known(files: &Files) -> Known {
    let (view, report) = View::open_in(disk_of(files), DIR).expect("a golden log is whole");
    let records: Result<_, _> = view.reader(Lsn(0)).map(|record| record.map(parts)).collect();
    Known { records: records.expect("a golden log can be read"), report }
}

fn parts(record: Record) -> (u64, (u32, Vec<u8>)) {
    (record.lsn.0, (record.stream, record.bytes.to_vec()))
}

/// Every file but the lock.
fn snapshot(disk: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let names = disk.names(DIR).unwrap_or_default().into_iter().filter(|name| name != "LOCK");
    let read = |name: String| (name.clone(), disk.peek(format!("{DIR}/{name}")).unwrap_or_default());
    names.map(read).collect()
}

fn options(repair: RepairPolicy) -> Options {
    Options { segment_bytes: 8192, salt_seed: Some(1), time: Time::frozen(), repair, ..Options::default() }
}

type Read = (RecoveryReport, Result<Records, ReadError>);

/// Opens a log, and reads it; once more after `kill -9`, and once more after a power cut.
fn opened(disk: &SimFs, repair: RepairPolicy, most: u64) -> Result<Read, OpenError> {
    let open = |disk: SimFs, repair| {
        let (wal, report) = Wal::open_in(disk, DIR, options(repair))?;
        let read: Result<Records, ReadError> = wal.reader(Lsn(0)).map(|record| record.map(parts)).collect();
        Ok((report, read))
    };
    let (report, read) = within(most, || open(disk.clone(), repair))?;
    let says = |read: &Result<Records, ReadError>| read.as_ref().ok().cloned();
    for disk in [disk.restart(), disk.crash(Survive::Nothing), disk.crash(Survive::Everything)] {
        let again: Result<Read, OpenError> = open(disk, RepairPolicy::Fail);
        let (report_again, read_again) = again.expect("what was opened opens again, with nothing to repair");
        assert_eq!(says(&read), says(&read_again), "a repair is done once");
        assert_eq!((report.first_lsn, report.next_lsn), (report_again.first_lsn, report_again.next_lsn));
        assert_eq!((&report.streams, &report.checkpoint), (&report_again.streams, &report_again.checkpoint));
    }
    Ok((report, read))
}

fn check(files: &Files, golden: Option<&Known>, most: u64) {
    let disk = disk_of(files);
    let before = snapshot(&disk);
    let verified = within(most, || verify_in(disk.clone(), DIR));
    let written = [Op::CreateNew, Op::Rename, Op::Remove, Op::Write, Op::SetLen, Op::Lock, Op::CreateDir];
    assert_eq!(written.map(|op| disk.count(op)), [0; 7], "looking writes nothing");

    let refused = opened(&disk, RepairPolicy::Fail, most);
    match (&refused, &verified) {
        (Ok(_), Ok(seen)) => assert!(seen.torn.is_none() && seen.damaged.is_empty(), "{seen:?}"),
        (Err(OpenError::TornTail(torn)), Ok(seen)) => {
            assert_eq!(seen.torn.as_ref(), Some(torn));
            assert!(seen.damaged.is_empty(), "{seen:?}");
        }
        (Err(OpenError::Corrupt(damage)), Ok(seen)) => {
            assert!(!seen.damaged.is_empty(), "{damage}, {seen:?}")
        }
        // A log that can be looked at may be none that can be written.
        (Err(OpenError::Unsupported { .. }), _) => {}
        // Which of two faults is told first may differ.
        (Err(_), Err(_)) => {}
        (opened, verified) => {
            panic!("{:?} but verified {verified:?}", opened.as_ref().map(|(report, _)| report))
        }
    }
    if refused.is_err() {
        assert_eq!(snapshot(&disk), before, "what is refused is left as it is");
    }
    let damaged = matches!(refused, Err(OpenError::Corrupt(_)));
    for policy in [RepairPolicy::TruncateTail, RepairPolicy::TruncateAt, RepairPolicy::Salvage] {
        let disk = disk_of(files);
        match opened(&disk, policy, most) {
            Ok((report, read)) => {
                let cut = policy == RepairPolicy::TruncateTail;
                assert!(!(cut && damaged), "damage is no torn tail");
                assert_eq!(report.damaged.is_empty(), !damaged, "{report:?}");
                if let (Ok(seen), true) = (&verified, policy == RepairPolicy::Salvage && golden.is_some()) {
                    let told = |report: &RecoveryReport| {
                        let lost = (report.next_lsn, report.records, report.lost.clone());
                        (report.streams.clone(), report.checkpoint.clone(), lost)
                    };
                    assert_eq!(told(seen), told(&report), "a look says what salvage leaves");
                }
                compare(&report, read, golden, policy);
            }
            Err(error) => {
                let unsupported = matches!(error, OpenError::Unsupported { .. } | OpenError::Io { .. });
                assert!(damaged || unsupported, "{policy:?}: {error}");
            }
        }
    }
}

/// What a log that was damaged gives is what it was, in order, and what is missing is said.
fn compare(
    report: &RecoveryReport,
    read: Result<Records, ReadError>,
    golden: Option<&Known>,
    policy: RepairPolicy,
) {
    let Some(Known { records: golden, report: whole }) = golden else {
        match read {
            Ok(read) => assert!(read.is_sorted_by(|a, b| a.0 < b.0), "LSNs ascend"),
            // Sums that fit what makes no record.
            Err(ReadError::Corrupt(_)) => {}
            Err(error) => panic!("{error}"),
        }
        return;
    };
    let read: BTreeMap<u64, (u32, Vec<u8>)> =
        read.expect("damage is noticed when a log is opened").into_iter().collect();
    for def in &report.streams {
        let was = whole.streams.iter().find(|was| was.id == def.id);
        let same = was.is_none_or(|was| was.name == def.name && def.low <= was.low);
        assert!(same || def.name == format!("lost-{}", def.id), "{def:?} was {was:?}");
    }
    let named = |id: &u32| whole.streams.iter().any(|def| def.id == *id);
    for id in read.values().map(|(id, _)| id).filter(|id| named(id)) {
        assert!(report.streams.iter().any(|def| def.id == *id), "stream {id} has records and no name");
    }
    let newest = |report: &RecoveryReport| report.checkpoint.as_ref().map(|checkpoint| checkpoint.lsn);
    assert!(newest(report) <= newest(whole), "{:?}", report.checkpoint);
    let first = golden.first().map_or(u64::MAX, |(lsn, _)| *lsn);
    let golden: BTreeMap<u64, &(u32, Vec<u8>)> = golden.iter().map(|(lsn, record)| (*lsn, record)).collect();
    // What is whole of a torn tail was never acknowledged, and was written all the same.
    let behind = golden.keys().next_back().map_or(first, |last| last + 1);
    let end = if policy == RepairPolicy::Salvage { behind.max(first) } else { u64::MAX };
    for (lsn, record) in read.range(first..end) {
        assert_eq!(golden.get(lsn), Some(&record), "record {lsn} was another, or none");
    }
    let lost = |lsn: u64| report.lost.iter().any(|lost| lost.contains(&Lsn(lsn)));
    assert!(read.keys().all(|lsn| !lost(*lsn)), "what is lost is not read: {:?}", report.lost);
    for lsn in golden.keys().filter(|lsn| (report.first_lsn.0..report.next_lsn.0).contains(lsn)) {
        assert!(
            read.contains_key(lsn) || lost(*lsn),
            "record {lsn} is silently absent after {policy:?}: {report:?}"
        );
    }
}
