//! The streams of one group, by kind. A writer fills them; a reader gets each decompressed when it is first
//! asked for, its checksum verified, within one budget for all of them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::codec;
use super::fault::Fault;
use crate::error::to_u64;
use crate::{Error, Section};

/// What a stream holds; `FORMAT.md` draws each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Times of the rows.
    Time = 0,
    /// Templates of lines: literals, and which column fills each slot.
    Skeletons = 1,
    /// The skeleton of each row.
    SkeletonIds = 2,
    /// What the columns are and where their values lie.
    Columns = 3,
    /// Values of a fixed number of bits.
    Bits = 4,
    /// Differences and byte planes of numbers.
    Numbers = 5,
    /// Constants and dictionaries.
    Values = 6,
    /// Numbers of values in dictionaries.
    Ids = 7,
    /// Values as text.
    Text = 8,
    /// Lengths of the lines that have no skeleton.
    RawLengths = 9,
    /// Those lines, in pages; there may be any number of these.
    RawLines = 10,
    /// Names, values and sets of structured metadata.
    Metadata = 11,
    /// The set of each row.
    MetadataIds = 12,
    /// Which tokens occur.
    Filter = 14,
    /// One large column, alone; there may be any number of these.
    Column = 32,
}

/// One more than the kinds that come once.
const KINDS: usize = 15;

impl Kind {
    /// Those that come once, in the order of their bytes.
    pub(crate) const ONCE: [Self; 13] = [
        Self::Time,
        Self::Skeletons,
        Self::SkeletonIds,
        Self::Columns,
        Self::Bits,
        Self::Numbers,
        Self::Values,
        Self::Ids,
        Self::Text,
        Self::RawLengths,
        Self::Metadata,
        Self::MetadataIds,
        Self::Filter,
    ];

    pub(crate) const fn byte(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ONCE.into_iter().chain([Self::RawLines, Self::Column]).find(|kind| kind.byte() == byte)
    }
}

/// The streams of a group. One that is not there is as one without bytes.
#[derive(Debug)]
pub(crate) struct Streams {
    parts: [Part; KINDS],
    raw_lines: Vec<Part>,
    columns: Vec<Part>,
    spending: Spending,
}

/// What opening streams has cost, and may still cost.
#[derive(Debug)]
struct Spending {
    /// What may still be decompressed, in bytes.
    budget: AtomicUsize,
    stored: AtomicUsize,
    decoded: AtomicUsize,
}

impl Default for Streams {
    fn default() -> Self {
        Self::within(usize::MAX)
    }
}

/// A stream as it is stored, not yet checked.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) group: usize,
    pub(crate) kind: Kind,
    pub(crate) codec: u8,
    pub(crate) raw_len: usize,
    pub(crate) crc: u32,
    /// Where it starts in the chunk.
    pub(crate) offset: usize,
    pub(crate) data: Bytes,
}

#[derive(Debug, Default)]
struct Part {
    stored: Option<Stored>,
    plain: OnceLock<Result<Plain, Fault>>,
}

#[derive(Debug)]
enum Plain {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Streams {
    /// Streams that are read: all together are decompressed to at most so many bytes.
    pub(crate) fn within(budget: usize) -> Self {
        let parts = Default::default();
        let budget = AtomicUsize::new(budget);
        let spending = Spending { budget, stored: AtomicUsize::new(0), decoded: AtomicUsize::new(0) };
        Self { parts, raw_lines: Vec::new(), columns: Vec::new(), spending }
    }

    /// The stream of a kind that comes once, to be written to.
    pub(crate) fn out(&mut self, kind: Kind) -> &mut Vec<u8> {
        let part = self.parts.get_mut(usize::from(kind.byte())).expect("a kind that comes once");
        part.bytes()
    }

    /// Adds a stream of a kind of which there may be many.
    pub(crate) fn push(&mut self, kind: Kind, bytes: Vec<u8>) {
        let part = Part { stored: None, plain: OnceLock::from(Ok(Plain::Owned(bytes))) };
        self.many_mut(kind).expect("a kind that comes many times").push(part);
    }

    /// Adds a stream that is read. False if it is a second one of a kind that comes once.
    pub(crate) fn push_stored(&mut self, stored: Stored) -> bool {
        if let Some(many) = self.many_mut(stored.kind) {
            many.push(Part { stored: Some(stored), plain: OnceLock::new() });
            return true;
        }
        let part = self.parts.get_mut(usize::from(stored.kind.byte()));
        let Some(part) = part.filter(|part| part.stored.is_none()) else { return false };
        part.stored = Some(stored);
        true
    }

    /// The bytes of the stream of a kind that comes once, decompressed when first asked for.
    pub(crate) fn get(&self, kind: Kind) -> Result<&[u8], Fault> {
        match self.parts.get(usize::from(kind.byte())) {
            Some(part) => part.plain(&self.spending),
            None => Ok(&[]),
        }
    }

    /// The bytes of the stream of that number of a kind of which there may be many, decompressed when first
    /// asked for.
    pub(crate) fn nth(&self, kind: Kind, number: usize) -> Result<&[u8], Fault> {
        match self.many(kind).get(number) {
            Some(part) => part.plain(&self.spending),
            None => {
                let what = format!("stream {number} of {}", self.many(kind).len());
                Err(Fault::corrupt(kind, 0, what))
            }
        }
    }

    /// How many bytes the stream of a kind that comes once has, without decompressing it.
    pub(crate) fn len(&self, kind: Kind) -> usize {
        self.parts.get(usize::from(kind.byte())).map_or(0, Part::len)
    }

    /// How many bytes each stream of a kind of which there may be many has, without decompressing it.
    pub(crate) fn lens(&self, kind: Kind) -> impl ExactSizeIterator<Item = usize> {
        self.many(kind).iter().map(Part::len)
    }

    /// How many bytes all streams have, without decompressing them.
    pub(crate) fn plain_bytes(&self) -> usize {
        let parts = self.parts.iter().chain(&self.raw_lines).chain(&self.columns);
        parts.map(Part::len).fold(0, usize::saturating_add)
    }

    /// Every stream that was written and is not empty, in the order they are stored.
    pub(crate) fn written(&self) -> impl Iterator<Item = (Kind, &[u8])> {
        let once = Kind::ONCE.into_iter().filter_map(|kind| Some((kind, self.get(kind).ok()?)));
        let many = [Kind::RawLines, Kind::Column].into_iter().flat_map(move |kind| {
            (0..self.many(kind).len()).filter_map(move |number| Some((kind, self.nth(kind, number).ok()?)))
        });
        once.chain(many).filter(|(_, plain)| !plain.is_empty())
    }

    /// Checks the checksums of all streams that are stored. Nothing is decompressed.
    pub(crate) fn verify(&self) -> Result<(), Fault> {
        let parts = self.parts.iter().chain(&self.raw_lines).chain(&self.columns);
        parts.filter_map(|part| part.stored.as_ref()).try_for_each(Stored::check)
    }

    /// Bytes that were read and bytes that were decompressed so far: `(stored, plain)`.
    pub(crate) fn opened(&self) -> (usize, usize) {
        let Spending { stored, decoded, .. } = &self.spending;
        (stored.load(Ordering::Relaxed), decoded.load(Ordering::Relaxed))
    }
}

impl Streams {
    fn many(&self, kind: Kind) -> &[Part] {
        match kind {
            Kind::RawLines => &self.raw_lines,
            Kind::Column => &self.columns,
            _ => &[],
        }
    }

    fn many_mut(&mut self, kind: Kind) -> Option<&mut Vec<Part>> {
        match kind {
            Kind::RawLines => Some(&mut self.raw_lines),
            Kind::Column => Some(&mut self.columns),
            _ => None,
        }
    }
}

impl Part {
    fn bytes(&mut self) -> &mut Vec<u8> {
        if !matches!(self.plain.get(), Some(Ok(Plain::Owned(_)))) {
            self.plain = OnceLock::from(Ok(Plain::Owned(Vec::new())));
        }
        match self.plain.get_mut() {
            Some(Ok(Plain::Owned(bytes))) => bytes,
            _ => unreachable!("it was just made one that is written"),
        }
    }

    fn len(&self) -> usize {
        match (&self.stored, self.plain.get()) {
            (Some(stored), _) => stored.raw_len,
            (None, Some(Ok(plain))) => plain.bytes().len(),
            _ => 0,
        }
    }

    fn plain(&self, spending: &Spending) -> Result<&[u8], Fault> {
        if self.stored.is_none() && self.plain.get().is_none() {
            return Ok(&[]);
        }
        let plain = self.plain.get_or_init(|| match &self.stored {
            Some(stored) => stored.plain(spending),
            None => Ok(Plain::Owned(Vec::new())),
        });
        plain.as_ref().map(Plain::bytes).map_err(Fault::clone)
    }
}

impl Plain {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Stored {
    fn section(&self) -> Section {
        Section::Stream { group: self.group, kind: self.kind.byte() }
    }

    fn check(&self) -> Result<(), Fault> {
        let (found, expected) = (crc32fast::hash(&self.data), self.crc);
        if found == expected {
            return Ok(());
        }
        let (section, offset) = (self.section(), to_u64(self.offset));
        Err(Error::ChecksumMismatch { section, offset, expected, found }.into())
    }

    fn plain(&self, spending: &Spending) -> Result<Plain, Fault> {
        spending.stored.fetch_add(self.data.len(), Ordering::Relaxed);
        self.check()?;
        if self.codec != codec::NONE {
            let spend = |left: usize| left.checked_sub(self.raw_len);
            if let Err(left) = spending.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend) {
                return Err(Fault::limit("max_decoded_bytes", self.raw_len, left));
            }
        }
        spending.decoded.fetch_add(self.raw_len, Ordering::Relaxed);
        if self.codec == codec::NONE {
            return Ok(Plain::Shared(self.data.clone()));
        }
        let plain = codec::decompress(&self.data, self.codec, self.raw_len);
        let plain =
            plain.map_err(|failure| failure.or(|what| Error::corrupt(self.section(), self.offset, what)))?;
        Ok(Plain::Owned(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: Kind, plain: &[u8]) -> Stored {
        let compressed = codec::compress(plain, 3);
        let codec = if compressed.is_some() { codec::ZSTD } else { codec::NONE };
        let data = Bytes::from(compressed.unwrap_or_else(|| plain.to_vec()));
        let crc = crc32fast::hash(&data);
        Stored { group: 3, kind, codec, raw_len: plain.len(), crc, offset: 100, data }
    }

    #[test]
    fn what_is_written_is_listed_by_kind_and_read_again() {
        let mut streams = Streams::default();
        streams.out(Kind::Text).extend(b"text");
        streams.out(Kind::Bits).extend(b"bits");
        streams.push(Kind::Column, b"alone".to_vec());
        let written: Vec<_> = streams.written().collect();
        let expected = [(Kind::Bits, &b"bits"[..]), (Kind::Text, b"text"), (Kind::Column, b"alone")];
        assert_eq!(written, expected);
        assert_eq!((streams.len(Kind::Text), streams.lens(Kind::Column).collect()), (4, vec![5]));
        assert_eq!(
            (streams.get(Kind::Time), streams.nth(Kind::Column, 0)),
            (Ok(&b""[..]), Ok(&b"alone"[..]))
        );
        assert!(streams.nth(Kind::Column, 1).is_err());
    }

    #[test]
    fn only_what_is_asked_for_is_decompressed() {
        let long = b"one and the same, ".repeat(30);
        let mut streams = Streams::within(usize::MAX);
        assert!(streams.push_stored(stored(Kind::Text, &long)));
        assert!(streams.push_stored(stored(Kind::Ids, &long)));
        assert!(!streams.push_stored(stored(Kind::Ids, &long)));
        assert_eq!((streams.opened(), streams.len(Kind::Text)), ((0, 0), long.len()));
        assert_eq!(streams.get(Kind::Text), Ok(&long[..]));
        assert_eq!(streams.opened().1, long.len());
    }

    #[test]
    #[cfg(feature = "zstd")]
    fn all_streams_share_one_budget() {
        let long = b"one and the same, ".repeat(30);
        let mut streams = Streams::within(long.len() + 5);
        streams.push_stored(stored(Kind::Text, &long));
        streams.push_stored(stored(Kind::Column, &long));
        assert_eq!(streams.get(Kind::Text), Ok(&long[..]));
        assert_eq!(streams.nth(Kind::Column, 0), Err(Fault::limit("max_decoded_bytes", long.len(), 5)));
    }

    #[test]
    fn a_flipped_bit_is_told_with_its_place() {
        let mut broken = stored(Kind::Text, b"some text");
        let expected = broken.crc;
        broken.data = Bytes::from(&b"some tent"[..]);
        let found = crc32fast::hash(b"some tent");
        let mut streams = Streams::within(100);
        streams.push_stored(broken);
        let section = Section::Stream { group: 3, kind: Kind::Text.byte() };
        let error = Error::ChecksumMismatch { section, offset: 100, expected, found };
        assert_eq!(streams.get(Kind::Text), Err(error.into()));
    }
}
