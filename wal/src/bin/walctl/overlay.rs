//! A file system whose changes nobody else sees: what is written stays in files without a name, so that a repair can be
//! tried by doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File as OsFile;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_wal::fs::{File, Fs, StdFs, StdLock};
use indicatif::ProgressBar;

use crate::disk::{Disk, Files, named};

/// The files of a log, and what has been done to them.
#[derive(Clone)]
pub(crate) struct Overlay {
    pub(crate) bar: ProgressBar,
    disk: Disk,
    dir: PathBuf,
    state: Arc<Mutex<State>>,
    /// Holds what is written, at places that nothing else has.
    scratch: Arc<OsFile>,
}

#[derive(Default)]
struct State {
    /// Files that are not, or may not be, as on disk; those that are gone have none.
    files: BTreeMap<PathBuf, Option<Arc<Node>>>,
    /// Directories that are not on disk.
    dirs: BTreeSet<PathBuf>,
    slots: u64,
}

/// A file, under whatever name.
struct Node {
    /// Where it lies on disk, if it does. Opened for each page: a log may have more segments than files may be open.
    base: Option<(Disk, PathBuf)>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    len: u64,
    /// Bytes of the file on disk that still count.
    base_len: u64,
    /// What is not as on disk, by page; pages of zeros take no place.
    pages: BTreeMap<u64, Option<u64>>,
}

/// A file that can be written without changing the disk.
pub(crate) struct Draft {
    node: Arc<Node>,
    overlay: Overlay,
    /// Nothing reads it again: only its length is kept.
    kept: bool,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Change {
    pub(crate) file: PathBuf,
    /// Its length before.
    pub(crate) was: Option<u64>,
    /// Its length now.
    pub(crate) is: Option<u64>,
    /// The name that it had.
    pub(crate) from: Option<PathBuf>,
    /// From the first byte that differs to the last one.
    pub(crate) bytes: Option<Range<u64>>,
}

const PAGE: usize = 64 << 10;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing<T>() -> io::Result<T> {
    Err(ErrorKind::NotFound.into())
}

impl Overlay {
    pub(crate) fn new(files: &Files) -> io::Result<Self> {
        let disk = files.disk();
        let scratch = tempfile::tempfile().map_err(|error| named(&std::env::temp_dir(), &error))?;
        let dir = files.dir.clone();
        Ok(Self { bar: disk.bar.clone(), disk, dir, state: Arc::default(), scratch: Arc::new(scratch) })
    }

    /// What is different by now, by name.
    pub(crate) fn changes(&self) -> io::Result<Vec<Change>> {
        let state = lock(&self.state);
        let mut changes = Vec::new();
        for (path, node) in &state.files {
            let was = self.disk.open_read(path).and_then(|file| file.size()).ok();
            let Some(node) = node else {
                changes.extend(was.is_some().then(|| Change::of(path, was, None)));
                continue;
            };
            let from = node.base.as_ref().map(|(_, from)| from).filter(|from| *from != path);
            let content = lock(&node.content);
            let ours = node.base.is_some() && from.is_none();
            let bytes = if ours { self.difference(node, &content)? } else { None };
            if ours && bytes.is_none() && was == Some(content.len) {
                continue;
            }
            changes.push(Change { from: from.cloned(), bytes, ..Change::of(path, was, Some(content.len)) });
        }
        Ok(changes)
    }

    fn node(&self, path: &Path) -> io::Result<Arc<Node>> {
        let mut state = lock(&self.state);
        match state.files.get(path) {
            Some(Some(node)) => return Ok(node.clone()),
            Some(None) => return missing(),
            None => {}
        }
        let len = self.disk.open_read(path)?.size()?;
        let content = Content { len, base_len: len, pages: BTreeMap::new() };
        let base = Some((self.disk.clone(), path.to_path_buf()));
        let node = Arc::new(Node { base, content: Mutex::new(content) });
        state.files.insert(path.to_path_buf(), Some(node.clone()));
        Ok(node)
    }

    fn draft(&self, node: Arc<Node>, path: &Path) -> Draft {
        let kept = path.parent().is_none_or(|parent| parent == self.dir);
        Draft { node, overlay: self.clone(), kept }
    }

    /// A page as it is, with zeros behind the end.
    fn page(&self, node: &Node, content: &Content, number: u64) -> io::Result<Vec<u8>> {
        let mut page = vec![0; PAGE];
        match content.pages.get(&number) {
            Some(None) => {}
            Some(Some(slot)) => self.scratch.read_exact_at(&mut page, slot * PAGE as u64)?,
            None => page = node.base_page(content.base_len, number)?,
        }
        Ok(page)
    }

    /// Keeps a page, unless it is as on disk.
    fn put(&self, node: &Node, content: &mut Content, number: u64, page: &[u8]) -> io::Result<()> {
        if node.base_page(content.base_len, number)? == page {
            content.pages.remove(&number);
            return Ok(());
        }
        let slot = match content.pages.get(&number) {
            _ if page.iter().all(|&byte| byte == 0) => None,
            Some(Some(slot)) => Some(*slot),
            _ => {
                let mut state = lock(&self.state);
                state.slots += 1;
                Some(state.slots - 1)
            }
        };
        slot.map_or(Ok(()), |slot| self.scratch.write_all_at(page, slot * PAGE as u64))?;
        content.pages.insert(number, slot);
        Ok(())
    }

    /// From the first byte that is not as on disk to the last one.
    fn difference(&self, node: &Node, content: &Content) -> io::Result<Option<Range<u64>>> {
        let mut differs: Option<Range<u64>> = None;
        for &number in content.pages.keys() {
            let (is, was) = (self.page(node, content, number)?, node.base_page(content.base_len, number)?);
            let mut unlike =
                (0..).zip(is.iter().zip(&was)).filter(|(_, (is, was))| is != was).map(|(at, _)| at);
            let Some(first) = unlike.next() else { continue };
            let last: u64 = unlike.last().unwrap_or(first);
            let start = number * PAGE as u64;
            let from = differs.map_or(start + first, |range| range.start);
            differs = Some(from..start + last + 1);
        }
        Ok(differs)
    }
}

impl Change {
    fn of(path: &Path, was: Option<u64>, is: Option<u64>) -> Self {
        Self { file: path.to_path_buf(), was, is, from: None, bytes: None }
    }
}

impl Node {
    /// A page as on disk.
    fn base_page(&self, base_len: u64, number: u64) -> io::Result<Vec<u8>> {
        let (mut page, start) = (vec![0; PAGE], number * PAGE as u64);
        let valid = usize::try_from(base_len.saturating_sub(start)).unwrap_or(usize::MAX).min(PAGE);
        if let Some((disk, path)) = self.base.as_ref().filter(|_| valid > 0) {
            let file = disk.open_read(path)?;
            let mut read = 0;
            while let Some(rest) = page.get_mut(read..valid).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, start + read as u64) {
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(page)
    }
}

impl Fs for Overlay {
    type File = Draft;
    type Lock = Option<StdLock>;

    fn create_new(&self, path: &Path) -> io::Result<Draft> {
        if self.node(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = Arc::new(Node { base: None, content: Mutex::default() });
        lock(&self.state).files.insert(path.to_path_buf(), Some(node.clone()));
        Ok(self.draft(node, path))
    }

    fn open(&self, path: &Path) -> io::Result<Draft> {
        Ok(self.draft(self.node(path)?, path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Draft> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        let mut state = lock(&self.state);
        state.files.insert(from.to_path_buf(), None);
        state.files.insert(to.to_path_buf(), Some(node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.node(path)?;
        lock(&self.state).files.insert(path.to_path_buf(), None);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = lock(&self.state);
        let mut names: BTreeSet<String> = match self.disk.list(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound && state.dirs.contains(dir) => BTreeSet::new(),
            listed => listed?.into_iter().collect(),
        };
        for (path, node) in state.files.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            match node {
                Some(_) => drop(names.insert(name.to_owned())),
                None => drop(names.remove(name)),
            }
        }
        Ok(names.into_iter().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        match self.disk.list(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() != ErrorKind::NotADirectory => return Err(error),
            _ => return Err(ErrorKind::AlreadyExists.into()),
        }
        let made = lock(&self.state).dirs.insert(dir.to_path_buf());
        if made { Ok(()) } else { Err(ErrorKind::AlreadyExists.into()) }
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        StdFs.free_bytes(dir)
    }

    /// Takes the log's own lock, where there is a file for it that may be opened: what is shown of a log that is written
    /// to meanwhile would be wrong.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Option<StdLock>>> {
        let Ok(_) = self.disk.open_read(path) else { return Ok(Some(None)) };
        match StdFs.try_lock(path) {
            Ok(Some(lock)) => Ok(Some(Some(lock))),
            Ok(None) => Ok(None),
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                Ok(Some(None))
            }
            Err(error) => Err(error),
        }
    }
}

impl File for Draft {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.node.content);
        let left = usize::try_from(content.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (number, skip) = place(offset);
        let want = buf.len().min(left).min(PAGE - skip);
        if want == 0 {
            return Ok(0);
        }
        let page = self.overlay.page(&self.node, &content, number)?;
        let (to, from) = (buf.get_mut(..want), page.get(skip..skip + want));
        if let Some((to, from)) = to.zip(from) {
            to.copy_from_slice(from);
        }
        Ok(want)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let Some(buf) = bufs.iter().find(|buf| !buf.is_empty()) else { return Ok(0) };
        let mut content = lock(&self.node.content);
        let (number, skip) = place(offset);
        let len = buf.len().min(PAGE - skip);
        if self.kept {
            let mut page = self.overlay.page(&self.node, &content, number)?;
            if let Some((to, from)) = page.get_mut(skip..skip + len).zip(buf.get(..len)) {
                to.copy_from_slice(from);
            }
            self.overlay.put(&self.node, &mut content, number, &page)?;
        }
        content.len = content.len.max(offset + len as u64);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.node.content).len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = lock(&self.node.content);
        if len < content.len {
            // What is cut off is zeros if the file grows again.
            let (number, skip) = place(len);
            let mut page = self.overlay.page(&self.node, &content, number)?;
            page.get_mut(skip..).unwrap_or_default().fill(0);
            content.pages.split_off(&number);
            content.base_len = content.base_len.min(len);
            self.overlay.put(&self.node, &mut content, number, &page)?;
        }
        content.len = len;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut content = lock(&self.node.content);
        content.len = content.len.max(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The page of an offset, and where in it.
fn place(offset: u64) -> (u64, usize) {
    let skip = usize::try_from(offset % PAGE as u64).unwrap_or(0);
    (offset / PAGE as u64, skip)
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("dir", &self.dir).finish_non_exhaustive()
    }
}
