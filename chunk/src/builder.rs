//! From entries to a chunk: an open block takes entries, is sealed when it is full, and is compressed
//! wherever the caller likes. Whatever stage a block is in, a snapshot reads it, so what a query sees never
//! depends on when blocks are cut, encoded or attached.

mod checkpoint;
mod pending;
mod snapshot;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::block::{Block, Source, Target};
use crate::columnar;
use crate::columnar::group::{MEMORY_OF_BYTE, MEMORY_OF_GROUP, MEMORY_OF_ROW, WORK_OF_GROUP};
use crate::damage::CorruptionPolicy;
use crate::entry::{Entry, SymbolPair};
use crate::error::to_u64;
use crate::head::Head;
use crate::iter::Reading;
use crate::loki::encode::{self, Form};
use crate::loki::entries::ROW_BYTES;
use crate::loki::format::Format;
use crate::range::TimeRange;
use crate::symbols::{Interner, SymbolTable};
use crate::{Codec, Error, Limits, Profile};

pub use pending::{EncodedBlock, PendingBlock};
pub use snapshot::Snapshot;

/// How a [`Builder`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct BuilderOptions {
    /// What to write. Default [`Format::LokiV4`]; versions 1 and 2 are only read.
    pub format: Format,
    /// How to compress Loki's formats. Default [`Codec::Snappy`], fast; [`Codec::Gzip`] is smaller and slower.
    pub codec: Codec,
    /// How much work to put into [`Format::Columnar`]. Default [`Profile::Balanced`].
    pub profile: Profile,
    /// Raw bytes at which a block is sealed. Default 256 KiB, but see [`BuilderOptions::columnar`]. Smaller blocks
    /// compress worse, larger ones are decompressed for less.
    pub block_size: usize,
    /// Encoded bytes at which the chunk is full. Default 1.5 MiB. Smaller chunks cost more requests and
    /// index, larger ones more memory for each stream.
    pub target_size: usize,
    /// How much older than the newest entry of the stream an entry may be. Default: as old as it likes. Loki takes half
    /// of the age at which it flushes a chunk, so that chunks of one stream overlap no more than that; less refuses
    /// senders that are late, more makes blocks overlap, which reads have to merge.
    pub out_of_order: Option<Duration>,
    /// What a reader is going to allow: no line, metadata, block or sequence of blocks is made that it would
    /// refuse. Only the size of the whole is up to the caller, who asks [`Builder::space_for`].
    pub limits: Limits,
}

impl Default for BuilderOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            codec: Codec::default(),
            profile: Profile::default(),
            block_size: 256 << 10,
            target_size: 3 << 19,
            out_of_order: None,
            limits: Limits::default(),
        }
    }
}

impl BuilderOptions {
    /// Those of a columnar chunk, with blocks of the size that the profile is meant for. The target is two such blocks at
    /// least, because until a block is encoded it counts as if it did not compress.
    pub fn columnar(profile: Profile) -> Self {
        let (block_size, default) = (profile.group_bytes(), Self::default());
        let target_size = default.target_size.max(2 * block_size);
        Self { format: Format::Columnar, profile, block_size, target_size, ..default }
    }

    fn target(&self) -> Target {
        match self.format {
            Format::Columnar => Target::Columnar(self.profile, self.limits),
            format => Target::Loki { format, codec: self.codec },
        }
    }
}

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
    /// [`max_ratio`](Limits::max_ratio) that the codec can exceed: 1032 for gzip and flate, 255 for lz4, 22
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

    /// Whether this entry is far from every limit.
    #[inline]
    fn has_room(&self, entry: &Entry<'_>) -> bool {
        let has_room = entry.metadata.is_empty()
            && entry.line.len() <= self.options.limits.max_line_bytes
            && cost(entry) <= self.room;
        debug_assert!(!has_room || self.fits_target(entry) && self.fits_block(entry));
        has_room
    }

    /// Finds out how far the limits are.
    fn weigh(&mut self) {
        let nothing = Entry::new(0, b"");
        let Limits { max_decoded_bytes, .. } = self.options.limits;
        let decoded = self.decoded_with(&nothing).saturating_add(self.work_bound(&nothing));
        let decoded = usize::try_from(max_decoded_bytes.saturating_sub(decoded)).unwrap_or(usize::MAX);
        let block = self.block_bound(self.head.encoded_bound(), &nothing);
        let block = self.options.limits.block_bytes().saturating_sub(block);
        let target = self.options.target_size.saturating_sub(self.estimated_bytes() + 1);
        self.room = decoded.min(block).min(target);
    }

    /// Whether the open block may have it too.
    fn fits_block(&self, entry: &Entry<'_>) -> bool {
        self.block_bound(self.head.encoded_bound(), entry) <= self.options.limits.block_bytes()
    }

    /// Refuses what a reader would refuse, and seals the block if this entry would make it so. Gives what decoding the
    /// chunk can cost with the entry.
    #[inline]
    fn check(&mut self, entry: &Entry<'_>) -> Result<u64, Error> {
        let Limits { max_line_bytes, max_symbols, max_symbol_bytes, max_blocks, max_decoded_bytes, .. } =
            self.options.limits;
        self.check_order(entry.timestamp_ns)?;
        if entry.line.len() > max_line_bytes {
            return Err(Error::limit("max_line_bytes", entry.line.len(), max_line_bytes));
        }
        let pairs = entry.metadata.len();
        if pairs > 0 {
            let format = self.options.format;
            if !format.has_metadata() {
                return Err(Error::MetadataNotSupported { version: format.version() });
            }
            // As if all of them were new: to find out costs more than is lost at the edge.
            let symbols = self.interner.table().len() + 2 * pairs;
            let bytes = self.interner.table().bytes() + metadata_bytes(entry);
            for (limit, value, max) in
                [("max_symbols", symbols, max_symbols), ("max_symbol_bytes", bytes, max_symbol_bytes)]
            {
                if value > max || u32::try_from(value).is_err() {
                    return Err(Error::limit(limit, value, max));
                }
            }
        }
        let max = self.options.limits.block_bytes();
        let bound = self.block_bound(0, entry);
        if bound > max {
            return Err(Error::limit("max_block_bytes", bound, max));
        }
        let decoded = self.decoded_with(entry);
        let value = decoded.saturating_add(self.work_bound(entry));
        let limit = "max_decoded_bytes";
        if value > max_decoded_bytes {
            return Err(Error::LimitExceeded { limit, value, max: max_decoded_bytes });
        }
        let seals = !self.head.is_empty() && !self.fits_block(entry);
        let blocks = self.blocks.len() + usize::from(seals) + 1;
        if blocks > max_blocks {
            return Err(Error::limit("max_blocks", blocks, max_blocks));
        }
        if seals {
            self.seal();
        }
        Ok(decoded)
    }

    #[inline]
    fn check_order(&self, timestamp_ns: i64) -> Result<(), Error> {
        let (Some(highest_ns), Some(window)) = (self.highest_ns, self.options.out_of_order) else {
            return Ok(());
        };
        let window = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        let cutoff_ns = highest_ns.saturating_sub(window);
        if timestamp_ns < cutoff_ns { Err(Error::OutOfOrder { timestamp_ns, cutoff_ns }) } else { Ok(()) }
    }

    /// The most bytes that a block decodes to if its entries take `bound` and one more is added.
    #[inline]
    fn block_bound(&self, bound: usize, entry: &Entry<'_>) -> usize {
        match self.options.format {
            Format::Columnar => columnar_bound(bound, self.interner.table(), entry),
            _ => loki_bound(bound, entry),
        }
    }

    /// The most that decoding the chunk can cost its reader if it gets this entry.
    #[inline]
    fn decoded_with(&self, entry: &Entry<'_>) -> u64 {
        let bound = match self.options.format {
            // Besides its parts a line is made once, and its columns are opened.
            Format::Columnar => {
                let columns = MEMORY_OF_BYTE * entry.line.len() + MEMORY_OF_ROW;
                3 * encoded_bound(entry) + columns + 2 * metadata_bytes(entry)
            }
            _ => encoded_bound(entry),
        };
        self.decoded_bound.saturating_add(to_u64(bound + ROW_BYTES))
    }

    /// The most that a reader of this entry and all before needs besides, at once or one after the other, for blocks that
    /// may overlap.
    #[inline]
    fn work_bound(&self, entry: &Entry<'_>) -> u64 {
        if self.options.format != Format::Columnar {
            return 0;
        }
        let groups = to_u64(self.blocks.len() + 1);
        let lines = self.raw_bytes + to_u64(entry.raw_bytes());
        // What lines are made in has less than forty times their bytes.
        let small = 40 * lines + 256 * (self.entries + 1);
        groups * to_u64(MEMORY_OF_GROUP) + small.min(lines + groups * to_u64(WORK_OF_GROUP))
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

/// More than any bound or estimate grows by an entry without metadata, in bytes.
#[inline]
fn cost(entry: &Entry<'_>) -> usize {
    (entry.line.len().saturating_add(16)).saturating_mul(64)
}

/// The most that the numbers around a line take in a block.
const ENTRY_BYTES: usize = 40;

/// The most that an entry takes in a block: its line and the numbers around it and its pairs.
#[inline]
fn encoded_bound(entry: &Entry<'_>) -> usize {
    entry.line.len() + ENTRY_BYTES + 20 * entry.metadata.len()
}

/// The most bytes that a block of Loki's decodes to if its entries take `bound` and one more is added.
#[inline]
pub(crate) fn loki_bound(bound: usize, entry: &Entry<'_>) -> usize {
    bound + encoded_bound(entry)
}

/// The same of a columnar one, whose symbols these are.
#[inline]
pub(crate) fn columnar_bound(bound: usize, symbols: &SymbolTable, entry: &Entry<'_>) -> usize {
    // Lines in parts take no more than twice their length. A group has the symbols that it needs, once or in columns
    // of four times their length.
    2 * loki_bound(bound, entry) + 5 * (symbols.bytes() + metadata_bytes(entry)) + 10 * symbols.len()
}

#[inline]
fn metadata_bytes(entry: &Entry<'_>) -> usize {
    if entry.metadata.is_empty() {
        return 0;
    }
    entry.metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
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
