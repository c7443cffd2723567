//! What is settled and what is under way, as far as it is on disk. Without a file of positions, nowhere.

use std::collections::BTreeSet;

use forebay_wal::fs::Fs;

use super::positions::{Piece, Positions, State};
use super::tails::Tails;

/// What is settled, and where it is saved.
#[derive(Debug)]
pub(super) struct Ledger<F: Fs> {
    positions: Option<Positions<F>>,
    /// As far as it is saved or will be with the next batch.
    settled: State,
    unsaved: bool,
    /// Files that were opened when it was saved last.
    opened: u64,
}

impl<F: Fs> Ledger<F> {
    pub(super) fn new(positions: Option<Positions<F>>, settled: State) -> Self {
        Self { positions, settled, unsaved: false, opened: 0 }
    }

    /// The batch that was under way when this was saved.
    pub(super) fn take_batch(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.settled.batch)
    }

    /// Everything that was read is settled.
    pub(super) fn settle(&mut self, tails: &mut Tails) {
        tails.forget();
        self.settled = tails.state();
        self.unsaved = true;
    }

    /// Saves what is settled and the `batch` that is about to be sent.
    pub(super) fn begin(&mut self, batch: Vec<Piece>, tails: &Tails) {
        // Files that were written anew are not what is settled of them.
        let marks = tails.before(&batch);
        self.settled.files.retain(|mark| !marks.contains_key(&mark.key));
        self.settled.files.extend(marks.into_values());
        self.settled.batch = batch;
        self.save(tails);
    }

    /// Saves what changed: what was settled, and which files came. The batch under way stays what it is.
    pub(super) fn keep_up(&mut self, tails: &Tails) {
        if self.unsaved || self.opened != tails.opened() {
            self.save(tails);
        }
    }

    /// Where that fails, lines are sent all the same: what is on disk is older then, and a restart repeats more. A full
    /// disk is no time for logs to stop.
    fn save(&mut self, tails: &Tails) {
        let Some(positions) = &mut self.positions else { return };
        // Of files that came, nothing was read before this batch. They are found after a restart whatever they are
        // called then.
        let known = self.settled.files.iter().map(|mark| mark.key).collect::<BTreeSet<_>>();
        let came = tails.marks().filter(|mark| !known.contains(&mark.key));
        self.settled.files.extend(came);
        self.opened = tails.opened();
        match positions.save(&self.settled) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                tracing::warn!(%error, "offsets cannot be saved; after a restart lines will be sent again");
            }
        }
    }
}
