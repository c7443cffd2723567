//! Log sequence numbers.

use std::fmt;

use crate::format::FIRST_LSN;

/// Number of a record in its log: the first is 1, the next one more, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The first record of every log.
    pub const FIRST: Self = Self(FIRST_LSN);

    /// The number after this one; the highest stays.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

impl From<u64> for Lsn {
    fn from(lsn: u64) -> Self {
        Self(lsn)
    }
}

/// How far a log has come; each is the LSN after the last record that got there. None ever decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watermarks {
    /// Told to whoever appended them. The next record gets this number or, where others are on their way, a higher one.
    pub appended: Lsn,
    /// In the file: they survive the death of the process.
    pub written: Lsn,
    /// On the media: they survive a power cut.
    pub durable: Lsn,
    /// Gone: the first record that can be read, if it is below `durable`.
    pub low: Lsn,
}
