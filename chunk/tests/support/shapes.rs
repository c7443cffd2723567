//! Small chunks of many shapes.

#![allow(dead_code, reason = "each test takes the parts it needs")]

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Codec, CorruptionPolicy, Direction, Format, Limits, Profile,
};
use proptest::prelude::*;

use crate::owned::{Owned, collect};

/// Every format, with every codec or profile, in blocks of some ten entries.
pub(crate) fn each_kind() -> Vec<BuilderOptions> {
    let codecs = Codec::ALL.into_iter().filter(|codec| codec.is_supported());
    let loki = codecs.flat_map(|codec| [(Format::LokiV3, codec), (Format::LokiV4, codec)]);
    let loki = loki.map(|(format, codec)| BuilderOptions {
        format,
        codec,
        block_size: 200,
        ..BuilderOptions::default()
    });
    let profiles = [Profile::Fast, Profile::Balanced, Profile::Archive];
    let columnar =
        profiles.map(|profile| BuilderOptions { block_size: 16 * 64, ..BuilderOptions::columnar(profile) });
    loki.chain(columnar).collect()
}

/// What it is, for messages.
pub(crate) fn name(options: &BuilderOptions) -> String {
    match options.format {
        Format::Columnar => format!("{:?}", options.profile),
        format => format!("{format} {}", options.codec),
    }
}

pub(crate) fn kind() -> impl Strategy<Value = BuilderOptions> {
    prop::sample::select(each_kind())
}

/// A line with numbers in it, or any bytes.
pub(crate) fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u32..12, 0u32..3000).prop_map(|(user, took)| format!("user {user} took {took} ms").into_bytes()),
        2 => "[a-c]{0,3}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Few times, so that many are the same.
pub(crate) fn time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0i64..12, 1 => any::<i64>()]
}

pub(crate) fn entry(metadata: bool) -> impl Strategy<Value = Owned> {
    let pair = ("[a-c]", "[x-z]{0,2}").prop_map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    let pairs = prop::collection::vec(pair, 0..if metadata { 3 } else { 1 });
    (time(), line(), pairs).prop_map(|(timestamp_ns, line, metadata)| Owned { timestamp_ns, line, metadata })
}

/// A chunk of these entries, but for exact duplicates within a block; `None` if there are none.
pub(crate) fn built(options: BuilderOptions, entries: &[Owned]) -> Option<Chunk> {
    let mut builder = Builder::new(options).unwrap();
    for entry in entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    Some(opened(builder.finish()?.bytes))
}

pub(crate) fn opened(bytes: impl Into<bytes::Bytes>) -> Chunk {
    Chunk::open(bytes, &Limits::default()).unwrap()
}

pub(crate) fn skipping(bytes: impl Into<bytes::Bytes>) -> Chunk {
    Chunk::open_with(bytes, &Limits::default(), CorruptionPolicy::SkipBlock).unwrap()
}

/// All entries of a chunk.
pub(crate) fn all(chunk: &Chunk) -> Vec<Owned> {
    collect(&mut chunk.entries(.., Direction::Forward)).unwrap()
}

/// The stored bytes of each block.
pub(crate) fn stored(chunk: &Chunk) -> Vec<Vec<u8>> {
    let of = |(offset, size): (u64, u64)| {
        let start = usize::try_from(offset).unwrap();
        chunk.bytes()[start..start + usize::try_from(size).unwrap()].to_vec()
    };
    chunk.blocks().iter().map(|block| of((block.offset, block.size_bytes))).collect()
}
