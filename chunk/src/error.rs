//! Why a chunk could not be read or written. Every error about bytes names the section, the offset in it and
//! both values, what was found and what would have been right.

use std::fmt;

/// What went wrong.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The object has no bytes: a write that was torn before its first byte reached the store. Fetch it from
    /// a replica, or drop it from the index.
    #[error("object is empty")]
    Empty,
    /// These bytes are no chunk.
    #[error("no chunk: starts with {found:08x}, not {expected:08x}")]
    BadMagic {
        /// The first four bytes.
        found: u32,
        /// What a chunk starts with.
        expected: u32,
    },
    /// A later version of this crate may read it.
    #[error("chunk version {version} is not supported")]
    UnsupportedVersion {
        /// The version byte.
        version: u8,
    },
    /// Enable the crate's feature for it, if there is one; a later version may have it.
    #[error("codec {codec} ({}) is not supported", crate::codec::name(*codec))]
    UnsupportedCodec {
        /// The codec byte.
        codec: u8,
    },
    /// The object holds something other than a Loki chunk.
    #[error("object encoding {encoding} is not supported")]
    UnsupportedEncoding {
        /// The number in the envelope.
        encoding: u64,
    },
    /// The chosen format has no room for structured metadata: write version 4.
    #[error("chunk version {version} holds no structured metadata")]
    MetadataNotSupported {
        /// The version that was to be written.
        version: u8,
    },
    /// The entry is older than the window allows. Tell its sender: no later chunk of the stream takes it either.
    #[error("entry at {timestamp_ns} ns is too old, the oldest that is taken is at {cutoff_ns} ns")]
    OutOfOrder {
        /// The time of the entry.
        timestamp_ns: i64,
        /// The oldest time that is taken.
        cutoff_ns: i64,
    },
    /// An option has a value that cannot work.
    #[error("{option} of {value} is not between {min} and {max}")]
    InvalidOption {
        /// The field.
        option: &'static str,
        /// What it was set to.
        value: u64,
        /// The least that works.
        min: u64,
        /// The most that works.
        max: u64,
    },
    /// The bytes end early. Fetch the object again: the copy at hand is not whole.
    #[error("{section} is cut short at byte {offset}: {need} bytes needed, {have} there")]
    Truncated {
        /// Where.
        section: Section,
        /// Where the missing bytes should start.
        offset: u64,
        /// How many are needed there.
        need: u64,
        /// How many are left.
        have: u64,
    },
    /// The bytes are not those that were written. Fetch the object from elsewhere.
    #[error("{section} at byte {offset} has checksum {found:08x}, expected {expected:08x}")]
    ChecksumMismatch {
        /// Where.
        section: Section,
        /// Where the checked bytes start.
        offset: u64,
        /// The checksum that is stored.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The bytes contradict the format or each other, checksums or not.
    #[error("{section} is corrupt at byte {offset}: {what}")]
    Corrupt {
        /// Where.
        section: Section,
        /// Where in the section's bytes; see [`Section`].
        offset: u64,
        /// What was found and what would have been right.
        what: String,
    },
    /// What was written does not hold what it was to be a copy of. Keep the source: this is a mistake of this crate, or
    /// of the machine.
    #[error("the copy has content hash {found:032x}, expected {expected:032x}")]
    ContentDiffers {
        /// The hash of the source.
        expected: u128,
        /// The hash of the copy.
        found: u128,
    },
    /// Reading or writing this would take more than [`Limits`](crate::Limits) allow. Raise the limit if the
    /// source can be trusted.
    #[error("{limit} is {max}, exceeded by {value}")]
    LimitExceeded {
        /// The field of `Limits`.
        limit: &'static str,
        /// What was asked for, or what was reached before reading stopped.
        value: u64,
        /// What is allowed.
        max: u64,
    },
    /// The object is whole but not the one that its key names.
    #[error("object has {field} {found}, its key says {expected}")]
    WrongMetadata {
        /// Which part of the key differs.
        field: &'static str,
        /// What the key says.
        expected: String,
        /// What the object says.
        found: String,
    },
}

impl Error {
    pub(crate) fn corrupt(section: Section, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt { section, offset: to_u64(offset), what: what.into() }
    }

    /// Whether the bytes are not as they were written, so that others may be good all the same.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Truncated { .. } | Self::ChecksumMismatch { .. })
    }

    pub(crate) fn limit(limit: &'static str, value: usize, max: usize) -> Self {
        Self::LimitExceeded { limit, value: to_u64(value), max: to_u64(max) }
    }
}

/// A length as the 64 bits it is stored in.
pub(crate) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("a usize has at most 64 bits")
}

/// A part of an object.
///
/// Offsets count from the start of the bytes that were given, except in [`Section::Entries`],
/// [`Section::Values`] and [`Section::SymbolList`], where they count from the start of the decompressed bytes.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// Magic, version and codec of a chunk.
    Header,
    /// The section of names and values of structured metadata, as stored.
    Symbols,
    /// The same, decompressed.
    SymbolList,
    /// A block, as stored, by its number from 0.
    Block(usize),
    /// The same, decompressed.
    Entries(usize),
    /// The head and directory of a columnar group, by its number from 0.
    Group(usize),
    /// A stream of a columnar group, as stored.
    Stream {
        /// The group's number.
        group: usize,
        /// What the stream holds, by the numbers in `FORMAT.md`.
        kind: u8,
    },
    /// The same, decompressed.
    Values {
        /// The group's number.
        group: usize,
        /// What the stream holds.
        kind: u8,
    },
    /// The index of blocks.
    Index,
    /// The footer of a columnar chunk.
    Footer,
    /// The offsets at the end of a chunk.
    Trailer,
    /// What is around a chunk in an object, as stored.
    Envelope,
    /// The JSON in it, decompressed.
    EnvelopeText,
    /// The whole object.
    Object,
    /// A key or path.
    Key,
    /// A builder's checkpoint, or the open block of one of Loki's.
    Checkpoint,
    /// The bytes of a [`Cursor`](crate::Cursor).
    Cursor,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Symbols => f.write_str("symbol section"),
            Self::SymbolList => f.write_str("symbol list"),
            Self::Block(number) => write!(f, "block {number}"),
            Self::Entries(number) => write!(f, "entry list of block {number}"),
            Self::Group(number) => write!(f, "group {number}"),
            Self::Stream { group, kind } => write!(f, "stream {kind} of group {group}"),
            Self::Values { group, kind } => write!(f, "value list of stream {kind} of group {group}"),
            Self::Index => f.write_str("block index"),
            Self::Footer => f.write_str("footer"),
            Self::Trailer => f.write_str("trailer"),
            Self::Envelope => f.write_str("envelope"),
            Self::EnvelopeText => f.write_str("envelope text"),
            Self::Object => f.write_str("object"),
            Self::Key => f.write_str("key"),
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Cursor => f.write_str("cursor"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_place_and_both_values() {
        let error =
            Error::ChecksumMismatch { section: Section::Block(3), offset: 43, expected: 1, found: 0xFF };
        assert_eq!(error.to_string(), "block 3 at byte 43 has checksum 000000ff, expected 00000001");
        let error = Error::UnsupportedCodec { codec: 9 };
        assert_eq!(error.to_string(), "codec 9 (zstd) is not supported");
        let error = Error::limit("max_line_bytes", 11, 10);
        assert_eq!(error.to_string(), "max_line_bytes is 10, exceeded by 11");
    }
}
