//! Where a read was left, in a few bytes that can be handed out and come back: a page of a query goes on where the one
//! before it ended, whatever has become of the blocks in between.

use crate::range::{Direction, TimeRange};
use crate::{Error, Section};

/// The place behind an entry, in the direction that was read.
///
/// It is a time and how many of its entries were handed out, and nothing of blocks: a cursor of a builder's snapshot is
/// good for the chunk that the builder makes, and one of a chunk for the same entries in another format. Entries that
/// were appended in between are read if they come behind the cursor; read backward, those of the cursor's own time move
/// it by as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    direction: Direction,
    timestamp_ns: i64,
    passed: u64,
}

impl Cursor {
    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub const BYTES: usize = 17;

    /// Before all entries.
    pub(crate) fn start(direction: Direction) -> Self {
        let timestamp_ns = match direction {
            Direction::Forward => i64::MIN,
            Direction::Backward => i64::MAX,
        };
        Self { direction, timestamp_ns, passed: 0 }
    }

    /// Puts it behind the next entries, of which the last `same` have this time.
    #[inline]
    pub(crate) fn pass(&mut self, timestamp_ns: i64, same: u64) {
        let before = if self.timestamp_ns == timestamp_ns { self.passed } else { 0 };
        (self.timestamp_ns, self.passed) = (timestamp_ns, before.saturating_add(same));
    }

    /// What of a range is left: all behind the cursor, and the entries of its own time.
    pub(crate) fn rest_of(self, range: TimeRange) -> TimeRange {
        let rest = match self.direction {
            Direction::Forward => TimeRange::from(self.timestamp_ns..),
            Direction::Backward => TimeRange::from(..=self.timestamp_ns),
        };
        range.intersection(rest)
    }

    /// In which direction the read goes on.
    pub fn direction(self) -> Direction {
        self.direction
    }

    /// The time of the last entry that was handed out, nanoseconds since 1970; the end of all times where there was
    /// none.
    pub fn timestamp_ns(self) -> i64 {
        self.timestamp_ns
    }

    /// How many entries of that time were handed out.
    pub(crate) fn passed(self) -> u64 {
        self.passed
    }

    /// The cursor as bytes: a byte that is 0 forward and 1 backward, then time and number of the entries of that time
    /// that were handed out, of eight bytes, big-endian.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [u8::from(self.direction == Direction::Backward); Self::BYTES];
        let [_, numbers @ ..] = &mut bytes;
        let [timestamp_ns, passed] = [self.timestamp_ns.to_be_bytes(), self.passed.to_be_bytes()];
        numbers.iter_mut().zip(timestamp_ns.into_iter().chain(passed)).for_each(|(to, from)| *to = from);
        bytes
    }

    /// The cursor of such bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for any others.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let corrupt = || {
            let what = format!("cursor \"{}\", not 0 or 1 and 16 bytes", bytes.escape_ascii());
            Error::corrupt(Section::Cursor, 0, what)
        };
        let (&direction, numbers) = bytes.split_first().ok_or_else(corrupt)?;
        let direction = match direction {
            0 => Direction::Forward,
            1 => Direction::Backward,
            _ => return Err(corrupt()),
        };
        match numbers.as_chunks::<8>() {
            ([timestamp_ns, passed], []) => Ok(Self {
                direction,
                timestamp_ns: i64::from_be_bytes(*timestamp_ns),
                passed: u64::from_be_bytes(*passed),
            }),
            _ => Err(corrupt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_and_its_bytes_determine_each_other() {
        for direction in [Direction::Forward, Direction::Backward] {
            for timestamp_ns in [i64::MIN, -1, 0, i64::MAX] {
                let cursor = Cursor { direction, timestamp_ns, passed: 258 };
                assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Ok(cursor));
            }
        }
        let bytes = Cursor { direction: Direction::Backward, timestamp_ns: -2, passed: 258 }.to_bytes();
        assert_eq!(bytes, [1, 255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn other_bytes_are_no_cursor() {
        let good = Cursor::start(Direction::Forward).to_bytes();
        for length in 0..17 {
            assert!(Cursor::from_bytes(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(Cursor::from_bytes(&[&good[..], &[0]].concat()).is_err());
        assert!(Cursor::from_bytes(&[&[2], &good[1..]].concat()).is_err());
    }

    #[test]
    fn entries_of_one_time_are_counted() {
        let mut cursor = Cursor::start(Direction::Forward);
        for (time, passed) in [(i64::MIN, 1), (i64::MIN, 2), (3, 1), (3, 2), (4, 1)] {
            cursor.pass(time, 1);
            assert_eq!((cursor.timestamp_ns(), cursor.passed()), (time, passed));
        }
        assert_eq!(cursor.rest_of(TimeRange::ALL), TimeRange::from(4..));
        assert_eq!(cursor.rest_of(TimeRange::from(..4)), TimeRange::EMPTY);
    }
}
