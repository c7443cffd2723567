//! One simulated file: what the process sees, what is on the media, and every page and length in between that a
//! power cut may leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

use super::changes::Changes;
use super::fate::{Chance, Fate};
use super::page::{PAGE, PAGE_LEN, Page, SECTOR, ZEROS, within};

/// Failures to write back, counted; and what the last one was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    pub(super) last: Option<ErrorKind>,
}

/// A file's content by page; a page that is missing is a hole and reads as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    cache: BTreeMap<u64, Page>,
    cache_len: u64,
    media: BTreeMap<u64, Page>,
    media_len: u64,
    /// Since the last sync; `None` is a page cut off.
    dirty: BTreeMap<u64, Changes<Option<Page>>>,
    lens: Changes<u64>,
    /// What pages were before their newest change.
    past: BTreeMap<u64, Page>,
    /// What the disk stamps changes with now.
    pub(super) stamp: u64,
    /// Failures to bring its bytes to the media so far, each told once to every handle that was open then.
    pub(super) failures: Failures,
    /// Open handles: they keep the space of a file without a name.
    pub(super) handles: usize,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.cache_len
    }

    pub(super) fn allocated_pages(&self) -> u64 {
        self.cache.len() as u64
    }

    /// Pages in `from..to` that are holes so far.
    pub(super) fn holes(&self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let (first, last) = (from / PAGE, (to - 1) / PAGE);
        (last - first + 1) - self.cache.range(first..=last).count() as u64
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let mut done = 0;
        while done < buf.len() && offset + (done as u64) < self.cache_len {
            let at = offset + done as u64;
            let start = within(at);
            let left = usize::try_from(self.cache_len - at).unwrap_or(usize::MAX);
            let n = (PAGE_LEN - start).min(buf.len() - done).min(left);
            let target = &mut buf[done..done + n];
            match self.cache.get(&(at / PAGE)) {
                Some(page) => target.copy_from_slice(&page[start..start + n]),
                None => target.fill(0),
            }
            done += n;
        }
        done
    }

    /// Puts the first sector in `offset..offset + buf.len()` that has changed back to what it was.
    pub(super) fn make_stale(&self, buf: &mut [u8], offset: u64) {
        let end = offset + buf.len() as u64;
        for (number, past) in self.past.range(offset / PAGE..end.div_ceil(PAGE)) {
            for start in (0..PAGE_LEN).step_by(SECTOR) {
                let at = number * PAGE + start as u64;
                let (from, to) = (at.max(offset), (at + SECTOR as u64).min(end));
                if from >= to {
                    continue;
                }
                let old = &past[within(from)..within(from) + usize::try_from(to - from).expect("a sector")];
                let skip = usize::try_from(from - offset).expect("inside of the buffer");
                let new = &mut buf[skip..skip + old.len()];
                if new != old {
                    new.copy_from_slice(old);
                    return;
                }
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let start = within(at);
            let n = (PAGE_LEN - start).min(bytes.len() - done);
            let part = &bytes[done..done + n];
            if part == ZEROS.as_slice() {
                self.put(at / PAGE, ZEROS.clone());
            } else {
                self.edit(at / PAGE, |page| page[start..start + n].copy_from_slice(part));
            }
            done += n;
        }
        let end = offset + bytes.len() as u64;
        if !bytes.is_empty() && end > self.cache_len {
            self.put_len(end);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.cache_len {
            let kept = len.div_ceil(PAGE);
            let cut: Vec<u64> = self.cache.range(kept..).map(|(&number, _)| number).collect();
            for number in cut {
                self.cache.remove(&number);
                self.dirty.entry(number).or_default().push(None, self.stamp);
            }
            if within(len) > 0 && self.cache.contains_key(&(len / PAGE)) {
                self.edit(len / PAGE, |page| page[within(len)..].fill(0));
            }
        }
        self.put_len(len);
    }

    /// Fills holes in `0..len` with pages of zeros.
    pub(super) fn allocate(&mut self, len: u64) {
        for number in 0..len.div_ceil(PAGE) {
            if !self.cache.contains_key(&number) {
                self.put(number, ZEROS.clone());
            }
        }
        if len > self.cache_len {
            self.put_len(len);
        }
    }

    /// What a sync that works does.
    pub(super) fn persist(&mut self) {
        for number in std::mem::take(&mut self.dirty).into_keys() {
            match self.cache.get(&number) {
                Some(page) => self.media.insert(number, page.clone()),
                None => self.media.remove(&number),
            };
        }
        self.lens.clear();
        self.media_len = self.cache_len;
    }

    /// What a sync that fails, or lies, may do first: of each page some version reaches the media, perhaps one
    /// that has been overwritten since, and all are marked clean.
    pub(super) fn lose(&mut self, chance: &mut Chance) {
        for (number, changes) in std::mem::take(&mut self.dirty) {
            match changes.any(chance) {
                Some(Some(page)) => drop(self.media.insert(number, page.clone())),
                Some(None) => drop(self.media.remove(&number)),
                None => {}
            }
        }
        self.lens.clear();
    }

    /// The cache forgets what the media does not have.
    pub(super) fn revert(&mut self) {
        self.cache.clone_from(&self.media);
        self.cache_len = self.media_len;
        self.dirty.clear();
        self.lens.clear();
    }

    /// Independent things a power cut decides about this file.
    pub(super) fn effects(&self) -> usize {
        self.dirty.len() + usize::from(!self.lens.is_empty())
    }

    /// When each of them was made, in the order of [`crash`](Self::crash).
    pub(super) fn stamps(&self) -> impl Iterator<Item = u64> {
        let len = (!self.lens.is_empty()).then(|| self.lens.stamp());
        self.dirty.values().map(Changes::stamp).chain(len)
    }

    /// The file after a power cut, which may ruin any `block` of pages with a dirty one in it; everything in the answer is durable.
    pub(super) fn crash(&self, fate: &mut Fate, block: Option<u64>) -> Self {
        let mut pages = self.media.clone();
        let sector = if self.cache_len.max(self.media_len) <= PAGE { 1 } else { SECTOR };
        for (number, changes) in &self.dirty {
            match fate.page(self.media.get(number), changes.versions(), sector) {
                Some(page) => pages.insert(*number, page),
                None => pages.remove(number),
            };
        }
        if let Some(block) = block {
            let blocks: BTreeSet<u64> = self.dirty.keys().map(|page| page / block).collect();
            for first in blocks.into_iter().filter(|_| fate.ruins()).map(|n| n * block).collect::<Vec<_>>() {
                pages.extend((first..first + block).map(|page| (page, fate.rubble())));
            }
        }
        let len = if self.lens.is_empty() {
            self.media_len
        } else {
            fate.value(self.media_len, self.lens.versions())
        };
        let mut image = Self { cache: pages, cache_len: u64::MAX, ..Self::default() };
        image.set_len(len);
        image.persist();
        image.media.clone_from(&image.cache);
        image
    }

    fn put_len(&mut self, len: u64) {
        if len != self.cache_len {
            self.cache_len = len;
            self.lens.push(len, self.stamp);
        }
    }

    fn put(&mut self, number: u64, page: Page) {
        let past = self.cache.insert(number, page.clone()).unwrap_or_else(|| ZEROS.clone());
        if !Arc::ptr_eq(&past, &page) {
            self.past.insert(number, past);
        }
        self.dirty.entry(number).or_default().push(Some(page), self.stamp);
    }

    fn edit(&mut self, number: u64, change: impl FnOnce(&mut [u8; PAGE_LEN])) {
        let page = self.cache.entry(number).or_insert_with(|| ZEROS.clone());
        self.past.insert(number, page.clone());
        change(Arc::make_mut(page));
        self.dirty.entry(number).or_default().push(Some(page.clone()), self.stamp);
    }
}
