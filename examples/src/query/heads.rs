//! What the ingesters answer, read part by part. Where each line counts it is read stream by stream too, so that little
//! of it is held at a time; where the first lines are wanted, each ingester sends no more than those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::ExecuteError;
use super::ask::Patience;
use super::merge::{Holds, Section};
use crate::client::{Parts, ReadFailed};
use crate::labels::Labels;
use crate::offload::offload;
use crate::record::{Record, RecordError};
use crate::wire::Selected;

/// Bytes that a query read, and how many it may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) bytes: u64,
    pub(super) limit: u64,
}

impl Allowance {
    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), ExecuteError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let Self { bytes, limit } = *self;
        if bytes > limit { Err(ExecuteError::TooManyBytes { bytes, limit }) } else { Ok(()) }
    }
}

/// The answers of all ingesters, each with its streams in the order of their labels.
pub(super) struct Heads {
    heads: Vec<Head>,
    holds: Holds,
    /// Streams beside which nothing is wanted, whatever is sent.
    only: Option<Arc<BTreeSet<Labels>>>,
    patience: Patience,
    pub(super) allowance: Allowance,
}

struct Head {
    /// Whose it is.
    id: Arc<str>,
    /// `None` at its end.
    parts: Option<Parts>,
    sections: VecDeque<(Labels, Section)>,
    last: Option<Labels>,
}

impl Heads {
    pub(super) fn new(
        answers: Vec<(Arc<str>, Parts)>,
        holds: Holds,
        only: Option<Arc<BTreeSet<Labels>>>,
        patience: Patience,
        allowance: Allowance,
    ) -> Self {
        let head = |(id, parts)| Head { id, parts: Some(parts), sections: VecDeque::new(), last: None };
        Self { heads: answers.into_iter().map(head).collect(), holds, only, patience, allowance }
    }

    /// The first stream that any of them has more of.
    pub(super) async fn first(&mut self) -> Result<Option<Labels>, ExecuteError> {
        for number in 0..self.heads.len() {
            self.fill(number).await?;
        }
        let next = self.heads.iter().filter_map(|head| head.sections.front());
        Ok(next.map(|(labels, _)| labels).min().cloned())
    }

    /// The time of the first entry that any of them has of `labels`, where each goes on by time.
    pub(super) fn first_ns(&self, labels: &Labels) -> Option<i64> {
        let next = self.heads.iter().filter_map(|head| head.sections.front());
        next.filter(|(own, _)| own == labels).filter_map(|(_, section)| section.next_ns()).min()
    }

    /// Those that go on with `labels`, as far as is known without reading.
    pub(super) fn with(&self, labels: &Labels) -> Vec<usize> {
        let goes_on = |head: &Head| head.sections.front().is_some_and(|(next, _)| next == labels);
        (0..self.heads.len()).filter(|number| goes_on(&self.heads[*number])).collect()
    }

    /// What head `number` goes on with, if that is of `labels`.
    pub(super) async fn section(
        &mut self,
        number: usize,
        labels: &Labels,
    ) -> Result<Option<Section>, ExecuteError> {
        self.fill(number).await?;
        let next = self.heads[number].sections.pop_front_if(|(next, _)| next == labels);
        Ok(next.map(|(_, section)| section))
    }

    /// Everything, by stream: the sections of each head that has any.
    pub(super) async fn all(mut self) -> Result<BTreeMap<Labels, Vec<VecDeque<Section>>>, ExecuteError> {
        // All at the same time: each begins to work when it is read, and ends when nobody reads on.
        let parts: Vec<Parts> = self
            .heads
            .iter_mut()
            .map(|head| head.parts.take().unwrap_or_else(|| stream::empty().boxed()))
            .collect();
        let numbered = parts.into_iter().enumerate().map(|(n, parts)| parts.map(move |part| (n, part)));
        let mut read = stream::select_all(numbered);
        let mut own: Vec<BTreeMap<Labels, VecDeque<Section>>> = Vec::new();
        own.resize_with(self.heads.len(), BTreeMap::new);
        while let Some((number, part)) = read.next().await {
            match part {
                Ok(part) => {
                    self.allowance.spend(part.read_bytes)?;
                    for (labels, section) in sections(part, self.holds).await? {
                        own[number].entry(labels).or_default().push_back(section);
                    }
                }
                Err(ReadFailed(why)) => {
                    self.patience.fail(&self.heads[number].id, why)?;
                }
            }
        }
        let mut streams: BTreeMap<Labels, Vec<VecDeque<Section>>> = BTreeMap::new();
        for (labels, sections) in own.into_iter().flatten() {
            streams.entry(labels).or_default().push(sections);
        }
        Ok(streams)
    }

    /// Reads on until head `number` has a section or has ended. One that breaks off has failed, and what it sent
    /// before is as good as what others send.
    async fn fill(&mut self, number: usize) -> Result<(), ExecuteError> {
        let Self { heads, holds, only, patience, allowance } = self;
        let head = &mut heads[number];
        while head.sections.is_empty()
            && let Some(parts) = &mut head.parts
        {
            let part = match parts.next().await {
                None => {
                    head.parts = None;
                    continue;
                }
                Some(Ok(part)) => part,
                Some(Err(ReadFailed(why))) => {
                    head.parts = None;
                    patience.fail(&head.id, why)?;
                    continue;
                }
            };
            allowance.spend(part.read_bytes)?;
            for (labels, section) in sections(part, *holds).await? {
                if head.last.as_ref().is_some_and(|last| *last > labels) {
                    return Err(ExecuteError::Order);
                }
                head.last = Some(labels.clone());
                if only.as_ref().is_none_or(|only| only.contains(&labels)) {
                    head.sections.push_back((labels, section));
                }
            }
        }
        Ok(())
    }
}

async fn sections(part: Selected, holds: Holds) -> Result<Vec<(Labels, Section)>, RecordError> {
    if part.record.is_empty() {
        return Ok(Vec::new());
    }
    offload(move || {
        let record = Record::parse(part.record)?;
        let own = record.owned_sections();
        Ok(own.map(|(labels, entries)| (labels, Section::new(entries, holds))).collect())
    })
    .await
}
