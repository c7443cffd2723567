//! A chunk without some of its entries. A block that keeps all of its own is copied as it is, and only the others are
//! encoded again: to take a few lines out of a chunk costs what their blocks cost.

use crate::block::{Block, Target};
use crate::builder::{columnar_bound, loki_bound};
use crate::chunk::{BlockMeta, Chunk};
use crate::columnar;
use crate::damage::{Damage, DamageKind};
use crate::entry::{Entry, SymbolPair};
use crate::error::to_u64;
use crate::head::Head;
use crate::iter::EntryIter;
use crate::loki::decode::StoredBlock;
use crate::loki::encode::{self, Form};
use crate::symbols::{Interner, SymbolTable};
use crate::{EncodedChunk, Error, Format, Limits, Profile};

/// What [`Chunk::rewrite`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The chunk; `None` if no entry is left.
    pub chunk: Option<EncodedChunk>,
    /// Entries that were not to be kept.
    pub entries_dropped: u64,
    /// Blocks that were copied byte for byte.
    pub blocks_copied: u64,
    /// What could not be read, and is not in the chunk therefore: what [`Chunk::damage`] says to be lost, and what was
    /// found only now.
    pub damage: Vec<Damage>,
}

impl Chunk {
    /// The chunk of those entries that are to be kept. Of a chunk of [some groups](crate::columnar::Index::open), that
    /// of these.
    ///
    /// Each entry is shown once, block by block in the order they were cut, and those of a block by time. A block that
    /// keeps all is copied byte for byte; one that does not is encoded again, in the chunk's format with its codec, or
    /// with this profile if it is columnar. Chunks of versions 1 and 2 become version 3, their blocks as they are. Names
    /// and values of metadata that no entry has any more are not in the new chunk.
    ///
    /// It is read again before it is given, within the limits that this chunk was opened with.
    ///
    /// Takes the time to decode all blocks, to encode those that change and to decode the result, and memory for one block
    /// in plain and for all as they are stored.
    ///
    /// # Errors
    ///
    /// What a read of all entries has, and [`Error::LimitExceeded`] if the limits do not allow to read what is kept: with
    /// another profile, or without what compresses well, it may take more bytes than before. With a policy that skips
    /// what is damaged it is left out, and reported.
    pub fn rewrite(
        &self,
        profile: Profile,
        mut keep: impl FnMut(&Entry<'_>) -> bool,
    ) -> Result<Rewritten, Error> {
        let parsed = self.parsed();
        let mut rewrite = Rewrite::new(self, profile);
        let mut left = self.limits().max_decoded_bytes;
        let mut damage: Vec<Damage> =
            self.damage().iter().filter(|damage| is_loss(damage)).cloned().collect();
        for block in &parsed.blocks {
            let mut entries = self.entries_of(block, left);
            rewrite.block(block, &mut entries, &mut keep)?;
            left = left.saturating_sub(entries.spent_bytes());
            damage.extend_from_slice(entries.damage());
        }
        let (entries_dropped, blocks_copied) = (rewrite.dropped, rewrite.copied);
        let chunk = rewrite.finish(&parsed.symbols);
        if let Some(chunk) = &chunk {
            Self::read_again(&chunk.bytes, self.limits())?;
        }
        Ok(Rewritten { chunk, entries_dropped, blocks_copied, damage })
    }
}

fn is_loss(damage: &Damage) -> bool {
    !matches!(damage.kind, DamageKind::Moved { .. })
}

/// A chunk that is put together from blocks of another one.
struct Rewrite {
    target: Target,
    limits: Limits,
    blocks: Vec<Block>,
    /// Which symbols of the source some entry has.
    used: Vec<bool>,
    dropped: u64,
    copied: u64,
}

/// What is kept of a block.
#[derive(Default)]
struct Kept {
    head: Head,
    interner: Interner,
    pairs: Vec<SymbolPair>,
}

impl Rewrite {
    fn new(chunk: &Chunk, profile: Profile) -> Self {
        let target = match chunk.format() {
            Format::Columnar => Target::Columnar(profile, *chunk.limits()),
            Format::LokiV4 => Target::Loki { format: Format::LokiV4, codec: chunk.codec() },
            Format::LokiV1 | Format::LokiV2 | Format::LokiV3 => {
                Target::Loki { format: Format::LokiV3, codec: chunk.codec() }
            }
        };
        let used = vec![false; chunk.parsed().symbols.len()];
        Self { target, limits: *chunk.limits(), blocks: Vec::new(), used, dropped: 0, copied: 0 }
    }

    /// Takes over what is to be kept of a block.
    fn block(
        &mut self,
        block: &Block,
        entries: &mut EntryIter,
        keep: &mut impl FnMut(&Entry<'_>) -> bool,
    ) -> Result<(), Error> {
        let (first, dropped) = (self.blocks.len(), self.dropped);
        let (mut kept, mut raw_bytes) = (Kept::default(), 0u64);
        while let Some(entry) = entries.next()? {
            if !keep(&entry) {
                self.dropped += 1;
                continue;
            }
            // No block that a reader would refuse: what is decoded may be much more than was stored.
            if kept.bound(&entry, self.target) > self.limits.block_bytes() || kept.head.is_full() {
                self.encode(std::mem::take(&mut kept));
            }
            raw_bytes = raw_bytes.saturating_add(to_u64(entry.raw_bytes()));
            kept.push(&entry, self.target);
            if let Target::Loki { .. } = self.target {
                for number in kept.pairs.iter().flat_map(|pair| [pair.name, pair.value]) {
                    if let Some(used) = self.used.get_mut(number as usize) {
                        *used = true;
                    }
                }
            }
        }
        if dropped == self.dropped && entries.damage().is_empty() && !kept.head.is_empty() {
            self.copied += 1;
            self.blocks.truncate(first);
            self.blocks.push(copy(block, raw_bytes));
            return Ok(());
        }
        self.encode(kept);
        Ok(())
    }

    fn encode(&mut self, mut kept: Kept) {
        if kept.head.is_empty() {
            return;
        }
        kept.head.seal();
        // Loki's blocks have the numbers of the source.
        self.blocks.push(self.target.encode(&kept.head, kept.interner.table()));
    }

    fn finish(self, symbols: &SymbolTable) -> Option<EncodedChunk> {
        let metas = || self.blocks.iter().map(Block::meta);
        let from_ns = metas().map(|meta| meta.min_ns).min()?;
        let through_ns = metas().map(|meta| meta.max_ns).max()?;
        let sum = |of: fn(&BlockMeta) -> u64| metas().map(of).fold(0, u64::saturating_add);
        let (entries, raw_bytes) = (sum(|meta| meta.entries), sum(|meta| meta.raw_bytes.unwrap_or_default()));
        let bytes = match self.target {
            Target::Columnar(..) => columnar::assemble(&self.blocks),
            Target::Loki { format, codec } => {
                encode::chunk(format, codec, Form::Stored, &only(symbols, &self.used), &self.blocks)
            }
        };
        Some(EncodedChunk { bytes, from_ns, through_ns, entries, raw_bytes })
    }
}

impl Kept {
    fn push(&mut self, entry: &Entry<'_>, target: Target) {
        self.pairs.clear();
        match target {
            Target::Loki { .. } => entry.metadata.numbers(&mut self.pairs),
            Target::Columnar(..) => {
                let Self { interner, pairs, .. } = self;
                pairs.extend(entry.metadata.iter().map(|(name, value)| SymbolPair {
                    name: interner.intern(name),
                    value: interner.intern(value),
                }));
            }
        }
        self.head.push(entry.timestamp_ns, entry.line, &self.pairs);
    }

    /// The most bytes that a block decodes to with one more entry; 0 of an empty one, which has room for any.
    fn bound(&self, entry: &Entry<'_>, target: Target) -> usize {
        match target {
            _ if self.head.is_empty() => 0,
            Target::Loki { .. } => loki_bound(self.head.encoded_bound(), entry),
            Target::Columnar(..) => columnar_bound(self.head.encoded_bound(), self.interner.table(), entry),
        }
    }
}

/// A block as it is. Versions 1 and 2 do not say how large their blocks are.
fn copy(block: &Block, raw_bytes: u64) -> Block {
    match block {
        Block::Columnar(group) => Block::Columnar(group.clone()),
        Block::Loki(stored) => {
            let raw_bytes = Some(stored.meta.raw_bytes.unwrap_or(raw_bytes));
            Block::Loki(StoredBlock { meta: BlockMeta { raw_bytes, ..stored.meta }, ..stored.clone() })
        }
    }
}

/// The symbols that are used, by their numbers. The others have no bytes.
fn only(symbols: &SymbolTable, used: &[bool]) -> SymbolTable {
    let mut table = SymbolTable::default();
    let end = used.iter().rposition(|used| *used).map_or(0, |last| last + 1);
    for (symbol, used) in symbols.iter().zip(used).take(end) {
        table.push(if *used { symbol } else { &[] });
    }
    table
}
