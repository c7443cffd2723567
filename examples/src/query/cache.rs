//! Blocks of stored chunks that were decoded, kept for the next query that reads them: so many bytes, and of those most
//! that are read again and again. However many read a block at the same time, one decodes it.
//!
//! A block is kept under the key of its object and under what it is. Every read fetches the object, so one that was
//! deleted is not there any more, and one that was written anew under the same key has other blocks.

use std::fmt;
use std::sync::Arc;

use forebay_chunk::{BlockCache, BlockId, DecodedBlock, Error};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// What a decoded block takes, by the default sizes of blocks.
const TYPICAL_BYTES: u64 = 384 << 10;
/// What it takes beside itself and the key of its object.
const ENTRY_BYTES: usize = 128;

type Key = (Arc<str>, BlockId);
type Kept = Cache<Key, DecodedBlock, ByBytes>;

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Key, DecodedBlock> for ByBytes {
    fn weight(&self, (object, _): &Key, block: &DecodedBlock) -> u64 {
        (block.memory_bytes() + object.len() + ENTRY_BYTES) as u64
    }
}

/// The blocks that are kept. Cheap to clone.
#[derive(Clone)]
pub(super) struct Blocks(Option<Arc<Kept>>);

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref().map(|kept| kept.weight());
        f.debug_struct("Blocks").field("bytes", &bytes).finish_non_exhaustive()
    }
}

impl Blocks {
    /// Keeps up to `bytes`; none where that is 0.
    pub(super) fn new(bytes: u64) -> Self {
        let expected = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        Self((bytes > 0).then(|| Arc::new(Cache::with_weighter(expected, bytes, ByBytes))))
    }

    /// How many there are, and their bytes.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, u64) {
        self.0.as_ref().map_or((0, 0), |kept| (kept.len(), kept.weight()))
    }

    /// Those of the object with `key`.
    pub(super) fn of(&self, key: &str) -> Option<Arc<dyn BlockCache>> {
        let kept = Arc::clone(self.0.as_ref()?);
        Some(Arc::new(OfObject { kept, object: key.into() }))
    }
}

struct OfObject {
    kept: Arc<Kept>,
    object: Arc<str>,
}

impl BlockCache for OfObject {
    fn get_or_decode(
        &self,
        id: BlockId,
        decode: &mut dyn FnMut() -> Result<DecodedBlock, Error>,
    ) -> Result<DecodedBlock, Error> {
        let mut missed = false;
        let block = self.kept.get_or_insert_with(&(Arc::clone(&self.object), id), || {
            missed = true;
            decode()
        });
        if missed {
            metrics::counter!("forebay_block_cache_misses_total").increment(1);
            metrics::gauge!("forebay_block_cache_bytes").set(self.kept.weight() as f64);
        } else {
            metrics::counter!("forebay_block_cache_hits_total").increment(1);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Limits};

    use super::*;

    /// A chunk of some blocks of about 4 KiB.
    fn chunk(first: &str) -> Chunk {
        let codec = Codec::Snappy;
        let mut builder =
            Builder::new(BuilderOptions { block_size: 4096, codec, ..BuilderOptions::default() }).unwrap();
        for at in 0..1000 {
            let line = if at == 0 { first.to_owned() } else { format!("line {at} of a thousand") };
            builder.append(Entry::new(at, &line)).unwrap();
        }
        Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap()
    }

    /// The first line, and how many blocks were decoded and found.
    fn read(chunk: &Chunk, blocks: &Blocks, key: &str) -> (Vec<u8>, u64, u64) {
        let mut entries = chunk.entries(.., Direction::Forward).through(blocks.of(key).unwrap());
        let first = entries.next().unwrap().unwrap().line.to_vec();
        while entries.next().unwrap().is_some() {}
        (first, entries.stats().blocks_decoded, entries.stats().blocks_shared)
    }

    #[test]
    fn blocks_are_decoded_once_and_are_those_of_the_object_that_is_there() {
        let blocks = Blocks::new(1 << 20);
        let (before, after) = (chunk("before"), chunk("after"));
        let count = before.blocks().len() as u64;
        assert_eq!(read(&before, &blocks, "t/key"), (b"before".to_vec(), count, 0));
        assert_eq!(read(&before, &blocks, "t/key"), (b"before".to_vec(), 0, count));
        // Deleted, and written anew.
        let (first, decoded, _) = read(&after, &blocks, "t/key");
        assert_eq!(first, b"after");
        assert!(decoded > 0);
        // What others store is theirs.
        assert_eq!(read(&before, &blocks, "u/key").1, count);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let blocks = Blocks::new(30_000);
        for n in 0..20 {
            read(&chunk("x"), &blocks, &n.to_string());
            let bytes = blocks.0.as_ref().unwrap().weight();
            assert!((1..=30_000).contains(&bytes), "{bytes}");
        }
        assert!(Blocks::new(0).of("t/key").is_none());
        // A block that is larger than all that may be kept is read all the same.
        let small = Blocks::new(100);
        assert_eq!(read(&chunk("x"), &small, "t/key").0, b"x");
        assert_eq!(small.0.unwrap().weight(), 0);
    }

    #[test]
    fn of_many_who_read_a_block_at_the_same_time_one_decodes_it() {
        let (blocks, chunk, begin) = (Blocks::new(1 << 20), chunk("x"), Barrier::new(8));
        let decoded = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    begin.wait();
                    let (_, own, _) = read(&chunk, &blocks, "t/key");
                    decoded.fetch_add(usize::try_from(own).unwrap(), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(decoded.into_inner(), chunk.blocks().len());
    }
}
