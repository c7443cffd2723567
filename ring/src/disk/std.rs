//! The operating system's files (Unix). The one place of the crate that touches a disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{Disk, Guard, Hold, directory_of};

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdDisk;

/// An advisory `flock`; the kernel releases it with the process. Not to be relied on over a network file system.
#[derive(Debug)]
struct Locked {
    _file: File,
}

impl Guard for Locked {}

#[expect(clippy::disallowed_methods, reason = "the edge of the crate: this is the injected disk's real twin")]
impl Disk for StdDisk {
    fn read(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        // One byte more than allowed tells that there is more, whatever the length said a moment ago.
        file.take((most as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir(directory_of(dir))?;
                return self.create_dir(dir);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            made => made?,
        }
        // Also where it was there: who made it may have died before this.
        match self.sync_dir(directory_of(dir)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, hold: Hold) -> io::Result<Box<dyn Guard>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match hold {
            Hold::Shared => file.lock_shared()?,
            Hold::Exclusive => file.lock()?,
        }
        Ok(Box::new(Locked { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_systems_disk_conforms() {
        let dir = tempfile::tempdir().unwrap();
        crate::disk::conformance::check(&StdDisk, dir.path());
    }
}
