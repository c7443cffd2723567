//! What a state store keeps, and the changes that it applies. An intent is recorded before its deletion is asked
//! for, and closed by exactly one outcome (R3).

use crate::chunk::Chunk;
use crate::hold::{Hold, Release};
use crate::plan::Census;

/// One change of state. A store refuses a change that it does not know.
///
/// The changes of one commit apply in order, and each sees what those before it did: an intent can be opened
/// and closed in one commit, and a chunk whose intent is closed there can be intended again there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Adds a hold; [`Error::HoldExists`](crate::Error::HoldExists) when its id is taken.
    CreateHold(Hold),
    /// Releases a hold; [`Error::HoldUnknown`](crate::Error::HoldUnknown) or
    /// [`Error::HoldReleased`](crate::Error::HoldReleased).
    ReleaseHold {
        /// Its id.
        id: String,
        /// When and why.
        release: Release,
    },
    /// Adds or replaces a mark.
    PutMark(Mark),
    /// Removes a mark; none is no error.
    RemoveMark {
        /// The chunk's tenant.
        tenant: String,
        /// The chunk's id.
        chunk: String,
    },
    /// Opens an intent under the next sequence number; [`Error::IntentOpen`](crate::Error::IntentOpen) when the
    /// chunk has one open.
    Intend(Doomed),
    /// Closes an intent; [`Error::IntentNotOpen`](crate::Error::IntentNotOpen) unless it is open.
    Close {
        /// The intent's sequence number.
        seq: u64,
        /// How it ended.
        closed: Closed,
    },
    /// Replaces the progress of a tenant's sweep.
    SetProgress {
        /// The tenant.
        tenant: String,
        /// How far it has come.
        progress: Progress,
    },
    /// Replaces the watermark.
    SetWatermark(i64),
}

/// A chunk that a sweep found expired. A hint only: whether the chunk goes is decided again when its delay is
/// over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Mark {
    /// The chunk, as it was listed.
    pub chunk: Chunk,
    /// When it was marked, wall nanoseconds since 1970; the delay counts from here.
    pub at_ns: i64,
    /// The policy that decided then.
    pub policy: String,
    /// Whether the guard against too much at once has let it through. Until then every pass counts it as new,
    /// so that a refusal lasts.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cleared: bool,
}

/// A chunk that is about to be deleted, and on what ground.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Doomed {
    /// The chunk.
    pub chunk: Chunk,
    /// When the decision fell, wall nanoseconds since 1970.
    pub at_ns: i64,
    /// The policy that decided.
    pub policy: String,
    /// The instant through which the chunk was to be kept.
    pub keep_until_ns: i64,
}

/// A journal entry: recorded before the deletion is asked for, closed by exactly one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Intent {
    /// Its place in the journal; grows without reuse.
    pub seq: u64,
    /// The chunk.
    pub chunk: Chunk,
    /// When the decision fell, wall nanoseconds since 1970.
    pub at_ns: i64,
    /// The policy that decided.
    pub policy: String,
    /// The instant through which the chunk was to be kept.
    pub keep_until_ns: i64,
    /// How it ended; `None` while that is not known.
    pub closed: Option<Closed>,
}

impl Intent {
    /// The journal entry of `doomed` under `seq`, without outcome.
    pub fn open(seq: u64, doomed: Doomed) -> Self {
        let Doomed { chunk, at_ns, policy, keep_until_ns } = doomed;
        Self { seq, chunk, at_ns, policy, keep_until_ns, closed: None }
    }
}

/// The end of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Closed {
    /// When it was recorded, wall nanoseconds since 1970.
    pub at_ns: i64,
    /// How.
    pub outcome: Outcome,
}

/// What became of a chunk that was to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Outcome {
    /// The object was deleted.
    Deleted,
    /// The object was not there any more: an interrupted sweep deleted it, or someone else.
    AlreadyGone,
    /// The deletion had been interrupted, and in the meantime a hold was placed or the period grew: the object
    /// is still there, and the index refers to it again.
    Withheld {
        /// The hold, if it was one.
        hold: Option<String>,
    },
}

/// How far the sweep of one tenant has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Progress {
    /// Counts the passes, from 1.
    pub pass: u64,
    /// What comes next.
    pub phase: Phase,
    /// What this pass has listed so far.
    pub census: Census,
    /// Of the expired chunks, those that no earlier pass has cleared; once they are let through, those that
    /// this pass has still to clear.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fresh: Fresh,
}

/// Expired chunks that the guard against too much at once has not let through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Fresh {
    /// How many.
    pub chunks: u64,
    /// Their size; saturates.
    pub bytes: u64,
}

impl Fresh {
    pub(crate) fn add(&mut self, chunk: &Chunk) {
        self.chunks = self.chunks.saturating_add(1);
        self.bytes = self.bytes.saturating_add(chunk.size_bytes);
    }

    /// Takes `chunk` out; false, and nothing changed, if there is not so much.
    pub(crate) fn take(&mut self, chunk: &Chunk) -> bool {
        let left = self.chunks.checked_sub(1).zip(self.bytes.checked_sub(chunk.size_bytes));
        if let Some((chunks, bytes)) = left {
            *self = Self { chunks, bytes };
        }
        left.is_some()
    }
}

/// The part of a pass that comes next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// Listing and marking, after this chunk id.
    Marking {
        /// The last chunk done.
        after: Option<String>,
    },
    /// Deleting what is marked, after this chunk id.
    Deleting {
        /// The last chunk done.
        after: Option<String>,
    },
    /// Nothing: the pass is over.
    Finished,
}

impl Progress {
    /// The start of pass number `pass`.
    pub fn start(pass: u64) -> Self {
        Self {
            pass,
            phase: Phase::Marking { after: None },
            census: Census::default(),
            fresh: Fresh::default(),
        }
    }
}
