//! Queries of lines: the first of all that match, from the end that is wanted on.
//!
//! What ingesters send is there at once; of what is stored no more is read than could hold a line that comes before
//! those that are known. It is looked at in windows of time, each in parts at the same time; the next window waits for
//! the one before, whose lines may be enough.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use parking_lot::Mutex;

use super::best::Best;
use super::merge::{Merge, Source, Want};
use super::reading::Reading;
use super::split::{self, Part};
use super::stages::{self, Stages};
use super::windows::Windows;
use super::{Answered, Asked, ExecuteError, Lines, Located, LogQuery, Querier, What};
use crate::index::{ChunkRef, Span};
use crate::labels::Labels;
use crate::logql::Logs;

/// A part hands on what it found by this share of the lines that are wanted, so that those that are worked on at the same
/// time hold few of them, and end where others have found enough.
const SHARES: usize = 4;
/// Streams of a part. A block or two of each is open at a time.
const STREAMS: NonZeroUsize = NonZeroUsize::new(8).expect("8 is above 0");

impl Querier {
    /// The lines that `query` asks for; what of them is damaged, the [holes](super::Stages::holes) say.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no other partial answers.
    pub async fn lines(&self, tenant: &str, query: LogQuery) -> Result<Lines, ExecuteError> {
        let mut stages = Stages::default();
        let LogQuery { logs, span, direction, limit, max_bytes, split } = query;
        let what = What::Lines { limit: limit as u64 };
        let asked = Asked { logs: &logs, span, direction, what, max_bytes };
        let Located { heads, chunks } = self.locate(tenant, asked, None, &mut stages).await?;
        let started = monotonic_ns();
        let mut sent = heads.all().await?;
        stages.ingesters_ns += stages::since(started);
        let streams: BTreeSet<Labels> = sent.keys().chain(chunks.keys()).cloned().collect();
        let streams: Vec<Labels> = streams.into_iter().collect();
        let numbered = || (0_u32..).zip(&streams);

        let mut reading = Reading::new(self, tenant, Merge::new(direction, Want::Lines, logs.clone()), span);
        for (number, labels) in numbered() {
            for parts in sent.remove(labels).into_iter().flatten() {
                reading.add(number, Source::Selected { parts, ended: true });
            }
        }
        let mut best = Best::new(direction, limit);
        best.take(reading.first(limit, &mut stages).await?);

        let mut stored: Vec<(u32, &ChunkRef)> = Vec::new();
        for (number, labels) in numbered() {
            stored.extend(chunks.get(labels).into_iter().flatten().map(|chunk| (number, chunk)));
        }
        let mut windows = Windows::new(direction, span, stored.iter().map(|(_, chunk)| *chunk));
        let search = Arc::new(Search {
            querier: self.clone(),
            tenant: tenant.to_owned(),
            logs,
            direction,
            limit,
            best: Mutex::new(best),
        });
        while windows.rest().is_some_and(|rest| search.best.lock().open_to_any(rest).is_some())
            && let Some(window) = windows.next()
        {
            let parts = split::parts(direction, window, split.interval_ns, STREAMS, &stored);
            let open = parts.filter_map(|part| search.open(part));
            let read = |part| Arc::clone(&search).read(part);
            stages.add(&split::run(split.parallelism, open, read).await?);
        }
        let best = std::mem::replace(&mut *search.best.lock(), Best::new(direction, 0));
        let entries: Vec<Answered> = best
            .into_entries()
            .into_iter()
            .map(|found| Answered { stream: found.stream as usize, found })
            .collect();
        stages.lines_answered = entries.len() as u64;
        Ok(Lines { streams, entries, stages })
    }
}

/// What the parts of a query have in common.
struct Search {
    querier: Querier,
    tenant: String,
    logs: Logs,
    direction: Direction,
    limit: usize,
    best: Mutex<Best>,
}

impl Search {
    /// What of a part may still hold one of the first lines.
    fn open(&self, part: Part) -> Option<Part> {
        let open = self.best.lock().open_to_any(part.span)?;
        part.within(open)
    }

    async fn read(self: Arc<Self>, part: Part) -> Result<Stages, ExecuteError> {
        let _turn = self.querier.turn().await;
        let mut stages = Stages::default();
        // Others may have found enough meanwhile.
        let Some(part) = self.open(part) else { return Ok(stages) };
        let merge = Merge::new(self.direction, Want::Lines, self.logs.clone());
        let mut reading = Reading::new(&self.querier, &self.tenant, merge, part.span);
        reading.store(part.chunks);
        let mut left = self.limit;
        while left > 0 {
            let room = self.limit.div_ceil(SHARES).min(left);
            let found = reading.first(room, &mut stages).await?;
            let Some(last_ns) = found.last().map(|last| last.timestamp_ns) else { break };
            let is_end = found.len() < room;
            left -= found.len();
            let mut best = self.best.lock();
            best.take(found);
            let rest = Span { from_ns: last_ns, through_ns: last_ns };
            if is_end || best.open_to_any(rest).is_none() {
                break;
            }
        }
        Ok(stages)
    }
}
