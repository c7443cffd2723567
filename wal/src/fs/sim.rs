//! A deterministic disk in memory that crashes on request.
//!
//! It keeps apart what the process sees and what would be on the media: pages, lengths and names become durable
//! only through the sync that promises it, and a power cut leaves any subset of the rest, in any order, torn at
//! 512 bytes (A1–A5 in [`crate::format`]). Every call of [`Fs`] and [`File`](super::File) is one numbered operation; a fault
//! or the crash itself is asked for by number. Same calls, same seed, same disk.
//!
//! ```
//! use std::path::Path;
//! use forebay_wal::fs::sim::{SimFs, Survive};
//! use forebay_wal::{Lsn, Options, Wal};
//!
//! let disk = SimFs::new(7);
//! let (wal, _) = Wal::open_in(disk.clone(), Path::new("/log"), Options::default())?;
//! let lsn = wal.append("acknowledged")?;
//! let after = disk.crash(Survive::Nothing); // the plug is pulled
//! let (wal, _) = Wal::open_in(after, Path::new("/log"), Options::default())?;
//! assert_eq!(wal.reader(Lsn::FIRST).next().unwrap()?.lsn, lsn);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod disk;
mod file;
mod inode;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use self::disk::Survive;
use self::disk::{Chance, Disk, Node};
pub use self::file::SimFile;
use super::Fs;

/// What happens to an operation instead of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has done nothing; a sync fails as the disk's [`SyncModel`] says.
    Error(io::ErrorKind),
    /// A write stores its first half and then fails; other operations as [`Fault::Error`].
    Partial(io::ErrorKind),
    /// It happens, and fails all the same.
    Late(io::ErrorKind),
    /// A read or write handles half of what was offered and says so; other operations work.
    Short,
}

/// What a kernel does with the dirty pages of a file whose sync fails (Rebello et al., ATC '20).
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

/// An operation, for counting.
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
    Lock,
    Read,
    Write,
    Size,
    SetLen,
    Allocate,
    Sync,
}

/// The disk; a clone is another handle to the same one.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

struct State {
    disk: Disk,
    chance: Chance,
    locks: BTreeSet<PathBuf>,
    ops: u64,
    counts: BTreeMap<Op, u64>,
    crash_at: Option<u64>,
    crashed: bool,
    faults: BTreeMap<u64, Fault>,
    budget: Option<u64>,
    sync_model: SyncModel,
}

impl SimFs {
    /// An empty disk with a root directory; the seed decides what failing syncs leave behind.
    pub fn new(seed: u64) -> Self {
        Self::with(Disk::new(), Chance(seed))
    }

    /// Operations so far, failed ones included.
    pub fn op_count(&self) -> u64 {
        self.state.lock().ops
    }

    /// Operations of one kind so far.
    pub fn count(&self, op: Op) -> u64 {
        self.state.lock().counts.get(&op).copied().unwrap_or(0)
    }

    /// The operation with this number, and every one after it, fails: the power is gone. What the process had
    /// written until then waits in [`crash`](Self::crash).
    pub fn crash_at(&self, op: u64) {
        self.state.lock().crash_at = Some(op);
    }

    /// Whether the crash that was asked for has happened.
    pub fn has_crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// The operation with this number meets this fault.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state.lock().faults.insert(op, fault);
    }

    /// How syncs fail from now on.
    pub fn set_sync_model(&self, model: SyncModel) {
        self.state.lock().sync_model = model;
    }

    /// Space for file content in bytes, counted in pages of 4 KiB; `None` is no limit. May be less than is in
    /// use: then nothing new fits.
    pub fn set_budget(&self, bytes: Option<u64>) {
        self.state.lock().budget = bytes;
    }

    /// Bytes of file content in use, in whole pages.
    pub fn allocated(&self) -> u64 {
        self.state.lock().disk.allocated()
    }

    /// How many effects a power cut would decide about now.
    pub fn effects(&self) -> usize {
        self.state.lock().disk.effects()
    }

    /// A new disk as a power cut would leave this one; this one is untouched, so many may be taken.
    pub fn crash(&self, survive: Survive) -> Self {
        let state = self.state.lock();
        state.successor(state.disk.crash(survive))
    }

    /// A new disk as the next process sees this one after `kill -9`: caches stay, locks are free, nothing more
    /// is durable than before.
    pub fn restart(&self) -> Self {
        let state = self.state.lock();
        state.successor(state.disk.restart())
    }

    /// The bytes of a file, past all faults and counters.
    pub fn peek(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        let number = state.disk.file(path.as_ref())?;
        let inode = state.disk.inode(number);
        let mut bytes = vec![0; usize::try_from(inode.len()).unwrap_or(usize::MAX)];
        inode.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Puts a durable file there, past all faults and counters; makes the directories above it.
    pub fn plant(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.state.lock();
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for dir in &above {
            match state.disk.create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        if state.disk.lookup(path)?.is_some() {
            state.disk.remove(path)?;
        }
        let number = state.disk.create(path)?;
        let inode = state.disk.inode(number);
        inode.write(bytes, 0);
        inode.persist();
        above.iter().try_for_each(|dir| state.disk.sync_dir(dir))
    }

    /// The names in a directory, past all faults and counters.
    pub fn names(&self, dir: impl AsRef<Path>) -> io::Result<Vec<String>> {
        self.state.lock().disk.list(dir.as_ref())
    }

    fn with(disk: Disk, chance: Chance) -> Self {
        let state = State {
            disk,
            chance,
            locks: BTreeSet::new(),
            ops: 0,
            counts: BTreeMap::new(),
            crash_at: None,
            crashed: false,
            faults: BTreeMap::new(),
            budget: None,
            sync_model: SyncModel::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// One operation that either happens whole or fails.
    fn op<T>(&self, op: Op, run: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        match state.begin(op)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => Err(kind.into()),
            Some(Fault::Late(kind)) => run(&mut state.disk).and_then(|_| Err(kind.into())),
            Some(Fault::Short) | None => run(&mut state.disk),
        }
    }

    fn handle(&self, number: u64) -> SimFile {
        self.state.lock().disk.inode(number).handles += 1;
        SimFile { fs: self.clone(), number }
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimFs")
            .field("ops", &state.ops)
            .field("crashed", &state.crashed)
            .field("effects", &state.disk.effects())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Another disk as full as this one and with the same kernel.
    fn successor(&self, disk: Disk) -> SimFs {
        let next = SimFs::with(disk, self.chance.clone());
        {
            let mut state = next.state.lock();
            state.budget = self.budget;
            state.sync_model = self.sync_model;
        }
        next
    }

    fn begin(&mut self, op: Op) -> io::Result<Option<Fault>> {
        let index = self.ops;
        if self.crashed || self.crash_at == Some(index) {
            self.crashed = true;
            return Err(io::Error::other("simulated power cut"));
        }
        self.ops += 1;
        *self.counts.entry(op).or_default() += 1;
        Ok(self.faults.get(&index).copied())
    }

    /// How many pages may still be allocated.
    fn free_pages(&self) -> u64 {
        self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.disk.allocated()) / inode::PAGE)
    }

    fn sync(&mut self, number: u64, fault: Option<Fault>) -> io::Result<()> {
        let kind = match fault {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => kind,
            late => {
                self.disk.inode(number).persist();
                return if let Some(Fault::Late(kind)) = late { Err(kind.into()) } else { Ok(()) };
            }
        };
        let inode = self.disk.inode(number);
        inode.lose(&mut self.chance);
        match self.sync_model {
            SyncModel::KeepCache => Err(kind.into()),
            SyncModel::RevertCache => {
                inode.revert();
                Err(kind.into())
            }
            SyncModel::Lie => Ok(()),
        }
    }
}

impl Fs for SimFs {
    type File = SimFile;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        self.op(Op::CreateNew, |disk| disk.create(path)).map(|number| self.handle(number))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.op(Op::Open, |disk| disk.file(path)).map(|number| self.handle(number))
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.op(Op::Rename, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.op(Op::Remove, |disk| disk.remove(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.op(Op::List, |disk| disk.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.op(Op::CreateDir, |disk| disk.create_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.op(Op::SyncDir, |disk| disk.sync_dir(dir))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.op(Op::Lock, |disk| match disk.lookup(path)? {
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(_)) => Ok(()),
            None => disk.create(path).map(drop),
        })?;
        let free = self.state.lock().locks.insert(path.to_path_buf());
        Ok(free.then(|| SimLock { fs: self.clone(), path: path.to_path_buf() }))
    }
}

/// A lock of a [`SimFs`]; dropping it unlocks.
pub struct SimLock {
    fs: SimFs,
    path: PathBuf,
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.state.lock().locks.remove(&self.path);
    }
}

#[cfg(test)]
mod tests;
