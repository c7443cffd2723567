//! Opens blocks as their turn comes, within what one read may decode.

use std::sync::Arc;

use super::EntryIter;
use super::Reading;
use super::slot::{Cursor, Lost, partition};
use crate::Error;
use crate::block::{Block, Body, Source};
use crate::columnar::group::Group;
use crate::columnar::rows::{Cost, Rows};
use crate::error::to_u64;
use crate::head::Head;
use crate::loki::decode::StoredBlock;
use crate::loki::entries::{Context, Entries};
use crate::shared::{BlockCache, BlockId, DecodedBlock};

impl EntryIter {
    /// Opens a source, if its turn has come; `None` if it is damaged and the policy is to skip it.
    pub(super) fn open(&mut self, source: Source) -> Result<Option<Cursor>, Error> {
        let (body, of) = match source {
            Source::Memory(head) => (self.pick(head), None),
            Source::Stored(block) => {
                let body = match &block {
                    Block::Loki(block) => match self.cache.clone() {
                        None => self.decode(block).map(Body::Loki),
                        Some(cache) => self.share(block, &*cache),
                    },
                    Block::Columnar(group) => {
                        self.open_group(group).map(|rows| Body::Columnar(Box::new(rows)))
                    }
                };
                let of = (block.number(), *block.meta());
                match body {
                    Ok(body) => (body, Some(of)),
                    Err(cause) => {
                        self.skip(of.1, of.0, cause)?;
                        return Ok(None);
                    }
                }
            }
        };
        let len = body.len();
        let at = |rank| body.timestamp(rank);
        let first = self.range.first().unwrap_or(i64::MAX);
        let last = self.range.last().unwrap_or(i64::MIN);
        let start = partition(0, len, |rank| at(rank).is_some_and(|timestamp| timestamp < first));
        let end = partition(start, len, |rank| at(rank).is_some_and(|timestamp| timestamp <= last));
        let lost = of.map(|(number, meta)| Lost { number, meta, first: start, end });
        if let Body::Columnar(rows) = &body {
            self.stats.blocks_decoded += 1;
            if let Some(tested) = rows.tested() {
                self.stats.lines_tested += to_u64(tested);
                self.stats.blocks_pruned += u64::from(tested == 0 && rows.len() == 0);
            }
        }
        let mut cursor = Cursor { body, start, end, lost, counted: Cost::default() };
        self.count(&mut cursor)?;
        Ok(Some(cursor))
    }

    fn open_group(&mut self, group: &Group) -> Result<Rows, Error> {
        let (budget, work) = (self.budget(), self.spare_work.take().unwrap_or_default());
        let mut rows = Rows::new(group, &self.reading.limits, budget, work)?;
        let opened = match &self.filter {
            None => rows.read_times(group),
            Some(filter) => rows.pick(group, filter, self.range),
        };
        if let Err(error) = opened {
            // What was opened in vain has cost the same.
            self.spent = self.spent.saturating_add(to_u64(rows.cost().memory));
            self.spare_work = Some(rows.into_work());
            return Err(error);
        }
        Ok(rows)
    }

    /// The entries of a block in memory that are wanted.
    fn pick(&mut self, head: Arc<Head>) -> Body {
        let Some(filter) = &self.filter else { return Body::Memory(head) };
        self.stats.lines_tested += to_u64(head.len());
        let ranks = (0..).zip(head.ranks()).filter(|(_, (_, line, _))| filter.matches(line));
        let ranks = ranks.map(|(rank, _)| rank).collect();
        Body::Picked(head, ranks)
    }

    /// What may still be decoded.
    fn budget(&self) -> usize {
        let left = self.reading.limits.max_decoded_bytes.saturating_sub(self.spent);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn decode(&mut self, block: &StoredBlock) -> Result<Entries, Error> {
        let Reading { format, codec, limits, .. } = self.reading;
        let budget = self.budget();
        let mut entries = self.spare.take().unwrap_or_default();
        let context = Context { format, codec, symbols: &self.symbols, limits: &limits, budget };
        let decoded = entries.decode(block, context);
        // What was decoded in vain has cost the same.
        self.spent = self.spent.saturating_add(to_u64(entries.memory_bytes()));
        decoded?;
        self.stats.blocks_decoded += 1;
        self.stats.stored_bytes += to_u64(block.data.len());
        self.stats.decoded_bytes += to_u64(entries.payload_bytes());
        if let Some(filter) = &self.filter {
            self.stats.lines_tested += to_u64(entries.len());
            entries.keep(filter);
        }
        Ok(entries)
    }

    /// As [`decode`](Self::decode), unless the cache has the block.
    fn share(&mut self, block: &StoredBlock, cache: &dyn BlockCache) -> Result<Body, Error> {
        let Reading { format, codec, limits, .. } = self.reading;
        let budget = self.budget();
        let context = Context { format, codec, symbols: &self.symbols, limits: &limits, budget };
        let id = BlockId::of(block, &context);
        let (mut taken, mut was_decoded) = (0usize, false);
        let mut decode = || {
            let mut entries = Entries::default();
            let decoded = entries.decode(block, context);
            (taken, was_decoded) = (taken.saturating_add(entries.memory_bytes()), true);
            decoded.map(|()| DecodedBlock::new(id, entries))
        };
        let mut shared = cache.get_or_decode(id, &mut decode);
        if shared.as_ref().is_ok_and(|shared| shared.id() != id) {
            shared = decode();
        }
        if let (Ok(shared), false) = (&shared, was_decoded) {
            let payload = shared.entries().payload_bytes();
            if payload > budget {
                return Err(Error::limit("max_decoded_bytes", payload, budget));
            }
            taken = shared.entries().memory_bytes();
        }
        // What was decoded in vain has cost the same.
        self.spent = self.spent.saturating_add(to_u64(taken));
        let shared = shared?;
        if was_decoded {
            self.stats.blocks_decoded += 1;
            self.stats.stored_bytes += to_u64(block.data.len());
            self.stats.decoded_bytes += to_u64(shared.entries().payload_bytes());
        } else {
            self.stats.blocks_shared += 1;
        }
        let picked = self.filter.as_ref().map(|filter| shared.entries().wanted(filter));
        if picked.is_some() {
            self.stats.lines_tested += to_u64(shared.entries().len());
        }
        Ok(Body::Shared(shared, picked))
    }
}
