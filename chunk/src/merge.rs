//! Chunks of one stream as one: small ones that idle streams left, and copies that several writers made of the same
//! entries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::builder::{Builder, BuilderOptions, EncodedChunk};
use crate::chunk::Chunk;
use crate::damage::{Damage, DamageKind};
use crate::entry::Entry;
use crate::error::to_u64;
use crate::iter::EntryIter;
use crate::loki::format::put_uvarint;
use crate::range::Direction;
use crate::{Error, Limits, TimeRange};

/// What [`merge`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The chunk; `None` if there was no entry.
    pub chunk: Option<EncodedChunk>,
    /// Entries that are not in it because another source had them too.
    pub duplicates: u64,
    /// What could not be read, and is not in the chunk therefore, with the number of the source: what [`Chunk::damage`]
    /// says to be lost, and what was found only now.
    pub damage: Vec<(usize, Damage)>,
}

/// All entries of all chunks in one, by time; those of one time by source, and then in the order of that.
///
/// An entry that several sources have, with the same time, line and pairs of metadata, comes once, or as often as the
/// source has it that has it most often: nothing that one of them alone holds is lost. The chunk is as large as it gets,
/// whatever its `target_size`.
///
/// It is read again before it is given, within the limits of `options`.
///
/// Takes the time to decode all, to encode the result and to decode that; memory for one open block of each source, more
/// where blocks of one overlap, for the result, and for the entries of one timestamp at which several sources have some.
///
/// # Errors
///
/// What a read of the sources has, each within its own limits, and [`Builder::append`]; and [`Error::LimitExceeded`] if the
/// result is more than `options` allow to read. [`Error::Truncated`] for a source of [some
/// groups](crate::columnar::Index::open), which is not all there is to merge.
pub fn merge<'a>(
    chunks: impl IntoIterator<Item = &'a Chunk>,
    options: BuilderOptions,
) -> Result<Merged, Error> {
    let mut merge = Merge::new(chunks, options)?;
    while let Some((time, first)) = merge.pop() {
        if merge.pop_at(time, first) {
            merge.tie(time)?;
        } else {
            merge.run(first)?;
        }
    }
    merge.finish(&options.limits)
}

struct Merge {
    sources: Vec<EntryIter>,
    /// The next time of every source that is not at its end.
    next: BinaryHeap<Reverse<(i64, usize)>>,
    /// Sources that have entries of the same time.
    tied: Vec<usize>,
    /// How often there is each of those, and how often in the source at hand.
    seen: HashMap<Vec<u8>, Count, RandomState>,
    key: Vec<u8>,
    builder: Builder,
    duplicates: u64,
    damage: Vec<(usize, Damage)>,
}

#[derive(Default)]
struct Count {
    all: u64,
    source: usize,
    of_source: u64,
}

impl Merge {
    fn new<'a>(chunks: impl IntoIterator<Item = &'a Chunk>, options: BuilderOptions) -> Result<Self, Error> {
        // All is in order of time, and has been let in before.
        let builder = Builder::new(BuilderOptions { out_of_order: None, ..options })?;
        let mut merge = Self {
            sources: Vec::new(),
            next: BinaryHeap::new(),
            tied: Vec::new(),
            seen: HashMap::default(),
            key: Vec::new(),
            builder,
            duplicates: 0,
            damage: Vec::new(),
        };
        for (number, chunk) in chunks.into_iter().enumerate() {
            chunk.check_has_all()?;
            let lost =
                chunk.damage().iter().filter(|damage| !matches!(damage.kind, DamageKind::Moved { .. }));
            merge.damage.extend(lost.map(|damage| (number, damage.clone())));
            merge.sources.push(chunk.entries(TimeRange::ALL, Direction::Forward));
            merge.put_back(number)?;
        }
        Ok(merge)
    }

    /// The least time, and the first source that has it.
    fn pop(&mut self) -> Option<(i64, usize)> {
        self.next.pop().map(|Reverse(next)| next)
    }

    /// Whether other sources have entries of this time too, which are tied then.
    fn pop_at(&mut self, time: i64, first: usize) -> bool {
        self.tied.clear();
        self.tied.push(first);
        while let Some(&Reverse((other, source))) = self.next.peek()
            && other == time
        {
            self.next.pop();
            self.tied.push(source);
        }
        self.tied.len() > 1
    }

    fn put_back(&mut self, source: usize) -> Result<(), Error> {
        let Some(entries) = self.sources.get_mut(source) else { return Ok(()) };
        if let Some(time) = entries.next_time()? {
            self.next.push(Reverse((time, source)));
        }
        Ok(())
    }

    /// Takes all entries of a source that come before those of any other.
    fn run(&mut self, source: usize) -> Result<(), Error> {
        let end = self.next.peek().map(|&Reverse((time, _))| time);
        let Self { sources, builder, .. } = self;
        let Some(entries) = sources.get_mut(source) else { return Ok(()) };
        while entries.next_time()?.is_some_and(|time| end.is_none_or(|end| time < end))
            && let Some(entry) = entries.next()?
        {
            builder.append_again(entry)?;
            builder.encode_full();
        }
        self.put_back(source)
    }

    /// Takes the entries of one time of the sources that are tied, each as often as one of them has it.
    fn tie(&mut self, time: i64) -> Result<(), Error> {
        self.seen.clear();
        let tied = std::mem::take(&mut self.tied);
        for &source in &tied {
            let Self { sources, builder, seen, key, duplicates, .. } = self;
            let Some(entries) = sources.get_mut(source) else { continue };
            while entries.next_time()? == Some(time)
                && let Some(entry) = entries.next()?
            {
                key_of(&entry, key);
                let count = seen.entry_ref(&**key).or_insert_with(Count::default);
                if count.source != source {
                    (count.source, count.of_source) = (source, 0);
                }
                count.of_source += 1;
                if count.of_source <= count.all {
                    *duplicates += 1;
                    continue;
                }
                count.all = count.of_source;
                builder.append_again(entry)?;
                builder.encode_full();
            }
            self.put_back(source)?;
        }
        self.tied = tied;
        Ok(())
    }

    fn finish(mut self, limits: &Limits) -> Result<Merged, Error> {
        for (number, entries) in self.sources.iter().enumerate() {
            self.damage.extend(entries.damage().iter().map(|damage| (number, damage.clone())));
        }
        let chunk = self.builder.finish();
        if let Some(chunk) = &chunk {
            Chunk::read_again(&chunk.bytes, limits)?;
        }
        Ok(Merged { chunk, duplicates: self.duplicates, damage: self.damage })
    }
}

/// The same for entries of one time that are the same. Pairs of metadata are, in whatever order.
pub(crate) fn key_of(entry: &Entry<'_>, key: &mut Vec<u8>) {
    key.clear();
    let mut put = |part: &[u8]| {
        put_uvarint(key, to_u64(part.len()));
        key.extend_from_slice(part);
    };
    put(entry.line);
    if !entry.metadata.is_empty() {
        let mut pairs: Vec<_> = entry.metadata.iter().collect();
        pairs.sort_unstable();
        pairs.into_iter().flat_map(|(name, value)| [name, value]).for_each(put);
    }
}
