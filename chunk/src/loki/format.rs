//! The numbers of Loki's chunk format and the two kinds of integers it is made of. A [`Reader`] never goes
//! past the bytes it was given.

#![warn(clippy::indexing_slicing)]

use std::fmt;

use crate::error::to_u64;
use crate::{Error, Section};

/// What every chunk starts with.
pub(crate) const MAGIC: u32 = 0x012E_E56A;
/// Magic and version.
pub(crate) const VERSION_END: usize = 4 + 1;
/// The offset of the index, at the end of versions 1 to 3.
pub(crate) const SHORT_TRAILER: usize = 8;
/// Length and offset of the symbols and of the index, at the end of version 4.
pub(crate) const LONG_TRAILER: usize = 4 * 8;
/// A checksum.
pub(crate) const CRC: usize = 4;

/// The container and version of a chunk.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Format {
    /// Always gzip. Read only.
    #[cfg_attr(feature = "serde", serde(rename = "loki-v1"))]
    LokiV1,
    /// Names its codec. Read only.
    #[cfg_attr(feature = "serde", serde(rename = "loki-v2"))]
    LokiV2,
    /// Names the raw size of each block. What Loki writes for schemas up to v12.
    #[cfg_attr(feature = "serde", serde(rename = "loki-v3"))]
    LokiV3,
    /// Has structured metadata. What Loki writes for schemas from v13 on, and the default.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "loki-v4"))]
    LokiV4,
    /// This crate's own: smaller, and read in parts. Loki does not read it.
    #[cfg_attr(feature = "serde", serde(rename = "columnar"))]
    Columnar,
}

impl Format {
    /// The version byte; of the columnar format the major version.
    pub const fn version(self) -> u8 {
        match self {
            Self::Columnar => crate::columnar::format::MAJOR,
            Self::LokiV1 => 1,
            Self::LokiV2 => 2,
            Self::LokiV3 => 3,
            Self::LokiV4 => 4,
        }
    }

    pub(crate) fn from_version(version: u8) -> Result<Self, Error> {
        match version {
            1 => Ok(Self::LokiV1),
            2 => Ok(Self::LokiV2),
            3 => Ok(Self::LokiV3),
            4 => Ok(Self::LokiV4),
            _ => Err(Error::UnsupportedVersion { version }),
        }
    }

    /// Whether a builder can write it.
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::LokiV3 | Self::LokiV4 | Self::Columnar)
    }

    /// Whether its entries have structured metadata.
    pub const fn has_metadata(self) -> bool {
        matches!(self, Self::LokiV4 | Self::Columnar)
    }

    /// Whether its index names the raw size of each block.
    pub(crate) const fn has_raw_bytes(self) -> bool {
        matches!(self, Self::LokiV3 | Self::LokiV4)
    }

    /// Where symbols or the first block start.
    pub(crate) const fn header_bytes(self) -> usize {
        match self {
            Self::LokiV1 => VERSION_END,
            _ => VERSION_END + 1,
        }
    }

    pub(crate) const fn trailer_bytes(self) -> usize {
        if self.has_metadata() { LONG_TRAILER } else { SHORT_TRAILER }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columnar => f.write_str("columnar"),
            _ => write!(f, "loki-v{}", self.version()),
        }
    }
}

/// Takes a LEB128 integer of at most 64 bits off the front, or nothing.
#[inline(always)]
pub(crate) fn take_uvarint(input: &mut &[u8]) -> Option<u64> {
    match **input {
        [byte @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Some(byte.into())
        }
        [first, second @ ..0x80, ref rest @ ..] => {
            *input = rest;
            Some(u64::from(first & 0x7F) | u64::from(second) << 7)
        }
        _ => take_long_uvarint(input),
    }
}

/// The same of more than one byte. Where there are ten bytes, eight are looked at together.
#[inline]
fn take_long_uvarint(input: &mut &[u8]) -> Option<u64> {
    let Some(&[a, b, c, d, e, f, g, h, ninth, tenth]) = input.first_chunk() else {
        return take_last_uvarint(input);
    };
    let word = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let ends = !word & 0x8080_8080_8080_8080;
    let (value, length) = if ends != 0 {
        let bits = ends.trailing_zeros() + 1;
        (sevens(word & (u64::MAX >> (64 - bits))), bits / 8)
    } else if ninth < 0x80 {
        (sevens(word) | u64::from(ninth) << 56, 9)
    } else if tenth < 2 {
        (sevens(word) | u64::from(ninth & 0x7F) << 56 | u64::from(tenth) << 63, 10)
    } else {
        return None;
    };
    *input = input.get(usize::try_from(length).ok()?..)?;
    Some(value)
}

/// The low seven bits of eight bytes, put together.
#[inline]
fn sevens(word: u64) -> u64 {
    let word = (word & 0x007F_007F_007F_007F) | ((word & 0x7F00_7F00_7F00_7F00) >> 1);
    let word = (word & 0x0000_3FFF_0000_3FFF) | ((word & 0x3FFF_0000_3FFF_0000) >> 2);
    (word & 0x0FFF_FFFF) | ((word & 0x0FFF_FFFF_0000_0000) >> 4)
}

/// The same near the end, byte by byte.
#[cold]
fn take_last_uvarint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().take(10).enumerate() {
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            *input = input.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Takes a zigzag-coded integer off the front, or nothing.
#[inline]
pub(crate) fn take_varint(input: &mut &[u8]) -> Option<i64> {
    let value = take_uvarint(input)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

/// Appends a LEB128 integer.
#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(low_byte(value));
        return;
    }
    let length = uvarint_bytes(value);
    // Every byte but the last says that there is another.
    let more = 0x8080_8080_8080_8080 & (u64::MAX >> (64 - 8 * (length - 1).min(8)));
    let mut bytes = [0; 10];
    if let Some(first) = bytes.first_chunk_mut::<8>() {
        *first = (apart(value) | more).to_le_bytes();
    }
    if length > 8 {
        let [.., ninth, tenth] = &mut bytes;
        *ninth = low_byte(value >> 56) & 0x7F | if length > 9 { 0x80 } else { 0 };
        *tenth = low_byte(value >> 63);
    }
    // All ten, which is a move of a known size, and then as many as there are.
    let end = out.len() + length;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

/// The low 56 bits by sevens, one in each byte: the inverse of [`sevens`].
#[inline]
fn apart(value: u64) -> u64 {
    let word = (value & 0x0FFF_FFFF) | ((value & 0x00FF_FFFF_F000_0000) << 4);
    let word = (word & 0x0000_3FFF_0000_3FFF) | ((word & 0x0FFF_C000_0FFF_C000) << 2);
    (word & 0x007F_007F_007F_007F) | ((word & 0x3F80_3F80_3F80_3F80) << 1)
}

/// Appends a zigzag-coded integer.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// The bytes that [`put_uvarint`] appends.
#[inline]
pub(crate) fn uvarint_bytes(value: u64) -> usize {
    // A seventh of the bits, rounded up.
    let bits = 64 - (value | 1).leading_zeros();
    ((bits * 9 + 64) / 64) as usize
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Takes what a section is made of off its front, and knows where it is.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest`.
    end: usize,
    section: Section,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which start at `offset`.
    pub(crate) fn new(bytes: &'a [u8], offset: usize, section: Section) -> Self {
        Self { rest: bytes, end: offset + bytes.len(), section }
    }

    pub(crate) fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> Error {
        Error::corrupt(self.section, self.offset(), what)
    }

    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, Error> {
        take_uvarint(&mut self.rest).ok_or_else(|| self.no_varint())
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i64, Error> {
        take_varint(&mut self.rest).ok_or_else(|| self.no_varint())
    }

    /// A count or size that has to fit the address space; what it counts is checked by the caller.
    #[inline]
    pub(crate) fn size(&mut self) -> Result<usize, Error> {
        let at = self.clone();
        let value = self.uvarint()?;
        usize::try_from(value).map_err(|_| at.corrupt(format!("size of {value} bytes")))
    }

    /// Takes these bytes, if they come next.
    #[inline]
    pub(crate) fn take_if<const N: usize>(&mut self, expected: [u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((&found, rest)) if found == expected => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.truncated(length));
        };
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn be32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// An offset or length of the trailer.
    pub(crate) fn be64(&mut self) -> Result<usize, Error> {
        let at = self.clone();
        let value = self.array().map(u64::from_be_bytes)?;
        usize::try_from(value).map_err(|_| at.corrupt(format!("offset or length of {value} bytes")))
    }

    /// The error that `need` bytes are not there.
    #[cold]
    fn truncated(&self, need: usize) -> Error {
        Error::Truncated {
            section: self.section,
            offset: to_u64(self.offset()),
            need: to_u64(need),
            have: to_u64(self.rest.len()),
        }
    }

    #[cold]
    fn no_varint(&self) -> Error {
        let ends = self.rest.iter().take(10).any(|&byte| byte < 0x80);
        if ends || self.rest.len() >= 10 {
            self.corrupt("integer of more than 64 bits")
        } else {
            self.truncated(self.rest.len() + 1)
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that goes past the end should fail")]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_and_take_the_bytes_they_say() {
        let edges = (0..64)
            .flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1, 0x5555_5555_5555_5555 >> bit]);
        for value in edges.chain([u64::MAX]) {
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            assert_eq!(out.len(), uvarint_bytes(value));
            let mut rest = &out[..];
            assert_eq!((take_uvarint(&mut rest), rest), (Some(value), &[][..]));
            // With enough behind it, it is read in another way.
            for behind in [[0; 12], [0xFF; 12]] {
                let longer = [&out[..], &behind].concat();
                let mut rest = &longer[..];
                assert_eq!((take_uvarint(&mut rest), rest), (Some(value), &behind[..]));
            }
            for end in 0..out.len() {
                assert_eq!(take_uvarint(&mut &out[..end]), None);
            }
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(take_varint(&mut &out[..]), Some(value));
        }
    }

    #[test]
    fn an_integer_of_more_than_64_bits_is_corrupt_and_one_without_end_cut_short() {
        for behind in 0..3 {
            let long = [&[0xFF; 9][..], &[2], &vec![0; behind]].concat();
            let error = Reader::new(&long, 5, Section::Index).uvarint().unwrap_err();
            assert_eq!(error, Error::corrupt(Section::Index, 5, "integer of more than 64 bits"));
        }
        let error = Reader::new(&[0x80], 5, Section::Index).uvarint().unwrap_err();
        assert_eq!(error, Error::Truncated { section: Section::Index, offset: 5, need: 2, have: 1 });
    }
}
