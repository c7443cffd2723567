//! Lists a tenant page by page and keeps the marks in step with it: an expired chunk gets a mark, and a mark
//! whose chunk is held, kept or no longer listed goes. Nothing is deleted here.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Pass, Rules};
use crate::chunk::Chunk;
use crate::clock::Now;
use crate::compile::PolicySet;
use crate::decision::Verdict;
use crate::error::Error;
use crate::plan::{Census, Refusal};
use crate::store::{Change, ChunkStore, Mark, Phase, StateStore};

impl<C, S, P> Pass<'_, C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    pub(super) async fn mark_page(&mut self, after: Option<String>, now: Now) -> Result<(), Error> {
        let sweeper = self.sweeper;
        let page = sweeper.chunks.list(&self.tenant, after.as_deref(), sweeper.options.page.max(1)).await?;
        check_page(&self.tenant, after.as_deref(), &page)?;
        let Some(last) = page.last() else { return self.end_listing(after, now).await };

        let through = Some(last.id.clone());
        let (marks, mut changes) = self.marks_beside(&page, after.as_deref(), through.as_deref()).await?;
        let rules = sweeper.rules().await?;
        let mut progress = self.progress.clone();
        let (mut marked, mut unmarked) = (0, count(changes.len()));
        for listed in page.chunk_by(|a, b| a.id == b.id) {
            let Some((chunk, policy)) = census(listed, &rules, now, &mut progress.census) else { continue };
            match (policy, marks.get(&chunk.id)) {
                // A mark from the future is from a clock that was wrong; its delay would last until then.
                (Some(_), Some(mark)) if mark.chunk == *chunk && mark.at_ns <= now.wall_ns => {
                    if !mark.cleared {
                        progress.fresh.add(chunk);
                    }
                }
                (Some(policy), _) => {
                    progress.fresh.add(chunk);
                    let (chunk, at_ns) = (chunk.clone(), now.wall_ns);
                    changes.push(Change::PutMark(Mark { chunk, at_ns, policy, cleared: false }));
                    marked += 1;
                }
                (None, Some(_)) => {
                    changes.push(unmark(chunk));
                    unmarked += 1;
                }
                (None, None) => {}
            }
        }
        progress.phase = Phase::Marking { after: through };
        self.commit(changes, progress, now).await?;
        self.report.marked += marked;
        self.report.unmarked += unmarked;
        Ok(())
    }

    /// The whole tenant is listed: may anything go?
    async fn end_listing(&mut self, after: Option<String>, now: Now) -> Result<(), Error> {
        let (mut changes, mut progress) = (Vec::new(), self.progress.clone());
        let refusal = if progress.census.listed.chunks == 0 {
            // The marks stay: nothing says that their chunks are gone.
            Some(Refusal::EmptyListing)
        } else {
            (_, changes) = self.marks_beside(&[], after.as_deref(), None).await?;
            self.sweeper.options.refusal(progress.census.listed, progress.fresh)
        };
        progress.phase = if refusal.is_some() { Phase::Finished } else { Phase::Deleting { after: None } };
        let unmarked = count(changes.len());
        self.commit(changes, progress, now).await?;
        self.report.unmarked += unmarked;
        self.report.refusal = refusal;
        Ok(())
    }

    /// The marks in the range of ids that `page` covers: those of listed chunks, and for the others the changes
    /// that remove them.
    async fn marks_beside(
        &self,
        page: &[Chunk],
        after: Option<&str>,
        through: Option<&str>,
    ) -> Result<(HashMap<String, Mark>, Vec<Change>), Error> {
        let limit = self.sweeper.options.page.max(1);
        let (mut marks, mut stale) = (HashMap::new(), Vec::new());
        let mut from = after.map(str::to_owned);
        loop {
            let found = self.sweeper.state.marks(&self.tenant, from.as_deref(), through, limit).await?;
            let Some(last) = found.last() else { return Ok((marks, stale)) };
            from = Some(last.chunk.id.clone());
            for mark in found {
                if page.binary_search_by(|chunk| chunk.id.cmp(&mark.chunk.id)).is_ok() {
                    marks.insert(mark.chunk.id.clone(), mark);
                } else {
                    stale.push(unmark(&mark.chunk));
                }
            }
        }
    }
}

/// Counts one chunk, and answers it with the policy under which it has expired, if it has. Listed twice, it has
/// expired only if every listing says so.
fn census<'c>(
    listed: &'c [Chunk],
    rules: &Rules,
    now: Now,
    census: &mut Census,
) -> Option<(&'c Chunk, Option<String>)> {
    let expired = |chunk: &Chunk| {
        rules.judge(chunk, now, |verdict| match verdict {
            Verdict::Expired { policy, .. } => Some(policy.to_owned()),
            _ => None,
        })
    };
    let chunk = listed.iter().find(|chunk| expired(chunk).is_none()).or(listed.first())?;
    let policy = expired(chunk);
    rules.judge(chunk, now, |verdict| chunk.with_meta(|meta| census.add(meta, &verdict, now.wall_ns)));
    Some((chunk, policy))
}

pub(super) fn unmark(chunk: &Chunk) -> Change {
    Change::RemoveMark { tenant: chunk.tenant.clone(), chunk: chunk.id.clone() }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A listing that is out of order could pass over chunks, and one that leaves its tenant could judge chunks by
/// the wrong policies.
fn check_page(tenant: &str, after: Option<&str>, page: &[Chunk]) -> Result<(), Error> {
    if let Some(foreign) = page.iter().find(|chunk| chunk.tenant != tenant) {
        let what = format!("chunk {} of tenant {} is listed for tenant {tenant}", foreign.id, foreign.tenant);
        return Err(Error::Contract { what });
    }
    let ids = || page.iter().map(|chunk| chunk.id.as_str());
    if let (Some(first), Some(after)) = (ids().next(), after)
        && first <= after
    {
        return Err(Error::Contract { what: format!("chunk {first} is listed after {after}") });
    }
    match ids().zip(ids().skip(1)).find(|(a, b)| a > b) {
        Some((a, b)) => Err(Error::Contract { what: format!("chunk {b} is listed after {a}") }),
        None => Ok(()),
    }
}
