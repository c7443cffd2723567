//! A disk that tells how many files are open, and does something after every read.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_wal::fs::sim::{SimFile, SimFs, SimLock};
use forebay_wal::fs::{File, Fs};

type AfterRead = Arc<dyn Fn(&SimFs, usize) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) disk: SimFs,
    counts: Arc<Counts>,
    after_read: AfterRead,
}

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
}

pub(crate) struct HandledFile(SimFile, Handles);

impl Handles {
    /// `after_read` gets the disk, and which read it was.
    pub(crate) fn new(disk: SimFs, after_read: impl Fn(&SimFs, usize) + Send + Sync + 'static) -> Self {
        Self { disk, counts: Arc::default(), after_read: Arc::new(after_read) }
    }

    /// Most files that were open at a time.
    pub(crate) fn most_open(&self) -> usize {
        self.counts.most.load(Ordering::Relaxed)
    }

    fn opened(&self, file: io::Result<SimFile>) -> io::Result<HandledFile> {
        let file = file?;
        let open = self.counts.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.most.fetch_max(open, Ordering::Relaxed);
        Ok(HandledFile(file, self.clone()))
    }
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(f)
    }
}

impl Drop for HandledFile {
    fn drop(&mut self) {
        self.1.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fs for Handles {
    type File = HandledFile;
    type Lock = SimLock;

    fn create_new(&self, path: &Path) -> io::Result<HandledFile> {
        self.opened(self.disk.create_new(path))
    }
    fn open(&self, path: &Path) -> io::Result<HandledFile> {
        self.opened(self.disk.open(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<HandledFile> {
        self.opened(self.disk.open_read(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        self.disk.try_lock(path)
    }
}

impl File for HandledFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.0.read_at(buf, offset)?;
        let read = self.1.counts.reads.fetch_add(1, Ordering::Relaxed);
        (self.1.after_read)(&self.1.disk, read);
        Ok(n)
    }
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
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
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
