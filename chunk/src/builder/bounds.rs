//! What a chunk may still take: nothing is stored that a reader with the same limits would refuse.

use super::Builder;
use crate::columnar::group::{MEMORY_OF_BYTE, MEMORY_OF_GROUP, MEMORY_OF_ROW, WORK_OF_GROUP};
use crate::entry::Entry;
use crate::error::to_u64;
use crate::loki::entries::ROW_BYTES;
use crate::loki::format::Format;
use crate::symbols::SymbolTable;
use crate::{Error, Limits};

impl Builder {
    /// Whether this entry is far from every limit.
    #[inline]
    pub(super) fn has_room(&self, entry: &Entry<'_>) -> bool {
        let has_room = entry.metadata.is_empty()
            && entry.line.len() <= self.options.limits.max_line_bytes
            && cost(entry) <= self.room;
        debug_assert!(!has_room || self.fits_target(entry) && self.fits_block(entry));
        has_room
    }

    /// Finds out how far the limits are.
    pub(super) fn weigh(&mut self) {
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
    pub(super) fn check(&mut self, entry: &Entry<'_>) -> Result<u64, Error> {
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
    pub(super) fn check_order(&self, timestamp_ns: i64) -> Result<(), Error> {
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
    pub(super) fn decoded_with(&self, entry: &Entry<'_>) -> u64 {
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
    pub(super) fn work_bound(&self, entry: &Entry<'_>) -> u64 {
        if self.options.format != Format::Columnar {
            return 0;
        }
        let groups = to_u64(self.blocks.len() + 1);
        let lines = self.raw_bytes + to_u64(entry.raw_bytes());
        // What lines are made in has less than forty times their bytes.
        let small = 40 * lines + 256 * (self.entries + 1);
        groups * to_u64(MEMORY_OF_GROUP) + small.min(lines + groups * to_u64(WORK_OF_GROUP))
    }
}

/// More than any bound or estimate grows by an entry without metadata, in bytes.
#[inline]
pub(super) fn cost(entry: &Entry<'_>) -> usize {
    (entry.line.len().saturating_add(16)).saturating_mul(64)
}

/// The most that the numbers around a line take in a block.
pub(super) const ENTRY_BYTES: usize = 40;

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
pub(super) fn metadata_bytes(entry: &Entry<'_>) -> usize {
    if entry.metadata.is_empty() {
        return 0;
    }
    entry.metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}
