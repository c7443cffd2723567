//! A disk in memory that can lose its power. Invariant: what was not synced survives only if the test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Disk, Guard, Hold, directory_of};

/// A [`Disk`] for tests; a clone is the same disk.
///
/// ```
/// use std::path::Path;
/// use forebay_ring::disk::{Disk, MemoryDisk, Survive};
///
/// let disk = MemoryDisk::default();
/// disk.write_synced(Path::new("/tokens"), b"bytes")?;
/// // The bytes were synced, the name was not.
/// let after = disk.restart(Survive::Synced);
/// assert_eq!(after.read(Path::new("/tokens"), 100)?, None);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Shared>);

/// What a power cut leaves of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    /// All of it: the kernel had written everything back by itself.
    Everything,
    /// Names, and of the bytes only those that were synced.
    Names,
    /// Nothing.
    Synced,
}

impl Survive {
    /// All of them.
    pub const ALL: [Survive; 3] = [Survive::Everything, Survive::Names, Survive::Synced];
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    names: Names,
    /// The names that survive a power cut.
    durable: Names,
    files: Vec<File>,
    /// Durable as soon as they are made.
    dirs: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, Holders>,
    /// Mutations until the power goes, if it shall.
    until_crash: Option<u64>,
    dead: bool,
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holders {
    Some(usize),
    One,
}

impl MemoryDisk {
    /// Lets the power go in the middle of the mutation that follows `after` more: a write, rename, remove or
    /// sync. It fails, and so does every call from then on.
    pub fn crash_at(&self, after: u64) {
        self.state().until_crash = Some(after);
    }

    /// The disk after a power cut now, or at the crash there was.
    #[must_use]
    pub fn restart(&self, survive: Survive) -> Self {
        let state = self.state();
        let names = if survive == Survive::Synced { state.durable.clone() } else { state.names.clone() };
        let left = |file: &File| {
            let bytes = if survive == Survive::Everything { &file.bytes } else { &file.synced };
            File { bytes: bytes.clone(), synced: bytes.clone() }
        };
        let after = State {
            durable: names.clone(),
            names,
            files: state.files.iter().map(left).collect(),
            dirs: state.dirs.clone(),
            ..State::default()
        };
        Self(Arc::new(Shared { state: Mutex::new(after), freed: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if the power is on.
    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.dead { Err(power_is_off()) } else { Ok(state) }
    }
}

impl State {
    /// Counts a mutation; true if the power goes during this one.
    fn dies(&mut self) -> bool {
        match &mut self.until_crash {
            Some(0) => self.dead = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.dead
    }

    fn check_dir(&self, dir: &Path) -> io::Result<()> {
        let is_root = dir == Path::new(".") || dir.parent().is_none();
        if is_root || self.dirs.contains(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl Disk for MemoryDisk {
    fn read(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
        let state = self.live()?;
        let Some(&file) = state.names.get(path) else { return Ok(None) };
        let bytes = &state.files[file].bytes;
        if bytes.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(bytes.clone())) }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.live()?;
        state.check_dir(dir)?;
        let here = state.names.keys().filter(|path| directory_of(path) == dir);
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.live()?.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.live()?;
        state.check_dir(directory_of(path))?;
        let new = state.files.len();
        let file = *state.names.entry(path.to_path_buf()).or_insert(new);
        if file == new {
            state.files.push(File::default());
        }
        if state.dies() {
            state.files[file].bytes = bytes[..bytes.len() / 2].to_vec();
            // Truncating reached the media before the bytes did.
            state.files[file].synced.clear();
            return Err(power_is_off());
        }
        state.files[file] = File { bytes: bytes.to_vec(), synced: bytes.to_vec() };
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        state.check_dir(directory_of(to))?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), file);
        if state.dies() { Err(power_is_off()) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        if state.dies() { Err(power_is_off()) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        state.check_dir(dir)?;
        if state.dies() {
            return Err(power_is_off());
        }
        let State { names, durable, .. } = &mut *state;
        durable.retain(|path, _| directory_of(path) != dir);
        let here = names.iter().filter(|(path, _)| directory_of(path) == dir);
        durable.extend(here.map(|(path, &file)| (path.clone(), file)));
        Ok(())
    }

    fn lock(&self, path: &Path, hold: Hold) -> io::Result<Box<dyn Guard>> {
        let mut state = self.live()?;
        state.check_dir(directory_of(path))?;
        loop {
            let next = match (state.locks.get(path), hold) {
                (None, Hold::Shared) => Some(Holders::Some(1)),
                (None, Hold::Exclusive) => Some(Holders::One),
                (Some(Holders::Some(holders)), Hold::Shared) => Some(Holders::Some(holders + 1)),
                (Some(_), _) => None,
            };
            if let Some(next) = next {
                state.locks.insert(path.to_path_buf(), next);
                return Ok(Box::new(Locked { disk: self.clone(), path: path.to_path_buf() }));
            }
            state = self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Debug)]
struct Locked {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Guard for Locked {}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        match state.locks.get_mut(&self.path) {
            Some(Holders::Some(holders)) if *holders > 1 => *holders -= 1,
            _ => drop(state.locks.remove(&self.path)),
        }
        self.disk.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_in_memory_conforms() {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new("/here")).unwrap();
        crate::disk::conformance::check(&disk, Path::new("/here"));
    }

    #[test]
    fn without_power_nothing_works_and_a_restart_brings_it_back() {
        let disk = MemoryDisk::default();
        disk.crash_at(1);
        disk.write_synced(Path::new("/a"), b"1").unwrap();
        disk.remove(Path::new("/a")).unwrap_err();
        disk.read(Path::new("/a"), 9).unwrap_err();
        disk.lock(Path::new("/a"), Hold::Shared).unwrap_err();
        assert_eq!(disk.restart(Survive::Everything).list(Path::new("/")).unwrap(), Vec::<String>::new());
    }
}
