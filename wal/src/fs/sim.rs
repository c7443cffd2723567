//! A deterministic disk in memory that crashes on request.
//!
//! It keeps apart what the process sees and what would be on the media: pages, lengths and names become durable
//! only through the sync that promises it, and a power cut leaves any subset of the rest, in any order, torn at
//! 512 bytes (A1–A5 in [`crate::format`]). Every call of [`Fs`](super::Fs) and [`File`](super::File) is one numbered
//! operation; a fault is asked for by number or by kind, the crash itself by number. Same calls, same seed, same disk.
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

mod changes;
mod dir;
mod disk;
mod fate;
mod fault;
mod file;
mod inode;
mod ops;
mod page;
mod state;
mod trace;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use self::disk::Disk;
use self::fate::Chance;
pub use self::fate::Survive;
pub use self::fault::{Fault, Op, SyncModel};
pub use self::file::SimFile;
pub use self::ops::SimLock;
use self::page::PAGE;
use self::state::State;
use crate::options::Time;

/// The disk; a clone is another handle to the same one.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

impl SimFs {
    /// An empty disk with a root directory; the seed decides what failing syncs leave behind.
    pub fn new(seed: u64) -> Self {
        Self::with(State::new(Disk::new(), Chance(seed)))
    }

    /// Operations so far, failed ones included.
    pub fn op_count(&self) -> u64 {
        self.state.lock().faults.ops()
    }

    /// Operations of one kind so far.
    pub fn count(&self, op: Op) -> u64 {
        self.state.lock().faults.count(op)
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

    /// The operation with this number meets this fault, once. To go through all operations of a run; a test that
    /// means one of them says [`fail_next`](Self::fail_next).
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state.lock().faults.at(op, fault);
    }

    /// The next operation of a kind, after `skip` others of that kind, meets this fault, once.
    pub fn fail_next(&self, op: Op, skip: u64, fault: Fault) {
        self.state.lock().faults.next(op, skip, fault);
    }

    /// Every operation of a kind takes so many nanoseconds of the disk's clock from now on.
    pub fn set_latency(&self, op: Op, ns: u64) {
        self.state.lock().faults.slow(op, ns);
    }

    /// The disk's clock, which stands still but for what operations take and [`advance`](Self::advance) adds:
    /// nanoseconds since it was made, for [`Options::time`](crate::Options::time).
    pub fn time(&self) -> Time {
        let (monotonic, unix) = (self.clone(), self.clone());
        Time::new(
            move || monotonic.state.lock().now_ns,
            move || i64::try_from(unix.state.lock().now_ns).unwrap_or(i64::MAX),
        )
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        let mut state = self.state.lock();
        state.now_ns = state.now_ns.saturating_add(ns);
    }

    /// How syncs fail from now on.
    pub fn set_sync_model(&self, model: SyncModel) {
        self.state.lock().sync_model = model;
    }

    /// Takes assumption A2 away: a power cut with [`Survive::Seeded`] may turn into rubble all of any block, of so many
    /// bytes in whole pages, in which something has been written since the last sync. `0` gives it back.
    pub fn set_fragile(&self, block: u64) {
        self.state.lock().disk.fragile = (block > 0).then(|| block.div_ceil(PAGE));
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

    /// The last operations, one a line with what they met, for the message of a test that fails.
    pub fn trace(&self) -> String {
        let state = self.state.lock();
        state.trace.render(|inode| state.disk.path_of(inode))
    }

    /// How many effects a power cut would decide about now.
    pub fn effects(&self) -> usize {
        self.state.lock().disk.effects()
    }

    /// A new disk as a power cut would leave this one; this one is untouched, so many may be taken.
    pub fn crash(&self, survive: Survive) -> Self {
        let state = self.state.lock();
        Self::with(state.successor(state.disk.crash(survive)))
    }

    /// A new disk as the next process sees this one after `kill -9`: caches stay, locks are free, nothing more
    /// is durable than before.
    pub fn restart(&self) -> Self {
        let state = self.state.lock();
        Self::with(state.successor(state.disk.restart()))
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

    fn with(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimFs")
            .field("ops", &state.faults.ops())
            .field("crashed", &state.crashed)
            .field("effects", &state.disk.effects())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
