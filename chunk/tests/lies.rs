//! Columnar chunks whose bytes lie under checksums that are right. They are refused, or read as what they say: never
//! with a panic, never in another order backward than forward, and never for more than the limits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, CorruptionPolicy, Direction, Error, Limits, LineFilter, Profile, Section,
};
use proptest::prelude::*;

#[path = "support/lcf.rs"]
mod lcf;
#[path = "support/owned.rs"]
mod owned;
use lcf::{File, crc};
use owned::{Owned, collect};

const MAX_DECODED: u64 = 1 << 22;

fn limits() -> Limits {
    Limits {
        max_block_bytes: 1 << 18,
        max_entries_per_block: 1 << 12,
        max_symbols: 1 << 10,
        max_decoded_bytes: MAX_DECODED,
        ..Limits::default()
    }
}

fn read(bytes: &[u8], policy: CorruptionPolicy, direction: Direction) -> Result<Vec<Owned>, Error> {
    let chunk = Chunk::open_with(bytes.to_vec(), &limits(), policy)?;
    let mut entries = chunk.entries(.., direction);
    let found = collect(&mut entries);
    assert!(entries.stats().decoded_bytes <= MAX_DECODED);
    found
}

/// A chunk of two groups in columns, with metadata, whose streams are short enough to lie as they are.
fn columns() -> Vec<u8> {
    let line = |n: i64| match n % 3 {
        0 => format!("2026-11-30 06:{n:02}:00 user {} took {} ms", n % 4, n * 71),
        1 => format!("trace {:016x} from 10.0.{n}.7", n * 0x1234_5678_9ABC),
        _ => format!("odd {}", "x".repeat(usize::try_from(n).unwrap() % 5)),
    };
    chunk(20 * 64, (0..40).map(line))
}

/// One of two groups of whole lines.
fn whole_lines() -> Vec<u8> {
    chunk(5 * 64, (0..9).map(|n| format!("{n}: {}", "ab".repeat(n as usize))))
}

fn chunk(block_size: usize, lines: impl Iterator<Item = String>) -> Vec<u8> {
    let options = BuilderOptions { block_size, ..BuilderOptions::columnar(Profile::Balanced) };
    let mut builder = Builder::new(options).unwrap();
    for (n, line) in (0..).zip(lines) {
        let mut entry = Owned::new(n * 60_000_000_000, line.as_bytes());
        if n % 2 == 0 {
            entry.metadata.push((b"pod".to_vec(), vec![b'0' + (n % 7) as u8]));
        }
        entry.metadata.push((b"span".to_vec(), format!("{:08x}", n * 0x0123_4567).into_bytes()));
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

#[test]
fn what_is_mended_is_what_it_was() {
    for whole in [columns(), whole_lines()] {
        let file = File::parse(&whole);
        assert!(file.groups.len() >= 2);
        let mut broken = whole.clone();
        file.checksums().for_each(|at| broken[at] ^= 0xFF);
        assert!(read(&broken, CorruptionPolicy::Fail, Direction::Forward).is_err());
        file.mend(&mut broken);
        assert!(broken == whole);
    }
}

#[test]
fn groups_that_contradict_the_footer_are_not_read() {
    let whole = columns();
    let file = File::parse(&whole);
    let group = &file.groups[0];
    // Rows, and the first byte of the directory: the oldest time.
    for at in [group.start + 12, group.start + 20] {
        let mut lying = whole.clone();
        lying[at] ^= 2;
        file.mend(&mut lying);
        let error = Chunk::open(lying.clone(), &limits()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { section: Section::Group(0), .. }), "{error}");
        let chunk = Chunk::open_with(lying, &limits(), CorruptionPolicy::SkipBlock).unwrap();
        assert_eq!(chunk.damage().len(), 1);
    }
}

/// Nobody compared them with the entries.
#[test]
fn a_group_that_lies_about_its_hash_or_its_raw_size_is_found_out() {
    let whole = chunk(1 << 16, (0..40).map(|n| format!("user {} took {n} ms", n % 4)));
    let file = File::parse(&whole);
    let group = &file.groups[0];
    Chunk::open(whole.clone(), &limits()).unwrap().verify().unwrap();
    let lie = |places: &[usize]| {
        let mut lying = whole.clone();
        places.iter().for_each(|&at| lying[at] ^= 1);
        file.mend(&mut lying);
        let chunk = Chunk::open(lying, &limits()).unwrap();
        assert!(collect(&mut chunk.entries(.., Direction::Forward)).is_ok());
        chunk.verify()
    };
    // In the directory alone, and in the footer alone, whose hash ends what it says of this chunk.
    for at in [group.hash, group.hash + 15, whole.len() - 25] {
        assert!(matches!(lie(&[at]), Err(Error::Corrupt { .. })), "byte {at}");
    }
    // The list of groups ends in the raw size: in front of tag and length of the hash, and the hash.
    let in_footer = whole.len() - 24 - 18 - 2;
    let raw_size = &whole[group.raw_size..group.raw_size + 2];
    assert_eq!(raw_size, &whole[in_footer..in_footer + 2]);
    assert!(matches!(lie(&[group.raw_size, in_footer]), Err(Error::Corrupt { .. })));
}

/// A group that was not to be opened had cost nothing.
#[test]
fn groups_that_are_opened_in_vain_are_paid_for() {
    let mut builder = Builder::new(BuilderOptions::columnar(Profile::Fast)).unwrap();
    for group in 0..40i64 {
        for n in 0..4000 {
            builder.append(forebay_chunk::Entry::new(group * 4000 + n, "x")).unwrap();
        }
        let block = builder.cut().unwrap();
        builder.attach(block.encode());
    }
    let whole = builder.finish().unwrap().bytes.to_vec();
    let file = File::parse(&whole);
    let mut lying = whole.clone();
    for group in &file.groups {
        // The times' first stream: scale, mode, start, gap. With a gap of 0 the last time is another one.
        lying[group.streams[0].end - 1] = 0;
    }
    file.mend(&mut lying);
    let read = |max_decoded_bytes| {
        let limits = Limits { max_decoded_bytes, ..limits() };
        let chunk = Chunk::open_with(lying.clone(), &limits, CorruptionPolicy::SkipBlock).unwrap();
        let mut entries = chunk.entries(.., Direction::Forward);
        entries.next().map(|entry| entry.map(|_| ())).map(|entry| (entry, entries.damage().len()))
    };
    assert_eq!(read(40 * 4000 * 9), Ok((None, 40)));
    let error = read(5 * 4000 * 9).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: "max_decoded_bytes", .. }), "{error}");
    let counts = |max_decoded_bytes| {
        let limits = Limits { max_decoded_bytes, ..limits() };
        let chunk = Chunk::open_with(lying.clone(), &limits, CorruptionPolicy::SkipBlock).unwrap();
        chunk.counts(.., NonZeroU64::new(7).unwrap()).map(|counts| counts.damage.len())
    };
    assert_eq!(counts(40 * 4000 * 9), Ok(40));
    let error = counts(5 * 4000 * 9).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: "max_decoded_bytes", .. }), "{error}");
}

/// What a filtered read decompressed of a group that turned out to be damaged was free, but for its times.
#[test]
fn what_a_search_decompresses_in_vain_is_paid_for() {
    let mut builder = Builder::new(BuilderOptions::columnar(Profile::Fast)).unwrap();
    for group in 0..40 {
        builder.append(forebay_chunk::Entry::new(group, "a".repeat(1 << 20).as_bytes())).unwrap();
        let block = builder.cut().unwrap();
        builder.attach(block.encode());
    }
    let mut lying = builder.finish().unwrap().bytes.to_vec();
    let file = File::parse(&lying);
    for group in &file.groups {
        let text = group.streams.iter().max_by_key(|stream| stream.end - stream.start).unwrap();
        lying[text.end - 3] ^= 0xFF;
    }
    file.mend(&mut lying);
    let filtered = |max_decoded_bytes| {
        let limits = Limits { max_decoded_bytes, ..Limits::default() };
        let chunk = Chunk::open_with(lying.clone(), &limits, CorruptionPolicy::SkipBlock).unwrap();
        let filter = LineFilter::new().any_of(["b"]);
        let mut entries = chunk.filter(.., &filter, Direction::Forward);
        entries.next().map(|entry| entry.map(|_| ())).map(|entry| (entry, entries.damage().len()))
    };
    assert_eq!(filtered(41 << 20), Ok((None, 40)));
    let error = filtered(8 << 20).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: "max_decoded_bytes", .. }), "{error}");
}

/// What lines are made in was free, and groups that overlap are all open at once.
#[test]
fn groups_that_are_open_at_once_cost_more_than_one_after_the_other() {
    const GROUPS: i64 = 8;
    let least = |time: &dyn Fn(i64, i64) -> i64| {
        let mut builder = Builder::new(BuilderOptions::columnar(Profile::Fast)).unwrap();
        for group in 0..GROUPS {
            for n in 0..300 {
                let line = format!("line {n} of {} and {}", n * n, n * 7919 % 1000);
                builder.append(forebay_chunk::Entry::new(time(group, n), &line)).unwrap();
            }
            let block = builder.cut().unwrap();
            builder.attach(block.encode());
        }
        let bytes = builder.finish().unwrap().bytes;
        let is_enough = |max_decoded_bytes: u64| {
            let limits = Limits { max_decoded_bytes, ..Limits::default() };
            let chunk = Chunk::open(bytes.clone(), &limits).unwrap();
            collect(&mut chunk.entries(.., Direction::Forward)).is_ok()
        };
        let (mut low, mut high) = (0, 1 << 24);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_enough(middle) { high = middle } else { low = middle + 1 }
        }
        low
    };
    let one_by_one = least(&|group, n| group * 1000 + n);
    let at_once = least(&|group, n| n * GROUPS + group);
    assert!(at_once > one_by_one + 7 * 20_000, "{at_once} and {one_by_one} bytes");
}

/// Letters that the filter does not know hide their lines from every search, and nobody held it against them.
#[test]
fn a_filter_that_does_not_know_the_letters_is_found_out() {
    let whole = chunk(1 << 20, (0..3000).map(|n: i64| format!("user {} took it", n * n * 7919)));
    let file = File::parse(&whole);
    Chunk::open(whole.clone(), &limits()).unwrap().verify().unwrap();
    let mut lying = whole.clone();
    let filter = file.groups[0].streams.iter().find(|stream| whole[stream.meta] == 14).unwrap();
    lying[filter.start..filter.end].fill(0);
    file.mend(&mut lying);
    let chunk = Chunk::open(lying, &limits()).unwrap();
    assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)).unwrap().len(), 3000);
    let error = chunk.verify().unwrap_err();
    assert!(matches!(error, Error::Corrupt { section: Section::Group(0), .. }), "{error}");
}

/// Its class was believed: the line was there, and not found.
#[test]
fn text_among_numbers_is_found() {
    let whole = chunk(1 << 16, (0..40).map(|n| format!("code {}", if n % 3 == 0 { 40404 } else { 59999 })));
    let file = File::parse(&whole);
    let mut lying = whole.clone();
    let at = whole.windows(5).position(|window| window == b"40404").unwrap();
    lying[at..at + 5].copy_from_slice(b"error");
    file.mend(&mut lying);
    let chunk = Chunk::open(lying, &limits()).unwrap();
    for text in ["error", "rro", "e err", "code e", "r"] {
        let found = collect(&mut chunk.filter(.., &LineFilter::new().any_of([text]), Direction::Forward));
        assert_eq!(found.unwrap().len(), 14, "{text}");
    }
}

#[test]
fn a_stream_of_another_length_or_codec_is_found_out() {
    let whole = columns();
    let file = File::parse(&whole);
    for group in &file.groups {
        for stream in &group.streams {
            for (at, change) in
                [(stream.meta, 64), (stream.meta + 1, 1), (stream.meta + 1, 2), (stream.meta + 2, 1)]
            {
                let mut lying = whole.clone();
                lying[at] ^= change;
                file.mend(&mut lying);
                assert!(
                    read(&lying, CorruptionPolicy::Fail, Direction::Forward).is_err(),
                    "{stream:?} at {at}"
                );
            }
        }
    }
}

/// Holds what a search finds in a chunk, and how many entries are counted, against what it has; but of a word filter only
/// `verify` knows that it lies.
fn is_found_and_counted(bytes: Vec<u8>, entries: &[Owned]) {
    let chunk = Chunk::open(bytes, &limits()).unwrap();
    let counts = chunk.counts(.., NonZeroU64::new(100_000_000_000).unwrap()).unwrap();
    let mut steps = std::collections::BTreeMap::new();
    for entry in entries {
        *steps.entry(entry.timestamp_ns.div_euclid(100_000_000_000)).or_default() += 1u64;
    }
    let found: Vec<_> =
        counts.steps.iter().map(|step| (step.start_ns.div_euclid(100_000_000_000), step.entries)).collect();
    assert_eq!(found, steps.into_iter().collect::<Vec<_>>());
    for number in 0..4 {
        let Some(entry) = entries.get(number * entries.len() / 4) else { continue };
        let (line, length) = (&entry.line, entry.line.len());
        let needle = &line[length * number / 5..(length * number / 5 + 3).min(length)];
        let expected: Vec<&Owned> =
            entries.iter().filter(|entry| needle.is_empty() || has(&entry.line, needle)).collect();
        let found =
            collect(&mut chunk.filter(.., &LineFilter::new().any_of([needle]), Direction::Forward)).unwrap();
        assert!(found.iter().eq(expected) || chunk.verify().is_err(), "{}", needle.escape_ascii());
    }
}

fn has(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window == text)
}

/// Every byte of every stream, to each of a few values.
#[test]
fn no_byte_of_a_stream_makes_it_panic_or_read_differently_backward() {
    for whole in [columns(), whole_lines()] {
        let file = File::parse(&whole);
        for at in 0..whole.len() {
            for change in [1, 0x80, 0xFF] {
                let mut lying = whole.clone();
                lying[at] ^= change;
                file.mend(&mut lying);
                let forward = read(&lying, CorruptionPolicy::Fail, Direction::Forward);
                let backward = read(&lying, CorruptionPolicy::Fail, Direction::Backward);
                if let (Ok(forward), Ok(mut backward)) = (forward, backward) {
                    backward.reverse();
                    assert_eq!(forward, backward);
                    is_found_and_counted(lying, &forward);
                }
            }
        }
    }
}

#[test]
fn a_frame_that_stands_for_more_than_is_allowed_is_not_decompressed() {
    // A megabyte of one byte in a few bytes, which is more than a block may have.
    let whole = chunk(1 << 20, (0..1).map(|_| "a".repeat(1_000_000)));
    assert!(whole.len() < 1000);
    let error = read(&whole, CorruptionPolicy::SkipBlock, Direction::Forward).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: "max_block_bytes", .. }), "{error}");
    // And where a block may, but not a read.
    let limits = Limits { max_decoded_bytes: 500_000, ..Limits::default() };
    let chunk = Chunk::open(whole, &limits).unwrap();
    let error = chunk.entries(.., Direction::Forward).next().unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { limit: "max_decoded_bytes", .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_lie_under_right_checksums_do_not_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        columns in any::<bool>(),
    ) {
        let whole = if columns { self::columns() } else { whole_lines() };
        let file = File::parse(&whole);
        let mut lying = whole.clone();
        for (index, value) in changes {
            lying[index.index(whole.len())] = value;
        }
        file.mend(&mut lying);
        for policy in [CorruptionPolicy::Fail, CorruptionPolicy::SkipBlock, CorruptionPolicy::Salvage] {
            for direction in [Direction::Forward, Direction::Backward] {
                let _ = read(&lying, policy, direction);
                let Ok(chunk) = Chunk::open_with(lying.clone(), &limits(), policy) else { continue };
                let filter = LineFilter::new().any_of(["r 3", "odd", "10.0"]).none_of_in_any_case(["MS"]);
                let _ = collect(&mut chunk.filter(.., &filter, direction));
                let _ = chunk.counts(.., NonZeroU64::new(100_000_000_000).unwrap());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_not_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), rows in 0u32..9) {
        // As they are, behind a header, and as the directory of a group.
        let header = &whole_lines()[..16];
        let mut group = b"LCFR".to_vec();
        group.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        group.extend([0; 4]);
        group.extend(rows.to_le_bytes());
        group.extend(crc(&[&group[..], &bytes].concat()));
        group.extend(&bytes);
        for bytes in [bytes.clone(), [header, &bytes].concat(), [header, &group].concat()] {
            let _ = read(&bytes, CorruptionPolicy::Salvage, Direction::Forward);
            let _ = read(&bytes, CorruptionPolicy::Fail, Direction::Backward);
        }
    }
}
