//! Single values of columns that are not open: for a few lines it takes less to look them up as they are stored.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits::unpack_from;
use super::decode::{take_piece, unprintable};
use super::{Column, Encoding};
use crate::columnar::fault::Fault;
use crate::columnar::planes;
use crate::columnar::stream::{Kind, Streams};

/// Values that are added up in the time that one is passed over otherwise.
const ADDED: usize = 16;

impl Column {
    /// Puts the text of the value of that number to `out`, and says about how many values were passed over for it. `None`
    /// where all before it would have to be read, or where it depends on the line.
    pub(crate) fn peek(
        &self,
        streams: &Streams,
        number: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, Fault> {
        out.clear();
        let part = self.part(streams)?;
        let missing =
            |kind| Fault::corrupt(kind, self.values.start, format!("no value {number} of a column"));
        match self.encoding {
            Encoding::Const { .. } => {
                out.extend_from_slice(self.distinct_part(streams)?);
                Ok(Some(0))
            }
            Encoding::Dict { distinct, .. } => {
                let id = self.id(part, distinct, number).ok_or_else(|| missing(Kind::Ids))?;
                let value = nth(self.distinct_part(streams)?, id).ok_or_else(|| missing(Kind::Values))?;
                out.extend_from_slice(value);
                Ok(Some(id))
            }
            Encoding::FixedDict { distinct } => {
                let id = self.id(part, distinct, number).ok_or_else(|| missing(Kind::Ids))?;
                self.print_fixed(self.distinct_part(streams)?, id, out).ok_or_else(|| missing(Kind::Bits))?;
                Ok(Some(0))
            }
            Encoding::Fixed => {
                self.print_fixed(part, number, out).ok_or_else(|| missing(Kind::Bits))?;
                Ok(Some(0))
            }
            Encoding::For { base, width } => {
                let above = unpack_from(part, width, number, 1).next().unwrap_or(0);
                self.print(base.wrapping_add(above), out)?;
                Ok(Some(0))
            }
            Encoding::Planes { base, .. } => {
                let bytes =
                    part.chunks(self.rows.max(1)).map(|plane| plane.get(number).copied().unwrap_or(0));
                let above = (0u32..).zip(bytes).fold(0u64, |above, (plane, byte)| {
                    above | u64::from(byte).checked_shl(plane.wrapping_mul(8)).unwrap_or(0)
                });
                self.print(base.wrapping_add(above), out)?;
                Ok(Some(0))
            }
            Encoding::Text { .. } => {
                out.extend_from_slice(self.text(part, number).ok_or_else(|| missing(Kind::Text))?);
                Ok(Some(number / ADDED))
            }
            Encoding::Delta { .. }
            | Encoding::DeltaFor { .. }
            | Encoding::RowTime { .. }
            | Encoding::Same { .. } => Ok(None),
        }
    }

    /// The number of a value in its dictionary.
    fn id(&self, part: &[u8], distinct: usize, number: usize) -> Option<usize> {
        let low = usize::from(*part.get(number)?);
        let high = if distinct > 256 { *part.get(self.rows.checked_add(number)?)? } else { 0 };
        Some(low | usize::from(high) << 8).filter(|id| *id < distinct)
    }

    fn print(&self, value: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut room = [0; 40];
        let width = self.class.print(value, &mut room);
        out.extend_from_slice(room.get(..width).unwrap_or_default());
        if width > 0 { Ok(()) } else { Err(unprintable(self.class, value)) }
    }

    fn print_fixed(&self, values: &[u8], number: usize, out: &mut Vec<u8>) -> Option<()> {
        let value = values.chunks_exact(self.class.fixed_bytes()?).nth(number)?;
        self.class.print_bytes(value, out);
        Some(())
    }

    /// A piece of the text: all lengths before it say where it starts.
    fn text<'a>(&self, part: &'a [u8], number: usize) -> Option<&'a [u8]> {
        let width = usize::from(*part.first()?);
        let (lengths, text) = part.split_at_checked(width.checked_mul(self.rows)?.checked_add(1)?)?;
        planes::count(lengths).filter(|count| *count == self.rows)?;
        let (mut start, mut length) = (0usize, 0usize);
        for (plane, bytes) in (0u32..).zip(lengths.get(1..)?.chunks_exact(self.rows.max(1))) {
            let shift = plane.checked_mul(8)?;
            let before = bytes.get(..number)?.iter().fold(0usize, |sum, &byte| sum.wrapping_add(byte.into()));
            start = start.checked_add(before.checked_shl(shift)?)?;
            length = length.checked_add(usize::from(*bytes.get(number)?).checked_shl(shift)?)?;
        }
        text.get(start..start.checked_add(length)?)
    }
}

/// The value of that number in a dictionary.
fn nth(mut values: &[u8], number: usize) -> Option<&[u8]> {
    for _ in 0..number {
        take_piece(&mut values)?;
    }
    take_piece(&mut values)
}
