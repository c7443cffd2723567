//! Several chunks as one, and one in another format: nothing is lost, nothing is there twice that replicas wrote twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use forebay_chunk::{BuilderOptions, Chunk, Codec, Error, Format, Limits, Profile, merge};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use owned::Owned;
use shapes::{all, built, each_kind, kind, name, opened, skipping};

/// Entries of all sources by time and source, each as often as one source has it most often.
fn union(sources: &[Vec<Owned>]) -> Vec<Owned> {
    let mut taken: HashMap<Owned, usize> = HashMap::new();
    let mut union = Vec::new();
    for source in sources {
        let mut own: HashMap<Owned, usize> = HashMap::new();
        for entry in source {
            let mut same = entry.clone();
            same.metadata.sort();
            let own = own.entry(same.clone()).or_default();
            *own += 1;
            let taken = taken.entry(same).or_default();
            if *own > *taken {
                *taken = *own;
                union.push(entry.clone());
            }
        }
    }
    union.sort_by_key(|entry| entry.timestamp_ns);
    union
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Property 11.
    #[test]
    fn a_merged_chunk_is_the_union_of_its_sources(
        sources in prop::collection::vec((kind(), prop::collection::vec(any::<prop::sample::Index>(), 0..40)), 0..4),
        pool in prop::collection::vec(shapes::entry(true), 1..25),
        target in kind(),
    ) {
        let mut chunks = Vec::new();
        for (options, picks) in &sources {
            let mut entries: Vec<Owned> = picks.iter().map(|pick| pick.get(&pool).clone()).collect();
            if !options.format.has_metadata() || !target.format.has_metadata() {
                entries.iter_mut().for_each(|entry| entry.metadata.clear());
            }
            chunks.extend(built(*options, &entries));
        }
        let expected = union(&chunks.iter().map(all).collect::<Vec<_>>());
        let merged = merge(&chunks, target).unwrap();
        let before: u64 = chunks.iter().map(Chunk::entry_count).sum();
        prop_assert_eq!(merged.duplicates, before - expected.len() as u64);
        prop_assert_eq!(merged.damage, vec![]);
        let Some(encoded) = merged.chunk else {
            prop_assert!(expected.is_empty());
            return Ok(());
        };
        let chunk = opened(encoded.bytes);
        prop_assert_eq!(chunk.format(), target.format);
        prop_assert_eq!(all(&chunk), expected);
    }

    #[test]
    fn what_is_merged_can_be_read_within_the_same_limits(
        from in kind(),
        target in kind(),
        entries in prop::collection::vec(shapes::entry(false), 1..60),
        max_object_bytes in 400usize..4000,
        max_decoded_bytes in 100u64..20_000,
    ) {
        let limits = Limits { max_object_bytes, max_decoded_bytes, ..Limits::default() };
        let chunk = built(from, &entries).unwrap();
        if let Ok(merged) = merge([&chunk], BuilderOptions { target_size: 100, limits, ..target }) {
            let copy = Chunk::open(merged.chunk.unwrap().bytes, &limits).unwrap();
            prop_assert_eq!(copy.content_hash().unwrap(), chunk.content_hash().unwrap());
        }
    }

    /// Property 13.
    #[test]
    fn a_chunk_in_another_format_has_the_same_hash(
        from in kind(),
        to in kind(),
        entries in prop::collection::vec(shapes::entry(true), 1..60),
    ) {
        let mut entries = entries;
        if !from.format.has_metadata() || !to.format.has_metadata() {
            entries.iter_mut().for_each(|entry| entry.metadata.clear());
        }
        let chunk = built(from, &entries).unwrap();
        let copy = opened(chunk.recompress(to).unwrap().unwrap().bytes);
        prop_assert_eq!(copy.format(), to.format);
        prop_assert_eq!(copy.content_hash(), chunk.content_hash());
        prop_assert_eq!(all(&copy), all(&chunk));
    }
}

#[test]
fn two_replicas_become_one() {
    let entries: Vec<Owned> = (0..500)
        .map(|n| Owned {
            timestamp_ns: n / 3,
            line: format!("line {n}").into_bytes(),
            metadata: vec![(b"a".to_vec(), n.to_string().into_bytes()), (b"b".to_vec(), b"1".to_vec())],
        })
        .collect();
    let one = built(BuilderOptions { block_size: 700, ..BuilderOptions::default() }, &entries).unwrap();
    let reversed: Vec<Owned> = entries
        .iter()
        .cloned()
        .map(|mut entry| {
            entry.metadata.reverse();
            entry
        })
        .collect();
    let other = built(BuilderOptions::columnar(Profile::Fast), &reversed).unwrap();
    let merged = merge([&one, &other], BuilderOptions::default()).unwrap();
    assert_eq!(merged.duplicates, 500);
    let chunk = opened(merged.chunk.unwrap().bytes);
    assert_eq!(chunk.content_hash(), one.content_hash());
    assert_eq!(all(&chunk), entries);
}

/// It was given, and no reader with these limits could open it.
#[test]
fn what_the_limits_do_not_allow_to_read_is_not_given() {
    for options in each_kind() {
        let source = |first: i64| {
            let line = |n| format!("{n} {:032x}", (n + 1) as u128 * 0x1234_5678_9ABC_DEF1_2345_6789);
            let entries: Vec<_> = (first..first + 60).map(|n| Owned::new(n, line(n).as_bytes())).collect();
            built(options, &entries).unwrap()
        };
        let (one, two) = (source(0), source(100));
        let max_object_bytes = one.bytes().len().max(two.bytes().len()) + 10;
        let limits = Limits { max_object_bytes, ..Limits::default() };
        let found = merge([&one, &two], BuilderOptions { target_size: 100, limits, ..options }).map(|_| ());
        let is_limit = matches!(found, Err(Error::LimitExceeded { limit: "max_object_bytes", .. }));
        assert!(is_limit, "{}: {found:?}", name(&options));
    }
}

#[test]
fn what_is_lost_is_told_with_its_source() {
    for options in each_kind() {
        let entries: Vec<Owned> =
            (0..60).map(|n| Owned::new(n, format!("line {n} of 60").as_bytes())).collect();
        let whole = built(options, &entries).unwrap();
        let block = whole.blocks()[1];
        let mut bytes = whole.bytes().to_vec();
        bytes[usize::try_from(block.offset + block.size_bytes).unwrap() - 1] ^= 1;
        let damaged = skipping(bytes);
        let merged = merge([&whole, &damaged], options).unwrap();
        let [(1, damage)] = &merged.damage[..] else { panic!("{}: {:?}", name(&options), merged.damage) };
        assert_eq!((damage.block, damage.entries_lost()), (1, block.entries));
        assert_eq!(merged.duplicates, 60 - block.entries);
        assert_eq!(all(&opened(merged.chunk.unwrap().bytes)), entries);
    }
}

#[test]
fn metadata_does_not_fit_into_version_3() {
    let entry = Owned { metadata: vec![(b"a".to_vec(), b"b".to_vec())], ..Owned::new(1, b"x") };
    let chunk = built(BuilderOptions::default(), &[entry]).unwrap();
    let options = BuilderOptions { format: Format::LokiV3, ..BuilderOptions::default() };
    let error = Error::MetadataNotSupported { version: 3 };
    assert_eq!(chunk.recompress(options), Err(error.clone()));
    assert_eq!(merge([&chunk], options).map(|_| ()), Err(error));
}

#[test]
fn a_chunk_that_holds_something_else_than_its_hash_says_is_not_copied() {
    let entries: Vec<Owned> = (0..5).map(|n| Owned::new(n, b"x")).collect();
    let chunk = built(BuilderOptions::columnar(Profile::Fast), &entries).unwrap();
    let mut bytes = chunk.bytes().to_vec();
    // The hash in the footer, and the checksum behind it.
    let at = bytes.windows(16).position(|window| window == chunk.content_hash().unwrap().to_le_bytes());
    let hashes: Vec<usize> = (0..bytes.len() - 16)
        .filter(|&at| bytes[at..at + 16] == chunk.content_hash().unwrap().to_le_bytes())
        .collect();
    assert!(at.is_some() && hashes.len() == 2, "in the group and in the footer");
    bytes[hashes[1]] ^= 1;
    let end = bytes.len();
    let footer = end - 24 - u32::from_le_bytes(*bytes[end - 24..].first_chunk().unwrap()) as usize;
    let sum = crc32fast::hash(&[&bytes[footer..end - 12], &bytes[end - 8..]].concat());
    bytes[end - 12..end - 8].copy_from_slice(&sum.to_le_bytes());
    let chunk = Chunk::open(bytes, &Limits::default()).unwrap();
    let options = BuilderOptions { codec: Codec::None, ..BuilderOptions::default() };
    assert!(matches!(chunk.recompress(options), Err(Error::Corrupt { .. })));
}
