//! What can go wrong with an operation, and which operation it strikes.

use std::collections::BTreeMap;
use std::io;

/// What happens to an operation instead of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails and has done nothing; a sync fails as the disk's [`SyncModel`] says.
    Error(io::ErrorKind),
    /// A write stores its first half and then fails; other operations as [`Fault::Error`].
    Partial(io::ErrorKind),
    /// It happens, and fails all the same.
    Late(io::ErrorKind),
    /// A read or write handles half of what was offered and says so; other operations work.
    Short,
    /// A signal came first (`EINTR`): it has done nothing, not even a sync.
    Interrupt,
    /// A read gives this bit of what it read flipped, counted around; other operations work. The media keeps what
    /// it has.
    Flip(u64),
    /// A read gives the first 512-byte sector that has changed as it was before its page was last written to;
    /// other operations work.
    Stale,
    /// A write works; then the kernel writes the file back on its own, and fails as the disk's [`SyncModel`] says. The
    /// handles that are open now are told by their next sync, each once, and no other is; other operations work.
    WriteBack(io::ErrorKind),
    /// The power is gone before it, as at [`SimFs::crash_at`](super::SimFs::crash_at).
    PowerCut,
    /// It works, and takes so many nanoseconds of the disk's clock.
    Delay(u64),
}

/// What a kernel does with what is dirty where a sync fails (Rebello et al., ATC '20): with the pages and the length
/// of a file, and with the names of files in a directory. Names of directories stay dirty: no call could make them so
/// again, and no program could do anything about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncModel {
    /// M1: the error is told once, the pages count as clean, the cache keeps the new data and the media may not
    /// have it (ext4, XFS).
    #[default]
    KeepCache,
    /// M2: as M1, and the cache goes back to what the media has (Btrfs).
    RevertCache,
    /// M3: somebody else was told; this sync answers success, and the media may not have the data. Breaks
    /// assumption A1, on which every promise of the log rests.
    Lie,
}

/// An operation, for counting and for aiming at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum Op {
    CreateNew,
    Open,
    Rename,
    Remove,
    List,
    CreateDir,
    SyncDir,
    FreeBytes,
    Lock,
    Read,
    Write,
    Size,
    SetLen,
    Allocate,
    Sync,
}

/// The operations so far, and the faults that wait for those to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    ops: u64,
    counts: BTreeMap<Op, u64>,
    by_number: BTreeMap<u64, Fault>,
    by_kind: BTreeMap<(Op, u64), Fault>,
    latency: BTreeMap<Op, u64>,
}

impl Faults {
    pub(super) fn ops(&self) -> u64 {
        self.ops
    }

    pub(super) fn count(&self, op: Op) -> u64 {
        self.counts.get(&op).copied().unwrap_or(0)
    }

    pub(super) fn at(&mut self, number: u64, fault: Fault) {
        self.by_number.insert(number, fault);
    }

    pub(super) fn next(&mut self, op: Op, skip: u64, fault: Fault) {
        self.by_kind.insert((op, self.count(op) + skip), fault);
    }

    pub(super) fn slow(&mut self, op: Op, ns: u64) {
        self.latency.insert(op, ns);
    }

    /// Counts an operation; what it meets, and how long it takes.
    pub(super) fn meet(&mut self, op: Op) -> (Option<Fault>, u64) {
        let by_number = self.by_number.remove(&self.ops);
        let by_kind = self.by_kind.remove(&(op, self.count(op)));
        self.ops += 1;
        *self.counts.entry(op).or_default() += 1;
        let latency = self.latency.get(&op).copied().unwrap_or(0);
        match by_number.or(by_kind) {
            Some(Fault::Delay(ns)) => (None, latency.saturating_add(ns)),
            fault => (fault, latency),
        }
    }
}
