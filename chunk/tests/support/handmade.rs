//! Chunks written by hand, field by field, with checksums that are right: what a test wants to be wrong is
//! wrong on purpose and alone. Shares no code with the crate.

#![allow(dead_code, reason = "each test takes the parts it needs")]

pub(crate) const NONE: u8 = 0;
pub(crate) const GZIP: u8 = 1;
pub(crate) const SNAPPY: u8 = 4;
pub(crate) const LZ4: u8 = 7;
pub(crate) const FLATE: u8 = 8;
pub(crate) const ZSTD: u8 = 9;

pub(crate) fn uvarint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

pub(crate) fn varint(value: i64) -> Vec<u8> {
    uvarint(((value << 1) ^ (value >> 63)) as u64)
}

pub(crate) fn crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_be_bytes()
}

/// An entry of versions 1 to 3.
pub(crate) fn line(timestamp_ns: i64, line: &[u8]) -> Vec<u8> {
    [varint(timestamp_ns), uvarint(line.len() as u64), line.to_vec()].concat()
}

/// An entry of version 4.
pub(crate) fn line_with(timestamp_ns: i64, text: &[u8], symbols: &[u64]) -> Vec<u8> {
    let numbers = symbols.iter().flat_map(|&symbol| uvarint(symbol));
    let pairs: Vec<u8> = uvarint(symbols.len() as u64 / 2).into_iter().chain(numbers).collect();
    [line(timestamp_ns, text), uvarint(pairs.len() as u64), pairs].concat()
}

/// What the index says of a block, and the block as stored.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) entries: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    /// Added to the true offset.
    pub(crate) offset_error: i64,
    pub(crate) raw_bytes: u64,
    pub(crate) stored: Vec<u8>,
    /// Added to the true size.
    pub(crate) size_error: i64,
}

impl Block {
    pub(crate) fn new(entries: u64, min_ns: i64, max_ns: i64, raw_bytes: u64, stored: Vec<u8>) -> Self {
        Self { entries, min_ns, max_ns, offset_error: 0, raw_bytes, stored, size_error: 0 }
    }
}

/// A whole chunk. `symbols` is the count and the stored list.
#[derive(Clone)]
pub(crate) struct Handmade {
    pub(crate) version: u8,
    pub(crate) codec: u8,
    pub(crate) symbols: (u64, Vec<u8>),
    pub(crate) blocks: Vec<Block>,
    /// Added to the number of blocks that the index says it has.
    pub(crate) count_error: u64,
}

impl Handmade {
    pub(crate) fn new(version: u8, codec: u8, blocks: Vec<Block>) -> Self {
        Self { version, codec, symbols: (0, Vec::new()), blocks, count_error: 0 }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = 0x012E_E56Au32.to_be_bytes().to_vec();
        out.push(self.version);
        if self.version > 1 {
            out.push(self.codec);
        }
        let symbols_start = out.len();
        if self.version >= 4 {
            out.extend(uvarint(self.symbols.0));
            out.extend(&self.symbols.1);
            let sum = crc(&out[symbols_start..]);
            out.extend(sum);
        }
        let symbols_length = out.len() - symbols_start;
        let mut index = uvarint((self.blocks.len() as u64).wrapping_add(self.count_error));
        for block in &self.blocks {
            index.extend(uvarint(block.entries));
            index.extend(varint(block.min_ns));
            index.extend(varint(block.max_ns));
            index.extend(uvarint((out.len() as i64 + block.offset_error) as u64));
            if self.version >= 3 {
                index.extend(uvarint(block.raw_bytes));
            }
            index.extend(uvarint((block.stored.len() as i64).wrapping_add(block.size_error) as u64));
            out.extend(&block.stored);
            out.extend(crc(&block.stored));
        }
        let index_start = out.len();
        out.extend(&index);
        out.extend(crc(&index));
        if self.version >= 4 {
            out.extend((symbols_length as u64 - 4).to_be_bytes());
            out.extend((symbols_start as u64).to_be_bytes());
            out.extend((index.len() as u64).to_be_bytes());
        }
        out.extend((index_start as u64).to_be_bytes());
        out
    }
}
