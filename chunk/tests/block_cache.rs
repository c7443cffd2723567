//! Reads through a cache of decoded blocks, against reads without.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use forebay_chunk::{
    BlockCache, BlockId, Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, DecodedBlock, Direction,
    Entry, Error, Format, Limits, LineFilter,
};
use proptest::prelude::*;

#[path = "support/handmade.rs"]
mod handmade;
#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use handmade::{Block, Handmade, NONE, line};
use owned::{Owned, collect};
use shapes::{built, entry, kind, opened, stored};

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

/// Keeps all, and counts what was decoded.
#[derive(Default)]
struct All {
    blocks: Mutex<HashMap<BlockId, DecodedBlock>>,
    decoded: AtomicUsize,
}

impl BlockCache for All {
    fn get_or_decode(
        &self,
        id: BlockId,
        decode: &mut dyn FnMut() -> Result<DecodedBlock, Error>,
    ) -> Result<DecodedBlock, Error> {
        let mut blocks = self.blocks.lock().unwrap();
        if let Some(block) = blocks.get(&id) {
            return Ok(block.clone());
        }
        self.decoded.fetch_add(1, Ordering::Relaxed);
        Ok(blocks.entry(id).insert_entry(decode()?).get().clone())
    }
}

/// Answers with the first block it ever saw, whatever it is asked for.
#[derive(Default)]
struct Confused(Mutex<Option<DecodedBlock>>);

impl BlockCache for Confused {
    fn get_or_decode(
        &self,
        _: BlockId,
        decode: &mut dyn FnMut() -> Result<DecodedBlock, Error>,
    ) -> Result<DecodedBlock, Error> {
        let mut first = self.0.lock().unwrap();
        match &*first {
            Some(block) => Ok(block.clone()),
            None => Ok(first.insert(decode()?).clone()),
        }
    }
}

proptest! {
    #[test]
    fn a_read_through_a_cache_gives_what_a_read_without_one_gives(
        (options, chunks) in kind().prop_flat_map(|options| {
            let entries = prop::collection::vec(entry(options.format != Format::LokiV3), 0..60);
            (Just(options), prop::collection::vec(entries, 1..4))
        }),
        range in (0i64..12, 0i64..12),
        needle in prop::option::of("[a-c1-3]"),
    ) {
        let all = Arc::new(All::default());
        let confused = Arc::new(Confused::default());
        let range = range.0.min(range.1)..=range.0.max(range.1);
        let filter = needle.map_or_else(LineFilter::new, |needle| LineFilter::new().any_of([needle]));
        let chunks: Vec<Chunk> = chunks.iter().filter_map(|entries| built(options, entries)).collect();
        for chunk in chunks.iter().chain(&chunks) {
            for direction in DIRECTIONS {
                let mut without = chunk.filter(range.clone(), &filter, direction);
                let expected = collect(&mut without).unwrap();
                let mut with = chunk.filter(range.clone(), &filter, direction).through(all.clone());
                prop_assert_eq!(collect(&mut with).unwrap(), expected.clone());
                let (stats, plain) = (with.stats(), without.stats());
                prop_assert_eq!(stats.blocks_decoded + stats.blocks_shared, plain.blocks_decoded);
                prop_assert_eq!(stats.lines_tested, plain.lines_tested);
                let mut with = chunk.filter(range.clone(), &filter, direction).through(confused.clone());
                prop_assert_eq!(collect(&mut with).unwrap(), expected);
            }
        }
    }
}

fn options(codec: Codec) -> BuilderOptions {
    BuilderOptions { format: Format::LokiV4, codec, block_size: 4096, ..BuilderOptions::default() }
}

fn chunk_of(codec: Codec, lines: impl Iterator<Item = String>) -> Chunk {
    let mut builder = Builder::new(options(codec)).unwrap();
    for (time, line) in (0..).zip(lines) {
        builder.append(Entry::new(time, &line)).unwrap();
    }
    opened(builder.finish().unwrap().bytes)
}

fn read(chunk: &Chunk, cache: Arc<dyn BlockCache>) -> Result<Vec<Owned>, Error> {
    collect(&mut chunk.entries(.., Direction::Forward).through(cache))
}

#[test]
fn a_block_is_decoded_once_whichever_copy_of_the_chunk_is_read() {
    let lines = || (0..1000).map(|n| format!("line {n} of a thousand"));
    let (first, copy) = (chunk_of(Codec::Snappy, lines()), chunk_of(Codec::Snappy, lines()));
    let cache = Arc::new(All::default());
    let entries = read(&first, cache.clone()).unwrap();
    let blocks = first.blocks().len();
    assert!(blocks > 3);
    assert_eq!(cache.decoded.load(Ordering::Relaxed), blocks);
    let filter = LineFilter::new().any_of(["7"]);
    let mut found = copy.filter(.., &filter, Direction::Backward).through(cache.clone());
    let mut expected: Vec<Owned> = entries.into_iter().filter(|e| e.line.contains(&b'7')).collect();
    expected.reverse();
    assert_eq!(collect(&mut found).unwrap(), expected);
    assert_eq!((found.stats().blocks_decoded, found.stats().decoded_bytes), (0, 0));
    assert_eq!(cache.decoded.load(Ordering::Relaxed), blocks);
}

/// Two chunks that differ in one byte of one line, as an object that was deleted and written anew.
#[test]
fn a_block_that_is_another_one_is_never_taken_for_it() {
    let lines = |digit: u32| (0..1000).map(move |n| if n == 500 { digit.to_string() } else { n.to_string() });
    let (before, after) = (chunk_of(Codec::Snappy, lines(1)), chunk_of(Codec::Snappy, lines(2)));
    let cache = Arc::new(All::default());
    read(&before, cache.clone()).unwrap();
    let found = read(&after, cache.clone()).unwrap();
    assert_eq!(found[500].line, b"2");
    let common = stored(&before).iter().zip(&stored(&after)).filter(|(a, b)| a == b).count();
    assert_eq!(cache.decoded.load(Ordering::Relaxed), 2 * before.blocks().len() - common);
}

#[test]
fn what_a_read_may_decode_is_the_same_with_a_cache_that_is_full() {
    let chunk = chunk_of(Codec::Snappy, (0..1000).map(|n| format!("line {n} of a thousand")));
    let cache = Arc::new(All::default());
    read(&chunk, cache.clone()).unwrap();
    for bytes in [100, 5_000, 50_000, 500_000] {
        let limits = Limits { max_decoded_bytes: bytes, ..Limits::default() };
        let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
        let plain = collect(&mut chunk.entries(.., Direction::Forward)).map_err(|error| error.to_string());
        assert_eq!(plain.is_ok(), bytes == 500_000);
        let found = read(&chunk, cache.clone()).map_err(|error| error.to_string());
        assert_eq!(found.is_ok(), plain.is_ok());
        assert!(found.err().is_none_or(|error| error.contains("max_decoded_bytes")));
    }
    // Nor are lines handed out that are longer than a reader takes.
    let limits = Limits { max_line_bytes: 3, ..Limits::default() };
    let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
    assert!(matches!(read(&chunk, cache), Err(Error::LimitExceeded { limit: "max_line_bytes", .. })));
}

/// Without a checksum that is wrong: the index says another number of entries.
#[test]
fn a_block_that_is_damaged_is_told_each_time_and_kept_never() {
    let good = Block::new(1, 1, 1, 1, line(1, b"a"));
    let bad = Block::new(2, 2, 2, 1, line(2, b"b"));
    let bytes = Handmade::new(3, NONE, vec![good, bad]).bytes();
    let cache = Arc::new(All::default());
    let strict = Chunk::open(bytes.clone(), &Limits::default()).unwrap();
    let skipping = Chunk::open_with(bytes, &Limits::default(), CorruptionPolicy::SkipBlock).unwrap();
    for _ in 0..2 {
        assert!(matches!(read(&strict, cache.clone()), Err(Error::Corrupt { .. })));
        let mut entries = skipping.entries(.., Direction::Forward).through(cache.clone());
        assert_eq!(collect(&mut entries).unwrap(), [Owned::new(1, b"a")]);
        assert_eq!(entries.damage().len(), 1);
    }
    assert_eq!(cache.blocks.lock().unwrap().len(), 1);
}

/// Bytes that say when they are gone.
struct Held {
    bytes: Vec<u8>,
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Blocks that are not compressed lie in the object, all of which a block in the cache held.
#[test]
fn what_is_kept_is_the_block_alone() {
    for codec in [Codec::None, Codec::Snappy] {
        let plain = chunk_of(codec, (0..1000).map(|n| format!("line {n} of a thousand")));
        let alive = Arc::new(());
        let held = Held { bytes: plain.bytes().to_vec(), _alive: Arc::clone(&alive) };
        let chunk = opened(bytes::Bytes::from_owner(held));
        let cache = Arc::new(All::default());
        read(&chunk, cache.clone()).unwrap();
        drop(chunk);
        assert_eq!(Arc::strong_count(&alive), 1, "{codec}");
        let blocks = cache.blocks.lock().unwrap();
        let raw: u64 = plain.raw_bytes().unwrap();
        let kept: usize = blocks.values().map(DecodedBlock::memory_bytes).sum();
        assert!(kept as u64 > raw && (kept as u64) < raw + 1000 * 40, "{kept} for {raw}");
    }
}
