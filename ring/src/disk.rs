//! The few files a ring keeps: whole small ones, replaced at once. Invariant: [`replace`] leaves the old content
//! or the new one, whole, wherever it is interrupted, and the new one once it returned.
//!
//! Content and names are two promises: [`Disk::write_synced`] makes the bytes of a file survive a power cut,
//! [`Disk::sync_dir`] the names in a directory. Neither implies the other.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod memory;
mod std;

use ::std::ffi::OsString;
use ::std::fmt;
use ::std::io;
use ::std::path::{Path, PathBuf};

pub use self::memory::{MemoryDisk, Survive};
pub use self::std::StdDisk;

/// A file system, as far as small files need one.
///
/// Calls block. Run `disk::conformance` (feature `conformance`) over an implementation of your own.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The content of a file; `None` if there is none of that name. A file of more than `most` bytes is
    /// [`FileTooLarge`](io::ErrorKind::FileTooLarge) and not read.
    fn read(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>>;

    /// The names of the files in a directory, in any order; those that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and those above it where they are missing, their names durable.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file of these bytes, or gives the one there is these bytes, and makes the bytes durable. Not at
    /// once: interrupted, it leaves any part of them. The name of a new file is not durable yet.
    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name, at once, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable as they are now.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Waits for the lock that is a file, which is made if it is missing, and holds it until the guard is
    /// dropped or the process dies. Advisory: it keeps out only those who ask for it.
    fn lock(&self, path: &Path, hold: Hold) -> io::Result<Box<dyn Guard>>;
}

/// With whom a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// With all others that hold it shared.
    Shared,
    /// With nobody.
    Exclusive,
}

/// A lock that is held; dropped, it is free.
pub trait Guard: fmt::Debug + Send + Sync {}

/// Puts `bytes` in the place of a file, in three steps: written and synced beside it under the name with `~` at
/// its end, renamed, the name made durable. Who else writes the same file must be kept out by a lock.
///
/// # Errors
///
/// As the disk has them; the file then has its old content or the new one, and after a power cut too.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    disk.write_synced(&draft, bytes)?;
    disk.rename(&draft, path)?;
    disk.sync_dir(directory_of(path))
}

/// Where [`replace`] prepares the new content of a file. A crash may leave it; the next call takes it over.
pub fn draft_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("~");
    name.into()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/ring/tokens";

    fn content(disk: &MemoryDisk) -> Option<Vec<u8>> {
        disk.read(Path::new(FILE), 100).unwrap()
    }

    /// A disk that holds "old", durable, and dies at the mutation `crash` from now on.
    fn dying_at(crash: u64) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new("/ring")).unwrap();
        replace(&disk, Path::new(FILE), b"old").unwrap();
        disk.crash_at(crash);
        disk
    }

    #[test]
    fn a_replaced_file_is_the_old_or_the_new_one_whole_wherever_the_power_went() {
        let mut found = Vec::new();
        for crash in 0..3 {
            for survive in Survive::ALL {
                let disk = dying_at(crash);
                replace(&disk, Path::new(FILE), b"the new one").unwrap_err();
                let content = content(&disk.restart(survive)).unwrap();
                assert!(content == b"old" || content == b"the new one", "{crash}, {survive:?}: {content:?}");
                found.push(content);
            }
        }
        assert!(found.iter().any(|content| content == b"old"));
        assert!(found.iter().any(|content| content == b"the new one"));
    }

    #[test]
    fn a_file_that_was_replaced_stays_so_after_a_power_cut() {
        for survive in Survive::ALL {
            let disk = dying_at(3);
            replace(&disk, Path::new(FILE), b"the new one").unwrap();
            assert_eq!(content(&disk.restart(survive)).unwrap(), b"the new one");
        }
    }

    #[test]
    fn each_step_is_needed() {
        let (file, draft) = (Path::new(FILE), draft_of(Path::new(FILE)));
        // In place: torn. Not synced in its name: gone.
        let disk = dying_at(0);
        disk.write_synced(file, b"the new one").unwrap_err();
        let torn = content(&disk.restart(Survive::Everything)).unwrap();
        assert!(torn != b"old" && torn != b"the new one");
        let disk = dying_at(2);
        disk.write_synced(&draft, b"the new one").unwrap();
        disk.rename(&draft, file).unwrap();
        assert_eq!(content(&disk.restart(Survive::Synced)).unwrap(), b"old");
    }
}
