//! A simulated disk that tells somebody what it does, who may hold it up, change it, or panic.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use forebay_wal::fs::sim::{Op, SimFile, SimFs, SimLock};
use forebay_wal::fs::{File, Fs};

/// Somebody who is told.
pub(crate) trait Watch: Send + Sync + 'static {
    /// Writes, syncs of a segment's content, and changes of names and their syncs come here before they are done.
    fn before(&self, _: Op) {}
    /// Every read comes here when it is done, with the disk.
    fn read(&self, _: &SimFs) {}
    /// A file was opened.
    fn opened(&self) {}
    /// A file was closed.
    fn closed(&self) {}
}

/// The disk.
pub(crate) struct Watched<W> {
    pub(crate) disk: SimFs,
    pub(crate) watch: Arc<W>,
}

/// One of its files.
pub(crate) struct WatchedFile<W: Watch>(SimFile, Watched<W>);

impl<W: Watch> Watched<W> {
    pub(crate) fn new(disk: SimFs, watch: Arc<W>) -> Self {
        Self { disk, watch }
    }

    fn opened(&self, file: io::Result<SimFile>) -> io::Result<WatchedFile<W>> {
        let file = file?;
        self.watch.opened();
        Ok(WatchedFile(file, self.clone()))
    }
}

impl<W: Watch> Drop for WatchedFile<W> {
    fn drop(&mut self) {
        self.1.watch.closed();
    }
}

impl<W> Clone for Watched<W> {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone(), watch: self.watch.clone() }
    }
}

impl<W> fmt::Debug for Watched<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl<W: Watch> Fs for Watched<W> {
    type File = WatchedFile<W>;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<WatchedFile<W>> {
        self.watch.before(Op::CreateNew);
        self.opened(self.disk.create_new(path))
    }
    fn open(&self, path: &Path) -> io::Result<WatchedFile<W>> {
        self.opened(self.disk.open(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<WatchedFile<W>> {
        self.opened(self.disk.open_read(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.watch.before(Op::Rename);
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.watch.before(Op::Remove);
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.watch.before(Op::SyncDir);
        self.disk.sync_dir(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.disk.try_lock(path)
    }
}

impl<W: Watch> File for WatchedFile<W> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.0.read_at(buf, offset)?;
        self.1.watch.read(&self.1.disk);
        Ok(read)
    }
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.1.watch.before(Op::Write);
        self.0.write_vectored_at(bufs, offset)
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.watch.before(Op::Sync);
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
