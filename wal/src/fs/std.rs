//! The operating system's files (Unix). The one place of the crate that touches a disk.

use std::fs::{File as OsFile, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::{File, Fs};

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdFs;

/// A file of the operating system. It stays the one descriptor that both writes and syncs: the kernel reports a
/// failed write-back to the descriptors that were open when it happened, not to one opened later.
#[derive(Debug)]
pub struct StdFile(OsFile);

/// An advisory `flock` on the lock file; the kernel releases it with the process.
#[derive(Debug)]
pub struct StdLock {
    _file: OsFile,
}

/// Slices per `pwritev`: Linux takes 1024 (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

#[expect(clippy::disallowed_methods, reason = "the edge of the crate: this is the injected disk's real twin")]
impl Fs for StdFs {
    type File = StdFile;
    type Lock = StdLock;

    fn create_new(&self, path: &Path) -> io::Result<StdFile> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).map(StdFile)
    }

    fn open(&self, path: &Path) -> io::Result<StdFile> {
        regular(OpenOptions::new().read(true).write(true), path)
    }

    fn open_read(&self, path: &Path) -> io::Result<StdFile> {
        regular(OpenOptions::new().read(true), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsFile::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(dir)?;
        // Some network file systems count nothing at all.
        Ok(if space.f_blocks == 0 { u64::MAX } else { space.f_bavail.saturating_mul(space.f_frsize) })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<StdLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(StdLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Opens what is a file and nothing else: opening a pipe would wait for whoever is at its other end.
#[expect(clippy::disallowed_methods, reason = "the edge of the crate, as above")]
fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<StdFile> {
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(StdFile(file)),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no file")),
    }
}

impl File for StdFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buf, offset)
    }

    #[inline]
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match bufs {
            // The kernel does more for one slice in a list than for one alone.
            [one] => FileExt::write_at(&self.0, one, offset),
            many => {
                let many = many.get(..MAX_SLICES).unwrap_or(many);
                Ok(rustix::io::pwritev(&self.0, many, offset)?)
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn the_operating_system_conforms() {
        let dir = tempfile::tempdir().unwrap();
        conformance::suite(&StdFs, dir.path());
    }
}
