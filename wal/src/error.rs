//! What can go wrong, split by what the caller does next.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Lsn;
use crate::format::{HeaderError, Label, Unsupported};

/// Why an append, or any other change of the log, was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Nothing happened: the records never appear, now or after any crash. Send them again when the reason is
    /// gone.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// The log is poisoned and cannot say: the records appear once or not at all. Reopen and look.
    #[error("the records may or may not be durable")]
    Indeterminate(#[source] Failure),
}

/// Why the log took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The disk is full. Appends work again by themselves once there is space.
    #[error("{} has no space for {needed} bytes{}", dir.display(), are_free(*free))]
    NoSpace {
        /// The log's directory.
        dir: Arc<Path>,
        /// Bytes of what was to be written; for a new segment with [`Options::min_free_bytes`](crate::Options::min_free_bytes).
        needed: u64,
        /// Bytes that the file system says are left, if it does.
        free: Option<u64>,
    },
    /// Another segment would exceed [`Options::max_log_bytes`](crate::Options::max_log_bytes). Truncate, or make
    /// whoever pins the log let go.
    #[error("log {} of {used} bytes is at its limit of {limit}{}", dir.display(), by(pinned_by.as_ref()))]
    QuotaExceeded {
        /// The log's directory.
        dir: Arc<Path>,
        /// The limit in bytes.
        limit: u64,
        /// Bytes that the segment files take.
        used: u64,
        /// Who holds the oldest records back, if it is not only that nobody truncates.
        pinned_by: Option<Pinned>,
    },
    /// It will never fit: split it.
    #[error("record of {len} bytes exceeds the limit of {limit} of log {}", dir.display())]
    TooLarge {
        /// The log's directory.
        dir: Arc<Path>,
        /// Bytes of the record or batch, encoded.
        len: u64,
        /// [`Options::max_record_bytes`](crate::Options::max_record_bytes), or what half of
        /// [`Options::max_log_bytes`](crate::Options::max_log_bytes) holds.
        limit: u64,
    },
    /// Too much is waiting for its sync already. Try again a sync later.
    #[error("{inflight} bytes wait for their sync in log {}, the limit is {limit}", dir.display())]
    Backpressure {
        /// The log's directory.
        dir: Arc<Path>,
        /// Bytes waiting.
        inflight: u64,
        /// [`Options::max_inflight_bytes`](crate::Options::max_inflight_bytes).
        limit: u64,
    },
    /// The log was closed, or nobody runs its committer any more.
    #[error("log is closed")]
    Closed,
    /// An earlier write or sync failed so that the tail is unknown. Reopen the log.
    #[error("log refuses writes after a failure")]
    Poisoned,
    /// The name of a stream has 1 to 255 bytes.
    #[error("name of a stream has {len} bytes, 1 to 255 are allowed")]
    BadName {
        /// Bytes of the name.
        len: usize,
    },
    /// No more are possible, or a segment has no room to begin with another.
    #[error("log has {limit} streams and no room for another")]
    TooManyStreams {
        /// How many there are.
        limit: usize,
    },
    /// The stream was dropped. [`Wal::stream`](crate::Wal::stream) makes a new one of its name.
    #[error("stream {id} was dropped")]
    StreamDropped {
        /// Its id.
        id: u32,
    },
    /// Nobody has appended the record that is waited for.
    #[error("record {lsn} was not appended, the next is {next}")]
    NotAppended {
        /// The record.
        lsn: Lsn,
        /// The number that the next record gets.
        next: Lsn,
    },
    /// The highest number that a record, or a segment, may have is given. Only a forged log gets there.
    #[error("no numbers are left")]
    NumbersUsedUp,
    /// The write failed and has been taken back; the log is whole and goes on.
    #[error("write to log {} failed and was taken back: {kind}", dir.display())]
    Io {
        /// The log's directory.
        dir: Arc<Path>,
        /// The system's reason.
        kind: io::ErrorKind,
    },
}

/// The operation that poisoned the log.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What the log was doing.
    pub operation: &'static str,
    /// What the system said.
    pub cause: Arc<io::Error>,
}

impl Failure {
    pub(crate) fn new(operation: &'static str, cause: io::Error) -> Self {
        Self { operation, cause: Arc::new(cause) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.operation)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

/// The oldest pin of a log and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// As given to [`Wal::pin`](crate::Wal::pin).
    pub name: Arc<str>,
    /// The first record it holds.
    pub lsn: Lsn,
    /// Bytes of segment files from that record on.
    pub bytes: u64,
}

fn by(pinned: Option<&Pinned>) -> String {
    pinned.map_or_else(String::new, |p| format!(", of which {:?} holds {} bytes", p.name, p.bytes))
}

fn are_free(free: Option<u64>) -> String {
    free.map_or_else(String::new, |bytes| format!(", {bytes} are free"))
}

/// Why a log could not be opened. Where the variant does not say otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused. Repairs that had begun are taken up again by the next opening.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else, here or in another process, has this log open.
    #[error("log {} is open elsewhere", dir.display())]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The directory holds a log that is called otherwise than [`Options::label`](crate::Options::label) says.
    #[error("{} is of the log {found:?}, wanted is {wanted:?}", path.display())]
    AnotherLog {
        /// The segment's file that says so.
        path: PathBuf,
        /// What the log is called.
        found: Label,
        /// What it was to be called.
        wanted: Label,
    },
    /// Records that were durable are damaged or missing. Restore the files from elsewhere, or open with
    /// [`RepairPolicy::Salvage`](crate::RepairPolicy::Salvage); [`verify`](crate::verify) tells what that would leave,
    /// and what else is damaged.
    #[error(transparent)]
    Corrupt(Damage),
    /// The last segment has a torn tail, and [`RepairPolicy::Fail`](crate::RepairPolicy::Fail) was asked for.
    /// Open with `TruncateTail` to cut it.
    #[error("torn tail: {0}")]
    TornTail(Torn),
    /// The log cannot be written to: its directory, its lock file or the file system is read-only, or may not be
    /// entered. Perhaps it can be read: see [`View`](crate::View).
    #[error("log {} cannot be written to", dir.display())]
    ReadOnly {
        /// The log's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version wrote this log, or one with a codec that this build has no feature for: use that.
    #[error("{} at byte {offset} has {what}, which this version does not know", path.display())]
    Unsupported {
        /// The segment's file.
        path: PathBuf,
        /// Number of the segment.
        segment: u64,
        /// Where in its file.
        offset: u64,
        /// What is unknown.
        what: Unsupported,
    },
    /// There is no room to keep a copy of the torn tail. Make room, or open with
    /// [`Options::quarantine`](crate::Options::quarantine) off.
    #[error("no space to quarantine {bytes} bytes of {}", path.display())]
    QuarantineFull {
        /// The segment's file.
        path: PathBuf,
        /// Number of the torn segment.
        segment: u64,
        /// Bytes of its tail.
        bytes: u64,
    },
    /// The options contradict themselves.
    #[error(transparent)]
    Options(#[from] InvalidOption),
}

/// An option outside its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {value}, must be {min} to {max}")]
pub struct InvalidOption {
    /// Name of the field.
    pub option: &'static str,
    /// What it was.
    pub value: u64,
    /// Smallest value allowed.
    pub min: u64,
    /// Largest value allowed.
    pub max: u64,
}

/// Durable records that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is corrupt at bytes {}..{}: {class}; records {}..{} are lost",
    path.display(), bytes.start, bytes.end, lsns.start, lsns.end)]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// Number of the segment.
    pub segment: u64,
    /// Where in its file.
    pub bytes: Range<u64>,
    /// Records that cannot be proven whole.
    pub lsns: Range<Lsn>,
    /// What kind of damage.
    pub class: DamageClass,
}

/// Kinds of [`Damage`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageClass {
    /// Bytes are damaged that a later frame, or a later segment, proves to have been synced.
    DamagedDurable,
    /// A segment that must be there is not.
    MissingSegment,
    /// The first block of the segment is not a readable header.
    BadHeader(HeaderError),
    /// The file belongs to another log or another place.
    Foreign,
}

impl fmt::Display for DamageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedDurable => f.write_str("synced bytes are damaged"),
            Self::MissingSegment => f.write_str("the file is missing"),
            Self::BadHeader(error) => error.fmt(f),
            Self::Foreign => f.write_str("the file belongs elsewhere"),
        }
    }
}

/// Bytes behind the last whole group: what a crash left of groups that no sync had confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub path: PathBuf,
    /// Number of the segment.
    pub segment: u64,
    /// From the end of the last whole group to the last byte that is not zero.
    pub bytes: Range<u64>,
    /// Records that headers among those bytes speak of; empty if none is left.
    pub lsns: Range<Lsn>,
    /// Where the bytes were copied, if they were.
    pub quarantine: Option<PathBuf>,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.end - self.bytes.start;
        write!(f, "{bytes} bytes of {} ", self.path.display())?;
        write!(f, "at byte {} were never acknowledged", self.bytes.start)
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused; asking the same reader again tries again.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes have changed since the log was opened. The reader ends here: it answers `None` from then on.
    #[error(transparent)]
    Corrupt(Damage),
    /// The log broke, and all of it that is durable was read: a [`Tail`](crate::Tail) ends here. Reopen the log.
    #[error("log takes nothing more after a failure")]
    Poisoned(#[source] Failure),
}
