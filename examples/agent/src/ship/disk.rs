//! The files that are shipped, on the operating system's file system: the one place where the agent opens them.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::identity::{HEAD_BYTES, Head, Key};

const NOT_WAITING: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: Key,
    pub(super) len: u64,
    /// When it was last written to, and when anything of it changed, its name included. For comparison only.
    pub(super) modified: [i64; 4],
    /// No name is left.
    pub(super) unlinked: bool,
}

#[expect(clippy::disallowed_methods, reason = "the edge: logs are files of the operating system")]
pub(super) fn open(path: &Path) -> io::Result<(File, Seen)> {
    // A pipe would be waited for, and other devices do something when they are opened: looked at first, and not waited
    // for where another took the name meanwhile.
    regular(&std::fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(NOT_WAITING).open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, seen(&metadata)))
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

pub(super) fn look(file: &File) -> io::Result<Seen> {
    Ok(seen(&file.metadata()?))
}

/// The file that `path` names now.
pub(super) fn named(path: &Path) -> io::Result<Seen> {
    Ok(seen(&std::fs::metadata(path)?))
}

fn seen(metadata: &Metadata) -> Seen {
    let key = Key { device: metadata.dev(), inode: metadata.ino() };
    let modified = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    Seen { key, len: metadata.len(), modified, unlinked: metadata.nlink() == 0 }
}

/// How a file begins: at most `len` bytes of it.
pub(super) fn head(file: &File, len: u64) -> io::Result<Head> {
    let mut bytes = [0; HEAD_BYTES];
    let len = usize::try_from(len).map_or(HEAD_BYTES, |len| len.min(HEAD_BYTES));
    let read = read_at(file, &mut bytes[..len], 0)?;
    Ok(Head::of(&bytes[..read]))
}

/// Reads at `offset` until `buffer` is full or the file ends.
pub(super) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Enough of a file to tell text from anything else.
pub(super) fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = vec![0; 1024];
    let read = read_at(&file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The regular files in a directory, those that links there name included.
#[expect(clippy::disallowed_methods, reason = "the edge: logs are files of the operating system")]
pub(super) fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The directory that `path` is in.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The regular files in a directory by their numbers, none where there is no directory.
pub(super) fn numbers_in(dir: &Path) -> io::Result<BTreeMap<Key, PathBuf>> {
    match files_in(dir) {
        Ok(files) => Ok(files.into_iter().filter_map(|path| Some((named(&path).ok()?.key, path))).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// A file in the directory of `path` whose number is the one, under whatever name.
pub(super) fn find(path: &Path, is_it: impl Fn(Key) -> bool) -> Option<PathBuf> {
    numbers_in(directory(path)).ok()?.into_iter().find(|&(key, _)| is_it(key)).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_named_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (sender, opened) = mpsc::channel();
        std::thread::spawn(move || sender.send(open(&path).map(|_| ()).map_err(|error| error.kind())));
        let opened = opened.recv_timeout(Duration::from_secs(60)).expect("it does not wait for a writer");
        assert_eq!(opened, Err(io::ErrorKind::InvalidInput));
        assert_eq!(open(dir.path()).map(|_| ()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
