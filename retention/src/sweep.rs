//! Deletes what has expired, and nothing else, one tenant and one pass at a time:
//!
//! ```text
//! recover ──► list and mark ──► guards ──► delete batch by batch ──► finished
//!   per batch:  fence ─ re-read holds, policies ─ intents (durable) ─ drop references ─ delete ─ outcomes
//! ```
//!
//! A mark is a hint. What counts is the decision under the fence, right before the intent. A pass can stop
//! between any two calls to the stores, for ever or to be resumed; every step is safe to repeat.

use std::sync::Arc;

use parking_lot::Mutex;

pub use forecast::Forecast;
pub use options::Options;
pub use report::Report;

use crate::chunk::Chunk;
use crate::clock::{ClockDoubt, Now};
use crate::compile::PolicySet;
use crate::decision::{Verdict, judge};
use crate::error::Error;
use crate::hold::Holds;
use crate::plan::Refusal;
use crate::store::{Change, ChunkStore, Phase, Progress, StateStore};
use watch::{Anchor, doubt};

mod delete;
mod forecast;
mod mark;
mod options;
mod recover;
mod report;
mod watch;

/// Sweeps over the caller's stores. `P` gives the policies of the moment; it is asked again for every batch.
///
/// Several may work on the same state; they are safe together, but for one tenant they do each other's work.
pub struct Sweeper<C, S, P> {
    chunks: C,
    state: S,
    policies: P,
    options: Options,
    anchor: Mutex<Option<Anchor>>,
    /// The holds in force and the epoch they were read at.
    holds: Mutex<Option<(u64, Arc<Holds>)>>,
}

impl<C, S, P> std::fmt::Debug for Sweeper<C, S, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweeper").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<C, S, P> Sweeper<C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    /// A sweeper; does nothing until it is asked.
    pub fn new(chunks: C, state: S, policies: P, options: Options) -> Self {
        Self { chunks, state, policies, options, anchor: Mutex::new(None), holds: Mutex::new(None) }
    }

    /// The state store, for placing and reading holds.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// A whole pass over `tenant`, or the rest of one that was interrupted. `clock` is read before every step.
    ///
    /// # Errors
    /// Whatever a store answered; sweep again, and the pass goes on where it stopped.
    pub async fn sweep(&self, tenant: &str, mut clock: impl FnMut() -> Now) -> Result<Report, Error> {
        let mut pass = self.begin(tenant).await?;
        while pass.step(clock()).await? == Step::More {}
        Ok(pass.report)
    }

    /// A pass over `tenant` to be driven step by step, for pacing and cancelling between batches. Goes on
    /// with a pass that was interrupted.
    ///
    /// # Errors
    /// The state store's.
    pub async fn begin(&self, tenant: &str) -> Result<Pass<'_, C, S, P>, Error> {
        let progress = match self.state.progress(tenant).await? {
            Some(Progress { pass, phase: Phase::Finished, .. }) => Progress::start(pass.saturating_add(1)),
            Some(unfinished) => unfinished,
            None => Progress::start(1),
        };
        let watermark = self.state.watermark().await?;
        let report = Report::new(tenant, &progress);
        let stage = Stage::Recovering { after: None };
        Ok(Pass { sweeper: self, tenant: tenant.to_owned(), stage, progress, watermark, report })
    }

    /// Takes `now` for true although it contradicts what was seen before, after someone has looked: sweeps that
    /// were refused with [`Refusal::ClockDoubt`] run again.
    ///
    /// # Errors
    /// The state store's.
    pub async fn accept_clock(&self, now: Now) -> Result<(), Error> {
        self.state.commit(&[Change::SetWatermark(now.wall_ns)]).await?;
        *self.anchor.lock() = Some(Anchor::at(now));
        Ok(())
    }

    /// What decides at this moment. Under the fence it stays true until the fence is released, except that a hold
    /// may be released meanwhile, which only keeps a chunk for another pass.
    async fn rules(&self) -> Result<Rules, Error> {
        let epoch = self.state.hold_epoch().await?;
        let cached =
            self.holds.lock().as_ref().filter(|(known, _)| *known == epoch).map(|(_, holds)| holds.clone());
        let holds = match cached {
            Some(holds) => holds,
            None => {
                let holds = Arc::new(Holds::new(self.state.holds().await?));
                *self.holds.lock() = Some((epoch, Arc::clone(&holds)));
                holds
            }
        };
        Ok(Rules { holds, policies: (self.policies)() })
    }
}

/// The holds and policies of one moment.
struct Rules {
    holds: Arc<Holds>,
    policies: Arc<PolicySet>,
}

impl Rules {
    fn judge<R>(&self, chunk: &Chunk, now: Now, then: impl FnOnce(Verdict<'_>) -> R) -> R {
        then(chunk.with_meta(|meta| judge(meta, &self.policies, &self.holds, now.wall_ns)))
    }
}

/// Whether a pass goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Step {
    /// There is more to do.
    More,
    /// The pass is over, or refused; see the report.
    Done,
}

/// One pass over one tenant; see [`Sweeper::begin`]. May be dropped at any time.
pub struct Pass<'s, C, S, P> {
    sweeper: &'s Sweeper<C, S, P>,
    tenant: String,
    stage: Stage,
    progress: Progress,
    watermark: Option<i64>,
    report: Report,
}

/// What the next step does, where `progress` alone does not say.
#[derive(Debug)]
enum Stage {
    /// Ends the intents that an interruption left open, after this chunk id.
    Recovering { after: Option<String> },
    /// Whatever `progress` says.
    Working,
}

impl<C, S, P> std::fmt::Debug for Pass<'_, C, S, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("tenant", &self.tenant)
            .field("stage", &self.stage)
            .field("progress", &self.progress)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl<C, S, P> Pass<'_, C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    /// What this pass has done so far, since it was begun or resumed.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// One bounded piece of work: at most a page listed or a batch deleted. An earlier `now` than the present
    /// deletes less, never more.
    ///
    /// # Errors
    /// Whatever a store answered; the step may be repeated.
    pub async fn step(&mut self, now: Now) -> Result<Step, Error> {
        if let Some(doubt) = self.clock_doubt(now) {
            self.report.refusal = Some(Refusal::ClockDoubt(doubt));
            return Ok(Step::Done);
        }
        let stepped = match (&self.stage, &self.progress.phase) {
            (Stage::Recovering { after }, _) => {
                let after = after.clone();
                self.recover_batch(after, now).await
            }
            (Stage::Working, Phase::Marking { after }) => {
                let after = after.clone();
                self.mark_page(after, now).await
            }
            (Stage::Working, Phase::Deleting { after }) => {
                let after = after.clone();
                self.delete_batch(after, now).await
            }
            (Stage::Working, Phase::Finished) => return Ok(Step::Done),
        };
        if stepped.is_err() {
            // Intents may be open now; whoever repeats the step must end them first.
            self.stage = Stage::Recovering { after: None };
        }
        stepped?;
        let finished = matches!((&self.stage, &self.progress.phase), (Stage::Working, Phase::Finished));
        Ok(if finished { Step::Done } else { Step::More })
    }

    fn clock_doubt(&self, now: Now) -> Option<ClockDoubt> {
        let mut anchor = self.sweeper.anchor.lock();
        let doubt = doubt(now, self.watermark, *anchor, self.sweeper.options.clock_tolerance);
        if doubt.is_none() {
            anchor.get_or_insert(Anchor::at(now));
        }
        doubt
    }

    /// Commits `changes` and what the pass has come to, in one piece.
    async fn commit(
        &mut self,
        mut changes: Vec<Change>,
        progress: Progress,
        now: Now,
    ) -> Result<Vec<u64>, Error> {
        if progress != self.progress {
            changes.push(Change::SetProgress { tenant: self.tenant.clone(), progress: progress.clone() });
        }
        if self.watermark < Some(now.wall_ns) {
            changes.push(Change::SetWatermark(now.wall_ns));
        }
        let seqs = if changes.is_empty() { Vec::new() } else { self.sweeper.state.commit(&changes).await? };
        self.watermark = self.watermark.max(Some(now.wall_ns));
        self.report.census.clone_from(&progress.census);
        self.progress = progress;
        Ok(seqs)
    }

    fn note_failure(&mut self, error: &Error) {
        self.report.failed += 1;
        self.report.last_failure = Some(error.to_string());
    }
}

/// The stores answer one by one; anything else cannot be matched with what was asked.
fn check_answers<T>(asked: &[Chunk], answers: &[T]) -> Result<(), Error> {
    if asked.len() == answers.len() {
        return Ok(());
    }
    Err(Error::Contract { what: format!("{} answers for {} chunks", answers.len(), asked.len()) })
}
