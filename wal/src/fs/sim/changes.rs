//! What one page, length or name has gone through since its last sync, oldest first.

use super::fate::Chance;

#[derive(Debug, Clone)]
pub(super) struct Changes<T> {
    versions: Vec<T>,
    /// When the last was made, counted in changes of the disk.
    stamp: u64,
}

impl<T> Changes<T> {
    pub(super) fn push(&mut self, version: T, stamp: u64) {
        self.versions.push(version);
        self.stamp = stamp;
    }

    pub(super) fn versions(&self) -> &[T] {
        &self.versions
    }

    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.versions.clear();
    }

    /// Some version, or `None` for what there was at the last sync.
    pub(super) fn any(&self, chance: &mut Chance) -> Option<&T> {
        chance.below(self.versions.len() + 1).checked_sub(1).and_then(|n| self.versions.get(n))
    }
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { versions: Vec::new(), stamp: 0 }
    }
}
