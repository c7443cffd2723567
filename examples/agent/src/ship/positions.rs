//! How far files were shipped, on disk: written to a new file, synced, renamed over the old one, the name synced.
//!
//! P1: whatever happens, what is read back is what was saved last or the time before, whole. P2: a batch that is under
//! way is saved with the bytes it is of and the times at which they were read, before it is sent; so after a restart it
//! is sent again as it was, and the server knows it for the same.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use forebay_wal::fs::{File, Fs};
use serde::{Deserialize, Serialize};

use super::identity::{Head, Key};
use super::times::Times;

/// What is saved: JSON, so that people can read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of the notation, which whoever saves it sets.
    pub version: u32,
    /// The files, each up to where its lines are settled.
    pub files: Vec<Mark>,
    /// What was given to the lines of each stream.
    pub streams: BTreeMap<String, Times>,
    /// The batch under way, which starts where `files` ends.
    pub batch: Vec<Piece>,
}

/// How far a file was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name that it had when it was found.
    pub stream: String,
    /// Its number.
    pub key: Key,
    /// How it begins.
    pub head: Head,
    /// Bytes that are settled.
    pub offset: u64,
    /// They end within a line that was too long.
    pub within: bool,
    /// CRC-32C of them, where it is known.
    #[serde(default)]
    pub sum: Option<u32>,
}

/// Bytes of a file that were read at once: whole events, unless `within` says that it starts inside of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Of which file.
    pub key: Key,
    /// The first byte.
    pub from: u64,
    /// Behind the last byte.
    pub to: u64,
    /// It starts inside of a line that was too long.
    pub within: bool,
    /// CRC-32C of the bytes before it, where that is known.
    #[serde(default)]
    pub sum: Option<u32>,
    /// When it was read, nanoseconds since 1970.
    pub read_ns: i64,
}

const VERSION: u32 = 1;

/// A file of positions that this process alone writes.
#[derive(Debug)]
pub struct Positions<F: Fs> {
    fs: F,
    path: PathBuf,
    _lock: F::Lock,
}

/// Why positions cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PositionsError {
    /// Stop the other agent, or give this one a file of its own.
    #[error("positions in {} are in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// See to the disk.
    #[error("positions in {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Somebody changed the file: mend it, or remove it to ship everything from the start.
    #[error("{} does not hold positions of version {VERSION}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, where it is no JSON of this kind.
        source: Option<serde_json::Error>,
    },
}

impl<F: Fs> Positions<F> {
    /// Takes the file at `path` and reads what was saved, nothing where there is no file yet.
    ///
    /// # Errors
    /// [`PositionsError`].
    pub fn open(fs: F, path: &Path) -> Result<(Self, State), PositionsError> {
        let read_error = |source| PositionsError::Read { path: path.to_owned(), source };
        let lock = fs.try_lock(&beside(path, "lock")).map_err(read_error)?;
        let lock = lock.ok_or_else(|| PositionsError::Locked { path: path.to_owned() })?;
        let state = match read(&fs, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(read_error(error)),
            Ok(bytes) => {
                let damaged = |source| PositionsError::Damaged { path: path.to_owned(), source };
                let state: State = serde_json::from_slice(&bytes).map_err(|error| damaged(Some(error)))?;
                if state.version != VERSION {
                    return Err(damaged(None));
                }
                state
            }
        };
        Ok((Self { fs, path: path.to_owned(), _lock: lock }, state))
    }

    /// Replaces what was saved.
    ///
    /// # Errors
    /// The file system's; what was saved before is there then, or this is.
    pub fn save(&mut self, state: &State) -> io::Result<()> {
        let state = State { version: VERSION, ..state.clone() };
        let bytes = serde_json::to_vec_pretty(&state)?;
        let new = beside(&self.path, "new");
        match self.fs.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.fs.create_new(&new)?;
        let mut written = 0;
        while written < bytes.len() {
            match file.write_vectored_at(&[IoSlice::new(&bytes[written..])], written as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                more => written += more,
            }
        }
        file.sync_all()?;
        self.fs.rename(&new, &self.path)?;
        self.fs.sync_dir(directory(&self.path))
    }
}

fn read<F: Fs>(fs: &F, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open_read(path)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match file.read_at(&mut buffer, bytes.len() as u64)? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// `path` with something behind its name.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_wal::fs::sim::{Op, SimFs, Survive};

    const PATH: &str = "/state/ship.json";

    fn disk() -> SimFs {
        let disk = SimFs::new(1);
        disk.plant("/state/other", b"").unwrap();
        disk
    }

    fn state(offset: u64) -> State {
        let key = Key { device: 1, inode: u64::MAX };
        let mark = Mark {
            stream: "/a \"b\"".to_owned(),
            key,
            head: Head::of(b"x"),
            offset,
            within: offset == 1,
            sum: Some(7),
        };
        let piece = Piece { key, from: offset, to: offset + 9, within: false, sum: None, read_ns: i64::MIN };
        let mut times = Times::default();
        times.said(7);
        let streams = [("/a \"b\"".to_owned(), times)].into();
        State { version: VERSION, files: vec![mark], streams, batch: vec![piece] }
    }

    fn opened(disk: &SimFs) -> State {
        Positions::open(disk.clone(), Path::new(PATH)).unwrap().1
    }

    #[test]
    fn what_was_saved_last_is_read_back_after_a_power_cut() {
        let disk = disk();
        let (mut positions, first) = Positions::open(disk.clone(), Path::new(PATH)).unwrap();
        assert_eq!(first, State::default());
        for offset in 0..3 {
            positions.save(&state(offset)).unwrap();
            assert_eq!(opened(&disk.crash(Survive::Nothing)), state(offset));
        }
    }

    /// P1.
    #[test]
    fn a_crash_at_any_moment_leaves_what_was_saved_last_or_the_time_before() {
        let mut crashed = 0;
        for op in 0.. {
            let disk = disk();
            let (mut positions, _) = Positions::open(disk.clone(), Path::new(PATH)).unwrap();
            positions.save(&state(1)).unwrap();
            disk.crash_at(disk.op_count() + op);
            let saved = positions.save(&state(2));
            for survive in [Survive::Nothing, Survive::Everything] {
                let found = opened(&disk.crash(survive));
                assert!(found == state(1) || found == state(2), "at {op}: {found:?}\n{}", disk.trace());
                assert!(saved.is_err() || found == state(2), "at {op}: acknowledged and lost");
            }
            let killed = opened(&disk.restart());
            assert!(killed == state(1) || killed == state(2), "at {op}");
            if !disk.has_crashed() {
                break;
            }
            crashed += 1;
        }
        assert!(crashed >= 5, "{crashed}");
    }

    #[test]
    fn a_failed_save_can_be_tried_again() {
        let disk = disk();
        let (mut positions, _) = Positions::open(disk.clone(), Path::new(PATH)).unwrap();
        disk.set_budget(Some(0));
        positions.save(&state(1)).unwrap_err();
        disk.set_budget(None);
        positions.save(&state(2)).unwrap();
        assert_eq!(opened(&disk.restart()), state(2));
        assert!(disk.count(Op::SyncDir) >= 1);
    }

    #[test]
    fn one_process_has_the_positions_at_a_time() {
        let disk = disk();
        let held = Positions::open(disk.clone(), Path::new(PATH)).unwrap();
        let error = Positions::open(disk.clone(), Path::new(PATH)).unwrap_err();
        assert!(matches!(error, PositionsError::Locked { .. }), "{error}");
        drop(held);
        opened(&disk);
    }

    #[test]
    fn what_is_no_file_of_positions_is_refused_and_left_alone() {
        for bytes in
            [&b""[..], b"{}", b"null", b"{\"version\":2,\"files\":[],\"streams\":{},\"batch\":[]}", b"\xff"]
        {
            let disk = disk();
            disk.plant(PATH, bytes).unwrap();
            let error = Positions::open(disk.clone(), Path::new(PATH)).unwrap_err();
            assert!(matches!(error, PositionsError::Damaged { .. }), "{bytes:?}: {error}");
            assert_eq!(disk.peek(PATH).unwrap(), bytes);
        }
    }
}
