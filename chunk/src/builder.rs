//! From entries to a chunk: an open block takes entries, is sealed when it is full, and is compressed
//! wherever the caller likes. Whatever stage a block is in, a snapshot reads it, so what a query sees never
//! depends on when blocks are cut, encoded or attached.

mod bounds;
mod checkpoint;
mod options;
mod pending;
mod snapshot;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::block::{Block, Source, Target};
use crate::columnar;
use crate::damage::CorruptionPolicy;
use crate::entry::{Entry, SymbolPair};
use crate::error::to_u64;
use crate::head::Head;
use crate::iter::Reading;
use crate::loki::encode::{self, Form};
use crate::loki::format::Format;
use crate::range::TimeRange;
use crate::symbols::Interner;

use bounds::{cost, metadata_bytes};

pub(crate) use bounds::{columnar_bound, loki_bound};
pub use options::BuilderOptions;
pub use pending::{EncodedBlock, PendingBlock};
pub use snapshot::Snapshot;

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Append {
    /// It is in the chunk.
    Stored,
    /// The open block had the same line with the same metadata at the same time; it was not stored again.
    Duplicate,
}

/// Builds one chunk of one stream.
///
/// Entries may come in any order, as far as [`BuilderOptions::out_of_order`] lets them. All but compression is cheap, and compression is apart: [`take_full`] hands
/// out sealed blocks, which are encoded without the builder, on another thread if need be, and then attached.
/// A block that never comes back is encoded by [`finish`].
///
/// [`take_full`]: Builder::take_full
/// [`finish`]: Builder::finish
pub struct Builder {
    options: BuilderOptions,
    interner: Interner,
    /// Its pages are shared with snapshots.
    head: Head,
    blocks: Vec<Stage>,
    pairs: Vec<SymbolPair>,
    entries: u64,
    raw_bytes: u64,
    bounds: Option<(i64, i64)>,
    /// The newest time of the stream, in this chunk or one before.
    highest_ns: Option<i64>,
    /// The newest time of the blocks that are sealed.
    sealed_newest_ns: Option<i64>,
    may_repeat: bool,
    /// The most that decoding the whole chunk can cost its reader.
    decoded_bound: u64,
    /// What entries without metadata may still [take](cost) before the chunk has to be weighed again: all limits are that
    /// far away.
    room: usize,
    encoded: Sizes,
    sealed_raw_bytes: usize,
}

/// A block after it was cut.
#[derive(Debug)]
enum Stage {
    Sealed { head: Arc<Head>, taken: bool },
    Encoded(Block),
}

/// Of the blocks that are encoded.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    raw: usize,
    stored: usize,
}

impl Builder {
    /// A builder of an empty chunk. Takes no memory worth the name until the first entry.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedVersion`] and [`Error::UnsupportedCodec`] for what cannot be written,
    /// [`Error::InvalidOption`] for sizes of zero, for blocks larger than the limits, and for a
    /// [`max_ratio`](crate::Limits::max_ratio) that the codec can exceed: 1032 for gzip and flate, 255 for lz4, 22
    /// for snappy.
    pub fn new(options: BuilderOptions) -> Result<Self, Error> {
        let BuilderOptions { format, codec, block_size, target_size, limits, .. } = options;
        if !format.is_writable() {
            return Err(Error::UnsupportedVersion { version: format.version() });
        }
        let max_ratio = match options.target() {
            Target::Loki { .. } => codec.supported()?.max_ratio(),
            Target::Columnar(..) => 0,
        };
        for (option, value, min, max) in [
            ("block_size", block_size, 1, limits.block_bytes()),
            ("target_size", target_size, 1, limits.max_object_bytes),
            ("max_entries_per_block", limits.max_entries_per_block, 1, usize::MAX),
            ("max_ratio", limits.max_ratio, max_ratio, usize::MAX),
        ] {
            if value < min || value > max {
                let [value, min, max] = [value, min, max].map(to_u64);
                return Err(Error::InvalidOption { option, value, min, max });
            }
        }
        Ok(Self {
            options,
            interner: Interner::default(),
            head: Head::default(),
            blocks: Vec::new(),
            pairs: Vec::new(),
            entries: 0,
            raw_bytes: 0,
            bounds: None,
            highest_ns: None,
            sealed_newest_ns: None,
            may_repeat: false,
            decoded_bound: 0,
            room: 0,
            encoded: Sizes::default(),
            sealed_raw_bytes: 0,
        })
    }

    /// The same builder where an entry of this time was in an earlier chunk of the stream. It counts for
    /// [`out_of_order`](BuilderOptions::out_of_order).
    #[must_use]
    pub fn with_highest(mut self, timestamp_ns: i64) -> Self {
        self.highest_ns = self.highest_ns.max(Some(timestamp_ns));
        self
    }

    /// The newest time of the stream, in this chunk or [before](Builder::with_highest): what the next builder of the
    /// stream has to know.
    pub fn highest_ns(&self) -> Option<i64> {
        self.highest_ns
    }

    /// Whether an entry may be in the chunk twice: one came that is no newer than all of the blocks before its own. As long
    /// as that is not so, whoever drops exact duplicates finds as many entries as [`entries`](Self::entries) says.
    pub fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Adds an entry, in amortised constant time whatever its timestamp.
    ///
    /// A block that is full by it is sealed, and waits for [`take_full`](Builder::take_full). The size of the
    /// chunk is not checked: ask [`space_for`](Builder::space_for) first.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] if the entry is older than the window allows; [`Error::LimitExceeded`] if the line is too
    /// long for the limits, or if there would be too many symbols or blocks, or more than one reader may decode, in
    /// which cases a new chunk may take it; [`Error::MetadataNotSupported`] if it has metadata and the format none. The
    /// entry is not stored then.
    pub fn append(&mut self, entry: Entry<'_>) -> Result<Append, Error> {
        self.put(entry, Head::append)
    }

    /// Adds an entry whether the open block has it or not; otherwise as [`append`](Self::append).
    pub(crate) fn append_again(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        let stored = self.put(entry, |head, timestamp_ns, line, pairs| {
            head.push(timestamp_ns, line, pairs);
            true
        });
        self.may_repeat = true;
        stored.map(|_| ())
    }

    fn put(
        &mut self,
        entry: Entry<'_>,
        store: impl FnOnce(&mut Head, i64, &[u8], &[SymbolPair]) -> bool,
    ) -> Result<Append, Error> {
        let Entry { timestamp_ns, line, metadata } = entry;
        let has_room = self.has_room(&entry);
        let decoded_bound = if has_room {
            self.check_order(timestamp_ns)?;
            self.room -= cost(&entry);
            self.decoded_with(&entry)
        } else {
            self.check(&entry)?
        };
        self.pairs.clear();
        if !metadata.is_empty() {
            self.room = 0;
            for (name, value) in metadata {
                let pair =
                    SymbolPair { name: self.interner.intern(name), value: self.interner.intern(value) };
                self.pairs.push(pair);
            }
        }
        if !store(&mut self.head, timestamp_ns, line, &self.pairs) {
            return Ok(Append::Duplicate);
        }
        self.entries += 1;
        self.may_repeat |= self.sealed_newest_ns.is_some_and(|newest_ns| timestamp_ns <= newest_ns);
        self.decoded_bound = decoded_bound;
        self.raw_bytes += to_u64(entry.raw_bytes());
        self.bounds = match self.bounds {
            None => Some((timestamp_ns, timestamp_ns)),
            Some((min, max)) => Some((min.min(timestamp_ns), max.max(timestamp_ns))),
        };
        self.highest_ns = self.highest_ns.max(Some(timestamp_ns));
        if self.head_is_full() {
            self.seal();
        } else if !has_room {
            self.weigh();
        }
        Ok(Append::Stored)
    }

    /// A block is full by its raw bytes, or by entries too small to have many.
    #[inline]
    fn head_is_full(&self) -> bool {
        let BuilderOptions { block_size, limits, .. } = self.options;
        let most = if self.options.format == Format::Columnar { block_size / 64 } else { block_size / 4 };
        let max_entries = most.clamp(1, limits.max_entries_per_block.max(1));
        self.head.raw_bytes() >= block_size || self.head.len() >= max_entries || self.head.is_full()
    }

    fn seal(&mut self) {
        if self.head.is_empty() {
            return;
        }
        self.room = 0;
        let mut head = std::mem::take(&mut self.head);
        head.seal();
        self.sealed_newest_ns = self.sealed_newest_ns.max(head.bounds().map(|(_, newest_ns)| newest_ns));
        self.sealed_raw_bytes += head.raw_bytes();
        self.blocks.push(Stage::Sealed { head: Arc::new(head), taken: false });
    }

    /// The oldest block that is full and was not handed out yet. Encode it, where no lock is held, and
    /// [`attach`](Builder::attach) the result.
    pub fn take_full(&mut self) -> Option<PendingBlock> {
        let head = self.blocks.iter_mut().find_map(|block| match block {
            Stage::Sealed { head, taken } => (!std::mem::replace(taken, true)).then(|| Arc::clone(head)),
            Stage::Encoded(_) => None,
        })?;
        Some(PendingBlock { head, symbols: self.interner.table().clone(), target: self.options.target() })
    }

    /// Encodes all blocks that are full, and frees what they were encoded from.
    pub(crate) fn encode_full(&mut self) {
        while self.sealed_raw_bytes > 0
            && let Some(block) = self.take_full()
        {
            self.attach(block.encode());
        }
    }

    /// Seals the open block, however little it holds, and hands out the oldest block that was not yet; `None`
    /// if there is none. Called until then it empties the builder of all that is not encoded.
    pub fn cut(&mut self) -> Option<PendingBlock> {
        self.seal();
        self.take_full()
    }

    /// Puts an encoded block in its place and frees what it was encoded from.
    ///
    /// Blocks may come back in any order. False if the block is not one of this builder's, or was attached
    /// before; nothing has changed then.
    pub fn attach(&mut self, block: EncodedBlock) -> bool {
        let EncodedBlock { source, block } = block;
        let slot = self.blocks.iter_mut().find(|slot| match slot {
            Stage::Sealed { head, .. } => Arc::ptr_eq(head, &source),
            Stage::Encoded(_) => false,
        });
        let Some(slot) = slot else { return false };
        self.room = 0;
        self.sealed_raw_bytes -= source.raw_bytes();
        self.encoded.raw += source.raw_bytes();
        self.encoded.stored += block.data().len();
        *slot = Stage::Encoded(block);
        true
    }

    /// Whether the chunk stays within its target with this entry, and within what one reader may decode. An
    /// empty chunk has space for anything.
    pub fn space_for(&self, entry: &Entry<'_>) -> bool {
        self.has_room(entry) || self.is_empty() || self.fits_target(entry)
    }

    fn fits_target(&self, entry: &Entry<'_>) -> bool {
        let more = entry.line.len() + metadata_bytes(entry);
        let BuilderOptions { target_size, limits, .. } = self.options;
        let fits = self.estimated_bytes() + more < target_size;
        let decoded = self.decoded_with(entry).saturating_add(self.work_bound(entry));
        fits && decoded <= limits.max_decoded_bytes
    }

    /// Whether the chunk has reached its target.
    pub fn is_full(&self) -> bool {
        self.estimated_bytes() >= self.options.target_size
    }

    /// How much of the target is reached; 1 when full.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of sizes needs no more than 52 bits")]
    pub fn utilization(&self) -> f64 {
        self.estimated_bytes() as f64 / self.options.target_size as f64
    }

    /// About what [`finish`](Builder::finish) would give: encoded blocks as they are, sealed ones by the
    /// ratio of those, the open block and the symbols as if they did not compress.
    pub fn estimated_bytes(&self) -> usize {
        let Sizes { raw, stored } = self.encoded;
        let sealed = match (self.sealed_raw_bytes, raw) {
            (0, _) | (_, 0) => self.sealed_raw_bytes,
            (sealed, _) => sealed.saturating_mul(stored) / raw,
        };
        self.interner.table().bytes() + stored + sealed + self.head.raw_bytes()
    }

    /// Times of the oldest and the newest entry; `None` while there is none.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    /// How many entries are stored.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of all lines, and 8 for each metadata pair.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// How it was configured.
    pub fn options(&self) -> &BuilderOptions {
        &self.options
    }

    /// What the builder holds in memory, in bytes: for a budget over many of them. What snapshots hold beyond
    /// that, and blocks on their way to be attached, is not counted.
    pub fn memory_bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| match block {
            Stage::Sealed { head, .. } => head.memory_bytes(),
            Stage::Encoded(block) => block.data().len(),
        });
        size_of::<Self>()
            + self.blocks.capacity() * size_of::<Stage>()
            + blocks.sum::<usize>()
            + self.head.memory_bytes()
            + self.interner.memory_bytes()
    }

    /// What is stored now, to be read without the builder.
    ///
    /// Takes a few reference counts for each block that overlaps the range, and one for each page of the open block,
    /// and copies the last entries, at most 3 KiB: cheap enough under a lock. An append soon after it copies the last page
    /// of each kind, 88 KiB in all at most, if the snapshot still lives.
    pub fn snapshot(&self, range: impl Into<TimeRange>) -> Snapshot {
        let BuilderOptions { format, codec, limits, .. } = self.options;
        let range = range.into();
        let overlaps = |source: &Source| source.bounds().is_some_and(|(min, max)| range.overlaps(min, max));
        let sealed = self.blocks.iter().map(|block| match block {
            Stage::Sealed { head, .. } => Source::Memory(Arc::clone(head)),
            Stage::Encoded(block) => Source::Stored(block.clone()),
        });
        let open = self.head.bounds().filter(|&(min, max)| range.overlaps(min, max));
        let open = open.map(|_| Source::Memory(Arc::new(self.head.clone())));
        Snapshot {
            reading: Reading { format, codec, limits, policy: CorruptionPolicy::Fail },
            symbols: self.interner.table().clone(),
            sources: sealed.filter(overlaps).chain(open).collect(),
            range,
        }
    }

    /// Encodes what is not encoded yet and puts the chunk together; `None` if nothing was stored.
    ///
    /// Compresses everything that was not attached, and the symbols: not for a place where a lock is held.
    pub fn finish(mut self) -> Option<EncodedChunk> {
        self.seal();
        let (from_ns, through_ns) = self.bounds?;
        let (target, symbols) = (self.options.target(), self.interner.table());
        let encoded = |stage| match stage {
            Stage::Sealed { head, .. } => target.encode(&head, symbols),
            Stage::Encoded(block) => block,
        };
        let blocks: Vec<Block> = self.blocks.into_iter().map(encoded).collect();
        let bytes = match target {
            Target::Loki { format, codec } => encode::chunk(format, codec, Form::Stored, symbols, &blocks),
            Target::Columnar(..) => columnar::assemble(&blocks),
        };
        Some(EncodedChunk { bytes, from_ns, through_ns, entries: self.entries, raw_bytes: self.raw_bytes })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("options", &self.options)
            .field("entries", &self.entries)
            .field("bounds", &self.bounds)
            .field("blocks", &self.blocks.len())
            .field("open_entries", &self.head.len())
            .field("estimated_bytes", &self.estimated_bytes())
            .finish_non_exhaustive()
    }
}

/// A chunk as it is stored, without an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChunk {
    /// The chunk.
    pub bytes: Bytes,
    /// Time of its oldest entry, nanoseconds since 1970.
    pub from_ns: i64,
    /// Time of its newest entry.
    pub through_ns: i64,
    /// How many entries it has.
    pub entries: u64,
    /// Bytes of all lines, and 8 for each metadata pair.
    pub raw_bytes: u64,
}
