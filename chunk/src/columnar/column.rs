//! A column: the values that one slot of the skeletons takes, in row order. The table of columns says for each
//! what its values are and how they are written; the values lie in the pooled streams, one column behind the
//! other, a large one in a stream of its own.

pub(crate) mod bits;
mod cells;
mod choose;
mod decode;
mod encode;
mod peek;
mod table;
#[cfg(test)]
mod tests;

use super::class::Class;

pub(crate) use bits::{unpack_each, unpack_from};
pub(crate) use cells::{Cells, NARROW, WIDE, size_for, width_of_class};
pub(crate) use decode::{Ids, Values, Words, decode, print_cells};
pub(crate) use encode::Encoder;
pub(crate) use table::table;

/// How the values of a column are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// One value, in VALUES.
    Const { bytes: usize },
    /// Distinct values in VALUES, and for each row the number of one in IDS.
    Dict { distinct: usize, bytes: usize },
    /// Lengths and bytes of all values in TEXT.
    Text { bytes: usize },
    /// What is left above the least, in BITS.
    For { base: u64, width: u8 },
    /// Each value's distance from the one before, in NUMBERS.
    Delta { bytes: usize },
    /// What is left of that distance above the least, in BITS.
    DeltaFor { first: u64, least: i64, width: u8 },
    /// What is left above the least, byte by byte, in NUMBERS.
    Planes { base: u64, bytes: u8 },
    /// The binary form, in BITS.
    Fixed,
    /// The binary forms of the distinct values in BITS, and numbers in IDS.
    FixedDict { distinct: usize },
    /// The row's time in units of so many nanoseconds, plus a number.
    RowTime { exponent: u8, delta: i64 },
    /// What stands in an earlier slot of the same line.
    Same { slot: usize },
}

impl Encoding {
    /// The byte that stands for it in a file.
    fn number(self) -> u8 {
        match self {
            Self::Const { .. } => 0,
            Self::Dict { .. } => 1,
            Self::Text { .. } => 2,
            Self::For { .. } => 3,
            Self::Delta { .. } => 4,
            Self::DeltaFor { .. } => 5,
            Self::Planes { .. } => 6,
            Self::Fixed => 7,
            Self::FixedDict { .. } => 8,
            Self::RowTime { .. } => 9,
            Self::Same { .. } => 10,
        }
    }
}

/// Set in the byte of the encoding: the values are in a stream of their own.
const ALONE: u8 = 0x80;

/// One column, as the table has it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) class: Class,
    pub(crate) encoding: Encoding,
    /// How many values it has.
    pub(crate) rows: usize,
    /// Where the rows' values lie.
    values: Place,
    /// Where the distinct ones lie.
    distinct: Place,
}

/// A part of a stream: of the pooled one that the encoding says, or of the large column of that number.
#[derive(Clone, Copy, Default, Debug)]
struct Place {
    alone: Option<usize>,
    start: usize,
    bytes: usize,
}
