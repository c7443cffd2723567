//! From a block to its entries. What the index says of a block is held against what the block holds: their
//! number, their times, the symbols they refer to. A block is good as a whole or not at all.

#![warn(clippy::indexing_slicing)]

use bytes::Bytes;

use super::decode::{StoredBlock, by_ratio, decompress, within};
use super::format::{Format, Reader, take_uvarint};
use crate::chunk::BlockMeta;
use crate::entry::{Entry, Metadata};
use crate::error::to_u64;
use crate::filter::LineFilter;
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits, Section};

/// The entries of a block: checked, in order of time, and ready to be lent out. Buffers are reused.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    payload: Payload,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Payload {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Default for Payload {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn line(&self, row: &Row) -> Option<&[u8]> {
        self.bytes().get(usize::try_from(row.line.0).ok()?..usize::try_from(row.line.1).ok()?)
    }
}

/// What an entry costs its reader besides its bytes.
pub(crate) const ROW_BYTES: usize = size_of::<Row>();

/// An entry by offsets into the payload.
#[derive(Debug, Clone, Copy)]
struct Row {
    timestamp_ns: i64,
    line: (u32, u32),
    pairs: u32,
    pairs_end: u32,
}

/// What is known about a block before it is decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) format: Format,
    pub(crate) codec: Codec,
    pub(crate) symbols: &'a SymbolTable,
    pub(crate) limits: &'a Limits,
    /// What the iterator may still decode.
    pub(crate) budget: usize,
}

impl Entries {
    /// Replaces the entries by those of `block`.
    pub(crate) fn decode(&mut self, block: &StoredBlock, context: Context<'_>) -> Result<(), Error> {
        self.rows.clear();
        let Context { format, codec, symbols, limits, budget } = context;
        let max = [
            (limits.block_bytes(), "max_block_bytes"),
            by_ratio(&block.data, codec, limits),
            (block.meta.encoded_bound(), "the raw size that the index names"),
            (budget, "max_decoded_bytes"),
        ];
        if codec == Codec::None {
            within(block.data.len(), max)?;
            self.payload = Payload::Shared(block.data.clone());
        } else {
            let mut payload = match std::mem::take(&mut self.payload) {
                Payload::Owned(payload) => payload,
                Payload::Shared(_) => Vec::new(),
            };
            payload.clear();
            let offset = usize::try_from(block.meta.offset).unwrap_or(usize::MAX);
            let section = Section::Block(block.number);
            let decoded = decompress(
                codec,
                &block.data,
                block.meta.expected_bytes(),
                max,
                &mut payload,
                section,
                offset,
            );
            self.payload = Payload::Owned(payload);
            decoded?;
        }
        let payload = self.payload.bytes();
        let count = usize::try_from(block.meta.entries).unwrap_or(usize::MAX);
        self.rows.reserve(count.min(payload.len() / 2));
        let mut reader = Reader::new(payload, 0, Section::Entries(block.number));
        while !reader.is_empty() {
            if self.rows.len() >= count {
                return Err(reader.corrupt(format!("more entries than the {count} that the index names")));
            }
            self.rows.push(row(&mut reader, format, symbols, limits)?);
        }
        if self.rows.len() != count {
            return Err(reader.corrupt(format!("{} entries, the index names {count}", self.rows.len())));
        }
        self.order(block)
    }

    /// Checks that the entries lie within what the index says, for a read that skips a block by it must not
    /// miss any, and sorts them should the writer not have done so.
    fn order(&mut self, block: &StoredBlock) -> Result<(), Error> {
        if !self.rows.is_sorted_by_key(|row| row.timestamp_ns) {
            self.rows.sort_by_key(|row| row.timestamp_ns);
        }
        let BlockMeta { min_ns, max_ns, .. } = block.meta;
        for row in [self.rows.first(), self.rows.last()].into_iter().flatten() {
            let found = row.timestamp_ns;
            if found < min_ns || found > max_ns {
                let what = format!("entry at {found} ns in a block from {min_ns} to {max_ns} ns");
                return Err(Error::corrupt(Section::Entries(block.number), 0, what));
            }
        }
        Ok(())
    }

    /// Forgets the entries whose lines a filter does not want.
    pub(crate) fn keep(&mut self, filter: &LineFilter) {
        let Self { payload, rows } = self;
        rows.retain(|row| payload.line(row).is_some_and(|line| filter.matches(line)));
    }

    /// The ranks of the entries whose lines a filter wants.
    pub(crate) fn wanted(&self, filter: &LineFilter) -> Vec<u32> {
        let wanted = |row: &Row| self.payload.line(row).is_some_and(|line| filter.matches(line));
        (0u32..).zip(&self.rows).filter(|(_, row)| wanted(row)).map(|(rank, _)| rank).collect()
    }

    /// Lets go of what the bytes were decoded from, and of room for more.
    pub(crate) fn settle(&mut self) {
        let mut payload = match std::mem::take(&mut self.payload) {
            Payload::Owned(payload) => payload,
            Payload::Shared(bytes) => bytes.to_vec(),
        };
        payload.shrink_to_fit();
        self.payload = Payload::Owned(payload);
        self.rows.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Decompressed bytes.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.bytes().len()
    }

    /// Decompressed bytes and the index of rows.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.payload_bytes() + self.rows.len() * ROW_BYTES
    }

    pub(crate) fn timestamp(&self, rank: usize) -> Option<i64> {
        self.rows.get(rank).map(|row| row.timestamp_ns)
    }

    pub(crate) fn entry<'a>(&'a self, rank: usize, symbols: &'a SymbolTable) -> Option<Entry<'a>> {
        let row = self.rows.get(rank)?;
        let part = |start: u32, end: u32| {
            self.payload.bytes().get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        };
        let mut pairs = part(row.pairs, row.pairs_end)?;
        let metadata = match take_uvarint(&mut pairs) {
            Some(count) if count > 0 => Metadata::encoded(symbols, usize::try_from(count).ok()?, pairs),
            _ => Metadata::EMPTY,
        };
        Some(Entry { timestamp_ns: row.timestamp_ns, line: part(row.line.0, row.line.1)?, metadata })
    }
}

/// Takes one entry and checks its metadata against the symbol table.
#[inline]
fn row(
    reader: &mut Reader<'_>,
    format: Format,
    symbols: &SymbolTable,
    limits: &Limits,
) -> Result<Row, Error> {
    let timestamp_ns = reader.varint()?;
    let length = reader.size()?;
    if length > limits.max_line_bytes {
        return Err(Error::limit("max_line_bytes", length, limits.max_line_bytes));
    }
    let line = offset(reader);
    reader.bytes(length)?;
    let line_end = offset(reader);
    // What most entries have: one byte, which says that there are no pairs.
    if !format.has_metadata() || reader.take_if([1, 0]) {
        return Ok(Row { timestamp_ns, line: (line, line_end), pairs: line_end, pairs_end: line_end });
    }
    let length = reader.size()?;
    let at = reader.clone();
    let mut section = Reader::new(reader.bytes(length)?, at.offset(), Section::Symbols);
    let count = section.uvarint().map_err(|_| at.corrupt("metadata without a number of pairs"))?;
    let too_short = |_| at.corrupt(format!("metadata of {count} pairs in {length} bytes"));
    if count > to_u64(length) / 2 {
        return Err(at.corrupt(format!("metadata of {count} pairs in {length} bytes")));
    }
    for _ in 0..2 * count {
        let symbol = section.uvarint().map_err(too_short)?;
        if symbol >= to_u64(symbols.len()) {
            return Err(at.corrupt(format!("symbol {symbol} of a table of {}", symbols.len())));
        }
    }
    if !section.is_empty() {
        return Err(at.corrupt(format!("metadata of {count} pairs in {length} bytes")));
    }
    Ok(Row { timestamp_ns, line: (line, line_end), pairs: offset_of(at.offset()), pairs_end: offset(reader) })
}

fn offset(reader: &Reader<'_>) -> u32 {
    offset_of(reader.offset())
}

fn offset_of(offset: usize) -> u32 {
    u32::try_from(offset).expect("a payload is limited to 2^32 bytes")
}
