//! How chunks are written.

use std::time::Duration;

use crate::block::Target;
use crate::loki::format::Format;
use crate::{Codec, Limits, Profile};

/// How a [`Builder`](crate::Builder) writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct BuilderOptions {
    /// What to write. Default [`Format::LokiV4`]; versions 1 and 2 are only read.
    pub format: Format,
    /// How to compress Loki's formats. Default [`Codec::Snappy`], fast; [`Codec::Gzip`] is smaller and slower.
    pub codec: Codec,
    /// How much work to put into [`Format::Columnar`]. Default [`Profile::Balanced`].
    pub profile: Profile,
    /// Raw bytes at which a block is sealed. Default 256 KiB, but see [`BuilderOptions::columnar`]. Smaller blocks
    /// compress worse, larger ones are decompressed for less.
    pub block_size: usize,
    /// Encoded bytes at which the chunk is full. Default 1.5 MiB. Smaller chunks cost more requests and
    /// index, larger ones more memory for each stream.
    pub target_size: usize,
    /// How much older than the newest entry of the stream an entry may be. Default: as old as it likes. Loki takes half
    /// of the age at which it flushes a chunk, so that chunks of one stream overlap no more than that; less refuses
    /// senders that are late, more makes blocks overlap, which reads have to merge.
    pub out_of_order: Option<Duration>,
    /// What a reader is going to allow: no line, metadata, block or sequence of blocks is made that it would
    /// refuse. Only the size of the whole is up to the caller, who asks [`Builder::space_for`](crate::Builder::space_for).
    pub limits: Limits,
}

impl Default for BuilderOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            codec: Codec::default(),
            profile: Profile::default(),
            block_size: 256 << 10,
            target_size: 3 << 19,
            out_of_order: None,
            limits: Limits::default(),
        }
    }
}

impl BuilderOptions {
    /// Those of a columnar chunk, with blocks of the size that the profile is meant for. The target is two such blocks at
    /// least, because until a block is encoded it counts as if it did not compress.
    pub fn columnar(profile: Profile) -> Self {
        let (block_size, default) = (profile.group_bytes(), Self::default());
        let target_size = default.target_size.max(2 * block_size);
        Self { format: Format::Columnar, profile, block_size, target_size, ..default }
    }

    pub(super) fn target(&self) -> Target {
        match self.format {
            Format::Columnar => Target::Columnar(self.profile, self.limits),
            format => Target::Loki { format, codec: self.codec },
        }
    }
}
