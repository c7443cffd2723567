//! From entries to the bytes of versions 3 and 4. The same entries in the same blocks make the same bytes.

use std::cell::RefCell;

use bytes::Bytes;

use super::decode::StoredBlock;
use super::format::{CRC, Format, MAGIC, put_uvarint, put_varint, uvarint_bytes};
use crate::Codec;
use crate::block::Block;
use crate::chunk::BlockMeta;
use crate::entry::SymbolPair;
use crate::error::to_u64;
use crate::head::Head;
use crate::symbols::SymbolTable;

/// Memory that a thread keeps from block to block for each form of one, in bytes.
const KEPT: usize = 1 << 20;

thread_local! {
    /// A block as it is, and compressed.
    static FORMS: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Encodes and compresses the entries of a head. The block gets its number and offset when the chunk is put
/// together.
pub(crate) fn block(head: &Head, format: Format, codec: Codec) -> StoredBlock {
    let data = if codec == Codec::None {
        let mut plain = Vec::new();
        entries(head, format, &mut plain);
        plain.into()
    } else {
        FORMS.with_borrow_mut(|forms| {
            let [plain, stored] = forms;
            entries(head, format, plain);
            codec.compress(plain, stored);
            // No more than it takes: the block may wait for hours until its chunk is full.
            let data = Bytes::copy_from_slice(stored);
            forms.iter_mut().for_each(|form| {
                form.clear();
                form.shrink_to(KEPT);
            });
            data
        })
    };
    let (min_ns, max_ns) = head.bounds().unwrap_or_default();
    let meta = BlockMeta {
        entries: to_u64(head.len()),
        min_ns,
        max_ns,
        offset: 0,
        raw_bytes: Some(to_u64(head.raw_bytes())),
        size_bytes: to_u64(data.len()),
    };
    StoredBlock { number: 0, meta, data }
}

/// Appends all entries of a head.
fn entries(head: &Head, format: Format, out: &mut Vec<u8>) {
    out.reserve(head.raw_bytes() + 16 * head.len());
    head.visit(|(timestamp_ns, line, pairs)| entry(out, format, timestamp_ns, line, pairs));
}

/// Appends one entry.
pub(crate) fn entry(out: &mut Vec<u8>, format: Format, timestamp_ns: i64, line: &[u8], pairs: &[SymbolPair]) {
    put_varint(out, timestamp_ns);
    put_uvarint(out, to_u64(line.len()));
    out.extend_from_slice(line);
    if !format.has_metadata() {
        return;
    }
    if pairs.is_empty() {
        out.extend_from_slice(&[1, 0]);
        return;
    }
    let numbers = || pairs.iter().flat_map(|pair| [u64::from(pair.name), u64::from(pair.value)]);
    let count = to_u64(pairs.len());
    let length: usize = uvarint_bytes(count) + numbers().map(uvarint_bytes).sum::<usize>();
    put_uvarint(out, to_u64(length));
    put_uvarint(out, count);
    for number in numbers() {
        put_uvarint(out, number);
    }
}

/// Where a chunk lies, which decides whether its symbols are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In a bucket.
    Stored,
    /// In Loki's log, where symbols are as they are.
    Checkpoint,
}

impl Form {
    /// How the symbols of a chunk of this codec are compressed.
    pub(crate) fn of_symbols(self, codec: Codec) -> Codec {
        match self {
            Self::Stored => codec,
            Self::Checkpoint => Codec::None,
        }
    }
}

/// Puts a chunk together from its blocks.
pub(crate) fn chunk(
    format: Format,
    codec: Codec,
    form: Form,
    symbols: &SymbolTable,
    blocks: &[Block],
) -> Bytes {
    let data: usize = blocks.iter().map(|block| block.data().len() + 64).sum();
    let mut out = Vec::with_capacity(data + symbols.bytes() / 2 + 128);
    out.extend_from_slice(&MAGIC.to_be_bytes());
    out.push(format.version());
    out.push(codec.byte());

    let symbols_start = out.len();
    if format.has_metadata() {
        put_uvarint(&mut out, to_u64(symbols.len()));
        let mut list = Vec::with_capacity(symbols.bytes() + 2 * symbols.len());
        for symbol in symbols.iter() {
            put_uvarint(&mut list, to_u64(symbol.len()));
            list.extend_from_slice(symbol);
        }
        form.of_symbols(codec).compress(&list, &mut out);
        put_crc_since(&mut out, symbols_start);
    }
    let symbols_length = out.len() - symbols_start;

    let mut index = Vec::with_capacity(blocks.len() * 40 + 10);
    put_uvarint(&mut index, to_u64(blocks.len()));
    for (meta, data) in blocks.iter().map(|block| (block.meta(), block.data())) {
        put_uvarint(&mut index, meta.entries);
        put_varint(&mut index, meta.min_ns);
        put_varint(&mut index, meta.max_ns);
        put_uvarint(&mut index, to_u64(out.len()));
        put_uvarint(&mut index, meta.raw_bytes.unwrap_or_default());
        put_uvarint(&mut index, to_u64(data.len()));
        let start = out.len();
        out.extend_from_slice(data);
        put_crc_since(&mut out, start);
    }
    let index_start = out.len();
    out.extend_from_slice(&index);
    put_crc_since(&mut out, index_start);

    if format.has_metadata() {
        out.extend_from_slice(&to_u64(symbols_length - CRC).to_be_bytes());
        out.extend_from_slice(&to_u64(symbols_start).to_be_bytes());
        out.extend_from_slice(&to_u64(index.len()).to_be_bytes());
    }
    out.extend_from_slice(&to_u64(index_start).to_be_bytes());
    out.into()
}

fn put_crc_since(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}
