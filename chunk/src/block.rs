//! A block at every stage it can be in: in memory, encoded for one format or the other, and open to be read. What
//! builds and what reads chunks knows blocks only from here.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::chunk::BlockMeta;
use crate::columnar::group::Group;
use crate::columnar::profile::Profile;
use crate::columnar::rows::{Cost, Rows};
use crate::entry::Entry;
use crate::head::Head;
use crate::loki::decode::StoredBlock;
use crate::loki::encode;
use crate::loki::entries::Entries;
use crate::loki::format::Format;
use crate::range::Direction;
use crate::shared::DecodedBlock;
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits};

/// What blocks are encoded to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Loki {
        format: Format,
        codec: Codec,
    },
    /// And what a reader is going to allow.
    Columnar(Profile, Limits),
}

impl Target {
    pub(crate) fn encode(self, head: &Head, symbols: &SymbolTable) -> Block {
        match self {
            Self::Loki { format, codec } => Block::Loki(encode::block(head, format, codec)),
            Self::Columnar(profile, limits) => {
                Block::Columnar(Group::encode(head, symbols, profile, &limits))
            }
        }
    }
}

/// A block that is encoded.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Loki(StoredBlock),
    Columnar(Group),
}

impl Block {
    pub(crate) fn meta(&self) -> &BlockMeta {
        match self {
            Self::Loki(block) => &block.meta,
            Self::Columnar(group) => &group.meta,
        }
    }

    /// Its place among the blocks of its chunk.
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::Loki(block) => block.number,
            Self::Columnar(group) => group.number,
        }
    }

    pub(crate) fn data(&self) -> &Bytes {
        match self {
            Self::Loki(block) => &block.data,
            Self::Columnar(group) => group.data(),
        }
    }
}

/// Where entries come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Stored(Block),
    Memory(Arc<Head>),
}

impl Source {
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        match self {
            Self::Stored(block) => Some((block.meta().min_ns, block.meta().max_ns)),
            Self::Memory(head) => head.bounds(),
        }
    }
}

/// A block that is open, its entries by rank.
#[derive(Debug)]
pub(crate) enum Body {
    Loki(Entries),
    /// Decoded for several readers; those of these ranks, if not all are wanted.
    Shared(DecodedBlock, Option<Vec<u32>>),
    Columnar(Box<Rows>),
    Memory(Arc<Head>),
    /// Those of these ranks.
    Picked(Arc<Head>, Vec<u32>),
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Loki(entries) => entries.len(),
            Self::Shared(block, picked) => picked.as_ref().map_or(block.entries().len(), Vec::len),
            Self::Columnar(rows) => rows.len(),
            Self::Memory(head) => head.len(),
            Self::Picked(_, ranks) => ranks.len(),
        }
    }

    pub(crate) fn timestamp(&self, rank: usize) -> Option<i64> {
        match self {
            Self::Loki(entries) => entries.timestamp(rank),
            Self::Shared(block, picked) => block.entries().timestamp(nth(picked.as_deref(), rank)?),
            Self::Columnar(rows) => rows.timestamp(rank),
            Self::Memory(head) => head.timestamp(rank),
            Self::Picked(head, ranks) => head.timestamp(*ranks.get(rank)? as usize),
        }
    }

    /// Where an entry of that rank is among all of the block, and the time of one there. They are the same where no entry
    /// was left out.
    pub(crate) fn place(&self, rank: usize) -> usize {
        match self {
            Self::Columnar(rows) => rows.row_of(rank).unwrap_or(rank),
            _ => rank,
        }
    }

    pub(crate) fn time_at(&self, place: usize) -> Option<i64> {
        match self {
            Self::Columnar(rows) => rows.time_of(place),
            _ => self.timestamp(place),
        }
    }

    /// Makes the first of these entries ready to be read, or backward the last, and as many with it as are worth it;
    /// says how many of them are.
    pub(crate) fn prepare(&mut self, ranks: Range<usize>, direction: Direction) -> Result<usize, Error> {
        match self {
            Self::Loki(_) | Self::Shared(..) | Self::Memory(_) | Self::Picked(..) => Ok(ranks.len()),
            Self::Columnar(rows) => rows.prepare(ranks, direction),
        }
    }

    /// The entry of a rank that was prepared. `symbols` are those of the chunk.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, rank: usize, symbols: &'a SymbolTable) -> Option<Entry<'a>> {
        match self {
            Self::Loki(entries) => entries.entry(rank, symbols),
            Self::Shared(block, picked) => block.entries().entry(nth(picked.as_deref(), rank)?, symbols),
            Self::Columnar(rows) => rows.entry(rank),
            Self::Memory(head) => head.entry(rank, symbols),
            Self::Picked(head, ranks) => head.entry(*ranks.get(rank)? as usize, symbols),
        }
    }

    /// What a block that is opened bit by bit has cost so far.
    pub(crate) fn cost(&self) -> Cost {
        match self {
            Self::Loki(_) | Self::Shared(..) | Self::Memory(_) | Self::Picked(..) => Cost::default(),
            Self::Columnar(rows) => rows.cost(),
        }
    }
}

/// The rank of the one that is picked at a place.
fn nth(picked: Option<&[u32]>, place: usize) -> Option<usize> {
    picked.map_or(Some(place), |picked| Some(*picked.get(place)? as usize))
}
