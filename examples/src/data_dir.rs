//! The data directory. Invariant: once the program has said that it kept something, no power cut takes the name of a
//! directory or file above it, since every name is synced before anything is kept under it.

use std::io;
use std::path::Path;

use forebay_wal::fs::Fs;

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
    use forebay_wal::fs::sim::{SimFs, Survive};

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
    fn a_name_that_was_made_and_not_synced_is_synced_the_next_time() {
        let disk = SimFs::new(1);
        disk.create_dir(Path::new("/data")).unwrap();
        make(&disk, Path::new("/data")).unwrap();
        assert_eq!(disk.crash(Survive::Nothing).names("/").unwrap(), ["data"]);
    }
}
