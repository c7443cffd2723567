//! The files of some sources, kept up with: names, directories and patterns are looked at again each second, also while
//! a batch is held and nothing is read.

use std::time::Duration;

use super::ShipError;
use super::discover::Sources;
use super::tails::{Tails, Unreadable};

/// How often names, directories and patterns are looked at again.
pub(super) const SCAN_EVERY: Duration = Duration::from_secs(1);

/// The files of some sources.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) sources: Sources,
    pub(super) tails: Tails,
    follow: bool,
    scanned_ns: Option<u64>,
}

impl Watch {
    pub(super) fn new(sources: Sources, tails: Tails, follow: bool) -> Self {
        Self { sources, tails, follow, scanned_ns: None }
    }

    /// Takes in what came since the last time, unless that was just now; without following there is one time only.
    pub(super) fn scan(&mut self, now_ns: u64) -> Result<(), ShipError> {
        let first = self.scanned_ns.is_none();
        let passed = |last| Duration::from_nanos(now_ns.saturating_sub(last));
        if self.scanned_ns.is_some_and(|last| !self.follow || passed(last) < SCAN_EVERY) {
            return Ok(());
        }
        self.scanned_ns = Some(now_ns);
        let found = self.sources.scan();
        for (path, kind) in found.troubles {
            if !self.follow {
                return Err(ShipError::Read { file: path, offset: 0, source: kind.into() });
            }
            if first {
                tracing::warn!(file = %path.display(), %kind, "there is no such file yet");
            }
        }
        for (path, kind) in found.unreadable.iter().filter(|_| first) {
            tracing::warn!(file = %path.display(), %kind, "left out, since it may not be read");
        }
        if first && found.skipped > 0 {
            tracing::info!(files = found.skipped, "left out, since they are hidden, compressed or no text");
        }
        if first && found.files.is_empty() && !self.sources.standard_input() && !self.follow {
            return Err(ShipError::Nothing);
        }
        self.tails.scan(&found.files, now_ns).map_err(unreadable)
    }

    /// Opens what came and looks at what is open, so that nothing is rotated away unseen while a batch is under way.
    /// Reads nothing.
    pub(super) fn keep_up(&mut self, now_ns: u64) {
        self.tails.settled(false);
        if let Err(error) = self.scan(now_ns) {
            tracing::warn!(%error, "files cannot be looked for");
        }
        while let Err(error) = self.tails.look(now_ns) {
            error.tell();
        }
    }

    /// Whether there will never be more.
    pub(super) fn is_done(&self) -> bool {
        if self.follow { !self.sources.has_files() } else { self.tails.is_done() }
    }
}

fn unreadable(error: Unreadable) -> ShipError {
    ShipError::Read { file: error.path, offset: error.offset, source: error.source }
}
