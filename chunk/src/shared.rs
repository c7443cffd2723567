//! Blocks that are decompressed and checked once and read many times, and the seam to whoever keeps them in between.
//! Invariant: a read believes no cache. It takes a block only under the identity that it computed itself.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::Error;
use crate::chunk::BlockMeta;
use crate::loki::decode::StoredBlock;
use crate::loki::entries::{Context, Entries};

/// What a block comes to depends on this and nothing else: a hash of its stored bytes, of what the index says of it, of
/// the format and the codec, and of the limits that it is held against. Two chunks may have blocks of the same identity;
/// then they hold the same. It tells apart what is different by mistake, not two contents that somebody made to have one
/// hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(u128);

impl BlockId {
    pub(crate) fn of(block: &StoredBlock, context: &Context<'_>) -> Self {
        let BlockMeta { entries, min_ns, max_ns, raw_bytes, .. } = block.meta;
        let limits = context.limits;
        let counts = [limits.max_block_bytes, limits.max_line_bytes, limits.max_ratio, context.symbols.len()];
        let mut all = Vec::with_capacity(16 + 3 * 8 + 9 + 4 * 8 + 2);
        all.extend_from_slice(&xxh3_128(&block.data).to_le_bytes());
        all.extend_from_slice(&entries.to_le_bytes());
        all.extend_from_slice(&min_ns.to_le_bytes());
        all.extend_from_slice(&max_ns.to_le_bytes());
        all.push(u8::from(raw_bytes.is_some()));
        all.extend_from_slice(&raw_bytes.unwrap_or_default().to_le_bytes());
        counts.iter().for_each(|count| all.extend_from_slice(&count.to_le_bytes()));
        all.extend_from_slice(&[context.format.version(), context.codec.byte()]);
        Self(xxh3_128(&all))
    }
}

/// A block that was decompressed and checked. Cheap to clone; shares nothing with the chunk it came from.
#[derive(Clone)]
pub struct DecodedBlock {
    id: BlockId,
    entries: Arc<Entries>,
}

impl DecodedBlock {
    pub(crate) fn new(id: BlockId, mut entries: Entries) -> Self {
        entries.settle();
        Self { id, entries: Arc::new(entries) }
    }

    /// Which block it is.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// What it takes in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Entries>() + self.entries.memory_bytes()
    }

    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }
}

impl fmt::Debug for DecodedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodedBlock")
            .field("id", &self.id)
            .field("entries", &self.entries.len())
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}

/// Where decoded blocks are kept from one read to the next; see [`EntryIter::through`](crate::EntryIter::through).
///
/// ```
/// # use std::collections::HashMap;
/// # use std::sync::{Arc, Mutex};
/// # use forebay_chunk::{BlockCache, BlockId, Builder, BuilderOptions, Chunk, DecodedBlock, Direction, Entry, Error, Limits};
/// /// Keeps all, and has others wait while one is decoded.
/// #[derive(Default)]
/// struct All(Mutex<HashMap<BlockId, DecodedBlock>>);
///
/// impl BlockCache for All {
///     fn get_or_decode(
///         &self,
///         id: BlockId,
///         decode: &mut dyn FnMut() -> Result<DecodedBlock, Error>,
///     ) -> Result<DecodedBlock, Error> {
///         let mut all = self.0.lock().expect("nobody panics with it");
///         if let Some(block) = all.get(&id) {
///             return Ok(block.clone());
///         }
///         Ok(all.entry(id).insert_entry(decode()?).get().clone())
///     }
/// }
///
/// # let mut builder = Builder::new(BuilderOptions::default())?;
/// # builder.append(Entry::new(1, "a"))?;
/// # let chunk = Chunk::open(builder.finish().expect("an entry").bytes, &Limits::default())?;
/// let cache = Arc::new(All::default());
/// for decoded in [1, 0] {
///     let mut entries = chunk.entries(.., Direction::Forward).through(cache.clone());
///     while entries.next()?.is_some() {}
///     assert_eq!(entries.stats().blocks_decoded, decoded);
/// }
/// # Ok::<(), Error>(())
/// ```
pub trait BlockCache: Send + Sync {
    /// The block of an identity: the one that is kept, or what `decode` gives, which it may keep or not. To decode takes
    /// as long as it takes to decompress a block; to be called again it decodes again. Whoever is asked for the same
    /// block meanwhile may wait.
    ///
    /// # Errors
    ///
    /// Those of `decode`, which are not to be kept: a read may be allowed more than another one.
    fn get_or_decode(
        &self,
        id: BlockId,
        decode: &mut dyn FnMut() -> Result<DecodedBlock, Error>,
    ) -> Result<DecodedBlock, Error>;
}
