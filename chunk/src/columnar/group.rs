//! A group: some entries of a chunk, in order of time, encoded apart from all others and read apart from them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::codec;
use super::filter::Words;
use super::format::{Directory, StreamMeta};
use super::hash::ContentHash;
use super::metadata::{MetadataWriter, RowMetadata};
use super::profile::{ColumnarOptions, Profile};
use super::stream::{Kind, Stored, Streams};
use super::{lines, raw, time};
use crate::chunk::BlockMeta;
use crate::entry::{Entry, Metadata, SymbolPair};
use crate::error::to_u64;
use crate::head::Head;
use crate::symbols::SymbolTable;
use crate::{Error, Limits};

/// What skeletons and open columns take, in bytes: for each byte of the lines, for each row, and for the group.
pub(crate) const MEMORY_OF_BYTE: usize = 3;
pub(crate) const MEMORY_OF_ROW: usize = 64;
pub(crate) const MEMORY_OF_GROUP: usize = 16 << 10;
/// What lines are made in takes no more than this, and the lines.
pub(crate) const WORK_OF_GROUP: usize = 4 << 20;

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
        Directory::hashed_bytes(bytes)
    }

    /// The entries of a block, as a reader with these limits reads them.
    pub(crate) fn encode(head: &Head, symbols: &SymbolTable, profile: Profile, limits: &Limits) -> Self {
        let (mut times, mut lines) = (Vec::with_capacity(head.len()), Vec::with_capacity(head.len()));
        let mut pairs = Vec::with_capacity(if head.has_metadata() { head.len() } else { 0 });
        head.visit(|(time, line, of_row)| {
            times.push(time);
            lines.push(line);
            if head.has_metadata() {
                pairs.push(of_row);
            }
        });
        let mut hash = ContentHash::default();
        let no_pairs: &[SymbolPair] = &[];
        let all_pairs = pairs.iter().copied().chain(std::iter::repeat(no_pairs));
        for ((&timestamp_ns, &line), pairs) in times.iter().zip(&lines).zip(all_pairs) {
            hash.push(&Entry { timestamp_ns, line, metadata: Metadata::interned(symbols, pairs) });
        }

        let mut streams = Streams::default();
        time::encode(&times, streams.out(Kind::Time));
        let metadata = MetadataWriter::new(pairs, symbols);
        let options = profile.options();
        let [mut split, mut whole, mut filter] = [(); 3].map(|()| Streams::default());
        let mut packed = pack(&streams, &options);
        let mut words = Words::default();
        packed.extend(pack_rows(
            &lines, &times, &metadata, &options, limits, &mut split, &mut whole, &mut words,
        ));
        words.write(stored(packed.iter()), &mut filter);
        packed.extend(pack(&filter, &options));

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
            stream.start = small(data.len());
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

    #[cfg(test)]
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Checks the checksum of every stream, also of those that a read of its entries does not open.
    pub(crate) fn verify(&self) -> Result<(), Error> {
        self.streams(usize::MAX)?.verify().map_err(|fault| fault.into_error(self.number))
    }

    /// Its streams, none of them opened. All together are decompressed to at most `budget` bytes.
    pub(crate) fn streams(&self, budget: usize) -> Result<Streams, Error> {
        let mut streams = Streams::within(budget);
        let base = usize::try_from(self.meta.offset).unwrap_or(usize::MAX);
        for &StreamMeta { kind, codec, raw_len, stored_len, crc, start } in &self.directory.streams {
            let [raw_len, stored_len, start] =
                [raw_len, stored_len, start].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
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

/// What a reader needs at most to make lines of columns, besides streams and text: a builder counts on it,
/// `Builder::decoded_with`.
fn max_memory_bytes(raw_bytes: usize, rows: usize) -> usize {
    let rows = rows.saturating_mul(MEMORY_OF_ROW);
    raw_bytes.saturating_mul(MEMORY_OF_BYTE).saturating_add(rows).saturating_add(MEMORY_OF_GROUP)
}

/// The streams of lines and metadata, lines split into columns or whole, whichever takes fewer bytes; and their words.
#[expect(clippy::too_many_arguments, reason = "rows, how they are written, and where to")]
fn pack_rows<'a>(
    lines: &[&[u8]],
    times: &[i64],
    metadata: &MetadataWriter<'_>,
    options: &ColumnarOptions,
    limits: &Limits,
    split: &'a mut Streams,
    whole: &'a mut Streams,
    words: &mut Words,
) -> Vec<Packed<'a>> {
    let raw_bytes = lines.iter().map(|line| line.len()).fold(0, usize::saturating_add);
    let is_split = lines::encode(lines, times, options, split, words);
    // What a builder counts on: `Builder::block_bound`.
    let most = raw_bytes.saturating_mul(2).saturating_add(lines.len().saturating_mul(40));
    let plain = split.written().map(|(_, plain)| plain.len()).fold(0, usize::saturating_add);
    let mut is_fit = is_split && plain <= most;
    if is_fit {
        metadata.write(split);
        // And what columns take when they are open, those of the metadata too, is not more than a reader allows.
        let memory =
            lines::Decoder::new(split, lines.len(), limits).map(|decoder| decoder.max_memory_bytes());
        is_fit = memory.is_ok_and(|memory| memory <= max_memory_bytes(raw_bytes, lines.len()))
            && RowMetadata::open(split, 0, lines.len(), limits, &mut 0).is_ok();
    }
    let packed = if is_fit { pack(split, options) } else { Vec::new() };
    let of_lines = |part: &&Packed<'_>| !matches!(part.kind, Kind::Metadata | Kind::MetadataIds);
    let size = stored(packed.iter().filter(of_lines));
    // A sample shows less of what repeats than the whole: as whole lines they would take less than it says.
    let is_less = || {
        size.saturating_mul(2) < sampled(lines, raw_bytes, GLANCE, 1)
            || size.saturating_mul(4)
                < sampled(lines, raw_bytes, SAMPLE, options.level.min(3)).saturating_mul(3)
    };
    if is_fit && is_less() {
        return packed;
    }
    raw::encode(lines.iter().copied(), whole);
    metadata.write(whole);
    if metadata.has_columns() && RowMetadata::open(whole, 0, lines.len(), limits, &mut 0).is_err() {
        *whole = Streams::default();
        raw::encode(lines.iter().copied(), whole);
        metadata.in_sets().write(whole);
    }
    let whole = pack(whole, options);
    if is_fit && size < stored(whole.iter().filter(of_lines)) {
        return packed;
    }
    if !is_split {
        lines.iter().for_each(|line| words.add(line));
    }
    whole
}

fn stored<'a>(packed: impl Iterator<Item = &'a Packed<'a>>) -> usize {
    packed.map(Packed::size).fold(0, usize::saturating_add)
}

/// Bytes of lines that are compressed to guess what all of them would take: at a glance, which is mostly enough, and with
/// more care.
const GLANCE: usize = 16 << 10;
const SAMPLE: usize = 64 << 10;

/// About what whole lines would take, by so many bytes of them. To compress them all would take as long as the rest
/// of the work, and is seldom needed to know better.
fn sampled(lines: &[&[u8]], raw_bytes: usize, bytes: usize, level: i32) -> usize {
    let quarter = lines.len().saturating_div(4);
    let mut sample = Vec::with_capacity(bytes);
    for line in lines.iter().skip(quarter) {
        // One line at least.
        if !sample.is_empty() && sample.len().saturating_add(line.len()) > bytes {
            break;
        }
        sample.extend_from_slice(line);
    }
    let stored = codec::compress(&sample, level).map_or(sample.len(), |stored| stored.len());
    let scaled = stored.saturating_mul(raw_bytes).checked_div(sample.len());
    scaled.unwrap_or(0)
}

/// A stream as it is going to be stored.
struct Packed<'a> {
    kind: Kind,
    codec: u8,
    raw_len: usize,
    data: Cow<'a, [u8]>,
}

fn pack<'a>(streams: &'a Streams, options: &ColumnarOptions) -> Vec<Packed<'a>> {
    let level = |kind| match kind {
        Kind::Time | Kind::Bits | Kind::Numbers | Kind::Ids => options.numbers,
        _ => options.level,
    };
    let pack = |(kind, plain): (Kind, &'a [u8])| match codec::compress(plain, level(kind)) {
        Some(data) => Packed { kind, codec: codec::ZSTD, raw_len: plain.len(), data: data.into() },
        None => Packed { kind, codec: codec::NONE, raw_len: plain.len(), data: plain.into() },
    };
    streams.written().map(pack).collect()
}

impl Packed<'_> {
    /// About what it takes in a group, its place in the directory included.
    fn size(&self) -> usize {
        self.data.len().saturating_add(10)
    }

    fn meta(&self) -> StreamMeta {
        let Self { kind, codec, raw_len, ref data } = *self;
        let (raw_len, stored_len) = (small(raw_len), small(data.len()));
        StreamMeta { kind, codec, raw_len, stored_len, crc: crc32fast::hash(data), start: 0 }
    }
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("a block is limited to 2^32 bytes")
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::symbols::Interner;

    fn group(lines: impl Iterator<Item = Vec<u8>>, profile: Profile) -> Group {
        let mut head = Head::default();
        for (time, line) in (0..).zip(lines) {
            assert!(head.append(time, &line, &[]));
        }
        Group::encode(&head, &SymbolTable::default(), profile, &Limits::default())
    }

    /// Such a group was written, and nobody could read it.
    #[test]
    fn lines_whose_columns_take_more_than_a_reader_allows_are_not_split() {
        let mut head = Head::default();
        for n in 0..3000i64 {
            let line = (0..40).map(|k| format!("{} ", n * 3 + n * n % (k + 3))).collect::<String>();
            head.append(n, line.as_bytes(), &[]);
        }
        let split = |max_block_bytes| {
            let limits = Limits { max_block_bytes, ..Limits::default() };
            let group = Group::encode(&head, &SymbolTable::default(), Profile::Fast, &limits);
            let mut rows =
                crate::columnar::rows::Rows::open(&group, &limits, usize::MAX, Default::default()).unwrap();
            assert!(rows.prepare(0..3000, crate::Direction::Forward).unwrap() > 0, "{max_block_bytes}");
            has(&group, Kind::Skeletons)
        };
        assert!(split(64 << 20));
        assert!(!split(900_000), "lines of {} bytes", head.raw_bytes());
    }

    /// The reader was asked before the columns of metadata were there: groups within a few kilobytes of the limit were lost.
    #[test]
    fn whatever_a_reader_allows_it_opens_what_was_written_for_it() {
        let mut interner = Interner::default();
        let mut head = Head::default();
        for n in 0..100i64 {
            let line = (0..5).map(|k| format!("{} ", n * 3 + n * n % (k + 3))).collect::<String>();
            let pair = |k: i64| SymbolPair {
                name: interner_number(&mut interner, &format!("name{k}")),
                value: interner_number(&mut interner, &format!("{:08x}", (n + 1) * (k + 77) * 0x9E37)),
            };
            let pairs: Vec<_> = (0..8).map(pair).collect();
            head.append(n, line.as_bytes(), &pairs);
        }
        let mut split = 0;
        for max_block_bytes in (2_000..30_000).step_by(280) {
            let limits = Limits { max_block_bytes, ..Limits::default() };
            let group = Group::encode(&head, interner.table(), Profile::Fast, &limits);
            if !has(&group, Kind::Skeletons) {
                continue;
            }
            split += 1;
            let mut rows =
                crate::columnar::rows::Rows::open(&group, &limits, usize::MAX, Default::default()).unwrap();
            assert!(rows.prepare(0..100, crate::Direction::Forward).is_ok(), "{max_block_bytes}");
        }
        assert!((10..95).contains(&split), "{split}");
    }

    fn interner_number(interner: &mut Interner, text: &str) -> u32 {
        interner.intern(text.as_bytes())
    }

    fn has(group: &Group, kind: Kind) -> bool {
        group.directory().streams.iter().any(|stream| stream.kind == kind)
    }

    /// What whole lines take, and the rest of the group as it is.
    fn whole_bytes(group: &Group, lines: &[Vec<u8>], profile: Profile) -> usize {
        let mut streams = Streams::default();
        raw::encode(lines.iter().map(Vec::as_slice), &mut streams);
        let lines: usize = pack(&streams, &profile.options()).iter().map(Packed::size).sum();
        let time = group.directory().streams.iter().find(|stream| stream.kind == Kind::Time);
        lines + time.map_or(0, |stream| stream.stored_len as usize) + 64
    }

    #[test]
    fn lines_that_have_much_in_common_are_split_and_others_are_not() {
        let alike =
            |n: u64| format!("took {} ms for request {n} of user {}", n * 7919 % 1000, n % 50).into_bytes();
        let noise = |n: u64| hash_bytes(n, 60);
        for profile in [Profile::Fast, Profile::Balanced] {
            let split = group((0..2000).map(alike), profile);
            assert!(has(&split, Kind::Skeletons) && !has(&split, Kind::RawLines));
            let whole = group((0..2000).map(noise), profile);
            assert!(has(&whole, Kind::RawLines) && !has(&whole, Kind::Skeletons));
        }
    }

    fn hash_bytes(n: u64, length: usize) -> Vec<u8> {
        let words =
            (0u64..).flat_map(|word| xxhash_rust::xxh3::xxh3_64_with_seed(&[], n << 20 | word).to_le_bytes());
        words.take(length).collect()
    }

    /// Property 6 of the format, but for lines that come again after more of them than the sample has: whole they may take
    /// less then.
    #[test]
    fn a_group_is_not_larger_than_one_of_whole_lines() {
        let words = ["GET", "PUT", "/a/b", "error", "{}", "x=1", "0042", "deadbeefcafe"];
        let line = |kind: usize, n: usize| match kind {
            0 => format!("{} {} {n}", words[n % 8], words[n / 3 % 8]).into_bytes(),
            1 => hash_bytes(to_u64(n), 10 + n % 90),
            2 => format!("id={:x} {}", to_u64(n).wrapping_mul(0x9E37_79B9_7F4A_7C15), words[n % 7])
                .into_bytes(),
            3 => vec![b'a'; n % 30],
            _ => format!("{{\"n\":{n},\"path\":\"/{}/{}\"}}", n % 13, n * n % 1009).into_bytes(),
        };
        for kind in 0..5 {
            for rows in [1, 7, 60, 1500] {
                let lines: Vec<Vec<u8>> = (0..rows).map(|n| line(kind, n)).collect();
                for profile in [Profile::Fast, Profile::Balanced] {
                    let group = group(lines.iter().cloned(), profile);
                    let most = whole_bytes(&group, &lines, profile);
                    assert!(
                        group.data().len() <= most,
                        "kind {kind}, {rows} rows: {} > {most}",
                        group.data().len()
                    );
                }
            }
        }
    }
}
