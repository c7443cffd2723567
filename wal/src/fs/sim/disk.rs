//! The simulated disk: all inodes and directories, and what a power cut leaves of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::dir::{Dir, Node};
use super::fate::{Chance, Fate, Survive};
use super::inode::Inode;
use super::page::PAGE;

/// All inodes and directories.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    next_inode: u64,
    /// Counts changes.
    stamp: u64,
    /// Pages of a block that a power cut may ruin where only a part was being written.
    pub(super) fragile: Option<u64>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let dirs = BTreeMap::from([(PathBuf::from("/"), Dir::default())]);
        Self { inodes: BTreeMap::new(), dirs, next_inode: 0, stamp: 0, fragile: None }
    }

    pub(super) fn inode(&mut self, number: u64) -> &mut Inode {
        self.stamp += 1;
        let inode = self.inodes.entry(number).or_default();
        inode.stamp = self.stamp;
        inode
    }

    pub(super) fn lookup(&self, path: &Path) -> io::Result<Option<Node>> {
        let (dir, name) = split(path)?;
        Ok(self.dirs.get(dir).ok_or(io::ErrorKind::NotFound)?.cache.get(name).copied())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.lookup(path)? {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        if self.lookup(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.bind(path, Some(Node::File(inode)))?;
        Ok(inode)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") || self.lookup(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.bind(path, Some(Node::Dir))?;
        self.dirs.insert(path.to_path_buf(), Dir::default());
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.file(from)?;
        if matches!(self.lookup(to)?, Some(Node::Dir)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.bind(to, Some(Node::File(inode)))?;
        self.bind(from, None)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.bind(path, None)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dirs.get(dir).ok_or(io::ErrorKind::NotFound)?.cache.keys().cloned().collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.dir(dir)?.persist();
        self.collect();
        Ok(())
    }

    /// A sync that fails, or lies.
    pub(super) fn lose_dir(&mut self, dir: &Path, chance: &mut Chance, revert: bool) -> io::Result<()> {
        let dir = self.dir(dir)?;
        dir.lose(chance);
        if revert {
            dir.revert();
        }
        self.collect();
        Ok(())
    }

    fn dir(&mut self, dir: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Bytes of space that named or open files take.
    pub(super) fn allocated(&self) -> u64 {
        let named: BTreeSet<u64> =
            self.dirs.values().flat_map(|dir| dir.cache.values()).filter_map(Node::inode).collect();
        let pages = self.inodes.iter().filter(|(number, inode)| inode.handles > 0 || named.contains(number));
        pages.map(|(_, inode)| inode.allocated_pages() * PAGE).sum()
    }

    pub(super) fn effects(&self) -> usize {
        let names: usize = self.dirs.values().map(Dir::effects).sum();
        names + self.inodes.values().map(Inode::effects).sum::<usize>()
    }

    /// Where a file is, if it has a name.
    pub(super) fn path_of(&self, inode: u64) -> Option<PathBuf> {
        self.dirs.iter().find_map(|(path, dir)| dir.name_of(inode).map(|name| path.join(name)))
    }

    /// The effect that was made last.
    fn newest(&self) -> Survive {
        let names = self.dirs.values().flat_map(Dir::stamps);
        let stamps = names.chain(self.inodes.values().flat_map(Inode::stamps));
        let newest = stamps.enumerate().max_by_key(|(_, stamp)| *stamp);
        newest.map_or(Survive::Nothing, |(n, _)| Survive::Only(n))
    }

    /// The disk after a power cut; everything in the answer is durable.
    pub(super) fn crash(&self, survive: Survive) -> Self {
        let mut fate = Fate::new(if survive == Survive::Last { self.newest() } else { survive });
        let mut image = Self { next_inode: self.next_inode, fragile: self.fragile, ..Self::new() };
        for (path, dir) in &self.dirs {
            image.dirs.insert(path.clone(), dir.crash(&mut fate));
        }
        let crash = |(number, inode): (&u64, &Inode)| (*number, inode.crash(&mut fate, self.fragile));
        image.inodes = self.inodes.iter().map(crash).collect();
        image.prune();
        image.collect();
        image
    }

    /// The same disk for the next process: caches stay, handles are gone.
    pub(super) fn restart(&self) -> Self {
        let mut image = self.clone();
        for inode in image.inodes.values_mut() {
            inode.handles = 0;
        }
        image
    }

    /// Forgets directories whose own name did not survive, with everything in them.
    fn prune(&mut self) {
        loop {
            let lost: Vec<PathBuf> =
                self.dirs.keys().filter(|path| !self.is_reachable(path)).cloned().collect();
            if lost.is_empty() {
                break;
            }
            for path in lost {
                self.dirs.remove(&path);
            }
        }
        let known: BTreeSet<PathBuf> = self.dirs.keys().cloned().collect();
        for (path, dir) in &mut self.dirs {
            dir.forget(|name| known.contains(&path.join(name)));
        }
    }

    fn is_reachable(&self, path: &Path) -> bool {
        path == Path::new("/") || matches!(self.lookup(path), Ok(Some(Node::Dir)))
    }

    /// Drops inodes that no name, durable or not, and no handle can reach.
    fn collect(&mut self) {
        let used: BTreeSet<u64> = self.dirs.values().flat_map(Dir::inodes).collect();
        self.inodes.retain(|number, inode| inode.handles > 0 || used.contains(number));
    }

    fn bind(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let (dir, name) = split(path)?;
        self.stamp += 1;
        let stamp = self.stamp;
        self.dir(dir)?.bind(name, node, stamp);
        Ok(())
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
