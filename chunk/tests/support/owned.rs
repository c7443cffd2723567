//! Entries that own what they hold, to be compared.

#![allow(dead_code, reason = "each test takes the parts it needs")]

use forebay_chunk::{Direction, Entry, EntryIter, Error, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owned {
    pub(crate) timestamp_ns: i64,
    pub(crate) line: Vec<u8>,
    pub(crate) metadata: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Owned {
    pub(crate) fn new(timestamp_ns: i64, line: &[u8]) -> Self {
        Self { timestamp_ns, line: line.to_vec(), metadata: Vec::new() }
    }

    /// Calls `with` with the entry, borrowed.
    pub(crate) fn lend<R>(&self, with: impl FnOnce(Entry<'_>) -> R) -> R {
        let pairs: Vec<(&[u8], &[u8])> = self.metadata.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        with(Entry::new(self.timestamp_ns, &self.line).with_metadata(Metadata::from(&pairs[..])))
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.line.len() + 8 * self.metadata.len()
    }
}

impl From<Entry<'_>> for Owned {
    fn from(entry: Entry<'_>) -> Self {
        let metadata = entry.metadata.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        Self { timestamp_ns: entry.timestamp_ns, line: entry.line.to_vec(), metadata }
    }
}

/// All that is left of an iterator, or what it fails with.
pub(crate) fn collect(entries: &mut EntryIter) -> Result<Vec<Owned>, Error> {
    let mut all = Vec::new();
    while let Some(entry) = entries.next()? {
        all.push(entry.into());
    }
    Ok(all)
}

/// In the order that `direction` asks for.
pub(crate) fn directed(mut entries: Vec<Owned>, direction: Direction) -> Vec<Owned> {
    if direction == Direction::Backward {
        entries.reverse();
    }
    entries
}
