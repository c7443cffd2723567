//! A builder as bytes, and back: what was compressed stays so, and what was not is written as it is. `FORMAT.md` has
//! the bytes, which end in a checksum.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use bytes::Bytes;

use super::bounds::ENTRY_BYTES;
use super::{Builder, BuilderOptions, Stage};
use crate::block::{Block, Target};
use crate::chunk::BlockMeta;
use crate::columnar::group::Group;
use crate::error::to_u64;
use crate::head::Head;
use crate::loki::decode::StoredBlock;
use crate::loki::entries::ROW_BYTES;
use crate::loki::format::{CRC, Format, Reader, put_uvarint, put_varint};
use crate::loki::head;
use crate::symbols::{Interner, SymbolTable};
use crate::{Codec, Error, Limits, Section};

/// `FBCP`.
const MAGIC: [u8; 4] = *b"FBCP";
const VERSION: u8 = 1;
/// The format byte of columnar chunks; Loki's have their version.
const COLUMNAR: u8 = b'c';
/// A block that is sealed and not encoded.
const SEALED: u8 = 0;
const ENCODED: u8 = 1;

impl Builder {
    /// Appends all that the builder holds to `out`: entries, blocks that are sealed, and blocks that are encoded as they
    /// are. Nothing is compressed.
    ///
    /// Restored from these bytes a builder reads the same, drops the same duplicates and makes the same chunk. They have
    /// a checksum; to replace the checkpoint before them in one step is up to who stores them.
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let BuilderOptions { format, codec, .. } = self.options;
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, format_byte(format), codec.byte()]);
        put_symbols(out, self.interner.table());
        put_uvarint(out, self.decoded_bound);
        match self.highest_ns {
            Some(highest_ns) => {
                out.push(1);
                put_varint(out, highest_ns);
            }
            None => out.push(0),
        }
        put_uvarint(out, to_u64(self.blocks.len()));
        for block in &self.blocks {
            match block {
                Stage::Sealed { head, .. } => {
                    out.push(SEALED);
                    head::put(out, head, format);
                }
                Stage::Encoded(block) => {
                    out.push(ENCODED);
                    put_block(out, block);
                }
            }
        }
        head::put(out, &self.head, format);
        let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_be_bytes());
    }

    /// The builder of a checkpoint. It goes on in the format and with the codec that it was begun with; the other options
    /// may be others than then. Blocks that were sealed are handed out once more.
    ///
    /// # Errors
    ///
    /// What [`Builder::new`] has, and every error about bytes there is. The limits are those of the options.
    pub fn restore(checkpoint: &[u8], options: BuilderOptions) -> Result<Self, Error> {
        let limits = options.limits;
        if checkpoint.len() > limits.max_object_bytes {
            return Err(Error::limit("max_object_bytes", checkpoint.len(), limits.max_object_bytes));
        }
        let mut reader = Reader::new(checked(checkpoint)?, 0, Section::Checkpoint);
        let [_, _, _, _, version, format, codec] = reader.array()?;
        if version != VERSION {
            return Err(Error::UnsupportedVersion { version });
        }
        let format = if format == COLUMNAR { Format::Columnar } else { Format::from_version(format)? };
        let codec = Codec::from_byte(codec).ok_or(Error::UnsupportedCodec { codec })?;
        let mut builder = Self::new(BuilderOptions { format, codec, ..options })?;
        builder.interner = take_symbols(&mut reader, &limits)?;
        builder.decoded_bound = reader.uvarint()?;
        let at = reader.clone();
        builder.highest_ns = match reader.array()? {
            [0] => None,
            [1] => Some(reader.varint()?),
            [other] => return Err(at.corrupt(format!("{other} newest times, not 0 or 1"))),
        };
        let count = reader.size()?;
        if count > limits.max_blocks {
            return Err(Error::limit("max_blocks", count, limits.max_blocks));
        }
        for number in 0..count {
            let at = reader.clone();
            match reader.array()? {
                [SEALED] => {
                    let head = head::take(&mut reader, format, builder.interner.table(), &limits)?;
                    if head.is_empty() {
                        return Err(at.corrupt(format!("block {number} has no entries")));
                    }
                    builder.put_sealed(head);
                }
                [ENCODED] => {
                    let block = take_block(&mut reader, builder.options.target(), &limits)?;
                    let raw_bytes = usize::try_from(block.meta().raw_bytes.unwrap_or_default());
                    let (raw_bytes, max) = (raw_bytes.unwrap_or(usize::MAX), limits.block_bytes());
                    if raw_bytes > max {
                        return Err(Error::limit("max_block_bytes", raw_bytes, max));
                    }
                    builder.put_encoded(block);
                }
                [other] => return Err(at.corrupt(format!("block {number} of kind {other}, not 0 or 1"))),
            }
        }
        let head = head::take(&mut reader, format, builder.interner.table(), &limits)?;
        builder.put_open(head);
        if !reader.is_empty() {
            return Err(reader.corrupt(format!("{} bytes behind the open block", reader.rest().len())));
        }
        builder.decoded_bound = builder.decoded_bound.max(builder.least_decoded());
        if builder.decoded_bound > limits.max_decoded_bytes {
            let (limit, value, max) = ("max_decoded_bytes", builder.decoded_bound, limits.max_decoded_bytes);
            return Err(Error::LimitExceeded { limit, value, max });
        }
        Ok(builder)
    }

    /// Counts the entries of a block that was not appended.
    fn count(&mut self, entries: u64, raw_bytes: u64, bounds: Option<(i64, i64)>) {
        // What is in a block that was not appended may be there twice.
        self.may_repeat |= entries > 0;
        self.entries = self.entries.saturating_add(entries);
        self.raw_bytes = self.raw_bytes.saturating_add(raw_bytes);
        let bounds = self.bounds.into_iter().chain(bounds);
        self.bounds = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.highest_ns = self.highest_ns.max(self.bounds.map(|(_, newest)| newest));
    }

    fn put_sealed(&mut self, mut head: Head) {
        self.count(to_u64(head.len()), to_u64(head.raw_bytes()), head.bounds());
        head.seal();
        self.sealed_raw_bytes = self.sealed_raw_bytes.saturating_add(head.raw_bytes());
        self.blocks.push(Stage::Sealed { head: Arc::new(head), taken: false });
    }

    /// Adds a block that is encoded.
    pub(crate) fn put_encoded(&mut self, block: Block) {
        let meta = block.meta();
        let raw_bytes = meta.raw_bytes.unwrap_or_default();
        self.count(meta.entries, raw_bytes, Some((meta.min_ns, meta.max_ns)));
        self.encoded.raw = self.encoded.raw.saturating_add(usize::try_from(raw_bytes).unwrap_or(usize::MAX));
        self.encoded.stored = self.encoded.stored.saturating_add(block.data().len());
        self.blocks.push(Stage::Encoded(block));
    }

    /// Makes this the open block, which is empty.
    pub(crate) fn put_open(&mut self, head: Head) {
        self.count(to_u64(head.len()), to_u64(head.raw_bytes()), head.bounds());
        self.head = head;
    }

    /// The least that `decoded_bound` can be, by what the blocks say of themselves.
    fn least_decoded(&self) -> u64 {
        let of = |entries: u64, raw_bytes: u64| {
            raw_bytes.saturating_add(entries.saturating_mul(to_u64(ENTRY_BYTES.saturating_add(ROW_BYTES))))
        };
        let of_head = |head: &Head| of(to_u64(head.len()), to_u64(head.raw_bytes()));
        let blocks = self.blocks.iter().map(|stage| match stage {
            Stage::Sealed { head, .. } => of_head(head),
            Stage::Encoded(block) => of(block.meta().entries, block.meta().raw_bytes.unwrap_or_default()),
        });
        blocks.fold(of_head(&self.head), u64::saturating_add)
    }

    /// Sets what reading the chunk can cost by what its blocks say of themselves.
    pub(crate) fn bound_decoding(&mut self) -> Result<(), Error> {
        let rows = |entries: u64| entries.saturating_mul(to_u64(ROW_BYTES));
        let blocks = self.blocks.iter().map(|stage| match stage {
            Stage::Sealed { head, .. } => {
                to_u64(head.encoded_bound()).saturating_add(rows(to_u64(head.len())))
            }
            Stage::Encoded(block) => {
                let meta = block.meta();
                to_u64(meta.encoded_bound()).saturating_add(rows(meta.entries))
            }
        });
        let open = to_u64(self.head.encoded_bound()).saturating_add(rows(to_u64(self.head.len())));
        let (limit, max) = ("max_decoded_bytes", self.options.limits.max_decoded_bytes);
        let value = blocks.fold(open, u64::saturating_add);
        if value > max {
            return Err(Error::LimitExceeded { limit, value, max });
        }
        self.decoded_bound = value;
        self.room = 0;
        Ok(())
    }

    /// The same builder, which has no symbols yet, with these.
    pub(crate) fn with_symbols(mut self, symbols: Interner) -> Self {
        self.interner = symbols;
        self
    }

    pub(crate) fn symbols(&self) -> &SymbolTable {
        self.interner.table()
    }

    /// The open block.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// All blocks but the open one; those that are only sealed are encoded for it.
    pub(crate) fn encoded_blocks(&self) -> Vec<Block> {
        let target = self.options.target();
        let encoded = |stage: &Stage| match stage {
            Stage::Sealed { head, .. } => target.encode(head, self.interner.table()),
            Stage::Encoded(block) => block.clone(),
        };
        self.blocks.iter().map(encoded).collect()
    }
}

fn format_byte(format: Format) -> u8 {
    match format {
        Format::Columnar => COLUMNAR,
        format => format.version(),
    }
}

/// What is before the checksum, which is right.
fn checked(bytes: &[u8]) -> Result<&[u8], Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let (expected, found) = (u32::from_be_bytes(MAGIC), Reader::new(bytes, 0, Section::Checkpoint).be32()?);
    if found != expected {
        return Err(Error::BadMagic { found, expected });
    }
    let Some((data, crc)) = bytes.split_last_chunk::<CRC>().filter(|(data, _)| data.len() >= MAGIC.len())
    else {
        let (need, have) = (to_u64(MAGIC.len().saturating_add(CRC)), to_u64(bytes.len()));
        return Err(Error::Truncated { section: Section::Checkpoint, offset: 0, need, have });
    };
    let (expected, found) = (u32::from_be_bytes(*crc), crc32c::crc32c(data));
    if expected != found {
        return Err(Error::ChecksumMismatch { section: Section::Checkpoint, offset: 0, expected, found });
    }
    Ok(data)
}

fn put_symbols(out: &mut Vec<u8>, symbols: &SymbolTable) {
    put_uvarint(out, to_u64(symbols.len()));
    for symbol in symbols.iter() {
        put_uvarint(out, to_u64(symbol.len()));
        out.extend_from_slice(symbol);
    }
}

fn take_symbols(reader: &mut Reader<'_>, limits: &Limits) -> Result<Interner, Error> {
    let count = reader.size()?;
    if count > limits.max_symbols {
        return Err(Error::limit("max_symbols", count, limits.max_symbols));
    }
    let mut table = SymbolTable::default();
    for _ in 0..count {
        let length = reader.size()?;
        table.push(reader.bytes(length)?);
    }
    if table.bytes() > limits.max_symbol_bytes {
        return Err(Error::limit("max_symbol_bytes", table.bytes(), limits.max_symbol_bytes));
    }
    Interner::of(&table).ok_or_else(|| reader.corrupt("a symbol that comes twice"))
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    if let Block::Loki(StoredBlock { meta, .. }) = block {
        put_uvarint(out, meta.entries);
        put_varint(out, meta.min_ns);
        put_varint(out, meta.max_ns);
        put_uvarint(out, meta.raw_bytes.unwrap_or_default());
    }
    put_uvarint(out, to_u64(block.data().len()));
    out.extend_from_slice(block.data());
}

/// The block is copied, so that it does not keep all of the checkpoint.
fn take_block(reader: &mut Reader<'_>, target: Target, limits: &Limits) -> Result<Block, Error> {
    let at = reader.clone();
    let Target::Loki { .. } = target else {
        let size = reader.size()?;
        let data = Bytes::copy_from_slice(reader.bytes(size)?);
        let group = Group::read(&data, 0, 0, limits)?;
        if group.data().len() != size {
            return Err(at.corrupt(format!("group of {} bytes, not of {size}", group.data().len())));
        }
        return Ok(Block::Columnar(group));
    };
    let entries = reader.uvarint()?;
    let (min_ns, max_ns) = (reader.varint()?, reader.varint()?);
    let raw_bytes = Some(reader.uvarint()?);
    let size = reader.size()?;
    let data = Bytes::copy_from_slice(reader.bytes(size)?);
    if min_ns > max_ns || entries == 0 {
        return Err(at.corrupt(format!("block of {entries} entries from {min_ns} to {max_ns} ns")));
    }
    if entries > to_u64(limits.max_entries_per_block) {
        let entries = usize::try_from(entries).unwrap_or(usize::MAX);
        return Err(Error::limit("max_entries_per_block", entries, limits.max_entries_per_block));
    }
    let meta = BlockMeta { entries, min_ns, max_ns, offset: 0, raw_bytes, size_bytes: to_u64(size) };
    Ok(Block::Loki(StoredBlock { number: 0, meta, data }))
}
