//! Ends the intents that an interruption left open (R3, R4): nobody knows how far their deletion came. Runs under
//! the exclusive fence, so that no batch in flight is mistaken for an interrupted one. An intent that cannot be
//! ended, because the object store refuses, stays open for the next pass: it must not hold up the tenant.

use std::sync::Arc;

use super::{Pass, Rules, Stage, check_answers};
use crate::chunk::Chunk;
use crate::clock::Now;
use crate::compile::PolicySet;
use crate::decision::Verdict;
use crate::error::Error;
use crate::store::{Access, Change, ChunkStore, Closed, Intent, Outcome, StateStore};

/// Open intents, sorted by what is to be done.
#[derive(Default)]
struct Findings {
    /// The object is there and may still go.
    resumed: (Vec<Chunk>, Vec<u64>),
    /// The object is there and must stay: its references come back.
    restored: Vec<Chunk>,
    /// The object is gone and was to go: its references must not stay behind.
    dangling: Vec<Chunk>,
    /// The outcomes known so far.
    closes: Vec<Change>,
    already_gone: u64,
    errors: Vec<Error>,
}

impl<C, S, P> Pass<'_, C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    pub(super) async fn recover_batch(&mut self, after: Option<String>, now: Now) -> Result<(), Error> {
        let sweeper = self.sweeper;
        let _fence = sweeper.state.fence(Access::Exclusive).await?;
        let from = after.as_deref().map(|chunk| (self.tenant.as_str(), chunk));
        let limit = sweeper.options.batch.max(1);
        let open = sweeper.state.open_intents(Some(&self.tenant), from, limit).await?;
        let Some(last) = open.last() else {
            self.stage = Stage::Working;
            return Ok(());
        };
        let next = Stage::Recovering { after: Some(last.chunk.id.clone()) };
        let rules = sweeper.rules().await?;
        let found = self.examine(open, &rules, now).await?;

        if !found.restored.is_empty() {
            sweeper.chunks.restore_refs(&found.restored).await?;
        }
        let (resumed, seqs) = found.resumed;
        let unreferenced: Vec<_> = found.dangling.into_iter().chain(resumed.iter().cloned()).collect();
        if !unreferenced.is_empty() {
            sweeper.chunks.drop_refs(&unreferenced).await?;
        }
        let mut errors = found.errors;
        errors.extend(self.delete(&resumed, &seqs, found.closes, now).await?);
        self.report.withheld += found.restored.len() as u64;
        self.report.already_gone += found.already_gone;
        errors.iter().for_each(|error| self.note_failure(error));
        self.stage = next;
        Ok(())
    }

    /// Looks which objects are there and what the rules say of them now.
    async fn examine(&self, open: Vec<Intent>, rules: &Rules, now: Now) -> Result<Findings, Error> {
        let chunks: Vec<_> = open.iter().map(|intent| intent.chunk.clone()).collect();
        let answers = self.sweeper.chunks.head(&chunks).await;
        check_answers(&chunks, &answers)?;
        let mut found = Findings::default();
        for (Intent { seq, chunk, .. }, answer) in open.into_iter().zip(answers) {
            // `Err` when the chunk must stay, with the hold if it is one.
            let may_go = rules.judge(&chunk, now, |verdict| match verdict {
                Verdict::Expired { .. } => Ok(()),
                Verdict::Held { hold } => Err(Some(hold.to_owned())),
                Verdict::Kept(_) => Err(None),
            });
            let outcome = match (answer, may_go) {
                (Err(error), _) => {
                    found.errors.push(error);
                    continue;
                }
                (Ok(true), Ok(())) => {
                    found.resumed.0.push(chunk);
                    found.resumed.1.push(seq);
                    continue;
                }
                (Ok(true), Err(hold)) => {
                    found.restored.push(chunk);
                    Outcome::Withheld { hold }
                }
                (Ok(false), may_go) => {
                    // References of a chunk that should have stayed are left for whoever looks into its loss.
                    found.dangling.extend(may_go.is_ok().then_some(chunk));
                    found.already_gone += 1;
                    Outcome::AlreadyGone
                }
            };
            found.closes.push(Change::Close { seq, closed: Closed { at_ns: now.wall_ns, outcome } });
        }
        Ok(found)
    }
}
