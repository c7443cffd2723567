//! Chunks, the objects around them, and their keys.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use forebay_chunk::loki::{Checkpoint, Key, Object, Schema};
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Direction, Entry, EntryIter, Error, Limits,
};

/// What one read may decompress, in bytes.
const MAX_DECODED: u64 = 1 << 22;
const MAX_ENVELOPE: usize = 1 << 16;

/// Small ones, so that a bomb is noticed long before it hurts.
fn limits() -> Limits {
    Limits {
        max_object_bytes: 1 << 20,
        max_block_bytes: 1 << 18,
        max_entries_per_block: 1 << 14,
        max_symbols: 1 << 12,
        max_symbol_bytes: 1 << 18,
        max_labels: 64,
        max_envelope_bytes: MAX_ENVELOPE,
        max_decoded_bytes: MAX_DECODED,
        ..Limits::default()
    }
}

type Owned = (i64, Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

/// A chunk, as it is and with its checksums mended.
pub fn chunk_open(data: &[u8]) {
    open(data);
    let mut mended = data.to_vec();
    mend(&mut mended);
    open(&mended);
}

fn open(data: &[u8]) {
    let Ok(chunk) = Chunk::open(data.to_vec(), &limits()) else {
        // What is left of it is read without a panic too.
        if let Ok(chunk) = Chunk::open_with(data.to_vec(), &limits(), CorruptionPolicy::SkipBlock) {
            let _ = read(&chunk, Direction::Forward);
        }
        return;
    };
    let forward = read(&chunk, Direction::Forward);
    let backward = read(&chunk, Direction::Backward);
    if let (Ok(forward), Ok(mut backward)) = (forward, backward) {
        backward.reverse();
        assert_eq!(forward, backward, "backward is the exact reverse of forward");
        assert!(forward.is_sorted_by_key(|(timestamp_ns, ..)| *timestamp_ns));
        assert_eq!(chunk.entry_count(), forward.len() as u64, "the index counts the entries");
    }
}

fn read(chunk: &Chunk, direction: Direction) -> Result<Vec<Owned>, Error> {
    rest(chunk.entries(.., direction))
}

fn rest(mut entries: EntryIter) -> Result<Vec<Owned>, Error> {
    let mut all = Vec::new();
    while let Some(entry) = entries.next()? {
        let metadata = entry.metadata.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        all.push((entry.timestamp_ns, entry.line.to_vec(), metadata));
    }
    let stats = entries.stats();
    assert!(stats.decoded_bytes <= MAX_DECODED, "{} bytes decoded", stats.decoded_bytes);
    assert_eq!(stats.entries, all.len() as u64);
    Ok(all)
}

/// Writes the checksums that a chunk with these sections has; leaves alone what has none.
fn mend(data: &mut [u8]) {
    let Some(&version) = data.get(4) else { return };
    let number = |data: &[u8], from_end: usize| {
        let at = data.len().checked_sub(from_end)?;
        usize::try_from(u64::from_be_bytes(*data.get(at..)?.first_chunk()?)).ok()
    };
    let index = if version >= 4 {
        if let (Some(length), Some(offset)) = (number(data, 32), number(data, 24)) {
            sum(data, offset, length);
        }
        number(data, 8).zip(number(data, 16))
    } else {
        // The index reaches to its checksum and the trailer.
        number(data, 8).and_then(|offset| Some((offset, data.len().checked_sub(8 + 4)?.checked_sub(offset)?)))
    };
    let Some((offset, length)) = index else { return };
    let found =
        data.get(offset..).and_then(|index| blocks(index.get(..length)?, version)).unwrap_or_default();
    for (offset, size) in found {
        sum(data, offset, size);
    }
    sum(data, offset, length);
}

/// Where the blocks of an index are, and how long.
fn blocks(mut index: &[u8], version: u8) -> Option<Vec<(usize, usize)>> {
    let mut found = Vec::new();
    for _ in 0..uvarint(&mut index)?.min(256) {
        let [_entries, _min, _max] = [uvarint(&mut index)?, uvarint(&mut index)?, uvarint(&mut index)?];
        let offset = uvarint(&mut index)?;
        let _raw_bytes = if version >= 3 { uvarint(&mut index)? } else { 0 };
        found.push((usize::try_from(offset).ok()?, usize::try_from(uvarint(&mut index)?).ok()?));
    }
    Some(found)
}

fn uvarint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *input.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn sum(data: &mut [u8], offset: usize, length: usize) {
    let Some(end) = offset.checked_add(length) else { return };
    let Some(checksum) = data.get(offset..end).map(crc32c::crc32c) else { return };
    if let Some(place) = data.get_mut(end..).and_then(|rest| rest.first_chunk_mut()) {
        *place = checksum.to_be_bytes();
    }
}

fn options(codec: Codec) -> BuilderOptions {
    BuilderOptions { codec, target_size: 1 << 20, limits: limits(), ..BuilderOptions::default() }
}

/// The first byte says which codec; the rest is a stream of it, and then a line of which it makes a stream itself.
pub fn chunk_codec(data: &[u8]) {
    let Some((&number, stream)) = data.split_first() else { return };
    let Some(codec) = Codec::from_byte(number).filter(|codec| codec.is_supported()) else { return };
    for entries in [1, 3] {
        open(&around(codec, entries, stream));
    }
    let mut builder = Builder::new(options(codec)).expect("options within their bounds");
    if builder.append(Entry::new(1, stream)).is_ok() {
        let chunk = builder.finish().expect("one entry").bytes;
        let chunk = Chunk::open(chunk, &limits()).expect("what is written is read");
        let found = read(&chunk, Direction::Forward).expect("what is written is read");
        assert!(found == [(1, stream.to_vec(), Vec::new())], "{codec}: another line comes back");
    }
}

/// A chunk of version 3 of one block that is stored so.
fn around(codec: Codec, entries: u8, stored: &[u8]) -> Vec<u8> {
    let mut out = [0x01, 0x2e, 0xe5, 0x6a, 3, codec.byte()].to_vec();
    out.extend_from_slice(stored);
    out.extend_from_slice(&crc32c::crc32c(stored).to_be_bytes());
    let start = out.len();
    out.extend_from_slice(&[1, entries]);
    // From the least to the greatest time.
    for first in [0xff, 0xfe] {
        out.extend_from_slice(&[first, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }
    // Where it starts, and that its lines may be of 256 KiB.
    out.extend_from_slice(&[6, 0x80, 0x80, 0x10]);
    let mut length = stored.len();
    while length >= 0x80 {
        out.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&(start as u64).to_be_bytes());
    out
}

/// A builder's checkpoint, and the chunk of one of Loki's, as they are and with their checksums mended.
pub fn chunk_checkpoint(data: &[u8]) {
    restore(data);
    if let Some((body, _)) = data.split_last_chunk::<4>() {
        restore(&[body, &crc32c::crc32c(body).to_be_bytes()].concat());
    }
    let mut mended = data.to_vec();
    mend(&mut mended);
    for chunk in [Bytes::copy_from_slice(data), mended.into()] {
        let checkpoint = Checkpoint { chunk, head: Bytes::new() };
        if let Ok(builder) = checkpoint.restore(options(Codec::None)) {
            let _ = rest(builder.snapshot(..).entries(Direction::Forward));
        }
    }
}

fn restore(data: &[u8]) {
    let Ok(builder) = Builder::restore(data, options(Codec::None)) else { return };
    let written = |builder: &Builder| {
        let mut out = Vec::new();
        builder.checkpoint(&mut out);
        out
    };
    let first = written(&builder);
    let again = Builder::restore(&first, options(Codec::None)).expect("what is written is read");
    assert!(written(&again) == first, "a checkpoint of what was restored is another one");
    let read = |direction| rest(builder.snapshot(..).entries(direction));
    if let (Ok(forward), Ok(mut backward)) = (read(Direction::Forward), read(Direction::Backward)) {
        backward.reverse();
        assert_eq!(forward, backward, "backward is the exact reverse of forward");
        assert_eq!(builder.entries(), forward.len() as u64);
    }
    let _ = builder.finish();
}

/// An object as it is, and the object of which this is the description, around a chunk that is whole.
pub fn chunk_envelope(data: &[u8]) {
    if let Ok(object) = Object::open(data.to_vec(), &limits()) {
        rewrite(&object);
    }
    let mut described = vec![0; 4];
    let mut snappy = snap::write::FrameEncoder::new(&mut described);
    snappy.write_all(data).and_then(|()| snappy.flush()).expect("memory takes all");
    drop(snappy);
    let Ok(length) = u32::try_from(described.len()) else { return };
    described[..4].copy_from_slice(&length.to_be_bytes());
    let chunk = whole_chunk();
    described.extend_from_slice(&u32::try_from(chunk.len()).expect("a small chunk").to_be_bytes());
    described.extend_from_slice(chunk);
    if let Ok(object) = Object::open(described, &limits()) {
        rewrite(&object);
    }
}

/// What was read is written and read again. Written, its description may be longer than it came.
fn rewrite(object: &Object) {
    let written = object.envelope.encode(object.chunk.bytes()).expect("far below 4 GiB");
    let limits = Limits { max_envelope_bytes: 8 * MAX_ENVELOPE, ..limits() };
    let read = Object::open_keyed(written.bytes, &written.key, &limits).expect("what is written is read");
    assert_eq!(read.envelope, object.envelope);
    assert_eq!(read.chunk.bytes(), object.chunk.bytes());
}

fn whole_chunk() -> &'static [u8] {
    static CHUNK: OnceLock<Vec<u8>> = OnceLock::new();
    CHUNK.get_or_init(|| {
        let options = BuilderOptions { codec: Codec::None, ..BuilderOptions::default() };
        let mut builder = Builder::new(options).expect("options within their bounds");
        builder.append(Entry::new(1, "a line")).expect("a short line");
        builder.finish().expect("one entry").bytes.to_vec()
    })
}

/// The key of an object, as text and as a path.
pub fn chunk_key(data: &[u8]) {
    let Some(text) = crate::text(data) else { return };
    if let Ok(key) = text.parse::<Key>() {
        let printed = [Schema::V11, Schema::V13].map(|schema| key.text(schema));
        assert!(printed.iter().any(|printed| printed == text), "{text:?} is none of {printed:?}");
    }
    for schema in [Schema::V11, Schema::V13] {
        if let Ok(key) = Key::from_fs_path(text, schema) {
            assert_eq!(key.fs_path(schema), text, "a path and its key determine each other");
            assert_eq!(key.text(schema).parse(), Ok(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mended_checksums_are_those_that_were_there() {
        let none = Chunk::open(&include_bytes!("../corpus/chunk_open/v4-none")[..], &limits()).unwrap();
        assert!(none.blocks().len() > 1);
        for whole in [
            &include_bytes!("../corpus/chunk_open/v3-snappy")[..],
            include_bytes!("../corpus/chunk_open/v4-snappy"),
            include_bytes!("../corpus/chunk_open/v4-none"),
        ] {
            let chunk = Chunk::open(whole, &limits()).unwrap();
            let mut broken = whole.to_vec();
            for block in chunk.blocks() {
                broken[usize::try_from(block.offset + block.size_bytes).unwrap()] ^= 0xff;
            }
            let index_sum = whole.len() - if whole[4] == 3 { 12 } else { 36 };
            broken[index_sum] ^= 0xff;
            assert!(Chunk::open(broken.clone(), &limits()).is_err());
            mend(&mut broken);
            assert_eq!(broken, whole);
        }
    }
}
