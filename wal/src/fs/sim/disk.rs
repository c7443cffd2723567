//! The simulated disk: inodes, names, and the choice of what a power cut leaves of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::inode::{Inode, PAGE, Page, torn};

/// Which of the effects that no sync has made durable survive a power cut.
///
/// An effect is one dirty page of 4 KiB, the length of one file, or one name of one directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survive {
    /// None: the media as the last syncs left it.
    Nothing,
    /// All: as if everything had been synced.
    Everything,
    /// The n-th alone, counted from 0 as in [`SimFs::effects`](super::SimFs::effects).
    Only(usize),
    /// All but the n-th.
    AllBut(usize),
    /// Each by chance from this seed: any version of a name, a length, or a 512-byte sector since its last sync.
    Seeded(u64),
}

/// Deterministic chance (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("less than a usize")
    }
}

/// A [`Survive`] being applied effect by effect, in one fixed order.
#[derive(Debug)]
pub(super) struct Fate {
    survive: Survive,
    index: usize,
    chance: Chance,
}

impl Fate {
    pub(super) fn new(survive: Survive) -> Self {
        let seed = if let Survive::Seeded(seed) = survive { seed } else { 0 };
        Self { survive, index: 0, chance: Chance(seed) }
    }

    /// Which version survives: 0 is the media's, `versions` the newest.
    fn pick(&mut self, versions: usize) -> usize {
        let index = self.index;
        self.index += 1;
        match self.survive {
            Survive::Nothing => 0,
            Survive::Everything => versions,
            Survive::Only(n) => versions * usize::from(n == index),
            Survive::AllBut(n) => versions * usize::from(n != index),
            Survive::Seeded(_) => self.chance.below(versions + 1),
        }
    }

    pub(super) fn len(&mut self, media: u64, lens: &[u64]) -> u64 {
        self.pick(lens.len()).checked_sub(1).and_then(|n| lens.get(n).copied()).unwrap_or(media)
    }

    pub(super) fn page(&mut self, media: Option<&Page>, versions: &[Option<Page>]) -> Option<Page> {
        let whole = self.pick(versions.len());
        if matches!(self.survive, Survive::Seeded(_)) && self.chance.flip() {
            return torn(media, versions, || self.chance.below(versions.len() + 1));
        }
        match whole.checked_sub(1) {
            None => media.cloned(),
            Some(n) => versions.get(n).cloned().flatten(),
        }
    }

    fn name(&mut self, media: Option<Node>, versions: &[Option<Node>]) -> Option<Node> {
        match self.pick(versions.len()).checked_sub(1) {
            None => media,
            Some(n) => versions.get(n).copied().flatten(),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Dir,
}

#[derive(Debug, Clone, Default)]
struct Dir {
    cache: BTreeMap<String, Node>,
    media: BTreeMap<String, Node>,
    changes: BTreeMap<String, Vec<Option<Node>>>,
}

/// All inodes and directories.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    next_inode: u64,
}

impl Disk {
    pub(super) fn new() -> Self {
        let dirs = BTreeMap::from([(PathBuf::from("/"), Dir::default())]);
        Self { inodes: BTreeMap::new(), dirs, next_inode: 0 }
    }

    pub(super) fn inode(&mut self, number: u64) -> &mut Inode {
        self.inodes.entry(number).or_default()
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
        let dir = self.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        dir.media.clone_from(&dir.cache);
        dir.changes.clear();
        self.collect();
        Ok(())
    }

    /// Bytes of space that named or open files take.
    pub(super) fn allocated(&self) -> u64 {
        let named: BTreeSet<u64> =
            self.dirs.values().flat_map(|dir| dir.cache.values()).filter_map(inode_of).collect();
        let pages = self.inodes.iter().filter(|(number, inode)| inode.handles > 0 || named.contains(number));
        pages.map(|(_, inode)| inode.allocated_pages() * PAGE).sum()
    }

    pub(super) fn effects(&self) -> usize {
        let names: usize = self.dirs.values().map(|dir| dir.changes.len()).sum();
        names + self.inodes.values().map(Inode::effects).sum::<usize>()
    }

    /// The disk after a power cut; everything in the answer is durable.
    pub(super) fn crash(&self, survive: Survive) -> Self {
        let mut fate = Fate::new(survive);
        let mut image = Self { next_inode: self.next_inode, ..Self::new() };
        for (path, dir) in &self.dirs {
            let mut names = dir.media.clone();
            for (name, versions) in &dir.changes {
                match fate.name(dir.media.get(name).copied(), versions) {
                    Some(node) => names.insert(name.clone(), node),
                    None => names.remove(name),
                };
            }
            image
                .dirs
                .insert(path.clone(), Dir { cache: names.clone(), media: names, changes: BTreeMap::new() });
        }
        image.inodes = self.inodes.iter().map(|(number, inode)| (*number, inode.crash(&mut fate))).collect();
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
        let dangling: Vec<PathBuf> = self.dirs.keys().cloned().collect();
        for path in dangling {
            let known: BTreeSet<PathBuf> = self.dirs.keys().cloned().collect();
            let Some(dir) = self.dirs.get_mut(&path) else { continue };
            dir.cache.retain(|name, node| *node != Node::Dir || known.contains(&path.join(name)));
            dir.media.clone_from(&dir.cache);
        }
    }

    fn is_reachable(&self, path: &Path) -> bool {
        path == Path::new("/") || matches!(self.lookup(path), Ok(Some(Node::Dir)))
    }

    /// Drops inodes that no name, durable or not, and no handle can reach.
    fn collect(&mut self) {
        let mut used = BTreeSet::new();
        for dir in self.dirs.values() {
            used.extend(dir.cache.values().chain(dir.media.values()).filter_map(inode_of));
            used.extend(dir.changes.values().flatten().flatten().filter_map(inode_of));
        }
        self.inodes.retain(|number, inode| inode.handles > 0 || used.contains(number));
    }

    fn bind(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        match node {
            Some(node) => dir.cache.insert(name.to_owned(), node),
            None => dir.cache.remove(name),
        };
        dir.changes.entry(name.to_owned()).or_default().push(node);
        Ok(())
    }
}

fn inode_of(node: &Node) -> Option<u64> {
    match node {
        Node::File(inode) => Some(*inode),
        Node::Dir => None,
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
