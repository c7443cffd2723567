//! What is known to go wrong in Loki's own reader and writer, and must not go wrong here. Numbers are those
//! of the reports in grafana/loki.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::loki::{Envelope, Object, fingerprint};
use forebay_chunk::{
    Append, Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Damage, DamageKind, Direction, Entry,
    Error, Limits, Section,
};

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
use handmade::{Block, Handmade, NONE, line, line_with};
use owned::{Owned, collect};

/// Three blocks of two lines each.
fn three_blocks(version: u8) -> Handmade {
    let entry = |ts: i64| if version == 4 { line_with(ts, b"line", &[]) } else { line(ts, b"line") };
    let block = |n: i64| Block::new(2, 10 * n, 10 * n + 1, 8, [entry(10 * n), entry(10 * n + 1)].concat());
    Handmade::new(version, NONE, vec![block(0), block(1), block(2)])
}

fn times(chunk: &Chunk) -> Vec<i64> {
    let entries = collect(&mut chunk.entries(.., Direction::Forward)).unwrap();
    entries.into_iter().map(|entry| entry.timestamp_ns).collect()
}

/// 14345 and 22864: files too short for their trailer, and offsets and lengths beyond the file or above 2^63,
/// panicked the querier, again and again.
#[test]
fn defect_1_offsets_and_lengths_that_lead_nowhere_are_errors() {
    for version in 2..=4u8 {
        let good = three_blocks(version).bytes();
        for length in 0..60 {
            let mut short = good[..good.len().min(6)].to_vec();
            short.resize(length, 0xFF);
            assert!(Chunk::open(short, &Limits::default()).is_err());
        }
        let trailer = if version == 4 { 32 } else { 8 };
        let len = good.len() as u64;
        let wild = [0, 1, 5, 6, 7, len - 1, len, len + 1, 1 << 31, 1 << 63, u64::MAX - 3, u64::MAX];
        for field in 0..trailer / 8 {
            for value in wild {
                let mut bytes = good.clone();
                let at = bytes.len() - trailer + 8 * field;
                let before = bytes[at..at + 8].to_vec();
                bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
                let unchanged = before == value.to_be_bytes();
                let opened = Chunk::open(bytes, &Limits::default());
                assert_eq!(opened.is_ok(), unchanged, "version {version}, field {field}, {value}");
            }
        }
        // Sizes in the index, above what Go's int takes.
        for size in [i64::MAX, -1, i64::MIN, i64::from(u32::MAX)] {
            let mut chunk = three_blocks(version);
            chunk.blocks[1].size_error = size;
            assert!(Chunk::open(chunk.bytes(), &Limits::default()).is_err());
            let opened =
                Chunk::open_with(chunk.bytes(), &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
            assert!(opened.damage().iter().map(Damage::entries_lost).sum::<u64>() >= 2);
        }
    }
}

/// 8564 and 13634: a block with a bad checksum was logged and left out, and the query answered as if that
/// were all.
#[test]
fn defect_2_a_block_with_a_bad_checksum_is_not_dropped_in_silence() {
    let mut bytes = three_blocks(3).bytes();
    let good = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
    let block = good.blocks()[1];
    bytes[usize::try_from(block.offset).unwrap() + 3] ^= 1;

    let error = Chunk::open(bytes.clone(), &Limits::default()).unwrap_err();
    let Error::ChecksumMismatch { section: Section::Block(1), offset, expected, found } = error else {
        panic!("{error}");
    };
    assert_eq!(offset, block.offset);
    assert_ne!(expected, found);

    let chunk = Chunk::open_with(bytes, &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
    assert_eq!(times(&chunk), [0, 1, 20, 21]);
    let [damage] = chunk.damage() else { panic!("{:?}", chunk.damage()) };
    let Damage { block: number, offset, size_bytes, min_ns, max_ns, .. } = *damage;
    assert_eq!((number, offset, size_bytes, min_ns, max_ns), (1, block.offset, block.size_bytes, 10, 11));
    let cause = Error::ChecksumMismatch { section: Section::Block(1), offset, expected, found };
    assert_eq!(damage.kind, DamageKind::Lost { entries: 2, cause });
    assert_eq!(chunk.entry_count(), 6, "the index still says what there should be");

    // An object of no bytes, which a torn write leaves behind, is told apart from one that is damaged.
    assert_eq!(Chunk::open("", &Limits::default()).unwrap_err(), Error::Empty);
    assert_eq!(Object::open("", &Limits::default()).unwrap_err(), Error::Empty);
}

/// Loki has written chunks whose index has wrong offsets; the blocks are where the one before them ends.
#[test]
fn defect_3_blocks_behind_wrong_offsets_are_found_and_reported() {
    for version in [2, 3, 4] {
        for offset_error in [-3, 3, 1000, -1_000_000] {
            for wrong in [vec![0], vec![1], vec![2], vec![0, 1, 2]] {
                let mut handmade = three_blocks(version);
                for &number in &wrong {
                    handmade.blocks[number].offset_error = offset_error;
                }
                let chunk = Chunk::open(handmade.bytes(), &Limits::default()).unwrap();
                assert_eq!(times(&chunk), [0, 1, 10, 11, 20, 21]);
                let moved: Vec<usize> = chunk.damage().iter().map(|damage| damage.block).collect();
                assert_eq!(moved, wrong);
                for damage in chunk.damage() {
                    let DamageKind::Moved { found_offset } = damage.kind else { panic!("{damage:?}") };
                    assert_eq!(damage.offset.wrapping_sub(found_offset).cast_signed(), offset_error);
                    assert_eq!(damage.entries_lost(), 0);
                }
            }
        }
    }
}

/// A size that lied in the index took all blocks behind its own with it.
#[test]
fn a_block_with_a_wrong_size_costs_no_other_block() {
    for version in 2..=4 {
        for lost in 0..3usize {
            for lie in [-1, 1, 1 << 40] {
                let mut chunk = three_blocks(version);
                chunk.blocks[lost].size_error = lie;
                let bytes = chunk.bytes();
                assert!(Chunk::open(bytes.clone(), &Limits::default()).is_err());
                let chunk = Chunk::open_with(bytes, &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
                let found: Vec<usize> = chunk.damage().iter().map(|damage| damage.block).collect();
                assert_eq!(found, [lost], "version {version}, {lie}");
                let all = times(&Chunk::open(three_blocks(version).bytes(), &Limits::default()).unwrap());
                assert_eq!(times(&chunk).len(), all.len() * 2 / 3, "version {version}, block {lost}, {lie}");
            }
        }
    }
}

/// Times were read as floating point and truncated: objects of 2004 and of 2038 to 2039 were taken for
/// others.
#[test]
fn defect_4_objects_of_2038_are_those_of_their_keys() {
    for seconds in [1_073_741_824i64, 2_147_483_648, 2_199_023_255, 9_223_372_035] {
        for ms in 0..1000 {
            let mut builder = Builder::new(BuilderOptions::default()).unwrap();
            let time = (seconds * 1000 + ms) * 1_000_000;
            builder.append(Entry::new(time, "a line")).unwrap();
            let chunk = builder.finish().unwrap();
            let object = Envelope::new("t", &[("app", "x")], &chunk).encode(&chunk.bytes).unwrap();
            assert_eq!(
                (object.key.from_ms, object.key.through_ms),
                (seconds * 1000 + ms, seconds * 1000 + ms)
            );
            assert_eq!(object.key.fingerprint, fingerprint(&[("app", "x")]));
            let opened = Object::open_keyed(object.bytes, &object.key, &Limits::default());
            assert_eq!(opened.map(|object| object.envelope.from_ms), Ok(seconds * 1000 + ms));
        }
    }
}

/// A head of empty lines alone counted as empty and was never cut; entries before 1970 and at the last
/// nanosecond were left out when a head was written.
#[test]
fn defect_5_empty_lines_and_extreme_times_are_kept() {
    let mut builder =
        Builder::new(BuilderOptions { codec: Codec::None, ..BuilderOptions::default() }).unwrap();
    let expected: Vec<Owned> =
        [i64::MIN, -1, 0, i64::MAX].into_iter().map(|time| Owned::new(time, b"")).collect();
    for entry in &expected {
        assert_eq!(entry.lend(|entry| builder.append(entry)), Ok(Append::Stored));
    }
    let block = builder.cut().expect("a head of empty lines is not empty");
    assert_eq!((block.entries(), block.raw_bytes()), (4, 0));
    assert!(builder.attach(block.encode()));
    let chunk = builder.finish().unwrap();
    assert_eq!((chunk.from_ns, chunk.through_ns, chunk.entries), (i64::MIN, i64::MAX, 4));
    let chunk = Chunk::open(chunk.bytes, &Limits::default()).unwrap();
    assert_eq!(collect(&mut chunk.entries(.., Direction::Forward)), Ok(expected));
}

/// Empty lines have no raw bytes, so a head of them was never full either.
#[test]
fn defect_5_a_block_of_empty_lines_is_full_at_some_point() {
    let mut builder = Builder::new(BuilderOptions { block_size: 400, ..BuilderOptions::default() }).unwrap();
    for time in 0..250 {
        builder.append(Entry::new(time, "")).unwrap();
    }
    let blocks: Vec<usize> = std::iter::from_fn(|| builder.cut()).map(|block| block.entries()).collect();
    assert_eq!(blocks, [100, 100, 50]);
}
