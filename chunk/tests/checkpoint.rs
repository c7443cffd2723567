//! A builder that was written and read back is the one that was written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::loki::Checkpoint;
use forebay_chunk::{
    Append, Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Direction, Entry, Error, Format, Limits,
    Profile,
};
use proptest::prelude::*;

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
use handmade::uvarint;
use owned::{Owned, collect};

fn kinds() -> Vec<BuilderOptions> {
    let codecs = Codec::ALL.into_iter().filter(|codec| codec.is_supported());
    let mut all: Vec<BuilderOptions> = codecs
        .flat_map(|codec| [(Format::LokiV3, codec), (Format::LokiV4, codec)])
        .map(|(format, codec)| BuilderOptions { format, codec, block_size: 100, ..BuilderOptions::default() })
        .collect();
    all.push(BuilderOptions { block_size: 6 * 64, ..BuilderOptions::columnar(Profile::Fast) });
    all
}

fn bytes(builder: &Builder) -> Vec<u8> {
    // What is there stays.
    let mut out = b"before".to_vec();
    builder.checkpoint(&mut out);
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

/// A builder with blocks in every stage: encoded, sealed, and open.
fn stages(options: BuilderOptions, entries: &[Owned]) -> Builder {
    let mut builder = Builder::new(options).unwrap();
    for (n, entry) in entries.iter().enumerate() {
        entry.lend(|entry| builder.append(entry)).unwrap();
        if n % 5 == 0
            && let Some(block) = builder.take_full()
        {
            assert!(builder.attach(block.encode()));
        }
    }
    builder
}

fn entries(options: &BuilderOptions, count: i64) -> Vec<Owned> {
    let entry = |n: i64| {
        let mut entry = Owned::new(n * 7919 % 40, format!("line {n} of the stream").as_bytes());
        if options.format.has_metadata() && n % 3 > 0 {
            entry.metadata.push((b"pod".to_vec(), (n % 4).to_string().into_bytes()));
        }
        entry
    };
    (0..count).map(entry).collect()
}

fn assert_same(restored: Builder, original: Builder, entry: &Owned) {
    assert_eq!(restored.entries(), original.entries());
    assert_eq!(restored.raw_bytes(), original.raw_bytes());
    assert_eq!(restored.bounds(), original.bounds());
    assert_eq!(restored.highest_ns(), original.highest_ns());
    assert_eq!(restored.estimated_bytes(), original.estimated_bytes());
    for direction in [Direction::Forward, Direction::Backward] {
        let read = |builder: &Builder| collect(&mut builder.snapshot(..).entries(direction)).unwrap();
        assert_eq!(read(&restored), read(&original));
    }
    let again = |mut builder: Builder| {
        let appended = [(); 2].map(|()| entry.lend(|entry| builder.append(entry)).unwrap());
        (appended, builder.finish().map(|chunk| chunk.bytes))
    };
    assert!(again(restored) == again(original), "the chunks differ");
}

#[test]
fn at_every_entry_a_restored_builder_goes_on_as_the_first_would_have() {
    for options in kinds() {
        let entries = entries(&options, 40);
        for count in (0..entries.len()).step_by(3) {
            let original = stages(options, &entries[..count]);
            let bytes = bytes(&original);
            let restored = Builder::restore(&bytes, options).unwrap();
            assert_eq!(self::bytes(&restored), bytes, "{options:?}");
            // An entry that the open block may have, and one that is new.
            let again = count.saturating_sub(1);
            assert_same(restored, original, &entries[again]);
        }
    }
}

#[test]
fn blocks_that_were_sealed_are_handed_out_once_more() {
    let options = kinds()[0];
    let mut original = stages(options, &entries(&options, 40));
    let mut taken = 0;
    while original.take_full().is_some() {
        taken += 1;
    }
    assert!(taken >= 1);
    let mut restored = Builder::restore(&bytes(&original), options).unwrap();
    let mut again = 0;
    while let Some(block) = restored.take_full() {
        assert!(restored.attach(block.encode()));
        again += 1;
    }
    assert_eq!(again, taken);
    assert_eq!(restored.finish(), original.finish());
}

#[test]
fn a_builder_goes_on_in_the_format_it_was_begun_in_with_the_window_it_is_given_now() {
    let [none, columnar] = [kinds()[0], *kinds().last().unwrap()];
    let original = stages(none, &entries(&none, 20));
    let window = Some(std::time::Duration::ZERO);
    let mut restored =
        Builder::restore(&bytes(&original), BuilderOptions { out_of_order: window, ..columnar }).unwrap();
    assert_eq!((restored.options().format, restored.options().codec), (none.format, none.codec));
    let late = Owned::new(original.highest_ns().unwrap() - 1, b"late");
    assert!(matches!(late.lend(|entry| restored.append(entry)), Err(Error::OutOfOrder { .. })));
    // Entries of an earlier chunk count too.
    let next = Builder::new(columnar).unwrap().with_highest(99);
    assert_eq!(Builder::restore(&bytes(&next), columnar).unwrap().highest_ns(), Some(99));
}

#[test]
fn any_cut_and_any_flipped_bit_of_a_checkpoint_is_an_error() {
    for options in [kinds()[1], *kinds().last().unwrap()] {
        let whole = bytes(&stages(options, &entries(&options, 12)));
        assert!(Builder::restore(&whole, options).is_ok());
        for end in 0..whole.len() {
            assert!(Builder::restore(&whole[..end], options).is_err(), "cut to {end} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Builder::restore(&broken, options).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn limits_hold_for_checkpoints() {
    let options = *kinds().last().unwrap();
    let whole = bytes(&stages(options, &entries(&options, 30)));
    let restore = |limits: Limits| match Builder::restore(&whole, BuilderOptions { limits, ..options }) {
        Err(Error::LimitExceeded { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    let limits = Limits::default();
    assert_eq!(restore(Limits { max_object_bytes: whole.len() - 1, ..limits }), "max_object_bytes");
    assert_eq!(restore(Limits { max_symbols: 2, ..limits }), "max_symbols");
    assert_eq!(restore(Limits { max_symbol_bytes: 2, ..limits }), "max_symbol_bytes");
    assert_eq!(restore(Limits { max_blocks: 1, ..limits }), "max_blocks");
    assert_eq!(restore(Limits { max_line_bytes: 10, ..limits }), "max_line_bytes");
    assert_eq!(restore(Limits { max_decoded_bytes: 10, ..limits }), "max_decoded_bytes");
}

/// The same checkpoint with another number at that place. Without symbols all there is before the bytes of the first
/// block is numbers.
fn with_number(checkpoint: &[u8], place: usize, number: u64) -> Vec<u8> {
    let (start, rest) = checkpoint.split_at(7);
    let mut numbers = rest[..rest.len() - 4].split_inclusive(|byte| *byte < 0x80);
    let before = numbers.by_ref().take(place).flatten().copied().collect::<Vec<u8>>();
    numbers.next().unwrap();
    let mut bytes = [start, &before, &uvarint(number)].concat();
    bytes.extend(numbers.flatten());
    let crc = crc32c::crc32c(&bytes).to_be_bytes();
    bytes.extend(crc);
    bytes
}

#[test]
fn what_a_checkpoint_says_of_its_sizes_is_held_against_its_blocks() {
    let options = kinds()[0];
    assert_eq!(options.format, Format::LokiV3);
    let whole = bytes(&stages(options, &entries(&options, 14)));
    // After the symbols, of which there are none, what reading it can cost.
    let restored = Builder::restore(&with_number(&whole, 1, 0), options).unwrap();
    assert!(bytes(&restored) == whole, "it may cost no less than it does");

    // After the newest time, the number of blocks, the kind of the first, its entries, and its times, its raw bytes.
    let raw_bytes = 9;
    assert_eq!(Builder::restore(&with_number(&whole, raw_bytes, 3), options).map(|_| ()), Ok(()));
    for number in [u64::MAX, 65 << 20] {
        let error = Builder::restore(&with_number(&whole, raw_bytes, number), options).unwrap_err();
        assert!(matches!(error, Error::LimitExceeded { limit: "max_block_bytes", .. }), "{error}");
    }
}

proptest! {
    /// Under a right checksum anything may stand.
    #[test]
    fn bytes_that_lie_under_a_right_checksum_do_not_make_it_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        kind in any::<prop::sample::Index>(),
    ) {
        let kinds = kinds();
        let options = *kind.get(&kinds);
        let mut bytes = bytes(&stages(options, &entries(&options, 14)));
        let end = bytes.len() - 4;
        for (at, byte) in edits {
            bytes[at.index(end)] = byte;
        }
        let crc = crc32c::crc32c(&bytes[..end]).to_be_bytes();
        bytes[end..].copy_from_slice(&crc);
        let limits = Limits { max_decoded_bytes: 1 << 20, ..options.limits };
        if let Ok(mut builder) = Builder::restore(&bytes, BuilderOptions { limits, ..options }) {
            let _ = collect(&mut builder.snapshot(..).entries(Direction::Forward));
            let entry = Entry::new(50, "one more");
            let _ = (builder.space_for(&entry), builder.append(entry));
            while let Some(block) = builder.cut() {
                assert!(builder.attach(block.encode()));
            }
            let _ = (builder.estimated_bytes(), builder.memory_bytes());
            let _ = builder.finish();
        }
    }
}

#[test]
fn what_loki_keeps_in_its_log_is_restored_and_written_again() {
    for options in kinds().into_iter().filter(|options| options.format != Format::Columnar) {
        let entries = entries(&options, 40);
        let original = stages(options, &entries);
        let checkpoint = Checkpoint::of(&original).unwrap();
        // Symbols are there as they are, so the chunk is none that can be opened.
        let is_chunk = Chunk::open(checkpoint.chunk.clone(), &Limits::default()).is_ok();
        assert_eq!(is_chunk, options.format == Format::LokiV3 || options.codec == Codec::None, "{options:?}");
        assert_eq!(checkpoint.head[0], if options.format == Format::LokiV3 { 4 } else { 5 });

        let restored = checkpoint.restore(BuilderOptions { codec: Codec::None, ..options }).unwrap();
        assert_eq!(restored.options().codec, options.codec);
        assert_eq!(Checkpoint::of(&restored), Ok(checkpoint));
        let mut restored = restored;
        let (mut first, new) = (original, Owned::new(50, b"one more"));
        for builder in [&mut restored, &mut first] {
            assert_eq!(new.lend(|entry| builder.append(entry)), Ok(Append::Stored));
        }
        assert_eq!(restored.finish(), first.finish());
    }
}

/// The open block was lost with it.
#[test]
fn a_block_of_lokis_checkpoint_that_is_damaged_costs_no_other() {
    let options = kinds()[0];
    let original = stages(options, &entries(&options, 40));
    let mut checkpoint = Checkpoint::of(&original).unwrap();
    let mut chunk = checkpoint.chunk.to_vec();
    // Behind the header of version 3.
    chunk[10] ^= 1;
    checkpoint.chunk = chunk.into();
    assert!(matches!(checkpoint.restore(options), Err(Error::ChecksumMismatch { .. })));
    let (restored, damage) = checkpoint.restore_with(options, CorruptionPolicy::SkipBlock).unwrap();
    let [lost] = &damage[..] else { panic!("{damage:?}") };
    assert_eq!((lost.block, restored.entries() + lost.entries_lost()), (0, original.entries()));
    let found = collect(&mut restored.snapshot(..).entries(Direction::Forward)).unwrap();
    assert_eq!(found.len() as u64, restored.entries());
}

/// Two lines in a block that was cut, one of them with metadata, and one in the open block, written by hand.
#[test]
fn a_checkpoint_of_version_4_is_read_by_the_byte() {
    let mut chunk = b"\x01\x2e\xe5\x6a\x04\x04".to_vec();
    let part = |chunk: &mut Vec<u8>, bytes: &[u8]| {
        let start = chunk.len();
        chunk.extend_from_slice(bytes);
        chunk.extend(crc32c::crc32c(bytes).to_be_bytes());
        start
    };
    part(&mut chunk, b"\x02\x03foo\x03bar");
    let payload = b"\x02\x05hello\x03\x01\x00\x01\x04\x05world\x01\x00";
    let crc = crc32c::crc32c(payload).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes();
    let stored = [b"\xff\x06\x00\x00sNaPpY\x01\x18\x00\x00", &crc[..], payload].concat();
    assert_eq!(payload.len() + 4, 0x18);
    let block = part(&mut chunk, &stored);
    let small = |number: usize| u8::try_from(number).unwrap();
    let index = [&[1, 2, 2, 4, small(block), 0x12, small(stored.len())][..]].concat();
    let at = part(&mut chunk, &index);
    for number in [9, 6, index.len() as u64, at as u64] {
        chunk.extend(number.to_be_bytes());
    }
    let head = b"\x05\x01\x06\x02hi\x01\x00\x01".to_vec();
    let checkpoint = Checkpoint { chunk: chunk.into(), head: head.into() };
    let builder = checkpoint.restore(BuilderOptions::default()).unwrap();
    let found = collect(&mut builder.snapshot(..).entries(Direction::Forward)).unwrap();
    let pair = vec![(b"foo".to_vec(), b"bar".to_vec())];
    let expected = [(1, &b"hello"[..], pair.clone()), (2, b"world", vec![]), (3, b"hi", pair)];
    let expected =
        expected.map(|(timestamp_ns, line, metadata)| Owned { timestamp_ns, line: line.to_vec(), metadata });
    assert_eq!(found, expected);
    let columnar = Builder::new(*kinds().last().unwrap()).unwrap();
    assert!(matches!(Checkpoint::of(&columnar), Err(Error::UnsupportedVersion { .. })));
}
