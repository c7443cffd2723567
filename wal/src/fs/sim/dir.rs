//! One simulated directory: the names that a process sees, those on the media, and every change in between.

use std::collections::BTreeMap;

use super::changes::Changes;
use super::fate::{Chance, Fate};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Dir,
}

impl Node {
    pub(super) fn inode(&self) -> Option<u64> {
        match self {
            Self::File(inode) => Some(*inode),
            Self::Dir => None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Dir {
    pub(super) cache: BTreeMap<String, Node>,
    media: BTreeMap<String, Node>,
    /// Since the last sync; `None` is a name removed.
    changes: BTreeMap<String, Changes<Option<Node>>>,
}

impl Dir {
    pub(super) fn bind(&mut self, name: &str, node: Option<Node>, stamp: u64) {
        match node {
            Some(node) => self.cache.insert(name.to_owned(), node),
            None => self.cache.remove(name),
        };
        self.changes.entry(name.to_owned()).or_default().push(node, stamp);
    }

    /// What a sync that works does.
    pub(super) fn persist(&mut self) {
        for name in std::mem::take(&mut self.changes).into_keys() {
            match self.cache.get(&name) {
                Some(node) => self.media.insert(name, *node),
                None => self.media.remove(&name),
            };
        }
    }

    /// What a sync that fails, or lies, may do first: of each file's name some version reaches the media, and all
    /// count as clean.
    pub(super) fn lose(&mut self, chance: &mut Chance) {
        let (dirs, files): (BTreeMap<_, _>, _) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition(|(_, changes)| changes.versions().contains(&Some(Node::Dir)));
        self.changes = dirs;
        for (name, changes) in files {
            match changes.any(chance) {
                Some(Some(node)) => drop(self.media.insert(name, *node)),
                Some(None) => drop(self.media.remove(&name)),
                None => {}
            }
        }
    }

    /// The cache forgets the names of files that the media does not have.
    pub(super) fn revert(&mut self) {
        let dirs = self.cache.iter().filter(|(_, node)| **node == Node::Dir);
        let dirs: Vec<_> = dirs.map(|(name, node)| (name.clone(), *node)).collect();
        self.cache.clone_from(&self.media);
        self.cache.extend(dirs);
    }

    /// Independent things a power cut decides about this directory.
    pub(super) fn effects(&self) -> usize {
        self.changes.len()
    }

    /// When each of them was made, in the order of [`crash`](Self::crash).
    pub(super) fn stamps(&self) -> impl Iterator<Item = u64> {
        self.changes.values().map(Changes::stamp)
    }

    /// The first name here of a file.
    pub(super) fn name_of(&self, inode: u64) -> Option<&str> {
        let mut names = self.cache.iter();
        names.find(|(_, node)| node.inode() == Some(inode)).map(|(name, _)| name.as_str())
    }

    /// Every file that a name stands for, or may stand for after a power cut.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let changed = self.changes.values().flat_map(Changes::versions).flatten();
        self.cache.values().chain(self.media.values()).chain(changed).filter_map(Node::inode)
    }

    /// The directory after a power cut; everything in the answer is durable.
    pub(super) fn crash(&self, fate: &mut Fate) -> Self {
        let mut names = self.media.clone();
        for (name, changes) in &self.changes {
            match fate.value(self.media.get(name).copied(), changes.versions()) {
                Some(node) => names.insert(name.clone(), node),
                None => names.remove(name),
            };
        }
        Self { cache: names.clone(), media: names, changes: BTreeMap::new() }
    }

    /// Forgets directories that are not there.
    pub(super) fn forget(&mut self, is_there: impl Fn(&str) -> bool) {
        self.cache.retain(|name, node| *node != Node::Dir || is_there(name));
        self.media.clone_from(&self.cache);
    }
}
