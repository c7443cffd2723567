//! Entries of many sources in one order of time, each once.
//!
//! Entries of one time come by stream, and those of one stream in the order in which their sources were added.
//! Invariant: of the entries of one stream with the same timestamp and the same identity, one comes out, whatever
//! number of replicas, retries and replays they came from.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

use bytes::Bytes;
use forebay_agent::clock::monotonic_ns;
use forebay_chunk::{Damage, Direction, Entry, EntryIter};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::logql::Logs;
use crate::record::OwnedEntries;

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

/// What a metadata pair counts for in the bytes that a query reads, as in the raw bytes of a chunk.
const PAIR_BYTES: usize = 8;

/// Bytes of a line with its metadata.
pub fn size<'a>(line: &[u8], metadata: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    metadata.fold(line.len(), |bytes, (name, value)| bytes + name.len() + value.len())
}

/// Where an entry stands in the order of `direction`: smaller comes first.
pub fn order(direction: Direction, timestamp_ns: i64) -> i64 {
    match direction {
        Direction::Forward => timestamp_ns,
        Direction::Backward => !timestamp_ns,
    }
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
        /// What is there of it.
        parts: VecDeque<Section>,
        /// Whether that is all.
        ended: bool,
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

/// What a section of an ingester's answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Lines.
    Lines,
    /// [`identity_bytes`] in place of each.
    Identities {
        /// With their sizes.
        sized: bool,
    },
}

/// The entries of one section, each decoded when its turn comes.
#[derive(Debug)]
pub struct Section {
    entries: OwnedEntries,
    holds: Holds,
}

impl Section {
    /// The time of the next entry.
    pub fn next_ns(&self) -> Option<i64> {
        self.entries.next_ns()
    }

    /// The entries `entries` of a record.
    pub fn new(entries: OwnedEntries, holds: Holds) -> Self {
        Self { entries, holds }
    }

    /// The next entry, as one of `stream`.
    ///
    /// # Errors
    /// [`SourceError::Identities`]
    pub fn found(&mut self, stream: u32) -> Result<Option<Found>, SourceError> {
        let mut found = Found::new(stream);
        Ok(self.next(&mut found)?.then_some(found))
    }

    /// Puts the next entry into `into`; false at the end.
    fn next(&mut self, into: &mut Found) -> Result<bool, SourceError> {
        let Some((entry, bytes)) = self.entries.read() else { return Ok(false) };
        into.timestamp_ns = entry.timestamp_ns;
        match self.holds {
            Holds::Lines => {
                let metadata = entry.metadata.iter();
                into.identity = identity(entry.line, metadata.map(|(k, v)| (k.as_bytes(), v.as_bytes())));
                into.line_bytes = entry.line.len() as u64;
                into.line = bytes.slice_ref(entry.line);
                let metadata = entry.metadata.iter();
                into.metadata = metadata.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            }
            Holds::Identities { sized } => {
                let (identity, size) = entry.line.split_first_chunk::<16>().ok_or(SourceError::Identities)?;
                into.identity = Identity::from_le_bytes(*identity);
                into.line_bytes = match (sized, size.is_empty()) {
                    (true, _) => u64::from_le_bytes(size.try_into().map_err(|_| SourceError::Identities)?),
                    (false, true) => 0,
                    (false, false) => return Err(SourceError::Identities),
                };
            }
        }
        Ok(true)
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
    /// Bytes of the line and the metadata.
    pub fn size(&self) -> usize {
        size(&self.line, self.metadata.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())))
    }

    fn new(stream: u32) -> Self {
        Self { stream, timestamp_ns: 0, identity: 0, line_bytes: 0, line: Bytes::new(), metadata: Vec::new() }
    }
}

struct Cursor {
    source: Source,
    current: Found,
    /// Damaged blocks that were told of.
    damaged: usize,
}

/// A failed source.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A block does not decode.
    #[error("chunk does not decode")]
    Chunk(#[from] forebay_chunk::Error),
    /// An ingester of another version answered.
    #[error("ingester answered with no identities: is it of an older version?")]
    Identities,
}

/// What a [`Merge`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An entry.
    Found(Found),
    /// The bound, or the end of all sources.
    Done,
    /// The end of what is there of the source with this number: it has to be [fed](Merge::feed).
    Starved(usize),
    /// The end of the rows that were [allowed](Merge::allow).
    Paused,
}

/// Merges sources. Memory: one entry for each open source, and the identities at the current timestamp.
pub struct Merge {
    direction: Direction,
    reader: Reader,
    cursors: Vec<Option<Cursor>>,
    /// Those whose next entry is not read yet.
    unread: Vec<usize>,
    /// Order of time, then of streams, then the order in which sources were added.
    heap: BinaryHeap<Reverse<(i64, u32, usize)>>,
    seen_at: i64,
    seen: HashSet<(u32, Identity), foldhash::fast::RandomState>,
}

/// How sources are read.
struct Reader {
    want: Want,
    logs: Logs,
    rows_left: u64,
    work: Work,
}

/// How far a cursor came.
enum Moved {
    On,
    Ended,
    Starved,
    Paused,
}

/// What reading costs.
#[derive(Debug, Default, Clone)]
pub struct Work {
    /// Entries read from the sources, before filters and with duplicates.
    pub lines: u64,
    /// Raw bytes that were read from blocks: of the lines, and 8 for each metadata pair.
    pub bytes: u64,
    /// Entries that came from more than one source.
    pub duplicates: u64,
    /// Time to decompress blocks.
    pub decode_ns: u64,
    /// Blocks that were left out because they are damaged, and the numbers of their sources.
    pub damage: Vec<(usize, Damage)>,
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
            reader: Reader { want, logs, rows_left: u64::MAX, work: Work::default() },
            cursors: Vec::new(),
            unread: Vec::new(),
            heap: BinaryHeap::new(),
            seen_at: 0,
            seen: HashSet::default(),
        }
    }

    /// Adds a source of `stream`; its number. It may hold nothing that is earlier in order than what came out already.
    pub fn add(&mut self, stream: u32, source: Source) -> usize {
        let number = self.cursors.len();
        self.cursors.push(Some(Cursor { source, current: Found::new(stream), damaged: 0 }));
        self.unread.push(number);
        number
    }

    /// Goes on with a source that is starved; without `section` that was all of it.
    pub fn feed(&mut self, number: usize, section: Option<Section>) {
        if let Some(Cursor { source: Source::Selected { parts, ended }, .. }) = &mut self.cursors[number] {
            *ended = section.is_none();
            parts.extend(section);
        }
    }

    /// Lets it read no more than `rows` rows of blocks from now on, so that nothing that is not wanted any more goes on
    /// for long.
    pub fn allow(&mut self, rows: u64) {
        self.reader.rows_left = rows;
    }

    /// What is left of the rows that were allowed.
    pub fn rows_left(&self) -> u64 {
        self.reader.rows_left
    }

    /// What was done since this was last called.
    pub fn take_work(&mut self) -> Work {
        std::mem::take(&mut self.reader.work)
    }

    /// From which end it reads.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The next entry whose order is before `bound`. Repeats are passed over, but never beyond the bound: what lies
    /// there may come after what a source that is still to be added holds.
    ///
    /// # Errors
    /// What a source could not be read for. What came out before is good, but not all there is.
    pub fn next_before(&mut self, bound: Option<i64>) -> Result<Step, SourceError> {
        loop {
            if let Some(wait) = self.read_all()? {
                return Ok(wait);
            }
            let Some(&Reverse((order, _, number))) = self.heap.peek() else { return Ok(Step::Done) };
            if bound.is_some_and(|bound| order >= bound) {
                return Ok(Step::Done);
            }
            self.heap.pop();
            self.unread.push(number);
            let cursor = self.cursors[number].as_mut().expect("the heap names open cursors");
            let empty = Found::new(cursor.current.stream);
            let found = std::mem::replace(&mut cursor.current, empty);
            if order != self.seen_at {
                self.seen.clear();
                self.seen_at = order;
            }
            if self.seen.insert((found.stream, found.identity)) {
                return Ok(Step::Found(found));
            }
            self.reader.work.duplicates += 1;
        }
    }

    /// Reads the next entry of every source that has none; what that has to wait for.
    fn read_all(&mut self) -> Result<Option<Step>, SourceError> {
        while let Some(&number) = self.unread.last() {
            let cursor = self.cursors[number].as_mut().expect("an unread cursor is open");
            match self.reader.advance(number, cursor)? {
                Moved::On => {
                    let order = order(self.direction, cursor.current.timestamp_ns);
                    self.heap.push(Reverse((order, cursor.current.stream, number)));
                }
                Moved::Ended => self.cursors[number] = None,
                Moved::Starved => return Ok(Some(Step::Starved(number))),
                Moved::Paused => return Ok(Some(Step::Paused)),
            }
            self.unread.pop();
        }
        Ok(None)
    }
}

impl Reader {
    /// Moves `cursor`, which is the `number`-th, to its next entry that passes the filters.
    fn advance(&mut self, number: usize, cursor: &mut Cursor) -> Result<Moved, SourceError> {
        match &mut cursor.source {
            Source::Chunk(entries) => loop {
                if self.rows_left == 0 {
                    return Ok(Moved::Paused);
                }
                // Clock and damage are looked at only where a block may have to be decompressed.
                let decoding = entries.at_edge().then(monotonic_ns);
                let entry = entries.next()?;
                if let Some(started) = decoding {
                    self.work.decode_ns += monotonic_ns().saturating_sub(started);
                }
                let kept = entry.map(|entry| self.take(&entry, &mut cursor.current));
                if decoding.is_some() {
                    let damage = entries.damage().get(cursor.damaged..).unwrap_or_default();
                    cursor.damaged += damage.len();
                    self.work.damage.extend(damage.iter().map(|damage| (number, damage.clone())));
                }
                match kept {
                    None => return Ok(Moved::Ended),
                    Some(true) => return Ok(Moved::On),
                    Some(false) => {}
                }
            },
            Source::Selected { parts, ended } => loop {
                let Some(part) = parts.front_mut() else {
                    return Ok(if *ended { Moved::Ended } else { Moved::Starved });
                };
                if part.next(&mut cursor.current)? {
                    self.work.lines += 1;
                    return Ok(Moved::On);
                }
                parts.pop_front();
            },
        }
    }

    /// Puts `entry` into `into` if it passes the filters; whether it does.
    fn take(&mut self, entry: &Entry<'_>, into: &mut Found) -> bool {
        self.rows_left -= 1;
        self.work.lines += 1;
        self.work.bytes += (entry.line.len() + PAIR_BYTES * entry.metadata.iter().count()) as u64;
        let keeps = self.logs.keeps(entry.line);
        if keeps {
            into.identity = identity(entry.line, entry.metadata.iter());
            into.timestamp_ns = entry.timestamp_ns;
            into.line_bytes = entry.line.len() as u64;
            if self.want == Want::Lines {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                into.line = Bytes::copy_from_slice(entry.line);
                into.metadata = entry.metadata.iter().map(|(k, v)| (text(k), text(v))).collect();
            }
        }
        keeps
    }
}

#[cfg(test)]
mod tests;
