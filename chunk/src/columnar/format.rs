//! The head of a file and of a group, and the directory of a group's streams. `FORMAT.md` draws them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::stream::Kind;
use crate::error::to_u64;
use crate::loki::format::{CRC, Reader, put_uvarint, put_varint};
use crate::{Error, Limits, Section};

/// What a file starts with; as in PNG, what a transfer as text would change is in it.
pub(crate) const MAGIC: [u8; 8] = *b"\x89LCF\r\n\x1A\n";
/// Readers of another major version read nothing of it.
pub(crate) const MAJOR: u8 = 1;
const MINOR: u8 = 0;
/// Magic, version, two bytes that are zero, checksum.
pub(crate) const HEADER_BYTES: usize = MAGIC.len() + 2 + 2 + CRC;

/// What a group starts with.
pub(crate) const GROUP_MAGIC: [u8; 4] = *b"LCFR";
/// Magic, lengths of directory and body, rows.
const HEAD_SUMMED: usize = GROUP_MAGIC.len() + 4 + 4 + 4;
/// And the checksum of these and of the directory.
pub(crate) const HEAD_BYTES: usize = HEAD_SUMMED + CRC;

/// Kinds of streams from here on may be passed over by those who do not know them.
const OPTIONAL_KINDS: u8 = 128;
/// Streams of a group at most: a column each, the kinds that come once, and pages of raw lines.
const MAX_STREAMS: usize = 70_000;

pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (summed, crc) = header.split_at_mut(HEADER_BYTES.saturating_sub(CRC));
    for (to, from) in summed.iter_mut().zip(MAGIC.into_iter().chain([MAJOR, MINOR, 0, 0])) {
        *to = from;
    }
    crc.copy_from_slice(&crc32fast::hash(summed).to_le_bytes());
    header
}

/// Checks the head of a file.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(bytes, 0, Section::Header);
    let summed = reader.bytes(HEADER_BYTES.saturating_sub(CRC))?;
    let (expected, found) = (u32::from_le_bytes(reader.array()?), crc32fast::hash(summed));
    let mut reader = Reader::new(summed, 0, Section::Header);
    if reader.array()? != MAGIC {
        return Err(
            Reader::new(summed, 0, Section::Header).corrupt("another magic than that of a columnar chunk")
        );
    }
    if expected != found {
        return Err(Error::ChecksumMismatch { section: Section::Header, offset: 0, expected, found });
    }
    let [major, _minor, reserved @ ..] = reader.array::<4>()?;
    if major != MAJOR {
        return Err(Error::UnsupportedVersion { version: major });
    }
    if reserved != [0, 0] {
        return Err(reader.corrupt(format!("reserved bytes {reserved:02x?} that are not zero")));
    }
    Ok(())
}

/// Whether a group may start here.
pub(crate) fn is_group(bytes: &[u8]) -> bool {
    bytes.starts_with(&GROUP_MAGIC)
}

/// What a group says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) rows: u32,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    /// Bytes of all lines, and 8 for each metadata pair.
    pub(crate) raw_bytes: u64,
    pub(crate) hash: u128,
    pub(crate) streams: Vec<StreamMeta>,
}

/// What a directory says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamMeta {
    pub(crate) kind: Kind,
    pub(crate) codec: u8,
    pub(crate) raw_len: u32,
    pub(crate) stored_len: u32,
    pub(crate) crc: u32,
    /// From the start of the group.
    pub(crate) start: u32,
}

impl Directory {
    /// Head and directory of a group with these streams.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut directory = Vec::new();
        put_varint(&mut directory, self.min_ns);
        put_uvarint(&mut directory, self.max_ns.abs_diff(self.min_ns));
        put_uvarint(&mut directory, self.raw_bytes);
        directory.extend_from_slice(&self.hash.to_le_bytes());
        put_uvarint(&mut directory, to_u64(self.streams.len()));
        for stream in &self.streams {
            directory.extend_from_slice(&[stream.kind.byte(), stream.codec]);
            put_uvarint(&mut directory, stream.stored_len.into());
            if stream.codec != super::codec::NONE {
                put_uvarint(&mut directory, stream.raw_len.into());
            }
            directory.extend_from_slice(&stream.crc.to_le_bytes());
        }
        let body = self.streams.iter().fold(0u64, |sum, stream| sum.saturating_add(stream.stored_len.into()));
        let length =
            |length: u64| u32::try_from(length).expect("a block is limited to 2^32 bytes").to_le_bytes();
        let mut out = GROUP_MAGIC.to_vec();
        out.extend_from_slice(&length(to_u64(directory.len())));
        out.extend_from_slice(&length(body));
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&sum(&out, &directory).to_le_bytes());
        out.extend_from_slice(&directory);
        out
    }

    /// Reads the group that `bytes` start with; they may go on behind it. Answers with the group's length
    /// too. `offset` is theirs in the file, for messages.
    pub(crate) fn read(
        bytes: &[u8],
        number: usize,
        offset: usize,
        limits: &Limits,
    ) -> Result<(Self, usize), Error> {
        let section = Section::Group(number);
        let mut reader = Reader::new(bytes, offset, section);
        let at = reader.clone();
        let summed = reader.bytes(HEAD_SUMMED)?;
        let expected = u32::from_le_bytes(reader.array()?);
        let mut head = Reader::new(summed, offset, section);
        if head.array()? != GROUP_MAGIC {
            return Err(at.corrupt("no group starts here"));
        }
        let [directory, body, rows] = [head.array()?, head.array()?, head.array()?].map(u32::from_le_bytes);
        let [directory_len, body_len] =
            [directory, body].map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let directory_start = reader.offset();
        let directory = reader.bytes(directory_len)?;
        // Whatever the checksum: what is cut short is not hashed.
        reader.bytes(body_len)?;
        let found = sum(summed, directory);
        if found != expected {
            return Err(Error::ChecksumMismatch { section, offset: to_u64(offset), expected, found });
        }
        let body_start = HEAD_BYTES.saturating_add(directory_len);
        let mut reader = Reader::new(directory, directory_start, section);
        let directory = Self::parse(&mut reader, rows, body_start, body_len, limits)?;
        Ok((directory, body_start.saturating_add(body_len)))
    }

    /// How many bytes [`Directory::read`] hashes of these.
    pub(crate) fn hashed_bytes(bytes: &[u8]) -> usize {
        let mut reader = Reader::new(bytes, 0, Section::Header);
        let mut size = |skip: usize| {
            reader.bytes(skip).ok()?;
            usize::try_from(u32::from_le_bytes(reader.array().ok()?)).ok()
        };
        let (Some(directory), Some(body)) = (size(GROUP_MAGIC.len()), size(0)) else { return 0 };
        let length = HEAD_BYTES.saturating_add(directory).saturating_add(body);
        if length <= bytes.len() { directory } else { 0 }
    }

    fn parse(
        reader: &mut Reader<'_>,
        rows: u32,
        body_start: usize,
        body_len: usize,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let entries = usize::try_from(rows).unwrap_or(usize::MAX);
        if entries > limits.max_entries_per_block {
            return Err(Error::limit("max_entries_per_block", entries, limits.max_entries_per_block));
        }
        let at = reader.clone();
        let (min_ns, span, raw_bytes) = (reader.varint()?, reader.uvarint()?, reader.uvarint()?);
        let max_ns = min_ns.checked_add_unsigned(span).filter(|_| rows > 0);
        let max_ns = max_ns.ok_or_else(|| at.corrupt(format!("{rows} rows, {span} ns from {min_ns} on")))?;
        let hash = u128::from_le_bytes(reader.array()?);
        let count = reader.size()?;
        if count > MAX_STREAMS {
            return Err(Error::limit("streams of a group", count, MAX_STREAMS));
        }
        let mut streams = Vec::new();
        let (mut start, mut raw_total) = (body_start, 0usize);
        for _ in 0..count {
            let at = reader.clone();
            let [kind, codec] = reader.array()?;
            let stored_len = reader.size()?;
            let raw_len = if codec == super::codec::NONE { stored_len } else { reader.size()? };
            let crc = u32::from_le_bytes(reader.array()?);
            let next = start.checked_add(stored_len);
            let next = next.ok_or_else(|| at.corrupt(format!("stream of {stored_len} bytes at {start}")))?;
            if kind < OPTIONAL_KINDS {
                let kind = Kind::from_byte(kind);
                let kind =
                    kind.ok_or_else(|| at.corrupt("a stream of a kind that must be understood and is not"))?;
                if raw_len == 0 {
                    return Err(at.corrupt("a stream without bytes"));
                }
                raw_total = raw_total.saturating_add(raw_len);
                if raw_total > limits.block_bytes() {
                    return Err(Error::limit("max_block_bytes", raw_total, limits.block_bytes()));
                }
                let small = |length| {
                    let max = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
                    u32::try_from(length).map_err(|_| Error::limit("bytes of a group", length, max))
                };
                let (raw_len, stored_len, start) = (small(raw_len)?, small(stored_len)?, small(start)?);
                streams.push(StreamMeta { kind, codec, raw_len, stored_len, crc, start });
            }
            start = next;
        }
        if !reader.is_empty() {
            return Err(
                reader.corrupt(format!("{} bytes behind the last of {count} streams", reader.rest().len()))
            );
        }
        if start.checked_sub(body_start) != Some(body_len) {
            return Err(
                at.corrupt(format!("streams from {body_start} to {start} in a body of {body_len} bytes"))
            );
        }
        Ok(Self { rows, min_ns, max_ns, raw_bytes, hash, streams })
    }
}

fn sum(head: &[u8], directory: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(directory);
    hasher.finalize()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let stream = |kind, codec, raw_len, stored_len, start| StreamMeta {
            kind,
            codec,
            raw_len,
            stored_len,
            crc: 7,
            start,
        };
        let mut directory = Directory {
            rows: 3,
            min_ns: -5,
            max_ns: i64::MAX,
            raw_bytes: 900,
            hash: 1 << 100,
            streams: vec![
                stream(Kind::Time, 0, 4, 4, 0),
                stream(Kind::Text, 1, 300, 9, 4),
                stream(Kind::Column, 0, 2, 2, 13),
            ],
        };
        let start = directory.encode().len();
        directory.streams.iter_mut().for_each(|stream| stream.start += u32::try_from(start).unwrap());
        directory
    }

    fn whole() -> Vec<u8> {
        [directory().encode(), vec![0; 15]].concat()
    }

    #[test]
    fn a_directory_comes_back_and_says_how_long_the_group_is() {
        let bytes = [whole(), vec![9; 5]].concat();
        let (found, length) = Directory::read(&bytes, 0, 0, &Limits::default()).unwrap();
        assert_eq!((found, length), (directory(), bytes.len() - 5));
    }

    #[test]
    fn no_bit_of_head_and_directory_may_differ_and_no_byte_of_the_group_be_missing() {
        let bytes = whole();
        for bit in 0..8 * (bytes.len() - 15) {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Directory::read(&broken, 0, 0, &Limits::default()).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Directory::read(&bytes[..end], 0, 0, &Limits::default()).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn limits_hold_before_anything_is_decompressed() {
        let limit = |limits: Limits| match Directory::read(&whole(), 0, 0, &limits) {
            Err(Error::LimitExceeded { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit(Limits { max_entries_per_block: 2, ..Limits::default() }), "max_entries_per_block");
        assert_eq!(limit(Limits { max_block_bytes: 305, ..Limits::default() }), "max_block_bytes");
    }

    /// A directory of seven bytes a stream asked for thirty times as much memory.
    #[test]
    fn streams_are_counted_and_none_is_empty() {
        let with = |count: usize, raw_len: u32| {
            let stream =
                StreamMeta { kind: Kind::Column, codec: 0, raw_len, stored_len: raw_len, crc: 7, start: 0 };
            let directory = Directory { streams: vec![stream; count], ..directory() };
            let body = vec![0; count * raw_len as usize];
            let read = Directory::read(&[directory.encode(), body].concat(), 0, 0, &Limits::default());
            read.map(|(directory, _)| directory.streams.len())
        };
        assert_eq!(with(MAX_STREAMS, 1), Ok(MAX_STREAMS));
        assert!(matches!(with(MAX_STREAMS + 1, 1), Err(Error::LimitExceeded { .. })));
        assert!(matches!(with(3, 0), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_head_is_that_of_this_version_or_none() {
        assert_eq!(check_header(&header()), Ok(()));
        for bit in 0..8 * HEADER_BYTES {
            let mut broken = header();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(check_header(&broken).is_err(), "bit {bit}");
        }
        let mut later = header();
        later[8] = 2;
        let crc = crc32fast::hash(&later[..12]);
        later[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(check_header(&later), Err(Error::UnsupportedVersion { version: 2 }));
    }
}
