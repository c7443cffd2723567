//! The file system as the log needs it: positional I/O, names, and three separate promises of durability.
//!
//! What an implementation promises: a successful [`File::sync_data`] or [`File::sync_all`] makes the bytes and
//! the length of *that file* survive a power cut (A1 in [`crate::format`]); a successful [`Fs::sync_dir`] makes
//! the *names* in that directory survive. Neither implies the other, and nothing else survives by promise.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod std;

use ::std::fmt;
use ::std::io::{self, IoSlice};
use ::std::path::Path;

pub use self::std::{StdFile, StdFs, StdLock};

/// Names: directories, and files in them.
///
/// The log calls it from several threads. Run [`conformance`] (feature `conformance`) over an implementation of
/// your own.
pub trait Fs: Clone + fmt::Debug + Send + Sync + 'static {
    /// An open file.
    type File: File;
    /// Held as long as the directory is locked; dropping it, or the death of the process, unlocks.
    type Lock: fmt::Debug + Send + Sync + 'static;

    /// Makes an empty file, open for reading and writing; `AlreadyExists` if the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing. What is no file, but a pipe or a directory, is an error and not
    /// waited for; here as in [`open_read`](Self::open_read).
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Self::File>;

    /// Moves a file, replacing what `to` named.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, files and directories alike, in any order; names that are not UTF-8 are left
    /// out, as no file of a log has one.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes one directory whose parent exists; `AlreadyExists` if the name is taken.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable. A log without records asks for the directories above its own as well;
    /// `Unsupported` or `PermissionDenied` says that there is nothing to sync in one of those.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that may still be written to files in `dir`; by default nobody knows, which is as many as there are.
    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Takes the lock file `path`, making it if need be; `None` while somebody else holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
}

/// An open file. Every call says where it reads or writes: there is no cursor to put back after an error.
pub trait File: Send + Sync + 'static {
    /// Reads at `offset` into `buf` and says how much; 0 is the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes the slices one after the other at `offset` and says how many bytes it took, possibly fewer than
    /// offered.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Asks for the space of `0..len` in advance, so that a full disk shows here and not in the middle of a
    /// write. May do nothing where the file system has no such thing.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable. After an error nothing may be assumed about either, not even that a
    /// second call would tell.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), and the rest of the metadata with it.
    fn sync_all(&self) -> io::Result<()>;
}

/// Reads at `offset` until `buf` is full or the file ends; the number of bytes read.
pub(crate) fn read_full<F: File>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all slices at `offset`, however many calls it takes.
#[inline]
pub(crate) fn write_all<F: File>(file: &F, mut bufs: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    // An empty first slice would read as "wrote nothing".
    IoSlice::advance_slices(&mut bufs, 0);
    while !bufs.is_empty() {
        match file.write_vectored_at(bufs, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                IoSlice::advance_slices(&mut bufs, n);
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes zeros over `from..to`, in pieces that make a page cache keep pages of moderate size: ext4 looks at every
/// block of a large one whenever some bytes of it are written, which costs a short append twice its time.
pub(crate) fn write_zeros<F: File>(file: &F, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        write_all(file, &mut [IoSlice::new(&ZEROS[..len])], at)?;
        at += len as u64;
    }
    Ok(())
}

/// Makes `dir` and whatever is missing above it, each name durable in its parent before the next is made. Names that
/// are there already may be known to nothing but the cache: see [`sync_above`].
pub(crate) fn create_dir_all<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    match fs.create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = parent(dir);
            if parent == dir {
                return Err(error);
            }
            create_dir_all(fs, parent)?;
            fs.create_dir(dir)?;
        }
        Err(error) => return Err(error),
    }
    sync_names(fs, parent(dir))
}

/// Makes the names of `dir` and of all above it durable, whoever made them. Those in a directory that this process
/// may not open, or that cannot be synced at all, were made by nobody who would have had to.
pub(crate) fn sync_above<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    let mut at = dir;
    while parent(at) != at {
        at = parent(at);
        let synced = sync_names(fs, at);
        let ours = |kind| !matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported);
        synced.or_else(|error| if ours(error.kind()) { Err(error) } else { Ok(()) })?;
    }
    Ok(())
}

fn sync_names<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    if cfg!(wal_mutant = "ancestors_unsynced") { Ok(()) } else { fs.sync_dir(dir) }
}

/// The directory that holds `path`'s name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Whether the error says that there is no room: disk, quota, or the limit on file sizes.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
