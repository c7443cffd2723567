//! The simulated disk's calls, each of them one operation; handles and locks.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::dir::Node;
use super::disk::Disk;
use super::page::PAGE;
use super::trace::Subject;
use super::{Op, SimFile, SimFs};
use crate::fs::Fs;

impl SimFs {
    pub(super) fn op<T>(
        &self,
        op: Op,
        on: impl Into<Subject>,
        run: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.state.lock().on(on).op(op, run)
    }

    fn handle(&self, number: u64) -> SimFile {
        let mut state = self.state.lock();
        let inode = state.disk.inode(number);
        inode.handles += 1;
        SimFile { fs: self.clone(), number, told: AtomicU64::new(inode.failures.count) }
    }
}

impl Fs for SimFs {
    type File = SimFile;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<SimFile> {
        self.op(Op::CreateNew, path, |disk| disk.create(path)).map(|number| self.handle(number))
    }

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.op(Op::Open, path, |disk| disk.file(path)).map(|number| self.handle(number))
    }

    fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let names = Subject::Names(from.to_path_buf(), to.to_path_buf());
        self.op(Op::Rename, names, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.op(Op::Remove, path, |disk| disk.remove(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.op(Op::List, dir, |disk| disk.list(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.op(Op::CreateDir, dir, |disk| disk.create_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.lock().on(dir).sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.on(dir).op(Op::FreeBytes, |_| Ok(()))?;
        Ok(state.free_pages().saturating_mul(PAGE))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.op(Op::Lock, path, |disk| match disk.lookup(path)? {
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
