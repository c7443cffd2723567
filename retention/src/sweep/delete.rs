//! Deletes one batch of marked chunks. Everything from the decision (R2) to the outcome happens under the shared
//! fence (R1); the durable intent comes before anything that cannot be undone (R3), the references before the
//! objects (R4).

use std::collections::HashSet;
use std::sync::Arc;

use super::mark::unmark;
use super::{Pass, Rules, check_answers};
use crate::chunk::Chunk;
use crate::clock::Now;
use crate::compile::PolicySet;
use crate::decision::Verdict;
use crate::error::Error;
use crate::store::{
    Access, Change, ChunkStore, Closed, Deletion, Doomed, Fresh, Mark, Outcome, Phase, StateStore,
};

/// What a marked chunk has come to when it is looked at again.
enum Fate {
    Goes(Doomed),
    Waits,
    Stays,
}

/// A batch of marks, sorted by what is to be done.
#[derive(Default)]
struct Sorted {
    changes: Vec<Change>,
    /// Those with an intent among the changes, in the same order.
    doomed: Vec<Chunk>,
    waiting: u64,
    unmarked: u64,
}

impl<C, S, P> Pass<'_, C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    pub(super) async fn delete_batch(&mut self, after: Option<String>, now: Now) -> Result<(), Error> {
        let sweeper = self.sweeper;
        let _fence = sweeper.state.fence(Access::Shared).await?;
        let rules = sweeper.rules().await?;
        let limit = sweeper.options.batch.max(1);
        let marks = sweeper.state.marks(&self.tenant, after.as_deref(), None, limit).await?;
        let mut progress = self.progress.clone();
        let Some(last) = marks.last() else {
            progress.phase = Phase::Finished;
            self.commit(Vec::new(), progress, now).await?;
            return Ok(());
        };
        progress.phase = Phase::Deleting { after: Some(last.chunk.id.clone()) };

        let open = self.open_chunks().await?;
        let Sorted { changes, doomed, waiting, unmarked } =
            self.sort(marks, &open, &rules, &mut progress.fresh, now);
        let seqs = self.commit(changes, progress, now).await?;
        self.report.waiting += waiting;
        self.report.unmarked += unmarked;
        if doomed.is_empty() {
            return Ok(());
        }
        if seqs.len() != doomed.len() {
            let what = format!("{} sequence numbers for {} intents", seqs.len(), doomed.len());
            return Err(Error::Contract { what });
        }
        sweeper.chunks.drop_refs(&doomed).await?;
        let errors = self.delete(&doomed, &seqs, Vec::new(), now).await?;
        errors.iter().for_each(|error| self.note_failure(error));
        Ok(())
    }

    /// Decides on each mark of a batch. Chunks that may go wait for the next pass if too many deletions have
    /// begun and not ended, and those that are `open` for recovery to end theirs.
    fn sort(
        &self,
        marks: Vec<Mark>,
        open: &HashSet<String>,
        rules: &Rules,
        fresh: &mut Fresh,
        now: Now,
    ) -> Sorted {
        let room = self.sweeper.options.max_open_intents.max(1).saturating_sub(open.len());
        let mut sorted = Sorted::default();
        for mark in marks {
            let fate = match self.fate(&mark, rules, now) {
                Fate::Goes(_) if sorted.doomed.len() >= room || open.contains(&mark.chunk.id) => Fate::Waits,
                fate => fate,
            };
            match fate {
                Fate::Stays => {
                    sorted.changes.push(unmark(&mark.chunk));
                    sorted.unmarked += 1;
                }
                // Marked by another sweeper since the guard counted: for the next pass to judge.
                _ if !mark.cleared && !fresh.take(&mark.chunk) => sorted.waiting += 1,
                Fate::Waits => {
                    sorted.waiting += 1;
                    if !mark.cleared {
                        sorted.changes.push(Change::PutMark(Mark { cleared: true, ..mark }));
                    }
                }
                Fate::Goes(decision) => {
                    sorted.changes.push(unmark(&mark.chunk));
                    sorted.changes.push(Change::Intend(decision));
                    sorted.doomed.push(mark.chunk);
                }
            }
        }
        sorted
    }

    /// Decides again, by the rules and the time of this moment.
    fn fate(&self, mark: &Mark, rules: &Rules, now: Now) -> Fate {
        let marked_for = i128::from(now.wall_ns) - i128::from(mark.at_ns);
        let delay = self.sweeper.options.delete_delay.as_nanos();
        let due = u128::try_from(marked_for).is_ok_and(|marked_for| marked_for >= delay);
        rules.judge(&mark.chunk, now, |verdict| match verdict {
            Verdict::Expired { .. } if !due => Fate::Waits,
            Verdict::Expired { policy, keep_until_ns } => Fate::Goes(Doomed {
                chunk: mark.chunk.clone(),
                at_ns: now.wall_ns,
                policy: policy.to_owned(),
                keep_until_ns,
            }),
            Verdict::Held { .. } | Verdict::Kept(_) => Fate::Stays,
        })
    }

    async fn open_chunks(&self) -> Result<HashSet<String>, Error> {
        let mut open = HashSet::new();
        let mut after: Option<String> = None;
        loop {
            let from = after.as_deref().map(|chunk| (self.tenant.as_str(), chunk));
            let limit = self.sweeper.options.batch.max(1);
            let page = self.sweeper.state.open_intents(Some(&self.tenant), from, limit).await?;
            let Some(last) = page.last() else { return Ok(open) };
            after = Some(last.chunk.id.clone());
            open.extend(page.into_iter().map(|intent| intent.chunk.id));
        }
    }

    /// Deletes the objects of `doomed`, whose references are dropped and whose intents `seqs` are open and
    /// durable, and records the outcomes together with `changes`. Answers the errors of the objects that could
    /// not be deleted; their intents stay open.
    pub(super) async fn delete(
        &mut self,
        doomed: &[Chunk],
        seqs: &[u64],
        mut changes: Vec<Change>,
        now: Now,
    ) -> Result<Vec<Error>, Error> {
        let answers = if doomed.is_empty() { Vec::new() } else { self.sweeper.chunks.delete(doomed).await };
        check_answers(doomed, &answers)?;
        let (mut deleted, mut gone, mut errors) = (self.report.deleted, 0, Vec::new());
        for ((chunk, &seq), answer) in doomed.iter().zip(seqs).zip(answers) {
            let outcome = match answer {
                Ok(Deletion::Deleted) => {
                    deleted.add(chunk.range, chunk.size_bytes);
                    Outcome::Deleted
                }
                Ok(Deletion::Missing) => {
                    gone += 1;
                    Outcome::AlreadyGone
                }
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            changes.push(Change::Close { seq, closed: Closed { at_ns: now.wall_ns, outcome } });
        }
        self.commit(changes, self.progress.clone(), now).await?;
        self.report.deleted = deleted;
        self.report.already_gone += gone;
        Ok(errors)
    }
}
