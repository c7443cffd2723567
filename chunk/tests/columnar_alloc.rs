//! How much memory reads of columnar chunks take at once, by a counting allocator: whatever the bytes say under checksums
//! that are right, no more than the limits allow, twice for a moment where something grows.

#![cfg(feature = "zstd")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;

use allocation_counter::measure;
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, CorruptionPolicy, Direction, Error, Limits, LineFilter, Profile,
};

#[path = "support/lcf.rs"]
mod lcf;
#[path = "support/owned.rs"]
mod owned;
use lcf::{File, crc};
use owned::Owned;

/// Buffers and tables whose size does not depend on the chunk.
const CONSTANT: u64 = 256 << 10;

const TIME: u8 = 0;
const SKELETONS: u8 = 1;
const SKELETON_IDS: u8 = 2;
const COLUMNS: u8 = 3;
const VALUES: u8 = 6;
const IDS: u8 = 7;
const TEXT: u8 = 8;
const RAW_LENGTHS: u8 = 9;
const RAW_LINES: u8 = 10;
const METADATA: u8 = 11;
const METADATA_IDS: u8 = 12;

/// What one read of the chunk takes at most, of all ways to read it, and what the reads end with.
fn most(bytes: &[u8], limits: &Limits, policy: CorruptionPolicy) -> (u64, Vec<Error>) {
    let mut errors = Vec::new();
    let mut bytes_max = 0;
    for way in 0..5 {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let read = || -> Result<(), Error> {
            let chunk = Chunk::open_with(bytes.clone(), limits, policy)?;
            let filter = LineFilter::new().any_of(["e", "7"]).none_of(["GET"]);
            let mut entries = match way {
                0 => chunk.entries(.., Direction::Forward),
                1 => chunk.entries(.., Direction::Backward),
                2 => chunk.filter(.., &filter, Direction::Forward),
                3 => chunk.filter(2.., &LineFilter::new().any_of_in_any_case(["xyz"]), Direction::Backward),
                _ => return chunk.counts(.., NonZeroU64::new(1000).unwrap()).map(drop),
            };
            while entries.next()?.is_some() {}
            Ok(())
        };
        // Errors are made outside, so that what they hold is counted while they are.
        let mut result = Ok(());
        let info = measure(|| result = read());
        errors.extend(result.err());
        bytes_max = bytes_max.max(info.bytes_max);
    }
    (bytes_max, errors)
}

fn bound(limits: &Limits) -> u64 {
    2 * limits.max_decoded_bytes + CONSTANT
}

/// A group of these rows and streams under checksums that are right, its times from 0 to `span`.
fn group(rows: u32, span: usize, raw_bytes: usize, streams: &[(u8, &[u8])]) -> Vec<u8> {
    let mut directory = vec![0];
    directory.extend([uv(span), uv(raw_bytes)].concat());
    directory.extend([0; 16]);
    directory.extend(uv(streams.len()));
    let mut body = Vec::new();
    for (kind, plain) in streams {
        let stored = zstd::bulk::compress(plain, 3).unwrap();
        directory.extend([*kind, 1]);
        directory.extend([uv(stored.len()), uv(plain.len())].concat());
        directory.extend(crc(&stored));
        body.extend(stored);
    }
    let mut group = b"LCFR".to_vec();
    group.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    group.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    group.extend(rows.to_le_bytes());
    group.extend(crc(&[&group[..], &directory].concat()));
    [group, directory, body].concat()
}

/// Groups without a footer, which salvage finds.
fn file(groups: &[Vec<u8>]) -> Vec<u8> {
    let mut header = b"\x89LCF\r\n\x1A\n\x01\0\0\0".to_vec();
    header.extend(crc(&header));
    [header, groups.concat()].concat()
}

fn uv(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// Evenly spaced times from 0 on.
fn times(gap: usize) -> Vec<u8> {
    [vec![0, 0, 0], uv(gap)].concat()
}

fn limits(max_decoded_bytes: u64) -> Limits {
    Limits { max_decoded_bytes, ..Limits::default() }
}

/// It has to end with the limit, and to take no more than that.
fn is_bounded(bytes: &[u8], limits: &Limits) {
    let (taken, errors) = most(bytes, limits, CorruptionPolicy::Salvage);
    assert!(taken <= bound(limits), "{taken} bytes of {}", bound(limits));
    let is_limit = |error: &Error| matches!(error, Error::LimitExceeded { .. });
    assert!(errors.iter().any(is_limit), "{errors:?}");
}

/// Skeletons of 60,000 parts, each a byte in the file and more in memory, in groups that are all open at once.
#[test]
fn skeletons_of_many_parts_are_held_against_the_limits() {
    let slots = [uv(4096), vec![1; 4096]].concat();
    let skeletons = [uv(15), slots.repeat(15)].concat();
    let columns = [uv(1), vec![0, 0, 0], uv(2 * 4096), uv(0)].concat();
    let times = times(10);
    let one = group(
        2,
        10,
        0,
        &[(TIME, &times), (SKELETONS, &skeletons), (SKELETON_IDS, &[1, 1, 1]), (COLUMNS, &columns)],
    );
    let whole = file(&vec![one; 40]);
    assert!(whole.len() < 16 << 10);
    for max_decoded_bytes in [1 << 20, 3 << 20, 12 << 20] {
        is_bounded(&whole, &limits(max_decoded_bytes));
    }
}

/// Lines of no bytes, of which each takes its place.
#[test]
fn rows_of_no_bytes_are_held_against_the_limits() {
    let rows = 1usize << 20;
    let lengths = [vec![1], vec![0; rows]].concat();
    let times = times(0);
    let one = group(1 << 20, 0, 0, &[(TIME, &times), (RAW_LENGTHS, &lengths)]);
    let whole = file(&vec![one; 20]);
    is_bounded(&whole, &limits(20 << 20));
}

/// Each distinct value of a dictionary, and each length of a text, is more in memory than in the file.
#[test]
fn columns_are_held_against_the_limits() {
    let rows = 1usize << 17;
    let (times, ids) = (times(0), [vec![1], vec![1; rows]].concat());
    let skeletons = [uv(1), uv(2), uv(1), uv(2)].concat();
    let texts = [uv(2), vec![0, 0, 2], uv(rows), uv(1 + rows)].concat();
    let columns = [texts, vec![0, 0, 1], uv(rows), uv(60_000), uv(60_000)].concat();
    let streams = [
        (TIME, &times[..]),
        (SKELETONS, &skeletons),
        (SKELETON_IDS, &ids),
        (COLUMNS, &columns),
        (VALUES, &vec![0; 60_000]),
        (IDS, &vec![0; 2 * rows]),
        (TEXT, &[vec![1], vec![0; rows]].concat()),
    ];
    let whole = file(&vec![group(1 << 17, 0, 0, &streams); 30]);
    for max_decoded_bytes in [4 << 20, 16 << 20] {
        is_bounded(&whole, &limits(max_decoded_bytes));
    }
}

/// A line of a mebibyte of one letter in a few bytes.
#[test]
fn text_that_frames_stand_for_is_held_against_the_limits() {
    let line = vec![b'e'; 1 << 20];
    let times = times(0);
    let lengths = [vec![4], (1u32 << 20).to_le_bytes().to_vec()].concat();
    let one = group(1, 0, 1 << 20, &[(TIME, &times), (RAW_LENGTHS, &lengths), (RAW_LINES, &line)]);
    is_bounded(&file(&vec![one; 40]), &limits(6 << 20));
}

/// A set of pairs that all rows have.
#[test]
fn metadata_is_held_against_the_limits() {
    let (rows, pairs) = (2000usize, 2000usize);
    let set = [uv(pairs), [0, 1].repeat(pairs)].concat();
    let metadata = [uv(1), uv(1), vec![b'a'], uv(1), set].concat();
    let (ids, times) = ([vec![1], vec![1; rows]].concat(), times(0));
    let lengths = [vec![1], vec![0; rows]].concat();
    let one = group(
        2000,
        0,
        8 * rows * pairs,
        &[(TIME, &times), (RAW_LENGTHS, &lengths), (METADATA, &metadata), (METADATA_IDS, &ids)],
    );
    let (taken, errors) = most(&file(&vec![one; 10]), &limits(1 << 20), CorruptionPolicy::Salvage);
    assert!(taken <= bound(&limits(1 << 20)), "{taken} bytes, {errors:?}");
}

/// A chunk of several groups in columns, with metadata, whose streams are short enough to lie as they are.
fn small() -> Vec<u8> {
    let line = |n: i64| match n % 3 {
        0 => format!("2026-11-30 06:{n:02}:00 user {} took {} ms", n % 4, n * 71),
        1 => format!("trace {:016x} from 10.0.{n}.7", n * 0x1234_5678_9ABC),
        _ => format!("odd {}", "x".repeat(usize::try_from(n).unwrap() % 5)),
    };
    let options = BuilderOptions { block_size: 20 * 64, ..BuilderOptions::columnar(Profile::Balanced) };
    let mut builder = Builder::new(options).unwrap();
    for n in 0..40 {
        let mut entry = Owned::new(n * 1_000_000_000, line(n).as_bytes());
        entry.metadata.push((b"span".to_vec(), format!("{:08x}", n * 0x0123_4567).into_bytes()));
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

/// Every byte, to each of a few values.
#[test]
fn no_byte_makes_a_read_take_more_than_the_limits() {
    let limits = Limits { max_block_bytes: 1 << 18, ..limits(1 << 20) };
    let whole = small();
    let file = File::parse(&whole);
    for at in 0..whole.len() {
        for change in [0x01, 0x40, 0xFF] {
            let mut lying = whole.clone();
            lying[at] ^= change;
            file.mend(&mut lying);
            let (taken, _) = most(&lying, &limits, CorruptionPolicy::Fail);
            assert!(taken <= bound(&limits), "byte {at}: {taken} bytes");
        }
    }
}
