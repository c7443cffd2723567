//! What is compared: this crate's formats, and the bare codecs on the same blocks.

use std::hint::black_box;
use std::io::{Read, Write};

use bytes::Bytes;
use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Format, Limits, Profile, ReadStats, TimeRange,
};

use crate::set::Set;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Columnar(Profile),
    /// Version 4.
    Loki(Codec),
    /// Nothing but the codec, on the blocks of Loki's format.
    Bare(Codec),
}

/// What a set has become.
pub(crate) enum Stored {
    Chunks(Vec<Bytes>),
    /// And the length of each when decompressed.
    Blocks(Vec<(Vec<u8>, usize)>),
}

impl Stored {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Self::Blocks(blocks) => blocks.iter().map(|(block, _)| block.len()).sum(),
        }
    }

    pub(crate) fn chunks(&self) -> &[Bytes] {
        match self {
            Self::Chunks(chunks) => chunks,
            Self::Blocks(_) => unreachable!("bare blocks know nothing that could be asked for"),
        }
    }
}

const CODECS: [Codec; 4] = [Codec::Snappy, Codec::Lz4, Codec::Gzip, Codec::Zstd];

impl Contender {
    pub(crate) fn all() -> Vec<Self> {
        let columnar = [Profile::Fast, Profile::Balanced, Profile::Archive].map(Self::Columnar);
        let codecs = CODECS.into_iter().flat_map(|codec| [Self::Loki(codec), Self::Bare(codec)]);
        columnar.into_iter().chain(codecs).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Columnar(profile) => format!("columnar-{profile:?}").to_lowercase(),
            Self::Loki(codec) => format!("loki-{codec}"),
            Self::Bare(codec) => format!("bare-{codec}"),
        }
    }

    pub(crate) fn is_bare(self) -> bool {
        matches!(self, Self::Bare(_))
    }

    fn options(self) -> BuilderOptions {
        match self {
            Self::Columnar(profile) => BuilderOptions::columnar(profile),
            Self::Loki(codec) => {
                BuilderOptions { format: Format::LokiV4, codec, ..BuilderOptions::default() }
            }
            Self::Bare(_) => BuilderOptions { codec: Codec::None, ..BuilderOptions::default() },
        }
    }

    /// Stores all lines, as whoever takes them in does. A function of its own, which a profiler can be told to look at.
    #[inline(never)]
    pub(crate) fn build(self, set: &Set) -> Stored {
        match self {
            Self::Bare(codec) => Stored::Blocks(
                set.blocks().iter().map(|block| (compress(codec, block), block.len())).collect(),
            ),
            _ => Stored::Chunks(chunks(self.options(), set)),
        }
    }

    /// Visits every line, and gives what depends on all of them.
    #[inline(never)]
    pub(crate) fn read(self, stored: &Stored) -> usize {
        match (stored, self) {
            (Stored::Chunks(chunks), _) => {
                chunks.iter().map(|chunk| read(chunk, TimeRange::from(..)).0).fold(0, usize::wrapping_add)
            }
            (Stored::Blocks(blocks), Self::Bare(codec)) => {
                let read =
                    |(block, bytes): &(Vec<u8>, usize)| black_box(decompress(codec, block, *bytes)).len();
                blocks.iter().map(read).sum()
            }
            _ => unreachable!("only the bare codecs store bare blocks"),
        }
    }
}

fn chunks(options: BuilderOptions, set: &Set) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut builder = Builder::new(options).unwrap();
    for (line, &time) in set.lines.iter().zip(&set.times) {
        let entry = Entry::new(time, line);
        if !builder.space_for(&entry) {
            let full = std::mem::replace(&mut builder, Builder::new(options).unwrap());
            chunks.extend(full.finish().map(|chunk| chunk.bytes));
        }
        builder.append(entry).unwrap();
        while let Some(block) = builder.take_full() {
            builder.attach(block.encode());
        }
    }
    chunks.extend(builder.finish().map(|chunk| chunk.bytes));
    chunks
}

pub(crate) fn read(chunk: &Bytes, range: TimeRange) -> (usize, ReadStats) {
    let chunk = Chunk::open(chunk.clone(), &Limits::default()).unwrap();
    let mut entries = chunk.entries(range, Direction::Forward);
    let mut sum = 0usize;
    while let Some(batch) = entries.next_batch().unwrap() {
        for entry in batch {
            let last = entry.line.last().copied().unwrap_or_default();
            sum =
                sum.wrapping_add(entry.line.len() ^ usize::from(last) ^ usize::from(entry.timestamp_ns > 0));
        }
    }
    (sum, entries.stats())
}

impl Set {
    /// The blocks of 256 KiB that Loki's format has, not compressed.
    pub(crate) fn blocks(&self) -> &[Vec<u8>] {
        self.blocks.get_or_init(|| {
            let options = Contender::Bare(Codec::None).options();
            let block = |chunk: &Bytes, offset: u64, size: u64| {
                chunk[usize::try_from(offset).unwrap()..][..usize::try_from(size).unwrap()].to_vec()
            };
            let blocks = |chunk: &Bytes| -> Vec<_> {
                let opened = Chunk::open(chunk.clone(), &Limits::default()).unwrap();
                opened.blocks().iter().map(|meta| block(chunk, meta.offset, meta.size_bytes)).collect()
            };
            chunks(options, self).iter().flat_map(blocks).collect()
        })
    }
}

fn compress(codec: Codec, block: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Snappy => {
            let mut writer = snap::write::FrameEncoder::new(Vec::with_capacity(block.len() / 2));
            writer.write_all(block).unwrap();
            writer.into_inner().unwrap()
        }
        Codec::Lz4 => lz4_flex::block::compress(block),
        Codec::Gzip => {
            let level = flate2::Compression::new(5);
            let mut writer = flate2::write::GzEncoder::new(Vec::with_capacity(block.len() / 2), level);
            writer.write_all(block).unwrap();
            writer.finish().unwrap()
        }
        Codec::Zstd => zstd::bulk::compress(block, 3).unwrap(),
        _ => unreachable!("not one of those that are compared"),
    }
}

fn decompress(codec: Codec, block: &[u8], bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    match codec {
        Codec::Snappy => snap::read::FrameDecoder::new(block).read_to_end(&mut out),
        Codec::Lz4 => return lz4_flex::block::decompress(block, bytes).unwrap(),
        Codec::Gzip => flate2::bufread::GzDecoder::new(block).read_to_end(&mut out),
        Codec::Zstd => return zstd::bulk::decompress(block, bytes).unwrap(),
        _ => unreachable!("not one of those that are compared"),
    }
    .unwrap();
    out
}
