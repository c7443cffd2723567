//! Entries of many sources in one order of time, each once.
//!
//! Invariant: of the entries of one stream with the same timestamp and the same identity, one comes out, whatever
//! number of replicas, retries and replays they came from.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use bytes::Bytes;
use forebay_agent::clock::monotonic_ns;
use forebay_chunk::{Direction, EntryIter};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::logql::Logs;
use crate::record::{Entries, Record};

/// Metadata of an entry that was read.
pub type OwnedMetadata = Vec<(String, String)>;

/// What tells an entry from the others of its stream and timestamp: a hash of its line and metadata.
pub type Identity = u128;

/// The identity of a line with its metadata, in order.
pub fn identity<'a>(line: &[u8], metadata: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Identity {
    metadata.fold(xxh3_128(line), |hash, (name, value)| {
        #[expect(clippy::cast_possible_truncation, reason = "both halves go in, one after the other")]
        let (low, high) = (hash as u64, (hash >> 64) as u64);
        let name = xxh3_128_with_seed(name, low);
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash as seed")]
        let seed = high ^ name as u64;
        xxh3_128_with_seed(value, seed) ^ name
    })
}

/// What a reader wants of each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Lines and metadata.
    Lines,
    /// That it is there, and when.
    Times,
}

/// One source of entries of one stream, in the order of the merge.
pub enum Source {
    /// Blocks in memory or of a chunk; the filters are still to be applied.
    Chunk(Box<EntryIter>),
    /// What an ingester selected; filters applied.
    Selected {
        /// Records in order, the entries of this stream alone.
        parts: std::vec::IntoIter<Section>,
        /// The part being read.
        current: Option<Section>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Chunk(_) => "Chunk",
            Self::Selected { .. } => "Selected",
        })
    }
}

/// The entries of one section, owned.
#[derive(Debug)]
pub struct Section {
    entries: std::vec::IntoIter<Found>,
}

impl Section {
    /// The entries `entries` of a record.
    pub fn lines(entries: Entries<'_>, record: &Record) -> Self {
        let own = |e: crate::record::Entry<'_>| Found {
            timestamp_ns: e.timestamp_ns,
            identity: identity(e.line, e.metadata.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes()))),
            line_bytes: e.line.len() as u64,
            line: record.bytes().slice_ref(e.line),
            metadata: e.metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Found::new(0)
        };
        Self { entries: entries.map(own).collect::<Vec<_>>().into_iter() }
    }

    /// The entries of a record that holds [`identity_bytes`] in place of lines; `None` where it does not.
    pub fn identities(entries: Entries<'_>, sized: bool) -> Option<Self> {
        let own = |e: crate::record::Entry<'_>| {
            let (identity, size) = e.line.split_first_chunk::<16>()?;
            let line_bytes = match (sized, size.is_empty()) {
                (true, _) => u64::from_le_bytes(size.try_into().ok()?),
                (false, true) => 0,
                (false, false) => return None,
            };
            let identity = Identity::from_le_bytes(*identity);
            Some(Found { timestamp_ns: e.timestamp_ns, identity, line_bytes, ..Found::new(0) })
        };
        Some(Self { entries: entries.map(own).collect::<Option<Vec<_>>>()?.into_iter() })
    }
}

/// What stands for a line where only times are wanted, in two parts: its identity, and its size if that is wanted.
pub fn identity_bytes(found: &Found, sized: bool) -> ([u8; 16], Option<[u8; 8]>) {
    (found.identity.to_le_bytes(), sized.then(|| found.line_bytes.to_le_bytes()))
}

/// An entry that came out of the merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The number its source was given.
    pub stream: u32,
    /// Nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// Tells it from the others of its stream and timestamp.
    pub identity: Identity,
    /// Bytes of the line, also where only times were wanted.
    pub line_bytes: u64,
    /// The line; empty where only times were wanted.
    pub line: Bytes,
    /// Structured metadata; empty where only times were wanted.
    pub metadata: OwnedMetadata,
}

impl Found {
    fn new(stream: u32) -> Self {
        Self { stream, timestamp_ns: 0, identity: 0, line_bytes: 0, line: Bytes::new(), metadata: Vec::new() }
    }
}

struct Cursor {
    source: Source,
    current: Found,
}

/// A failed source.
pub type SourceError = forebay_chunk::Error;

/// Merges sources. Memory: one entry for each open source, and the identities at the current timestamp.
pub struct Merge {
    direction: Direction,
    want: Want,
    logs: Logs,
    cursors: Vec<Option<Cursor>>,
    /// Time (negated where the direction is backward), then the order in which sources were added.
    heap: BinaryHeap<Reverse<(i64, usize)>>,
    seen_at: i64,
    seen: HashSet<(u32, Identity), foldhash::fast::RandomState>,
    /// What was done since somebody last took it.
    pub work: Work,
}

/// What reading costs.
#[derive(Debug, Default, Clone, Copy)]
pub struct Work {
    /// Entries read from the sources, before filters and with duplicates.
    pub lines: u64,
    /// Entries that came from more than one source.
    pub duplicates: u64,
    /// Time to decompress blocks.
    pub decode_ns: u64,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge")
            .field("sources", &self.cursors.len())
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

impl Merge {
    /// A merge without sources; `logs` filters the lines of chunks.
    pub fn new(direction: Direction, want: Want, logs: Logs) -> Self {
        Self {
            direction,
            want,
            logs,
            cursors: Vec::new(),
            heap: BinaryHeap::new(),
            seen_at: 0,
            seen: HashSet::default(),
            work: Work::default(),
        }
    }

    /// Adds a source of `stream`. It may hold nothing that is earlier in order than what came out already.
    ///
    /// # Errors
    /// What its first entry could not be read for.
    pub fn add(&mut self, stream: u32, source: Source) -> Result<(), SourceError> {
        let mut cursor = Cursor { source, current: Found::new(stream) };
        if self.advance(&mut cursor)? {
            self.heap.push(Reverse((self.order(cursor.current.timestamp_ns), self.cursors.len())));
            self.cursors.push(Some(cursor));
        }
        Ok(())
    }

    /// From which end it reads.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Where `timestamp_ns` stands in the order of the merge: smaller comes first.
    pub fn order(&self, timestamp_ns: i64) -> i64 {
        match self.direction {
            Direction::Forward => timestamp_ns,
            Direction::Backward => !timestamp_ns,
        }
    }

    /// The order of the next entry; `None` where all sources are read.
    pub fn next_order(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((order, _))| *order)
    }

    /// The next entry.
    ///
    /// # Errors
    /// What a source could not be read for. What came out before is good, but not all there is.
    #[expect(clippy::should_implement_trait, reason = "fallible, and sources are added between calls")]
    pub fn next(&mut self) -> Result<Option<Found>, SourceError> {
        self.next_before(None)
    }

    /// The next entry whose order is before `bound`. Repeats are passed over, but never beyond the bound: what lies
    /// there may come after what a source that is still to be added holds.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_before(&mut self, bound: Option<i64>) -> Result<Option<Found>, SourceError> {
        while let Some(&Reverse((order, index))) = self.heap.peek()
            && bound.is_none_or(|bound| order < bound)
        {
            self.heap.pop();
            let mut cursor = self.cursors[index].take().expect("the heap names open cursors");
            let empty = Found::new(cursor.current.stream);
            let found = std::mem::replace(&mut cursor.current, empty);
            if self.advance(&mut cursor)? {
                self.heap.push(Reverse((self.order(cursor.current.timestamp_ns), index)));
                self.cursors[index] = Some(cursor);
            }
            if order != self.seen_at {
                self.seen.clear();
                self.seen_at = order;
            }
            if self.seen.insert((found.stream, found.identity)) {
                return Ok(Some(found));
            }
            self.work.duplicates += 1;
        }
        Ok(None)
    }

    /// Moves `cursor` to its next entry that passes the filters; false at its end.
    fn advance(&mut self, cursor: &mut Cursor) -> Result<bool, SourceError> {
        match &mut cursor.source {
            Source::Chunk(entries) => {
                loop {
                    // The clock is read only where a block may have to be decompressed.
                    let decoding = entries.at_edge().then(monotonic_ns);
                    let entry = entries.next()?;
                    if let Some(started) = decoding {
                        self.work.decode_ns += monotonic_ns().saturating_sub(started);
                    }
                    let Some(entry) = entry else { return Ok(false) };
                    self.work.lines += 1;
                    if !self.logs.keeps(entry.line) {
                        continue;
                    }
                    cursor.current.identity = identity(entry.line, entry.metadata.iter());
                    cursor.current.timestamp_ns = entry.timestamp_ns;
                    cursor.current.line_bytes = entry.line.len() as u64;
                    if self.want == Want::Lines {
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        cursor.current.line = Bytes::copy_from_slice(entry.line);
                        cursor.current.metadata =
                            entry.metadata.iter().map(|(k, v)| (text(k), text(v))).collect();
                    }
                    return Ok(true);
                }
            }
            Source::Selected { parts, current } => loop {
                let Some(part) = current else {
                    *current = parts.next();
                    if current.is_none() {
                        return Ok(false);
                    }
                    continue;
                };
                let Some(found) = part.entries.next() else {
                    *current = None;
                    continue;
                };
                self.work.lines += 1;
                cursor.current = Found { stream: cursor.current.stream, ..found };
                return Ok(true);
            },
        }
    }
}

#[cfg(test)]
mod tests;
