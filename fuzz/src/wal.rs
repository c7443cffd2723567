//! A segment of a log on a simulated disk. Opening refuses or repairs, and what was repaired stays repaired.

mod codec;
mod directory;
mod ops;
mod reader;

use forebay_wal::format::{Digest, Frag, FrameHeader, HEADER_LEN, Header, Kind, SegmentStart};
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, Options, ReadError, Time, Wal};

pub use codec::wal_codec;
pub use directory::wal_recover_dir;
pub use ops::wal_ops_vs_model;
pub use reader::wal_reader_tail;

const DIR: &str = "/log";
const FIRST: &str = "/log/wal-0000000000000001.seg";
/// A segment is made at its full length; inputs leave the zeros at its end out.
const CAPACITY: usize = 16 << 10;
/// What opening and reading a log may take in memory besides its files, which the simulated disk has there too.
const MEMORY: u64 = 1 << 20;

/// Runs something that may take so much memory.
fn within<T>(most: u64, run: impl FnOnce() -> T) -> T {
    let mut done = None;
    let memory = allocation_counter::measure(|| done = Some(run()));
    assert!(memory.bytes_max <= most, "{} bytes of memory, {most} are enough", memory.bytes_max);
    done.expect("it was run")
}

/// The first segment of a log, byte by byte; zeros follow up to 16 KiB.
pub fn wal_segment(data: &[u8]) {
    let mut segment = data.to_vec();
    segment.resize(data.len().max(CAPACITY), 0);
    let records = check(&segment).expect("a log that was opened can be read");
    assert!(records.is_sorted_by(|a, b| a.0 + 1 == b.0), "one run of LSNs without a gap");
}

/// The first segment of a log as a list of frames whose checksums are right, whatever else is wrong with them.
///
/// A frame is eight bytes and a body: kind, codec and fragment, LSN relative to the one before, records, `synced8`,
/// length of the body, and what of it all is a lie.
pub fn wal_frames(data: &[u8]) {
    // An error is fragments with right checksums that make no record. No damage looks like that, only what a wrong
    // writer wrote, and it is noticed when it is read. LSNs have gaps where they were burned, or frames of later
    // versions were.
    let _ = check(&assemble(data));
}

fn assemble(data: &[u8]) -> Vec<u8> {
    let header = Header::new(*b"a log to be read", 1, 7, CAPACITY as u64);
    let digest = header.digest();
    let mut segment = header.encode().to_vec();
    segment.resize(usize::try_from(HEADER_LEN).expect("a page"), 0);

    let mut input = data;
    let mut lsn = match take::<8>(&mut input).map(u64::from_le_bytes) {
        None | Some(0) => 1,
        Some(lsn) => lsn,
    };
    push(
        &mut segment,
        &digest,
        &first_start(lsn).encode(),
        FrameHeader { kind: Kind::SEGMENT_START, ..frame(lsn) },
    );
    while let Some([kind, parts, step, records, synced, body_len, lie, _]) = take::<8>(&mut input) {
        let body = input.split_off(..usize::from(body_len).min(input.len())).unwrap_or_default();
        lsn = lsn.wrapping_add_signed(i64::from(step.cast_signed()));
        let mut header = FrameHeader {
            kind: Kind(kind),
            codec: parts >> 4,
            frag: [Frag::Whole, Frag::First, Frag::Middle, Frag::Last][usize::from(parts & 3)],
            records: u32::from(records),
            synced8: u32::from(synced) * 64,
            ..frame(lsn)
        };
        if lie & 1 != 0 {
            header.records = u32::MAX - header.records;
        }
        push(&mut segment, &digest, body, header);
        lsn = lsn.wrapping_add(u64::from(records));
    }
    segment.resize(segment.len().max(CAPACITY), 0);
    segment
}

/// The start of a log's first segment.
fn first_start(base_lsn: u64) -> SegmentStart {
    SegmentStart {
        segment: 1,
        base_lsn,
        prev_segment: 0,
        prev_last_lsn: 0,
        prev_end: 0,
        prev_last_hcrc: 0,
        low_watermark: base_lsn,
        epoch: 0,
    }
}

/// A frame in a segment of which only the header is synced.
fn frame(first_lsn: u64) -> FrameHeader {
    FrameHeader {
        body_len: 0,
        first_lsn,
        records: 0,
        kind: Kind::DATA,
        codec: 0,
        frag: Frag::Whole,
        synced8: u32::try_from(HEADER_LEN / 8).expect("a page"),
        body_crc: 0,
    }
}

/// Appends a frame with its body, checksums and padding.
fn push(segment: &mut Vec<u8>, digest: &Digest, body: &[u8], header: FrameHeader) {
    let body_len = u32::try_from(body.len()).expect("bodies are short");
    segment.extend_from_slice(&FrameHeader { body_len, body_crc: digest.sum(body), ..header }.encode(digest));
    segment.extend_from_slice(body);
    segment.resize(segment.len().next_multiple_of(8), 0);
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*head)
}

type Records = Vec<(u64, Vec<u8>)>;

/// Opens a log of one segment, reads it, and opens it once more.
fn check(segment: &[u8]) -> Result<Records, ReadError> {
    let disk = SimFs::new(1);
    disk.plant(FIRST, segment).expect("an empty disk takes a file");
    let most = MEMORY + 8 * segment.len() as u64;
    let Some(records) = within(most, || open(&disk)) else { return Ok(Vec::new()) };
    let records = records?;
    let bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
    assert!(bytes <= segment.len(), "{bytes} bytes read from {}", segment.len());
    assert!(records.is_sorted_by(|a, b| a.0 < b.0), "LSNs ascend");
    let again = open(&disk.restart()).expect("a log that was opened opens again")?;
    assert_eq!(again, records, "a repair is done once");
    Ok(records)
}

fn options() -> Options {
    Options { segment_bytes: CAPACITY as u64, salt_seed: Some(1), time: Time::frozen(), ..Options::default() }
}

/// What is read from the log on `disk`; none if it does not open.
fn open(disk: &SimFs) -> Option<Result<Records, ReadError>> {
    let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).ok()?;
    assert_eq!(report.next_lsn, wal.next_lsn());
    Some(
        wal.reader(Lsn(0)).map(|record| record.map(|record| (record.lsn.0, record.bytes.to_vec()))).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_with_right_checksums_reach_what_is_behind_them() {
        let read = |frames: &[u8]| {
            let disk = SimFs::new(1);
            disk.plant(FIRST, &assemble(frames)).unwrap();
            open(&disk).unwrap().unwrap()
        };
        let one = read(include_bytes!("../corpus/wal_frames/one"));
        assert_eq!(one, [(1, b"a".to_vec())]);
        let fragments = read(include_bytes!("../corpus/wal_frames/fragments"));
        assert_eq!(fragments, [(1, b"abcde".to_vec())]);
        let cut = &include_bytes!("../corpus/wal_frames/fragments")[..28];
        assert_eq!(read(cut), [], "what is not whole is torn");
    }
}
