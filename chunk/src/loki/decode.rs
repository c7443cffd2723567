//! From the bytes of a chunk to its symbols and blocks. Nothing the file says is believed before it is
//! checked: offsets against the bytes that are there, counts against the bytes they count, and every
//! checksum. The work is linear in the size of the file, whatever it says.

#![warn(clippy::indexing_slicing)]

use bytes::Bytes;

use super::encode::Form;
use super::format::{CRC, Format, MAGIC, Reader};
use crate::block::Block;
use crate::chunk::{BlockMeta, Parsed};
use crate::codec::Fault;
use crate::damage::{CorruptionPolicy, Damage, DamageKind};
use crate::error::to_u64;
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits, Section};

/// A block as stored, without its checksum, which was verified.
#[derive(Debug, Clone)]
pub(crate) struct StoredBlock {
    pub(crate) number: usize,
    pub(crate) meta: BlockMeta,
    pub(crate) data: Bytes,
}

/// The parts of a chunk by their offsets, as the trailer says.
struct Layout {
    symbols_end: usize,
    blocks_start: usize,
    index_start: usize,
    index_end: usize,
}

pub(crate) fn parse(
    bytes: &Bytes,
    form: Form,
    limits: &Limits,
    policy: CorruptionPolicy,
) -> Result<Parsed, Error> {
    if bytes.len() > limits.max_object_bytes {
        return Err(Error::limit("max_object_bytes", bytes.len(), limits.max_object_bytes));
    }
    let (format, codec) = header(bytes)?;
    let layout = layout(bytes, format)?;
    let symbols = symbols(bytes, format, form.of_symbols(codec), &layout, limits)?;
    let index = index(bytes, format, &layout, limits)?;
    let (blocks, damage) = locate(bytes, &index, &layout, policy)?;
    Ok(Parsed { format, codec, symbols, index, blocks, damage, identity: None, content_hash: None })
}

fn header(bytes: &[u8]) -> Result<(Format, Codec), Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let mut reader = Reader::new(bytes, 0, Section::Header);
    let found = reader.be32()?;
    if found != MAGIC {
        return Err(Error::BadMagic { found, expected: MAGIC });
    }
    let [version] = reader.array()?;
    let format = Format::from_version(version)?;
    if format == Format::LokiV1 {
        return Ok((format, Codec::Gzip.supported()?));
    }
    let [byte] = reader.array()?;
    let codec = Codec::from_byte(byte).ok_or(Error::UnsupportedCodec { codec: byte })?;
    Ok((format, codec.supported()?))
}

/// Where the parts are. All lengths but those of the blocks follow from the trailer, and they have to fill
/// the file exactly.
fn layout(bytes: &[u8], format: Format) -> Result<Layout, Error> {
    let trailer_bytes = format.trailer_bytes();
    let least = format.header_bytes() + 1 + CRC + trailer_bytes;
    let trailer_start = bytes.len().saturating_sub(trailer_bytes);
    let Some(trailer) = bytes.get(trailer_start..).filter(|_| bytes.len() >= least) else {
        return Err(Error::Truncated {
            section: Section::Trailer,
            offset: 0,
            need: to_u64(least),
            have: to_u64(bytes.len()),
        });
    };
    let mut reader = Reader::new(trailer, trailer_start, Section::Trailer);
    let index_end = trailer_start - CRC;
    let header = format.header_bytes();

    let mut symbols_end = header;
    let mut blocks_start = header;
    if format.has_metadata() {
        let at = reader.clone();
        let (length, offset) = (reader.be64()?, reader.be64()?);
        symbols_end =
            length.checked_add(header).filter(|&end| end <= index_end.saturating_sub(CRC)).unwrap_or(0);
        if offset != header || symbols_end <= header {
            let what = format!("symbols of {length} bytes at {offset}, in {index_end} bytes from {header}");
            return Err(at.corrupt(what));
        }
        blocks_start = symbols_end + CRC;
        let at = reader.clone();
        let (length, offset) = (reader.be64()?, reader.be64()?);
        if offset.checked_add(length) != Some(index_end) || offset < blocks_start {
            let what =
                format!("index of {length} bytes at {offset}, between bytes {blocks_start} and {index_end}");
            return Err(at.corrupt(what));
        }
        return Ok(Layout { symbols_end, blocks_start, index_start: offset, index_end });
    }
    let at = reader.clone();
    let index_start = reader.be64()?;
    if index_start < blocks_start || index_start >= index_end {
        return Err(
            at.corrupt(format!("index at {index_start}, between bytes {blocks_start} and {index_end}"))
        );
    }
    Ok(Layout { symbols_end, blocks_start, index_start, index_end })
}

/// `bytes[start..end]`, checked against the checksum that follows them.
fn checked(bytes: &[u8], start: usize, end: usize, section: Section) -> Result<&[u8], Error> {
    let missing = || Error::Truncated {
        section,
        offset: to_u64(start),
        need: to_u64(end.saturating_sub(start)).saturating_add(to_u64(CRC)),
        have: to_u64(bytes.len().saturating_sub(start)),
    };
    let data = bytes.get(start..end).ok_or_else(missing)?;
    let stored = bytes.get(end..).and_then(|rest| rest.first_chunk::<CRC>()).ok_or_else(missing)?;
    let (expected, found) = (u32::from_be_bytes(*stored), crc32c::crc32c(data));
    if expected != found {
        return Err(Error::ChecksumMismatch { section, offset: to_u64(start), expected, found });
    }
    Ok(data)
}

fn symbols(
    bytes: &[u8],
    format: Format,
    codec: Codec,
    layout: &Layout,
    limits: &Limits,
) -> Result<SymbolTable, Error> {
    let mut table = SymbolTable::default();
    if !format.has_metadata() {
        return Ok(table);
    }
    let start = format.header_bytes();
    let section = checked(bytes, start, layout.symbols_end, Section::Symbols)?;
    let mut reader = Reader::new(section, start, Section::Symbols);
    let count = reader.size()?;
    if count > limits.max_symbols {
        return Err(Error::limit("max_symbols", count, limits.max_symbols));
    }
    let stored = reader.rest();
    let list_bytes = limits.max_symbol_bytes.saturating_add(count.saturating_mul(10));
    let max = [(list_bytes, "max_symbol_bytes"), by_ratio(stored, codec, limits)];
    let mut list = Vec::new();
    decompress(codec, stored, 0, max, &mut list, Section::Symbols, reader.offset())?;

    let mut reader = Reader::new(&list, 0, Section::SymbolList);
    for _ in 0..count {
        let length = reader.size()?;
        table.push(reader.bytes(length)?);
    }
    if table.bytes() > limits.max_symbol_bytes {
        return Err(Error::limit("max_symbol_bytes", table.bytes(), limits.max_symbol_bytes));
    }
    if !reader.is_empty() {
        return Err(
            reader.corrupt(format!("{} bytes after the last of {count} symbols", reader.rest().len()))
        );
    }
    Ok(table)
}

fn index(bytes: &[u8], format: Format, layout: &Layout, limits: &Limits) -> Result<Vec<BlockMeta>, Error> {
    let section = checked(bytes, layout.index_start, layout.index_end, Section::Index)?;
    let mut reader = Reader::new(section, layout.index_start, Section::Index);
    let at = reader.clone();
    let count = reader.size()?;
    let least = if format.has_raw_bytes() { 6 } else { 5 };
    if count > reader.rest().len() / least {
        return Err(at.corrupt(format!("{count} blocks in {} bytes", reader.rest().len())));
    }
    if count > limits.max_blocks {
        return Err(Error::limit("max_blocks", count, limits.max_blocks));
    }
    let mut blocks = Vec::with_capacity(count);
    for number in 0..count {
        let at = reader.clone();
        let block = BlockMeta {
            entries: reader.uvarint()?,
            min_ns: reader.varint()?,
            max_ns: reader.varint()?,
            offset: reader.uvarint()?,
            raw_bytes: if format.has_raw_bytes() { Some(reader.uvarint()?) } else { None },
            size_bytes: reader.uvarint()?,
        };
        if block.min_ns > block.max_ns {
            let BlockMeta { min_ns, max_ns, .. } = block;
            return Err(at.corrupt(format!("block {number} from {min_ns} to {max_ns} ns")));
        }
        if block.entries > to_u64(limits.max_entries_per_block) {
            let entries = usize::try_from(block.entries).unwrap_or(usize::MAX);
            return Err(Error::limit("max_entries_per_block", entries, limits.max_entries_per_block));
        }
        blocks.push(block);
    }
    if !reader.is_empty() {
        return Err(reader.corrupt(format!("{} bytes after the last of {count} blocks", reader.rest().len())));
    }
    Ok(blocks)
}

/// Finds the data of each block and checks it. Blocks neither overlap nor go backwards, and what is checked in vain
/// is counted, so the work is linear in the size of the file however many blocks an index claims.
fn locate(
    bytes: &Bytes,
    index: &[BlockMeta],
    layout: &Layout,
    policy: CorruptionPolicy,
) -> Result<(Vec<Block>, Vec<Damage>), Error> {
    let area = bytes.get(..layout.index_start).unwrap_or_default();
    let mut blocks = Vec::with_capacity(index.len());
    let mut damage = Vec::new();
    let mut place = Place { end: layout.blocks_start, next: layout.blocks_start };
    let mut in_vain = 0usize;
    for (number, meta) in index.iter().enumerate() {
        match find(area, number, meta, place) {
            Ok((start, end)) => {
                if to_u64(start) != meta.offset {
                    damage.push(meta.damage(number, DamageKind::Moved { found_offset: to_u64(start) }));
                }
                let data = bytes.slice(start..end);
                blocks.push(Block::Loki(StoredBlock { number, meta: *meta, data }));
                place = Place { end: end + CRC, next: end + CRC };
            }
            Err(cause) if policy != CorruptionPolicy::Fail => {
                damage.push(meta.damage(number, DamageKind::Lost { entries: meta.entries, cause }));
                let size = usize::try_from(meta.size_bytes).unwrap_or(usize::MAX);
                place.next = place.next.saturating_add(size).saturating_add(CRC).min(area.len());
                in_vain = in_vain.saturating_add(size.min(area.len()));
                if in_vain > area.len() {
                    place.end = place.next;
                }
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok((blocks, damage))
}

/// Where the next block may be.
#[derive(Clone, Copy)]
struct Place {
    /// Where the last one that was found ends.
    end: usize,
    /// Where it starts if those that were lost have the size that the index says.
    next: usize,
}

/// Where the block's data starts and ends: where the index says or, because Loki has written wrong offsets,
/// where the block before it ends.
fn find(area: &[u8], number: usize, meta: &BlockMeta, place: Place) -> Result<(usize, usize), Error> {
    let section = Section::Block(number);
    let at = |start: usize| {
        let end = usize::try_from(meta.size_bytes).ok().and_then(|size| start.checked_add(size));
        let end = end.unwrap_or(usize::MAX);
        checked(area, start, end, section).map(|_| (start, end))
    };
    let declared = usize::try_from(meta.offset).unwrap_or(usize::MAX);
    if declared == place.next {
        return at(declared);
    }
    let cause = if declared >= place.end {
        match at(declared) {
            Ok(found) => return Ok(found),
            Err(cause) => cause,
        }
    } else {
        Error::corrupt(section, declared, format!("the block before it ends at byte {}", place.end))
    };
    at(place.next).map_err(|_| cause)
}

/// A bound on decompressed bytes, and the limit it comes from.
pub(crate) type Bound = (usize, &'static str);

pub(crate) fn by_ratio(stored: &[u8], codec: Codec, limits: &Limits) -> Bound {
    let max = match codec {
        // Not bounded by a ratio: see `Codec::max_ratio`.
        Codec::None | Codec::Zstd => usize::MAX,
        _ => stored.len().saturating_mul(limits.max_ratio),
    };
    (max, "max_ratio times the compressed size")
}

pub(crate) fn within<const N: usize>(reached: usize, bounds: [Bound; N]) -> Result<(), Error> {
    match bounds.into_iter().min() {
        Some((max, limit)) if reached > max => Err(Error::limit(limit, reached, max)),
        _ => Ok(()),
    }
}

/// Decompresses within the least of the bounds.
pub(crate) fn decompress<const N: usize>(
    codec: Codec,
    stored: &[u8],
    expected: usize,
    bounds: [Bound; N],
    out: &mut Vec<u8>,
    section: Section,
    offset: usize,
) -> Result<(), Error> {
    let max = bounds.into_iter().min().map_or(usize::MAX, |(max, _)| max);
    codec.decompress(stored, expected, max, out).map_err(|fault| match fault {
        Fault::Malformed { offset: inner, what } => {
            Error::corrupt(section, offset.saturating_add(inner), what)
        }
        Fault::TooLong { reached } => match within(reached, bounds) {
            Err(error) => error,
            Ok(()) => Error::corrupt(section, offset, format!("{reached} bytes when decompressed")),
        },
    })
}
