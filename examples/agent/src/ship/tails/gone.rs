//! Files that are over. One that has no name left is closed and forgotten, since its number may be given to another. One
//! that was rotated away and is quiet for long is closed and remembered, and opened again where it grows after all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::disk;
use super::super::identity::{HEAD_BYTES, Key, Verdict, judge};
use super::{Tail, Tails};

/// A file that was removed is over when nothing came for this long: whoever writes it may be slow to notice.
const OVER_AFTER_NS: u64 = 5_000_000_000;
/// A file that is only called something else is closed when nothing came for this long.
const LEFT_AFTER_NS: u64 = 3_600_000_000_000;
/// How often directories are searched for files that were closed.
const SWEEP_EVERY_NS: u64 = 60_000_000_000;

impl Tail {
    /// Whether nothing is expected any more.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        let Some(lost_ns) = self.lost_ns else { return false };
        let quiet_ns = now_ns.saturating_sub(lost_ns.max(self.changed_ns));
        if self.unlinked {
            return quiet_ns >= OVER_AFTER_NS;
        }
        // What has no full head could not be told from another file later.
        quiet_ns >= LEFT_AFTER_NS && self.head.len == HEAD_BYTES as u64
    }
}

impl Tails {
    /// Closes the files that are over, once all that was read is settled, and forgets those that are gone; whether there
    /// were any. Until then they stay open, so that their numbers stay theirs.
    pub fn forget(&mut self) -> bool {
        let before = self.files.len();
        self.files.retain(|_, tail| !(tail.over && tail.unlinked));
        for tail in self.files.values_mut().filter(|tail| tail.over) {
            (tail.over, tail.file) = (false, None);
        }
        let waiting = self.waiting.iter().map(|path| path.to_string_lossy().into_owned());
        let names =
            self.files.values().map(|tail| tail.stream.clone()).chain(waiting).collect::<BTreeSet<_>>();
        self.times.retain(|name, _| names.contains(name));
        self.files.len() != before
    }

    /// Searches for the files that were closed while they had a name.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        if !self.follow || now_ns.saturating_sub(self.swept_ns) < SWEEP_EVERY_NS {
            return;
        }
        self.swept_ns = now_ns;
        let mut closed: BTreeMap<PathBuf, Vec<Key>> = BTreeMap::new();
        for (&key, tail) in
            self.files.iter().filter(|(_, tail)| tail.file.is_none() && tail.lost_ns.is_some())
        {
            closed.entry(disk::directory(Path::new(&tail.stream)).to_owned()).or_default().push(key);
        }
        for (dir, keys) in closed {
            let Ok(there) = disk::numbers_in(&dir) else { continue };
            for key in keys {
                match there.get(&key) {
                    Some(path) => self.reopen(key, path, now_ns),
                    None => _ = self.files.remove(&key),
                }
            }
        }
    }

    fn reopen(&mut self, key: Key, path: &Path, now_ns: u64) {
        let Some(tail) = self.files.get_mut(&key).filter(|tail| tail.wanted) else { return };
        if disk::named(path).is_ok_and(|seen| (seen.len, seen.modified) == (tail.len, tail.modified)) {
            return;
        }
        let Some((file, seen)) = disk::open(path).ok().filter(|(_, seen)| seen.key == key) else { return };
        let Ok(head) = disk::head(&file, tail.head.len) else { return };
        if judge(tail.head, tail.offset, seen.len, head) == Verdict::Rewritten {
            self.files.remove(&key);
        } else if seen.len > tail.offset {
            (tail.file, tail.changed_ns) = (Some(file), now_ns);
            self.look_at(key, seen, now_ns);
        } else {
            (tail.len, tail.modified) = (seen.len, seen.modified);
        }
    }
}
