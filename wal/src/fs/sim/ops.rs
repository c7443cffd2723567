//! The simulated disk's calls, each of them one operation; handles and locks.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::dir::Node;
use super::disk::Disk;
use super::page::PAGE;
use super::{Op, SimFile, SimFs};
use crate::fs::Fs;

impl SimFs {
    pub(super) fn op<T>(&self, op: Op, run: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        self.state.lock().op(op, run)
    }

    fn handle(&self, number: u64) -> SimFile {
        self.state.lock().disk.inode(number).handles += 1;
        SimFile { fs: self.clone(), number }
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
        self.state.lock().sync_dir(dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.op(Op::FreeBytes, |_| Ok(()))?;
        Ok(state.free_pages().saturating_mul(PAGE))
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
