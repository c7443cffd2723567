//! The records: bytes that do not compress, or lines of real logs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Enough of them that no two neighbours are alike, few enough to stay in the processor's cache.
const RING_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    Bytes(usize),
    /// A line of a log.
    Line,
}

impl Record {
    pub fn name(self) -> String {
        match self {
            Self::Line => "line".into(),
            Self::Bytes(bytes) if bytes >= 1 << 10 => format!("{}KiB", bytes >> 10),
            Self::Bytes(bytes) => format!("{bytes}B"),
        }
    }
}

/// Records to be appended, over and over.
#[derive(Debug)]
pub struct Load {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Load {
    pub fn of(record: Record, lines: Option<&Path>) -> Outcome<Self> {
        match (record, lines) {
            (Record::Bytes(bytes), _) => Ok(Self::random(bytes)),
            (Record::Line, Some(path)) => Self::lines(path),
            (Record::Line, None) => Err("no file of log lines was named".into()),
        }
    }

    fn random(record_bytes: usize) -> Self {
        let count = (RING_BYTES / record_bytes.max(1)).clamp(16, 4_096);
        let mut random = Random(1);
        let mut bytes: Vec<u8> = Vec::with_capacity(count * record_bytes + 8);
        while bytes.len() < count * record_bytes {
            bytes.extend_from_slice(&random.draw().to_le_bytes());
        }
        // The last byte is never zero: where the data of a file end can then be seen.
        let ends: Vec<usize> = (1..=count).map(|n| n * record_bytes).collect();
        for &end in &ends {
            if let Some(last) = end.checked_sub(1).and_then(|last| bytes.get_mut(last)) {
                *last |= 1;
            }
        }
        Self { bytes, ends }
    }

    /// Those of one file, or of all below a directory that are named `*.log`, in the order of their names.
    fn lines(path: &Path) -> Outcome<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let log =
            |file: &PathBuf| file == path || file.extension().is_some_and(|extension| extension == "log");
        for file in files(path)?.into_iter().filter(log) {
            for line in std::fs::read(file)?.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                bytes.extend_from_slice(line);
                ends.push(bytes.len());
            }
        }
        if ends.is_empty() { Err("no line in it".into()) } else { Ok(Self { bytes, ends }) }
    }

    /// All of them, and the first `more` again, so that from each of [`len`](Self::len) places as many follow.
    pub fn records(&self, more: usize) -> Vec<&[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let all: Vec<&[u8]> =
            starts.zip(&self.ends).map(|(from, &to)| self.bytes.get(from..to).unwrap_or_default()).collect();
        all.iter().copied().cycle().take(all.len() + more).collect()
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Of the average record.
    pub fn record_bytes(&self) -> u64 {
        (self.bytes.len() / self.len().max(1)).max(1) as u64
    }
}

/// The files below `path`, in the order of their names.
pub fn files(path: &Path) -> Outcome<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut all = Vec::new();
    for entry in entries {
        all.extend(files(&entry.path())?);
    }
    Ok(all)
}

/// Steele, Lea and Flood's SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_their_length_and_follow_each_other_round_and_round() {
        let load = Load::of(Record::Bytes(64), None).unwrap();
        let records = load.records(100);
        assert_eq!(records.len(), load.len() + 100);
        assert!(records.iter().all(|record| record.len() == 64 && record.last() != Some(&0)));
        assert_eq!(records.first(), records.get(load.len()));
        assert_ne!(records.first(), records.get(1));
    }

    #[test]
    fn lines_are_those_of_all_logs() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.log"), "three\n").unwrap();
        std::fs::write(dir.path().join("a.log"), "one\n\ntwo").unwrap();
        std::fs::write(dir.path().join("LICENSE"), "no log").unwrap();
        let load = Load::of(Record::Line, Some(dir.path())).unwrap();
        assert_eq!(load.records(0), [b"one".as_slice(), b"two", b"three"]);
    }
}
