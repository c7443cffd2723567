//! One simulated directory: the names that a process sees, those on the media, and every change in between.

use std::collections::BTreeMap;

use super::fate::Fate;

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
    /// Versions since the last sync, oldest first; `None` is a name removed.
    changes: BTreeMap<String, Vec<Option<Node>>>,
}

impl Dir {
    pub(super) fn bind(&mut self, name: &str, node: Option<Node>) {
        match node {
            Some(node) => self.cache.insert(name.to_owned(), node),
            None => self.cache.remove(name),
        };
        self.changes.entry(name.to_owned()).or_default().push(node);
    }

    /// What a sync that works does.
    pub(super) fn persist(&mut self) {
        self.media.clone_from(&self.cache);
        self.changes.clear();
    }

    /// Independent things a power cut decides about this directory.
    pub(super) fn effects(&self) -> usize {
        self.changes.len()
    }

    /// Every file that a name stands for, or may stand for after a power cut.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let changed = self.changes.values().flatten().flatten();
        self.cache.values().chain(self.media.values()).chain(changed).filter_map(Node::inode)
    }

    /// The directory after a power cut; everything in the answer is durable.
    pub(super) fn crash(&self, fate: &mut Fate) -> Self {
        let mut names = self.media.clone();
        for (name, versions) in &self.changes {
            match fate.value(self.media.get(name).copied(), versions) {
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
