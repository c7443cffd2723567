//! The push message between distributor and ingester, which is also the ingester's WAL record.
//!
//! `FORMAT.md` draws it. Invariants: a record is written once, by the distributor, and checked once, where it comes from
//! another process or from the log; an ingester appends the bytes it received; a record with fewer sections is made by
//! leaving whole sections out, never by encoding an entry again.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::labels::Labels;
use crate::{labels, varint};

/// The version this library writes, and the only one it reads.
pub const VERSION: u8 = 1;
/// Bytes before the tenant: version, flags, tenant length.
const FIXED: usize = 4;
/// Bytes of the section count behind the tenant.
const COUNT: usize = 4;
/// Bytes of a section's own length.
const SECTION_LEN: usize = 4;
/// Bytes that a number of variable width takes at most.
const MAX_VARINT: usize = 10;

/// Why bytes are not a record.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Upgrade the reader: the writer is newer.
    #[error("record version {found} is not supported, this reads version {VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The bytes are cut short, or a length in them lies.
    #[error("record is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the field that cannot be right.
        at: usize,
        /// The field.
        what: &'static str,
    },
}

/// Structured metadata of one entry, as borrowed pairs.
pub type Metadata<'a> = SmallVec<[(&'a str, &'a str); 4]>;

/// One log line on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// The line, without its line end.
    pub line: &'a [u8],
    /// Structured metadata in the client's order.
    pub metadata: Metadata<'a>,
}

/// Builds the sections of one push, one after the other.
#[derive(Debug)]
pub struct Writer {
    buf: Vec<u8>,
    section_bytes: usize,
    sections: Vec<SectionInfo>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    start: usize,
    count_at: usize,
    entries: u32,
    last_ns: i64,
    line_bytes: usize,
    continues: bool,
}

/// What the writer knows of a finished section.
#[derive(Debug, Clone)]
pub struct SectionInfo {
    range: Range<usize>,
    /// Where the canonical labels stand within the record.
    labels: Range<usize>,
    /// Number of entries, at least 1.
    pub entries: u32,
    /// Bytes of lines and structured metadata, what a tenant is charged for.
    pub bytes: usize,
    /// Whether it goes on with the stream of the section before, which had become too long.
    pub continues: bool,
}

impl Writer {
    /// A writer for a push of `tenant`, with room for `capacity` bytes.
    pub fn new(tenant: &str, capacity: usize) -> Self {
        let mut buf = Vec::with_capacity(capacity + FIXED + tenant.len() + COUNT);
        buf.extend_from_slice(&[VERSION, 0]);
        let len = u16::try_from(tenant.len()).expect("a tenant id has at most 150 bytes");
        buf.extend_from_slice(&len.to_le_bytes());
        buf.extend_from_slice(tenant.as_bytes());
        buf.extend_from_slice(&[0; COUNT]);
        Self { buf, section_bytes: usize::MAX, sections: Vec::new(), open: None }
    }

    /// Splits streams between entries, so that a section takes at most `bytes`, or holds a single entry.
    #[must_use]
    pub fn split_sections(self, bytes: usize) -> Self {
        Self { section_bytes: bytes, ..self }
    }

    /// Opens the section of the stream with sorted `pairs`; its labels in their canonical form.
    pub fn begin(&mut self, pairs: &[(&str, &str)]) -> &[u8] {
        let start = self.open(false, |buf| labels::write(buf, pairs));
        &self.buf[start + SECTION_LEN..self.buf.len() - COUNT]
    }

    /// Same for labels that are in their canonical form.
    pub fn begin_canonical(&mut self, labels: &[u8]) {
        self.open(false, |buf| buf.extend_from_slice(labels));
    }

    /// Where the section starts.
    fn open(&mut self, continues: bool, write_labels: impl FnOnce(&mut Vec<u8>)) -> usize {
        debug_assert!(self.open.is_none(), "the last section was finished");
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; SECTION_LEN]);
        write_labels(&mut self.buf);
        let count_at = self.buf.len();
        self.buf.extend_from_slice(&[0; COUNT]);
        self.open = Some(Open { start, count_at, entries: 0, last_ns: 0, line_bytes: 0, continues });
        start
    }

    /// Adds an entry to the open section: a line given in parts, and its metadata.
    pub fn entry(&mut self, timestamp_ns: i64, line: [&[u8]; 2], metadata: &[(&str, &str)]) {
        let open = self.open.as_ref().expect("entries stand between begin and end");
        let metadata_bytes: usize = metadata.iter().map(|(n, v)| n.len() + v.len() + 2 * MAX_VARINT).sum();
        let most = line[0].len() + line[1].len() + metadata_bytes + 3 * MAX_VARINT;
        if open.entries > 0 && self.buf.len() - open.start + most > self.section_bytes {
            self.split();
        }
        let open = self.open.as_mut().expect("checked above, and a split leaves it open");
        varint::write_signed(&mut self.buf, timestamp_ns.wrapping_sub(open.last_ns));
        varint::write(&mut self.buf, (line[0].len() + line[1].len()) as u64);
        self.buf.extend_from_slice(line[0]);
        self.buf.extend_from_slice(line[1]);
        varint::write(&mut self.buf, metadata.len() as u64);
        open.line_bytes += line[0].len() + line[1].len();
        for (name, value) in metadata {
            varint::write_slice(&mut self.buf, name.as_bytes());
            varint::write_slice(&mut self.buf, value.as_bytes());
            open.line_bytes += name.len() + value.len();
        }
        open.last_ns = timestamp_ns;
        open.entries += 1;
    }

    /// Closes the open section and opens another of the same stream.
    fn split(&mut self) {
        self.end();
        let labels = self.sections.last().expect("the section that was closed has entries").labels.clone();
        self.open(true, |buf| buf.extend_from_within(labels));
    }

    /// Closes the open section; one without entries leaves no trace.
    pub fn end(&mut self) {
        let open = self.open.take().expect("a section was begun");
        if open.entries == 0 {
            self.buf.truncate(open.start);
            return;
        }
        let range = open.start..self.buf.len();
        let len = u32::try_from(range.len() - SECTION_LEN).expect("a push is limited to far less than 4 GiB");
        self.buf[open.start..open.start + SECTION_LEN].copy_from_slice(&len.to_le_bytes());
        self.buf[open.count_at..open.count_at + COUNT].copy_from_slice(&open.entries.to_le_bytes());
        self.sections.push(SectionInfo {
            range,
            labels: open.start + SECTION_LEN..open.count_at,
            entries: open.entries,
            bytes: open.line_bytes,
            continues: open.continues,
        });
    }

    /// The finished push.
    pub fn finish(mut self) -> Push {
        let header = self.sections.first().map_or(self.buf.len(), |s| s.range.start);
        let count = u32::try_from(self.sections.len())
            .expect("every section takes at least 9 of fewer than 2^32 bytes");
        self.buf[header - COUNT..header].copy_from_slice(&count.to_le_bytes());
        let push = Push { header, bytes: self.buf.into(), sections: self.sections };
        // An ingester of this process takes it unread, and could not read its log again.
        debug_assert_eq!(Record::parse(push.all()), Ok(push.record()));
        push
    }
}

/// A record together with where its sections stand, so that a part of them can be sent without encoding.
#[derive(Debug, Clone)]
pub struct Push {
    header: usize,
    bytes: Bytes,
    sections: Vec<SectionInfo>,
}

impl Push {
    /// The sections in the order they were written.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.sections
    }

    /// The canonical labels of section `index`.
    pub fn labels(&self, index: usize) -> &[u8] {
        &self.bytes[self.sections[index].labels.clone()]
    }

    /// The labels of section `index`.
    pub fn stream(&self, index: usize) -> Labels {
        Labels::from_canonical(self.labels(index)).expect("written canonically")
    }

    /// Which sections go together where the sections of a record shall take at most `bytes`: one after the other as
    /// many as fit, and at least one.
    pub fn parts(&self, bytes: usize) -> Vec<Range<usize>> {
        let (mut parts, mut start, mut total) = (Vec::with_capacity(1), 0, 0);
        for (index, section) in self.sections.iter().enumerate() {
            total += section.range.len();
            if total > bytes && index > start {
                parts.push(start..index);
                (start, total) = (index, section.range.len());
            }
        }
        parts.push(start..self.sections.len());
        parts
    }

    /// A push of the sections in `part` alone; all of them cost no copy.
    pub fn part(&self, part: Range<usize>) -> Self {
        let sections = &self.sections[part];
        if sections.len() == self.sections.len() {
            return self.clone();
        }
        let Record { bytes, .. } = select(&self.bytes, self.header, sections.iter().map(SectionInfo::place));
        let moved = sections.first().map_or(0, |s| s.range.start - self.header);
        let back = |range: &Range<usize>| range.start - moved..range.end - moved;
        let sections = sections.iter().map(|s| SectionInfo {
            range: back(&s.range),
            labels: back(&s.labels),
            ..s.clone()
        });
        Self { header: self.header, bytes, sections: sections.collect() }
    }

    /// The bytes of the record of all sections.
    pub fn all(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The record of all sections.
    pub fn record(&self) -> Record {
        let sections = self.sections.iter().map(SectionInfo::place).collect();
        Record { bytes: self.bytes.clone(), header: self.header, sections }
    }

    /// The record of the sections `indexes` alone, in ascending order; all of them cost no copy.
    pub fn select(&self, indexes: &[usize]) -> Record {
        if indexes.len() == self.sections.len() {
            return self.record();
        }
        select(&self.bytes, self.header, indexes.iter().map(|&i| self.sections[i].place()))
    }
}

impl SectionInfo {
    fn place(&self) -> Place {
        Place { range: self.range.clone(), labels_end: self.labels.end }
    }
}

fn select(bytes: &Bytes, header: usize, places: impl Iterator<Item = Place> + Clone) -> Record {
    let total: usize = places.clone().map(|place| place.range.len()).sum();
    let mut out = Vec::with_capacity(header + total);
    out.extend_from_slice(&bytes[..header]);
    let mut sections = Vec::new();
    for Place { range, labels_end } in places {
        let start = out.len();
        let labels_end = start + (labels_end - range.start);
        out.extend_from_slice(&bytes[range]);
        sections.push(Place { range: start..out.len(), labels_end });
    }
    let count = u32::try_from(sections.len()).expect("no more than there were");
    out[header - COUNT..header].copy_from_slice(&count.to_le_bytes());
    Record { bytes: out.into(), header, sections }
}

/// A record whose every length was checked, or was written here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    bytes: Bytes,
    header: usize,
    sections: Vec<Place>,
}

/// Where a section stands in a record, and where its labels end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    range: Range<usize>,
    labels_end: usize,
}

impl Record {
    /// Checks `bytes` once, from end to end, in one pass without copying.
    ///
    /// # Errors
    /// [`RecordError`] where the version is not known or any field does not fit.
    pub fn parse(bytes: Bytes) -> Result<Self, RecordError> {
        let damaged = |at, what| RecordError::Damaged { at, what };
        let fixed = bytes.first_chunk::<FIXED>().ok_or(damaged(0, "shorter than its header"))?;
        if fixed[0] != VERSION {
            return Err(RecordError::Version { found: fixed[0] });
        }
        if fixed[1] != 0 {
            return Err(damaged(1, "unknown flags"));
        }
        let header = FIXED + usize::from(u16::from_le_bytes([fixed[2], fixed[3]])) + COUNT;
        let tenant = bytes.get(FIXED..header - COUNT).ok_or(damaged(2, "tenant is cut short"))?;
        std::str::from_utf8(tenant).map_err(|_| damaged(FIXED, "tenant is not UTF-8"))?;
        let count = read_u32(&bytes, header - COUNT).ok_or(damaged(header - COUNT, "no section count"))?;
        let mut sections = Vec::new();
        let mut at = header;
        for _ in 0..count {
            let len = read_u32(&bytes, at).ok_or(damaged(at, "fewer sections than counted"))? as usize;
            let range = at..at + SECTION_LEN + len;
            let body = bytes.get(at + SECTION_LEN..range.end).ok_or(damaged(at, "section is cut short"))?;
            let labels = check_section(body).map_err(|what| damaged(at, what))?;
            let labels_end = at + SECTION_LEN + labels;
            at = range.end;
            sections.push(Place { range, labels_end });
        }
        if at != bytes.len() {
            return Err(damaged(at, "bytes behind the last section"));
        }
        Ok(Self { bytes, header, sections })
    }

    /// Whose push it is.
    pub fn tenant(&self) -> &str {
        std::str::from_utf8(&self.bytes[FIXED..self.header - COUNT]).expect("checked, or written from text")
    }

    /// The bytes as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The sections in order.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'_>> {
        self.sections.iter().map(|place| Section::new(&self.bytes, place))
    }

    /// As [`sections`](Self::sections), each holding on to the record's memory.
    pub fn owned_sections(&self) -> impl ExactSizeIterator<Item = (Labels, OwnedEntries)> {
        self.sections().map(|section| {
            let labels = Labels::from_canonical(section.labels).expect("checked, or written canonically");
            let bytes = self.bytes.slice_ref(section.entries);
            (labels, OwnedEntries { bytes, at: 0, left: section.count, last_ns: 0 })
        })
    }

    /// The record without the sections for which `keep` is false.
    pub fn retain(&self, keep: &[bool]) -> Bytes {
        let kept = self.sections.iter().zip(keep).filter(|&(_, &keep)| keep).map(|(place, _)| place.clone());
        select(&self.bytes, self.header, kept).bytes
    }
}

/// The entries of one stream within a record.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Canonical labels, see [`labels`].
    pub labels: &'a [u8],
    /// Number of entries.
    pub count: u32,
    entries: &'a [u8],
}

impl<'a> Section<'a> {
    fn new(record: &'a [u8], Place { range, labels_end }: &Place) -> Self {
        Self {
            labels: &record[range.start + SECTION_LEN..*labels_end],
            count: read_u32(record, *labels_end).expect("a section has a count"),
            entries: &record[labels_end + COUNT..range.end],
        }
    }

    /// The entries in the order they were sent.
    pub fn entries(&self) -> Entries<'a> {
        Entries { rest: self.entries, left: self.count, last_ns: 0 }
    }
}

/// Iterates the entries of a [`Section`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
    left: u32,
    last_ns: i64,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let entry = read_entry(&mut self.rest, self.last_ns).expect("checked, or written here");
        self.last_ns = entry.timestamp_ns;
        Some(entry)
    }
}

/// As [`Entries`], holding on to the record's memory.
#[derive(Debug, Clone)]
pub struct OwnedEntries {
    bytes: Bytes,
    at: usize,
    left: u32,
    last_ns: i64,
}

impl OwnedEntries {
    /// The time of the next entry.
    pub fn next_ns(&self) -> Option<i64> {
        let delta = varint::read_signed(&mut self.bytes.get(self.at..)?).filter(|_| self.left > 0)?;
        Some(self.last_ns.wrapping_add(delta))
    }

    /// The next entry, and the bytes that it is a part of.
    pub fn read(&mut self) -> Option<(Entry<'_>, &Bytes)> {
        let Self { bytes, at, left, last_ns } = self;
        *left = left.checked_sub(1)?;
        let mut rest = &bytes[*at..];
        let entry = read_entry(&mut rest, *last_ns).expect("checked, or written here");
        *at = bytes.len() - rest.len();
        *last_ns = entry.timestamp_ns;
        Some((entry, bytes))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn skip_labels(rest: &mut &[u8]) -> Option<()> {
    for _ in 0..varint::read(rest)?.checked_mul(2)? {
        varint::read_slice(rest)?;
    }
    Some(())
}

fn read_entry<'a>(rest: &mut &'a [u8], last_ns: i64) -> Option<Entry<'a>> {
    let timestamp_ns = last_ns.wrapping_add(varint::read_signed(rest)?);
    let line = varint::read_slice(rest)?;
    let mut metadata = Metadata::new();
    for _ in 0..varint::read(rest)? {
        let name = std::str::from_utf8(varint::read_slice(rest)?).ok()?;
        let value = std::str::from_utf8(varint::read_slice(rest)?).ok()?;
        metadata.push((name, value));
    }
    Some(Entry { timestamp_ns, line, metadata })
}

/// The bytes that its labels take.
fn check_section(body: &[u8]) -> Result<usize, &'static str> {
    let mut rest = body;
    skip_labels(&mut rest).ok_or("labels are cut short")?;
    let labels = body.len() - rest.len();
    labels::parse(&body[..labels]).ok_or("labels are not canonical")?;
    let count = read_u32(rest, 0).ok_or("no entry count")?;
    rest = &rest[COUNT..];
    for _ in 0..count {
        read_entry(&mut rest, 0).ok_or("an entry is cut short or its metadata is not UTF-8")?;
    }
    if rest.is_empty() { Ok(labels) } else { Err("bytes behind the last entry") }
}

#[cfg(test)]
mod tests;
