//! A file system that counts what a log asks of it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};

use forebay_wal::fs::{File, Fs};

/// Another file system, watched.
#[derive(Clone, Debug, Default)]
pub struct Counted<F> {
    inner: F,
    tally: Tally,
}

pub struct CountedFile<F> {
    inner: F,
    tally: Tally,
}

/// Calls by name, and bytes written.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    fn add(&self, name: &'static str, n: u64) {
        *self.0.lock().expect("nobody panics with it").entry(name).or_default() += n;
    }
}

impl<F> Counted<F> {
    /// What was counted since the last time it was asked.
    pub fn take(&self) -> BTreeMap<String, u64> {
        let tally = std::mem::take(&mut *self.tally.0.lock().expect("nobody panics with it"));
        tally.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
    }

    fn file<G>(&self, name: &'static str, inner: io::Result<G>) -> io::Result<CountedFile<G>> {
        self.tally.add(name, 1);
        Ok(CountedFile { inner: inner?, tally: self.tally.clone() })
    }
}

impl<F: Fs> Fs for Counted<F> {
    type File = CountedFile<F::File>;
    type Lock = F::Lock;

    fn create_new(&self, path: &Path) -> io::Result<Self::File> {
        self.file("create", self.inner.create_new(path))
    }

    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.file("open", self.inner.open(path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Self::File> {
        self.file("open", self.inner.open_read(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tally.add("rename", 1);
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tally.add("remove", 1);
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tally.add("sync of a directory", 1);
        self.inner.sync_dir(dir)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Self::Lock>> {
        self.inner.try_lock(path)
    }
}

impl<F: File> File for CountedFile<F> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.tally.add("read", 1);
        self.inner.read_at(buf, offset)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let n = self.inner.write_vectored_at(bufs, offset)?;
        self.tally.add("write", 1);
        self.tally.add("bytes written", n as u64);
        Ok(n)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tally.add("set_len", 1);
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.tally.add("allocate", 1);
        self.inner.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tally.add("sync", 1);
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.tally.add("sync", 1);
        self.inner.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use forebay_wal::fs::StdFs;
    use forebay_wal::{Options, Wal};

    use super::*;

    #[test]
    fn an_append_is_one_write_and_one_sync() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Counted::<StdFs>::default();
        let (wal, _) = Wal::open_in(fs.clone(), dir.path(), Options::default()).unwrap();
        wal.append("first").unwrap();
        fs.take();
        wal.append("second").unwrap();
        let calls = fs.take();
        assert_eq!((calls.get("write"), calls.get("sync"), calls.get("create")), (Some(&1), Some(&1), None));
    }
}
