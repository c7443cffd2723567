//! The data directory. Invariant: once the program has said that it kept something, no power cut takes the name of a
//! directory or file above it, since every name is synced before anything is kept under it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use forebay_wal::fs::Fs;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// Makes `dir` and whatever is missing above it, each name durable in its parent before the next is made.
///
/// The name of `dir` is synced even where it exists, since whoever made it may have died before; unless the parent may
/// not be read: then it is somebody else's.
///
/// # Errors
/// The file system's.
pub fn make<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    let above = parent(dir);
    match fs.create_dir(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return match fs.sync_dir(above) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && above != dir => {
            make(fs, above)?;
            fs.create_dir(dir)?;
        }
        Err(error) => return Err(error),
    }
    fs.sync_dir(above)
}

/// Directories below one, each known to have a durable name once it was asked for. Several processes, and several tasks of
/// one, make directories there; who finds one does not know whether whoever made it has come to sync its name.
#[derive(Debug)]
pub struct Names<F: Fs> {
    fs: F,
    root: PathBuf,
    known: Mutex<HashSet<u128, foldhash::quality::RandomState>>,
}

/// Names that are remembered; then they are all synced again.
const MOST_KNOWN: usize = 1 << 16;

impl<F: Fs> Names<F> {
    /// Those below `root`, whose own name is durable.
    pub fn new(fs: F, root: PathBuf) -> Self {
        Self { fs, root, known: Mutex::default() }
    }

    /// Whether [`make`](Self::make) has nothing to do for `dir`.
    pub fn are_known(&self, dir: &str) -> bool {
        self.known.lock().contains(&xxh3_128(dir.as_bytes()))
    }

    /// Makes what is missing of `dir`, relative to the root; then its name is durable, and each above it.
    ///
    /// # Errors
    /// The file system's.
    pub fn make(&self, dir: &str) -> io::Result<()> {
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for dir in ends.map(|end| &dir[..end]).filter(|dir| !dir.is_empty()) {
            if self.are_known(dir) {
                continue;
            }
            make(&self.fs, &self.root.join(dir))?;
            let mut known = self.known.lock();
            if known.len() == MOST_KNOWN {
                known.clear();
            }
            known.insert(xxh3_128(dir.as_bytes()));
        }
        Ok(())
    }
}

/// The directory that holds the name of `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use forebay_wal::fs::sim::{Op, SimFs, Survive};

    use super::*;

    #[test]
    fn what_was_made_survives_a_power_cut_with_everything_above_it() {
        let disk = SimFs::new(1);
        make(&disk, Path::new("/some/data/objects")).unwrap();
        make(&disk, Path::new("/some/data/objects")).unwrap();
        let disk = disk.crash(Survive::Nothing);
        assert_eq!(disk.names("/some/data").unwrap(), ["objects"]);
    }

    #[test]
    fn directories_that_somebody_else_made_are_durable_once_they_were_asked_for() {
        let disk = SimFs::new(1);
        make(&disk, Path::new("/objects")).unwrap();
        for dir in ["/objects/tenant", "/objects/tenant/stream"] {
            disk.create_dir(Path::new(dir)).unwrap();
        }
        let names = Names::new(disk.clone(), "/objects".into());
        assert!(!names.are_known("tenant/stream"));
        names.make("tenant/stream").unwrap();
        names.make("tenant/other").unwrap();
        assert!(names.are_known("tenant/stream") && names.are_known("tenant"));
        let syncs = disk.count(Op::SyncDir);
        names.make("tenant/other").unwrap();
        assert_eq!(disk.count(Op::SyncDir), syncs, "once is enough");
        let disk = disk.crash(Survive::Nothing);
        assert_eq!(disk.names("/objects").unwrap(), ["tenant"]);
        assert_eq!(disk.names("/objects/tenant").unwrap(), ["other", "stream"]);
    }

    #[test]
    fn a_name_that_was_made_and_not_synced_is_synced_the_next_time() {
        let disk = SimFs::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        make(&disk, Path::new("/data")).unwrap();
        assert_eq!(disk.crash(Survive::Nothing).names("/").unwrap(), ["data"]);
    }
}
