//! A group: some entries of a chunk, in order of time, encoded apart from all others and read apart from them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::codec;
use super::format::{Directory, StreamMeta};
use super::hash::ContentHash;
use super::profile::{ColumnarOptions, Profile};
use super::stream::{Kind, Stored, Streams};
use super::{metadata, raw, time};
use crate::chunk::BlockMeta;
use crate::entry::{Entry, Metadata};
use crate::error::to_u64;
use crate::head::Head;
use crate::symbols::SymbolTable;
use crate::{Error, Limits};

/// A group as it is stored, of which head and directory were verified.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) number: usize,
    pub(crate) meta: BlockMeta,
    directory: Arc<Directory>,
    data: Bytes,
}

impl Group {
    /// The group that `bytes` start with, `offset` bytes into the chunk.
    pub(crate) fn read(bytes: &Bytes, number: usize, offset: usize, limits: &Limits) -> Result<Self, Error> {
        let (directory, length) = Directory::read(bytes, number, offset, limits)?;
        let data = bytes.slice(..length);
        Ok(Self { number, meta: meta(&directory, offset, length), directory: Arc::new(directory), data })
    }

    /// How many bytes [`Group::read`] hashes to find out whether these are a group.
    pub(crate) fn hashed_bytes(bytes: &[u8]) -> usize {
        let length = bytes
            .get(4..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |length| u32::from_le_bytes(*length));
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// The entries of a block.
    pub(crate) fn encode(head: &Head, symbols: &SymbolTable, profile: Profile) -> Self {
        let rows = || (0..head.len()).filter_map(|rank| head.ranked(rank));
        let times: Vec<i64> = rows().map(|(time, ..)| time).collect();
        let lines: Vec<&[u8]> = rows().map(|(_, line, _)| line).collect();

        let mut streams = Streams::default();
        time::encode(&times, streams.out(Kind::Time));
        metadata::encode(rows().map(|(.., pairs)| pairs), symbols, &mut streams);
        let options = profile.options();
        let mut packed = pack(&streams, &options);
        let split = split_lines(&lines, &times, &options);
        packed.extend(pack(&split, &options));

        let mut hash = ContentHash::default();
        for (timestamp_ns, line, pairs) in rows() {
            hash.push(&Entry { timestamp_ns, line, metadata: Metadata::interned(symbols, pairs) });
        }
        let (min_ns, max_ns) = head.bounds().unwrap_or_default();
        let mut directory = Directory {
            rows: u32::try_from(head.len()).expect("a block has less than 2^32 rows"),
            min_ns,
            max_ns,
            raw_bytes: to_u64(head.raw_bytes()),
            hash: hash.value(),
            streams: packed.iter().map(Packed::meta).collect(),
        };
        let mut data = directory.encode();
        for (stream, packed) in directory.streams.iter_mut().zip(&packed) {
            stream.start = data.len();
            data.extend_from_slice(&packed.data);
        }
        // It may wait for hours until its chunk is full.
        data.shrink_to_fit();
        let meta = meta(&directory, 0, data.len());
        Self { number: 0, meta, directory: Arc::new(directory), data: data.into() }
    }

    pub(crate) fn data(&self) -> &Bytes {
        &self.data
    }

    pub(crate) fn hash(&self) -> ContentHash {
        ContentHash::known(self.directory.hash, self.meta.entries)
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its streams, none of them opened. All together are decompressed to at most `budget` bytes.
    pub(crate) fn streams(&self, budget: usize) -> Result<Streams, Error> {
        let mut streams = Streams::within(budget);
        let base = usize::try_from(self.meta.offset).unwrap_or(usize::MAX);
        for &StreamMeta { kind, codec, raw_len, stored_len, crc, start } in &self.directory.streams {
            let offset = base.saturating_add(start);
            let data = self.data.slice(start..start.saturating_add(stored_len));
            let stored = Stored { group: self.number, kind, codec, raw_len, crc, offset, data };
            if !streams.push_stored(stored) {
                let section = crate::Section::Group(self.number);
                let what = format!("a second stream {} at byte {offset}", kind.byte());
                return Err(Error::corrupt(section, base, what));
            }
        }
        Ok(streams)
    }
}

fn meta(directory: &Directory, offset: usize, length: usize) -> BlockMeta {
    BlockMeta {
        entries: directory.rows.into(),
        min_ns: directory.min_ns,
        max_ns: directory.max_ns,
        offset: to_u64(offset),
        raw_bytes: Some(directory.raw_bytes),
        size_bytes: to_u64(length),
    }
}

/// The streams of the lines, as it takes the fewest bytes.
fn split_lines(lines: &[&[u8]], _times: &[i64], _options: &ColumnarOptions) -> Streams {
    let mut streams = Streams::default();
    raw::encode(lines.iter().copied(), &mut streams);
    streams
}

/// A stream as it is going to be stored.
struct Packed<'a> {
    kind: Kind,
    codec: u8,
    raw_len: usize,
    data: Cow<'a, [u8]>,
}

fn pack<'a>(streams: &'a Streams, options: &ColumnarOptions) -> Vec<Packed<'a>> {
    let pack = |(kind, plain): (Kind, &'a [u8])| match codec::compress(plain, options.level) {
        Some(data) => Packed { kind, codec: codec::ZSTD, raw_len: plain.len(), data: data.into() },
        None => Packed { kind, codec: codec::NONE, raw_len: plain.len(), data: plain.into() },
    };
    streams.written().map(pack).collect()
}

impl Packed<'_> {
    fn meta(&self) -> StreamMeta {
        let Self { kind, codec, raw_len, ref data } = *self;
        StreamMeta { kind, codec, raw_len, stored_len: data.len(), crc: crc32fast::hash(data), start: 0 }
    }
}
