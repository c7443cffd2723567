//! Chunks without some of their entries: what is kept is all of what was to be kept, and blocks that lose nothing stay
//! as they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, DamageKind, Entry, Error, Format, Limits, Profile, Rewritten,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use owned::Owned;
use shapes::{all, built, each_kind, kind, name, opened, skipping, stored};

fn rewritten(chunk: &Chunk, keep: impl FnMut(&Entry<'_>) -> bool) -> Rewritten {
    chunk.rewrite(Profile::Balanced, keep).unwrap()
}

/// Blocks of which each entry has one of the times.
fn by_block(chunk: &Chunk, entries: &[Owned]) -> Vec<Vec<Owned>> {
    let mut rest = entries;
    let take = |block: &forebay_chunk::BlockMeta| {
        let (block, after) = rest.split_at(usize::try_from(block.entries).unwrap());
        rest = after;
        let mut block = block.to_vec();
        block.sort_by_key(|entry| entry.timestamp_ns);
        block
    };
    chunk.blocks().iter().map(take).collect()
}

/// What a builder stores of these, in the order they came.
fn stored_of(options: BuilderOptions, entries: &[Owned]) -> Vec<Owned> {
    let mut builder = Builder::new(options).unwrap();
    let is_stored =
        |entry: &&Owned| entry.lend(|entry| builder.append(entry)).unwrap() == forebay_chunk::Append::Stored;
    entries.iter().filter(is_stored).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Property 10.
    #[test]
    fn a_rewritten_chunk_has_what_was_kept_and_blocks_that_lose_nothing_are_as_they_were(
        (options, entries) in kind().prop_flat_map(|options| {
            let entry = shapes::entry(options.format.has_metadata());
            (Just(options), prop::collection::vec(entry, 1..60))
        }),
        // Keeps whole blocks, parts, and none.
        dropped in prop_oneof![Just(None), (0i64..12).prop_map(Some)],
        bytes in prop::collection::vec(any::<u8>(), 0..3),
    ) {
        let keep = |entry: &Owned| {
            Some(entry.timestamp_ns) != dropped && !entry.line.iter().any(|byte| bytes.contains(byte))
        };
        let chunk = built(options, &entries).unwrap();
        let found = chunk.rewrite(options.profile, |entry| keep(&Owned::from(*entry))).unwrap();
        let expected: Vec<Owned> = all(&chunk).into_iter().filter(keep).collect();
        let before = chunk.entry_count();
        prop_assert_eq!(found.entries_dropped, before - expected.len() as u64);
        prop_assert_eq!(&found.damage, &[]);
        let Some(encoded) = found.chunk else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        let copy = opened(encoded.bytes.clone());
        prop_assert_eq!(all(&copy), expected.clone());
        prop_assert_eq!((copy.format(), copy.entry_count()), (options.format, encoded.entries));
        prop_assert_eq!(copy.bounds(), Some((encoded.from_ns, encoded.through_ns)));
        prop_assert_eq!(copy.raw_bytes(), Some(encoded.raw_bytes));
        copy.verify().unwrap();

        let blocks = by_block(&chunk, &stored_of(options, &entries));
        let kept: Vec<Vec<Owned>> =
            blocks.iter().map(|block| block.iter().filter(|entry| keep(entry)).cloned().collect()).collect();
        let mut after = stored(&copy).into_iter();
        let mut copied = 0;
        for ((before, kept), bytes) in blocks.iter().zip(&kept).zip(stored(&chunk)) {
            if before == kept {
                prop_assert_eq!(after.next(), Some(bytes));
                copied += 1;
            } else if !kept.is_empty() {
                after.next();
            }
        }
        prop_assert_eq!(found.blocks_copied, copied);
        prop_assert_eq!(after.next(), None);
        if found.entries_dropped == 0 {
            prop_assert_eq!(encoded.bytes, chunk.bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rewritten_can_be_read_within_the_same_limits(
        options in kind(),
        profile in prop::sample::select(vec![Profile::Fast, Profile::Archive]),
        entries in prop::collection::vec(shapes::entry(false), 1..60),
        more_bytes in 0usize..40,
        max_decoded_bytes in 100u64..20_000,
        modulo in 1i64..5,
    ) {
        let chunk = built(options, &entries).unwrap();
        let max_object_bytes = chunk.bytes().len() + more_bytes;
        let limits = Limits { max_object_bytes, max_decoded_bytes, ..Limits::default() };
        let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
        let keep = |entry: &Entry<'_>| entry.timestamp_ns % modulo == 0;
        if let Ok(Rewritten { chunk: Some(copy), entries_dropped, .. }) = chunk.rewrite(profile, keep) {
            let copy = Chunk::open(copy.bytes, &limits).unwrap();
            prop_assert_eq!(all(&copy).len() as u64, chunk.entry_count() - entries_dropped);
        }
    }
}

/// With a profile that compresses less it takes more bytes than a reader allows.
#[test]
fn a_rewrite_that_the_limits_do_not_allow_to_read_is_not_given() {
    let line = |n: i64| format!("{} and again {}", "some words of a line ".repeat(3), n * n % 977);
    let entries: Vec<Owned> = (0..20_000).map(|n| Owned::new(n, line(n).as_bytes())).collect();
    let options = BuilderOptions { block_size: 16 << 20, ..BuilderOptions::columnar(Profile::Archive) };
    let chunk = built(options, &entries).unwrap();
    let max_object_bytes = chunk.bytes().len();
    let less = rewritten(&chunk, |_| true).chunk.unwrap().bytes.len();
    assert_eq!(less, max_object_bytes);
    let more =
        chunk.rewrite(Profile::Fast, |entry| entry.timestamp_ns > 0).unwrap().chunk.unwrap().bytes.len();
    assert!(more > max_object_bytes, "{more} bytes of {max_object_bytes}");
    let chunk =
        Chunk::open(chunk.bytes().clone(), &Limits { max_object_bytes, ..Limits::default() }).unwrap();
    let found = chunk.rewrite(Profile::Fast, |entry| entry.timestamp_ns > 0).map(|_| ());
    assert!(matches!(found, Err(Error::LimitExceeded { limit: "max_object_bytes", .. })), "{found:?}");
}

/// A builder drops them only where they are in its open block.
#[test]
fn entries_that_are_there_twice_stay_so() {
    for options in each_kind() {
        let mut builder = Builder::new(options).unwrap();
        for _ in 0..6 {
            for entry in [Entry::new(1, "the same line"), Entry::new(5, "x")] {
                builder.append(entry).unwrap();
            }
            let block = builder.cut().unwrap().encode();
            assert!(builder.attach(block));
        }
        let chunk = opened(builder.finish().unwrap().bytes);
        // Blocks of more entries than these were.
        let copy = opened(chunk.recompress(options).unwrap().unwrap().bytes);
        assert_eq!(all(&copy).len(), 12, "{}", name(&options));
        let found = rewritten(&copy, |entry| entry.timestamp_ns != 5);
        assert_eq!(all(&opened(found.chunk.unwrap().bytes)).len(), 6, "{}", name(&options));
    }
}

#[test]
fn values_of_metadata_that_only_dropped_entries_had_are_gone() {
    for options in each_kind().into_iter().filter(|options| options.format.has_metadata()) {
        let options = BuilderOptions { codec: Codec::None, block_size: 40, ..options };
        let entry = |n: i64| Owned {
            timestamp_ns: n,
            line: b"some line".to_vec(),
            metadata: vec![(b"user".to_vec(), format!("user-{n}-end").into_bytes())],
        };
        let chunk = built(options, &(0..9).map(entry).collect::<Vec<_>>()).unwrap();
        let found = rewritten(&chunk, |entry| entry.timestamp_ns != 4);
        let bytes = found.chunk.unwrap().bytes;
        let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert_eq!(all(&opened(bytes.clone())).len(), 8);
        if options.format == Format::LokiV4 {
            assert!(has(chunk.bytes(), b"user-4-end") && has(&bytes, b"user-5-end"));
        }
        assert!(!has(&bytes, b"user-4-end"));
    }
}

#[test]
fn a_chunk_of_an_old_version_becomes_version_3_with_its_blocks_as_they_were() {
    for codec in ["gzip", "snappy", "none"] {
        let path = format!("{}/tests/golden/v2-{codec}.chunk", env!("CARGO_MANIFEST_DIR"));
        #[expect(clippy::disallowed_methods, reason = "golden files are read")]
        let old = opened(std::fs::read(path).unwrap());
        assert!(old.blocks().len() > 1 && old.format() == Format::LokiV2);
        let found = rewritten(&old, |_| true);
        assert_eq!(found.blocks_copied, old.blocks().len() as u64);
        let new = opened(found.chunk.unwrap().bytes);
        assert_eq!((new.format(), stored(&new)), (Format::LokiV3, stored(&old)));
        assert_eq!(new.content_hash(), old.content_hash());
        let last = old.bounds().unwrap().1;
        let found = rewritten(&old, |entry| entry.timestamp_ns < last);
        assert_eq!(found.blocks_copied, old.blocks().len() as u64 - 1);
        assert!(all(&opened(found.chunk.unwrap().bytes)).iter().all(|entry| entry.timestamp_ns < last));
    }
}

/// A chunk with a byte of its second block another one.
fn damaged(options: BuilderOptions) -> (Vec<Owned>, Vec<u8>, u64) {
    let entries: Vec<Owned> =
        (0..60).map(|n| Owned::new(n, format!("line {n} of sixty").as_bytes())).collect();
    let chunk = built(options, &entries).unwrap();
    let second = chunk.blocks()[1];
    let mut bytes = chunk.bytes().to_vec();
    // The last byte of a group is in a stream, and of a block of Loki's under its checksum.
    bytes[usize::try_from(second.offset + second.size_bytes).unwrap() - 1] ^= 1;
    (entries, bytes, second.entries)
}

#[test]
fn what_is_damaged_is_an_error_or_reported() {
    for options in each_kind() {
        let (entries, bytes, lost) = damaged(options);
        let fails = match Chunk::open(bytes.clone(), &Limits::default()) {
            Ok(chunk) => chunk.rewrite(Profile::Fast, |_| true).unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(fails, Error::ChecksumMismatch { .. }), "{}: {fails}", name(&options));
        let chunk = skipping(bytes);
        let found = rewritten(&chunk, |entry| entry.timestamp_ns != 0);
        let reported: u64 = found.damage.iter().map(forebay_chunk::Damage::entries_lost).sum();
        assert_eq!((reported, found.damage.len(), found.damage[0].block), (lost, 1, 1));
        assert!(matches!(found.damage[0].kind, DamageKind::Lost { .. }));
        let copy = opened(found.chunk.unwrap().bytes);
        assert_eq!(all(&copy).len() as u64, entries.len() as u64 - lost - 1, "{}", name(&options));
        assert!(chunk.recompress(options).is_err(), "what is left is not the chunk");
    }
}

#[test]
fn a_rewrite_decodes_no_more_than_the_limits_allow() {
    for options in each_kind() {
        let entries: Vec<Owned> = (0..300).map(|n| Owned::new(n, &[b'a'; 60])).collect();
        let chunk = built(options, &entries).unwrap();
        let limits = Limits { max_decoded_bytes: 10_000, ..Limits::default() };
        let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
        for found in
            [chunk.rewrite(Profile::Fast, |_| true).map(|_| ()), chunk.recompress(options).map(|_| ())]
        {
            let is_limit = matches!(found, Err(Error::LimitExceeded { limit: "max_decoded_bytes", .. }));
            assert!(is_limit, "{}: {found:?}", name(&options));
        }
    }
}

/// What can be read of a group is in it twice otherwise: in the copy and, with what is damaged, as it was.
#[test]
fn a_group_that_can_be_read_in_part_is_not_copied_as_it_is() {
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[..4].to_vec()
    };
    let entries: Vec<Owned> =
        (0..5000).map(|n| Owned::new(n, &(0..25).flat_map(|_| noise()).collect::<Vec<u8>>())).collect();
    let options = BuilderOptions::columnar(Profile::Fast);
    let chunk = built(options, &entries).unwrap();
    assert_eq!(chunk.blocks().len(), 1);
    let mut bytes = chunk.bytes().to_vec();
    let group = chunk.blocks()[0];
    // In its last stream, which are lines that nothing can be said of.
    bytes[usize::try_from(group.offset + group.size_bytes).unwrap() - 1] ^= 1;
    let found = rewritten(&skipping(bytes), |_| true);
    let copy = all(&opened(found.chunk.unwrap().bytes));
    assert!(copy.len() > 1000 && copy[..] == entries[..copy.len()]);
    assert_eq!((found.blocks_copied, found.entries_dropped), (0, 0));
    assert_eq!(found.damage[0].entries_lost(), (entries.len() - copy.len()) as u64);
}
