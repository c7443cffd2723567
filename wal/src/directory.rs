//! The log's directory: what its files are called, and the list of segments with their place in the log.
//!
//! Segment numbers in the list are contiguous, and so are the LSNs they hold.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::format::MAX_NUMBER;
use crate::pool::Pool;

/// Name of the lock file.
pub(crate) const LOCK: &str = "LOCK";
/// Name of the directory that keeps what repairs cut off.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What a name in the directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Spare,
    Other,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Self {
        if name.starts_with("spare-") && name.ends_with(".tmp") {
            return Self::Spare;
        }
        let digits = name.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".seg"));
        match digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(number @ 1..=MAX_NUMBER) if name == segment_name(number) => Self::Segment(number),
            _ => Self::Other,
        }
    }
}

fn segment_name(number: u64) -> String {
    format!("wal-{number:016x}.seg")
}

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(segment_name(number))
}

pub(crate) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("spare-{number}.tmp"))
}

/// The number in a spare's name: of the segment that it was, or is to be.
pub(crate) fn spare_number(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_prefix("spare-")?.strip_suffix(".tmp")?;
    let number = digits.parse().ok()?;
    // The name that this number gives, and no other way to write it.
    (path.file_name() == spare_path(Path::new(""), number).file_name()).then_some(number)
}

/// A segment with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) segment: u64,
    /// LSN of its first record.
    pub(crate) base: u64,
    /// Length of its file.
    pub(crate) bytes: u64,
}

/// Every segment from the oldest to the one being written, and the one made ahead.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    entries: VecDeque<Entry>,
    reserved_bytes: u64,
    /// Below the low watermark, with files that are being removed, or whose removal failed.
    leftovers: Vec<Entry>,
    /// Files kept to be used again.
    pub(crate) pool: Pool,
}

impl Directory {
    pub(crate) fn new(entries: Vec<Entry>, reserved_bytes: u64) -> Self {
        Self { entries: entries.into(), reserved_bytes, ..Self::default() }
    }

    /// Bytes that all segment files take, but for those that are kept to be used again.
    pub(crate) fn bytes(&self) -> u64 {
        let kept: u64 = self.entries.iter().chain(&self.leftovers).map(|entry| entry.bytes).sum();
        kept + self.reserved_bytes
    }

    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Segments with records, or about to get some.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn set_reserved(&mut self, bytes: u64) {
        self.reserved_bytes = bytes;
    }

    /// The segment made ahead becomes the one being written.
    pub(crate) fn activate(&mut self, entry: Entry) {
        self.reserved_bytes = 0;
        self.entries.push_back(entry);
    }

    /// The segment's file was shortened.
    pub(crate) fn resize(&mut self, segment: u64, bytes: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.segment == segment) {
            entry.bytes = bytes;
        }
    }

    /// The segment that holds `lsn`, or would; the oldest if it is older than all.
    pub(crate) fn holding(&self, lsn: u64) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| entry.base <= lsn);
        self.entries.get(after.saturating_sub(1)).copied()
    }

    /// Whether the segment is on the list.
    pub(crate) fn has(&self, segment: u64) -> bool {
        let oldest = self.entries.front().map_or(u64::MAX, |entry| entry.segment);
        (oldest..oldest.saturating_add(self.entries.len() as u64)).contains(&segment)
    }

    /// The segment that follows.
    pub(crate) fn after(&self, segment: u64) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.segment > segment).copied()
    }

    /// Bytes of the segments from the one that holds `lsn` on.
    pub(crate) fn bytes_from(&self, lsn: u64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.base <= lsn);
        self.entries.iter().skip(after.saturating_sub(1)).map(|entry| entry.bytes).sum()
    }

    /// Whether a segment's records all lie below `low`, and it is not the one being written.
    pub(crate) fn frees(&self, low: u64) -> bool {
        self.entries.get(1).is_some_and(|next| next.base <= low)
    }

    /// Takes from the list the segments whose records all lie below `low`, never the one being written; answers them
    /// and what an earlier removal left. Their files count until they are [`gone`](Self::gone).
    pub(crate) fn take_below(&mut self, low: u64) -> Vec<Entry> {
        while self.frees(low) {
            self.leftovers.extend(self.entries.pop_front());
        }
        self.leftovers.clone()
    }

    /// The file of an entry that [`take_below`](Self::take_below) gave out has lost its name.
    pub(crate) fn gone(&mut self, segment: u64) {
        self.leftovers.retain(|entry| entry.segment != segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let entry = |segment, base| Entry { segment, base, bytes: 100 };
        Directory::new(vec![entry(4, 10), entry(5, 20), entry(6, 20), entry(7, 35)], 50)
    }

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(Name::parse("wal-00000000000000ff.seg"), Name::Segment(255));
        for other in ["wal-ff.seg", "wal-00000000000000FF.seg", "wal-+0000000000000ff.seg", "LOCK", ""] {
            assert_eq!(Name::parse(other), Name::Other, "{other}");
        }
        assert_eq!(Name::parse("spare-12.tmp"), Name::Spare);
        let number = |name: &str| spare_number(Path::new(name));
        assert_eq!(number("/log/spare-12.tmp"), Some(12));
        for other in ["/log/spare-012.tmp", "/log/spare-+2.tmp", "/log/spare-.tmp", "/log/wal-2.seg", "/"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn an_lsn_is_found_in_its_segment() {
        let found = |lsn| directory().holding(lsn).unwrap().segment;
        assert_eq!((found(1), found(10), found(19), found(34), found(99)), (4, 4, 4, 6, 7));
        assert_eq!(directory().after(5).unwrap().segment, 6);
        assert_eq!(directory().bytes_from(34), 200);
        assert_eq!(directory().bytes(), 450);
    }

    #[test]
    fn whole_segments_below_the_watermark_go_but_never_the_last() {
        let taken = |low| directory().take_below(low).len();
        assert_eq!((taken(19), taken(20), taken(34), taken(35), taken(99)), (0, 2, 2, 3, 3));
        let mut directory = directory();
        let taken = directory.take_below(20);
        assert_eq!((directory.len(), directory.bytes()), (2, 450));
        directory.gone(taken[1].segment);
        assert_eq!((directory.len(), directory.bytes()), (2, 350));
        assert_eq!(directory.take_below(20), taken[..1]);
    }
}
