//! The bytes of a record, in a store, in a file or on the wire. Invariant: what decodes is what was encoded, bit
//! for bit, and what decoding allocates is bounded by the bytes it was given, whatever they claim.
//!
//! # Format
//!
//! ```text
//! 0        kind: 'I' instance, 'T' tokens, 'M' members, 'F' token file, 'P' partition, 'O' owner
//! 1        version of the format, 1
//! 2..n-8   body
//! n-8..n   XXH3-64 (seed 0) of bytes 0..n-8, little-endian
//! ```
//!
//! These three places stay in all versions, so that a newer record is told from a broken one. In a body a *varint*
//! is LEB128 in its shortest form, at most 10 bytes; a *signed* is a varint after zigzag; a *text* is a varint
//! length and as many bytes of UTF-8; a fixed number is little-endian.
//!
//! | part | fields in order |
//! |---|---|
//! | fields of an instance | id text ≤ 255, address text ≤ 1,024, zone text ≤ 255, state `u8`, incarnation varint, sequence varint, registered at signed, read-only `u8` 0 or 1, its change signed, features |
//! | features | count varint ≤ 64, then name varint and version varint each, names ascending |
//! | list of tokens | count varint ≤ 65,536, first token varint, then each the distance from the one before less 1, varint |
//! | body of `I` | fields of an instance, token epoch varint, token count varint ≤ 65,536, token digest `u64` |
//! | body of `T` | id text ≤ 255, epoch varint, list of tokens |
//! | body of `M` | count varint ≤ 131,068, then for each member, ids ascending: fields of an instance, list of tokens |
//! | body of `P` | number varint ≤ 2³² - 1, state `u8`, its change signed, its version varint, lock `u8` 0 or 1, its change signed, its version varint |
//! | body of `O` | instance text ≤ 255, partition varint ≤ 2³² - 1, deleted `u8` 0 or 1, its change signed, its version varint |
//!
//! # Two records for one instance
//!
//! A heartbeat rewrites an instance's record every few seconds, and 512 tokens are 2 kB of it that seldom
//! change. So a store holds them apart: `instances/<id>` carries an epoch, a count and a digest of the tokens,
//! `tokens/<id>` the tokens themselves, which never change within an epoch. Who reads an instance whose tokens
//! it has not got keeps those it knew if the digest is theirs, and otherwise shows the instance without any.

mod instance;
mod key;
mod members;
mod reader;
mod tokens;
mod writer;

use xxhash_rust::xxh3::xxh3_64;

pub use instance::{InstanceRecord, TokensRef, decode_instance, encode_instance};
pub(crate) use instance::{put_fields, take_fields};
pub use key::{RecordKey, RecordKind};
pub use members::{MAX_MEMBERS, decode_members, encode_members};
pub(crate) use reader::Reader;
pub use tokens::{TokensRecord, decode_tokens, encode_tokens};
pub(crate) use tokens::{put_tokens, take_tokens};
pub(crate) use writer::Writer;

/// The version of the format that is written, and the newest that is read.
pub const VERSION: u8 = 1;

/// The longest id and the longest zone, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The longest address, in bytes.
pub const MAX_ADDR_BYTES: usize = 1024;

/// Kind and version.
const HEAD_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Instance,
    Tokens,
    Members,
    TokenFile,
    Partition,
    Owner,
}

impl Kind {
    pub(crate) const fn letter(self) -> u8 {
        match self {
            Kind::Instance => b'I',
            Kind::Tokens => b'T',
            Kind::Members => b'M',
            Kind::TokenFile => b'F',
            Kind::Partition => b'P',
            Kind::Owner => b'O',
        }
    }
}

/// Why bytes are not a record. Keep the record that was known before.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Broken or foreign bytes.
    #[error("{found} bytes are too short for a record")]
    Short {
        /// Bytes there are.
        found: usize,
    },
    /// Broken or foreign bytes.
    #[error("checksum {expected:#018x} is written, the bytes have {found:#018x}")]
    Checksum {
        /// What the record says.
        expected: u64,
        /// What its bytes have.
        found: u64,
    },
    /// A sound record of something else: look for the writer that mixes keys up.
    #[error("record of kind {found:#04x}, expected {expected:#04x}")]
    Kind {
        /// The letter expected.
        expected: u8,
        /// The letter found.
        found: u8,
    },
    /// A sound record of a later version of this crate: upgrade the reader.
    #[error("record of version {found}, known are versions up to {known}")]
    Newer {
        /// Its version.
        found: u8,
        /// [`VERSION`].
        known: u8,
    },
    /// A sound checksum over a body that no encoder writes.
    #[error("{what} at byte {offset} is malformed")]
    Malformed {
        /// Where in the record.
        offset: usize,
        /// What was read there.
        what: &'static str,
    },
    /// More than this version takes.
    #[error("{what} of {found} exceeds the limit of {max}")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// Bytes or items it has.
        found: u64,
        /// The limit.
        max: usize,
    },
}

/// Why a record cannot be written: its reader would refuse it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Shorten it.
    #[error("{what} of {found} exceeds the limit of {max}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Bytes or items it has.
        found: usize,
        /// The limit.
        max: usize,
    },
}

/// Appends a record of `kind` with the body that `body` writes; on an error `out` is as it was.
pub(crate) fn seal(
    kind: Kind,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend([kind.letter(), VERSION]);
    if let Err(error) = body(&mut Writer::new(out)) {
        out.truncate(start);
        return Err(error);
    }
    let checksum = xxh3_64(&out[start..]);
    out.extend(checksum.to_le_bytes());
    Ok(())
}

/// The body of a sound record of `kind`.
pub(crate) fn open(kind: Kind, record: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let short = DecodeError::Short { found: record.len() };
    let (sealed, checksum) = record.split_last_chunk::<CHECKSUM_BYTES>().ok_or(short)?;
    let &[letter, version, ..] = sealed else { return Err(short) };
    let (expected, found) = (u64::from_le_bytes(*checksum), xxh3_64(sealed));
    if expected != found {
        return Err(DecodeError::Checksum { expected, found });
    }
    if letter != kind.letter() {
        return Err(DecodeError::Kind { expected: kind.letter(), found: letter });
    }
    if version > VERSION {
        return Err(DecodeError::Newer { found: version, known: VERSION });
    }
    if version == 0 {
        return Err(DecodeError::Malformed { offset: 1, what: "version" });
    }
    Ok(Reader::new(sealed, HEAD_BYTES))
}

/// Gives bytes a checksum that is theirs, whatever else is wrong with them: for those who test readers.
#[doc(hidden)]
pub fn mend(record: &mut [u8]) {
    if let Some((sealed, checksum)) = record.split_last_chunk_mut::<CHECKSUM_BYTES>() {
        *checksum = xxh3_64(sealed).to_le_bytes();
    }
}

#[cfg(test)]
mod tests;
