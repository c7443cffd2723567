//! A chunk opened from its bytes: every checksum is verified before the first entry is handed out, and no
//! block is decompressed before it is needed.

use std::{fmt, iter};

use bytes::Bytes;

use crate::block::{Block, Source};
use crate::columnar;
use crate::columnar::filter::Filter;
use crate::columnar::footer::Identity;
use crate::columnar::group::Group;
use crate::columnar::hash::ContentHash;
use crate::cursor::Cursor;
use crate::damage::{CorruptionPolicy, Damage, DamageKind};
use crate::entry::Entry;
use crate::error::to_u64;
use crate::filter::LineFilter;
use crate::iter::{EntryIter, Reading};
use crate::loki::decode;
use crate::loki::encode::Form;
use crate::loki::format::Format;
use crate::range::{Direction, TimeRange};
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits, Section};

/// A chunk of log lines. Shares the bytes it was opened from.
pub struct Chunk {
    bytes: Bytes,
    parsed: Parsed,
    limits: Limits,
    policy: CorruptionPolicy,
}

/// A chunk whose index can be believed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) format: Format,
    pub(crate) codec: Codec,
    pub(crate) symbols: SymbolTable,
    /// All blocks that the index names.
    pub(crate) index: Vec<BlockMeta>,
    /// Those that can be read.
    pub(crate) blocks: Vec<Block>,
    pub(crate) damage: Vec<Damage>,
    /// Whose it is, if it says so itself.
    pub(crate) identity: Option<Identity>,
    /// What it says that its content hash is.
    pub(crate) content_hash: Option<u128>,
}

/// What a chunk's index says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockMeta {
    /// Entries.
    pub entries: u64,
    /// Time of the oldest entry, nanoseconds since 1970.
    pub min_ns: i64,
    /// Time of the newest entry.
    pub max_ns: i64,
    /// Where the block starts, in bytes from the start of the chunk.
    pub offset: u64,
    /// Bytes of all lines, and 8 for each metadata pair. Unknown in versions 1 and 2.
    pub raw_bytes: Option<u64>,
    /// Stored size in bytes, without checksum.
    pub size_bytes: u64,
}

impl Chunk {
    /// Opens a chunk, the inner one if it came out of an object; [`loki::Object`](crate::loki::Object) opens
    /// the outer one. A block that is damaged is an error.
    ///
    /// Takes time linear in the size, and memory for the index and the symbols, which are decompressed.
    ///
    /// # Errors
    ///
    /// Every error about bytes there is: none of them is worth a retry with the same bytes.
    pub fn open(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Self, Error> {
        Self::open_with(bytes, limits, CorruptionPolicy::Fail)
    }

    /// Opens a chunk with a choice of what to do about blocks that are damaged.
    ///
    /// # Errors
    ///
    /// As [`Chunk::open`], but for what the policy tolerates.
    pub fn open_with(
        bytes: impl Into<Bytes>,
        limits: &Limits,
        policy: CorruptionPolicy,
    ) -> Result<Self, Error> {
        let bytes = bytes.into();
        let parsed = if columnar::is_columnar(&bytes, policy) {
            columnar::parse(&bytes, limits, policy)?
        } else {
            decode::parse(&bytes, Form::Stored, limits, policy)?
        };
        Ok(Self { bytes, parsed, limits: *limits, policy })
    }

    /// A chunk of which not all blocks are at hand.
    pub(crate) fn of_parts(parsed: Parsed, limits: &Limits, policy: CorruptionPolicy) -> Self {
        Self { bytes: Bytes::new(), parsed, limits: *limits, policy }
    }

    /// The entries of a range of time.
    ///
    /// Only blocks that overlap the range are decompressed, each when its turn comes. The iterator shares the
    /// chunk's bytes and does not borrow the chunk.
    pub fn entries(&self, range: impl Into<TimeRange>, direction: Direction) -> EntryIter {
        let Parsed { symbols, blocks, .. } = &self.parsed;
        let sources = blocks.iter().cloned().map(Source::Stored);
        EntryIter::new(self.reading(), symbols.clone(), sources, range.into(), direction)
    }

    /// What is left of a read of `range` that was left at `cursor`, of this chunk or of the builder that made it.
    ///
    /// Blocks that end before the cursor are not decompressed.
    pub fn resume(&self, range: impl Into<TimeRange>, cursor: Cursor) -> EntryIter {
        let Parsed { symbols, blocks, .. } = &self.parsed;
        let sources = blocks.iter().cloned().map(Source::Stored);
        EntryIter::behind(self.reading(), symbols.clone(), sources, range.into(), cursor)
    }

    /// The entries of a range of time whose lines a filter wants: those that a read of all and a
    /// [test](LineFilter::matches) of each give.
    ///
    /// Loki's blocks are decompressed and searched. Of a columnar one its filter of letters is asked, then skeletons and the
    /// columns that the text may lie in; lines are made only where these leave it open, and where they are wanted.
    /// What is not read is not checked: a block that holds no wanted line may be damaged, and is not reported; and a word
    /// filter is believed, which only [`verify`](Self::verify) holds against the lines. When a block is entered all of it is searched, and four bytes are held for each entry that is found.
    pub fn filter(
        &self,
        range: impl Into<TimeRange>,
        filter: &LineFilter,
        direction: Direction,
    ) -> EntryIter {
        self.entries(range, direction).wanted(filter)
    }

    /// What is left of such a read, with the same filter.
    pub fn resume_filter(
        &self,
        range: impl Into<TimeRange>,
        filter: &LineFilter,
        cursor: Cursor,
    ) -> EntryIter {
        self.resume(range, cursor).wanted(filter)
    }

    fn reading(&self) -> Reading {
        let Parsed { format, codec, .. } = self.parsed;
        Reading { format, codec, limits: self.limits, policy: self.policy }
    }

    /// Every block that the index names, in the order they were cut, the lost ones too.
    pub fn blocks(&self) -> &[BlockMeta] {
        &self.parsed.index
    }

    /// What was found to be wrong on opening. Empty for a chunk as it was written.
    ///
    /// What is only found when a block is decompressed is told by [`EntryIter::damage`].
    pub fn damage(&self) -> &[Damage] {
        &self.parsed.damage
    }

    /// Times of the oldest and the newest entry, by the index; `None` if there are no blocks.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let blocks = self.blocks().iter();
        blocks.map(|block| (block.min_ns, block.max_ns)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// How many entries there are, by the index.
    pub fn entry_count(&self) -> u64 {
        self.blocks().iter().fold(0, |sum, block| sum.saturating_add(block.entries))
    }

    /// Bytes of all lines, and 8 for each metadata pair; unknown in versions 1 and 2.
    pub fn raw_bytes(&self) -> Option<u64> {
        self.blocks().iter().try_fold(0u64, |sum, block| Some(sum.saturating_add(block.raw_bytes?)))
    }

    /// A hash of all entries in order, with their times, lines and metadata: two chunks that have the same hold the
    /// same, whatever their format, codec, profile or sizes of blocks. Pairs of metadata count as a set.
    ///
    /// Reads every entry; of a chunk of [some groups](crate::columnar::Index::open) those of these. It is a proof
    /// against damage and mistakes, not against somebody who makes two contents of one hash.
    ///
    /// # Errors
    ///
    /// What a read of all entries has, and whatever the policy, why some are lost: what is left has not the hash of
    /// the chunk.
    pub fn content_hash(&self) -> Result<u128, Error> {
        lost(&self.parsed.damage)?;
        let mut hash = ContentHash::default();
        self.visit(self.entries(.., Direction::Forward), |entry| hash.push(entry))?;
        Ok(hash.value())
    }

    /// Checks all that can be checked: every checksum, also of what a read of the entries does not need, every entry,
    /// and of a columnar chunk that each group has the content hash and the raw size that it says, and all letters of
    /// its lines in its filter, and the whole its hash.
    ///
    /// # Errors
    ///
    /// What opening and reading the chunk have, and [`Error::Corrupt`] for a hash or size that is another one. What
    /// was found to be damaged on opening, and is skipped, is no error: ask [`damage`](Self::damage) first. What is
    /// only found to be damaged now is one whatever the policy.
    pub fn verify(&self) -> Result<(), Error> {
        let mut left = self.limits.max_decoded_bytes;
        for block in &self.parsed.blocks {
            if let Block::Columnar(group) = block {
                left = self.verify_group(group, left)?;
            }
        }
        if self.format() != Format::Columnar {
            return self.visit(self.entries(.., Direction::Forward), |_| {});
        }
        if self.hash_of_all().is_none() {
            return Ok(());
        }
        let found = match columnar::content_hash(&self.parsed.blocks) {
            Some(found) => found,
            None => self.content_hash()?,
        };
        self.check_content(found)
    }

    /// The hash that the chunk says, if all it speaks of is at hand: of a part of the groups nothing says it.
    fn hash_of_all(&self) -> Option<u128> {
        let is_whole = self.parsed.damage.is_empty() && self.parsed.blocks.len() == self.parsed.index.len();
        self.parsed.content_hash.filter(|_| is_whole)
    }

    /// Holds the content hash of what can be read against what the chunk says.
    pub(crate) fn check_content(&self, found: u128) -> Result<(), Error> {
        let Some(expected) = self.hash_of_all() else { return Ok(()) };
        if expected == found {
            return Ok(());
        }
        let what = format!("content hash {expected:032x}, that of the entries is {found:032x}");
        Err(Error::corrupt(Section::Footer, self.bytes.len(), what))
    }

    /// Checks a group that may be decoded to `left` bytes, and gives what is left of them.
    fn verify_group(&self, group: &Group, left: u64) -> Result<u64, Error> {
        group.verify()?;
        let streams = group.streams(usize::try_from(left).unwrap_or(usize::MAX))?;
        let filter = Filter::open(&streams).map_err(|fault| fault.into_error(group.number))?;
        let left = left.saturating_sub(to_u64(streams.opened().1));
        let lacks = |line: &[u8]| filter.is_some_and(|filter| !filter.may_hold(line));
        let offset = usize::try_from(group.meta.offset).unwrap_or(usize::MAX);
        let mut entries = self.entries_of(&Block::Columnar(group.clone()), left);
        let (mut hash, mut raw_bytes) = (ContentHash::default(), 0u64);
        let left = loop {
            let Some(batch) = entries.next_batch()? else { break left.saturating_sub(entries.spent_bytes()) };
            for entry in batch {
                if lacks(entry.line) {
                    let what =
                        format!("a filter without the letters of the line of time {}", entry.timestamp_ns);
                    return Err(Error::corrupt(Section::Group(group.number), offset, what));
                }
                hash.push(&entry);
                raw_bytes = raw_bytes.saturating_add(to_u64(entry.raw_bytes()));
            }
        };
        lost(entries.damage())?;
        let said = (group.hash().value(), group.meta.raw_bytes);
        if said == (hash.value(), Some(raw_bytes)) {
            return Ok(left);
        }
        let what = format!(
            "content hash and raw size {said:x?}, those of the entries are {:x?}",
            (hash.value(), raw_bytes)
        );
        Err(Error::corrupt(Section::Group(group.number), offset, what))
    }

    /// The entries of a block that may be decoded to `left` bytes.
    pub(crate) fn entries_of(&self, block: &Block, left: u64) -> EntryIter {
        let (source, symbols) = (iter::once(Source::Stored(block.clone())), self.parsed.symbols.clone());
        EntryIter::new(self.reading(), symbols, source, TimeRange::ALL, Direction::Forward).within(left)
    }

    /// Opens and reads a chunk that was written for these limits: an error if they do not allow it.
    pub(crate) fn read_again(bytes: &Bytes, limits: &Limits) -> Result<(), Error> {
        let chunk = Self::open(bytes.clone(), limits)?;
        chunk.visit(chunk.entries(.., Direction::Forward), |_| {})
    }

    /// An error if the index names blocks that were not given, of a chunk that was put together from parts.
    pub(crate) fn check_has_all(&self) -> Result<(), Error> {
        let mut known = vec![false; self.parsed.index.len()];
        let lost = self.parsed.damage.iter().map(|damage| damage.block);
        for number in self.parsed.blocks.iter().map(Block::number).chain(lost) {
            if let Some(known) = known.get_mut(number) {
                *known = true;
            }
        }
        for (number, meta) in self.parsed.index.iter().enumerate() {
            if known.get(number) != Some(&true) {
                let section = Section::Group(number);
                return Err(Error::Truncated {
                    section,
                    offset: meta.offset,
                    need: meta.size_bytes,
                    have: 0,
                });
            }
        }
        Ok(())
    }

    /// Shows all entries; an error if some are lost.
    fn visit(&self, mut entries: EntryIter, mut show: impl FnMut(&Entry<'_>)) -> Result<(), Error> {
        while let Some(batch) = entries.next_batch()? {
            batch.for_each(|entry| show(&entry));
        }
        lost(entries.damage())
    }

    /// What the chunk says that its [`content_hash`](Self::content_hash) is. Columnar chunks say it, unless their
    /// blocks overlap in time.
    pub fn stored_content_hash(&self) -> Option<u128> {
        self.parsed.content_hash
    }

    /// The format it is written in.
    pub fn format(&self) -> Format {
        self.parsed.format
    }

    /// How its blocks are compressed; [`Codec::Zstd`] for columnar ones, of which small parts are not.
    pub fn codec(&self) -> Codec {
        self.parsed.codec
    }

    /// The bytes it was opened from; none if it was put together from [parts](crate::columnar::Index::open).
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn policy(&self) -> CorruptionPolicy {
        self.policy
    }

    /// What it may ask of its reader.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn parsed(&self) -> &Parsed {
        &self.parsed
    }
}

/// Why entries are lost, if some are.
pub(crate) fn lost(damage: &[Damage]) -> Result<(), Error> {
    let cause = damage.iter().find_map(|damage| match &damage.kind {
        DamageKind::Moved { .. } => None,
        DamageKind::Lost { cause, .. } | DamageKind::Unknown { cause } => Some(cause.clone()),
    });
    cause.map_or(Ok(()), Err)
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("format", &self.format())
            .field("codec", &self.codec())
            .field("size_bytes", &self.bytes.len())
            .field("symbols", &self.parsed.symbols.len())
            .field("blocks", &self.blocks())
            .field("damage", &self.damage())
            .finish_non_exhaustive()
    }
}

impl BlockMeta {
    /// About what the block's entries take when decompressed.
    pub(crate) fn expected_bytes(&self) -> usize {
        let bytes = self.raw_bytes.map_or(0, |raw| raw.saturating_add(self.entries.saturating_mul(16)));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// The most that so many entries of so many raw bytes can take when decompressed: 30 bytes for the
    /// numbers of an entry, and 20 for each of the pairs that count 8.
    pub(crate) fn encoded_bound(&self) -> usize {
        let bound = self.raw_bytes.map(|raw| {
            let entries = self.entries.saturating_mul(30);
            raw.saturating_add(entries).saturating_add((raw / 8).saturating_mul(20))
        });
        bound.and_then(|bound| usize::try_from(bound).ok()).unwrap_or(usize::MAX)
    }

    pub(crate) fn damage(&self, block: usize, kind: DamageKind) -> Damage {
        let Self { offset, size_bytes, min_ns, max_ns, .. } = *self;
        Damage { block, offset, size_bytes, min_ns, max_ns, kind }
    }
}
