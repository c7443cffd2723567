//! Where the text of a slot is, for the rows of a piece: in a dictionary, in the column, or printed for it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::decode::Open;
use super::fill::Sources;
use super::piece::{Ordinals, Piece};
use super::put::Chosen;
use super::work::{bytes_of, taken};
use crate::columnar::class::Class;
use crate::columnar::column::{Cells, Column, Ids, Values, WIDE, Words, print_cells, size_for, unpack_each};
use crate::columnar::fault::Fault;
use crate::columnar::stream::Kind;

/// Values that were printed for a piece, and the like; kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Kept as it is: only the first `used` bytes mean anything.
    pub(super) cells: Vec<u8>,
    pub(super) used: usize,
    pub(super) ids: Vec<u16>,
    pub(super) numbers: Vec<u64>,
    pub(super) starts: Vec<usize>,
    pub(super) at: Vec<usize>,
    /// Where the text ends so far.
    pub(super) end: usize,
    pub(super) more: Vec<u32>,
    /// For each slot, where those of the rows that are worked on are in `spans`, if another one repeats it.
    pub(super) places: Vec<usize>,
    /// Where such slots start and end.
    pub(super) spans: Vec<(usize, usize)>,
    /// Where the slot at hand starts.
    pub(super) before: Vec<usize>,
}

/// Where something of a column is in the scratch: in the cells, or in the numbers of values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Printed {
    pub(super) at: usize,
}

/// Where the text of a slot is.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    Printed { printed: Printed, size: usize },
    Cells { cells: &'a Cells, ids: SlotIds<'a> },
    Pieces { bytes: &'a [u8], pieces: &'a [(u32, u32)], ids: Option<SlotIds<'a>> },
    Fixed { printed: Printed, width: usize },
    Const(&'a [u8]),
    Same(usize),
}

/// The numbers of values in a dictionary.
#[derive(Clone, Copy)]
pub(super) enum SlotIds<'a> {
    Bytes(&'a [u8]),
    Wide(&'a [u16]),
    Unpacked(Printed),
}

/// A slot of the skeleton at hand.
pub(super) struct Slot<'a> {
    pub(super) text: Text<'a>,
    pub(super) ordinals: Ordinals,
    pub(super) longest: usize,
}

impl<'a> Sources<'a> {
    pub(super) fn open(&self, column: u32) -> Result<(&'a Column, &'a Open), Fault> {
        let number = column as usize;
        let open = self.open.get(number).and_then(Option::as_ref);
        let column = self.columns.get(number).zip(open);
        column.ok_or_else(|| Fault::corrupt(Kind::Columns, 0, format!("no column {number}")))
    }

    /// Where the text of a slot is; what has to be printed for it is.
    pub(super) fn slot(
        &self,
        number: u32,
        ordinals: Ordinals,
        rows: Range<usize>,
        piece: &mut Piece,
        scratch: &mut Scratch,
    ) -> Result<Slot<'a>, Fault> {
        let (column, open) = self.open(number)?;
        let size = size_for(open.longest);
        let before = piece.before(number as usize);
        let mut slot = Slot { text: Text::Same(0), ordinals, longest: open.longest };
        slot.text = match &open.values {
            Values::Const(text) => Text::Const(text),
            Values::Same(other) => Text::Same(*other),
            Values::Numbers(_) => {
                Text::Printed { printed: self.printed(column, open, number, piece, scratch)?, size }
            }
            Values::Fixed { width } => {
                let printed = self.printed(column, open, number, piece, scratch)?;
                Text::Fixed { printed, width: *width }
            }
            Values::RowTime { unit_ns, delta } => {
                slot.ordinals = Ordinals::Own;
                let order = piece.order.get(rows).unwrap_or_default();
                let time = |&row: &u16| self.times.get(usize::from(row)).copied().unwrap_or_default();
                let units = order.iter().map(|row| time(row).div_euclid(*unit_ns));
                scratch.numbers.clear();
                scratch.numbers.extend(units.map(|units| units.wrapping_add(*delta).cast_unsigned()));
                Text::Printed { printed: scratch.print(column.class, size)?, size }
            }
            Values::Text { pieces, start } => {
                let bytes = column.part(self.streams)?.get(*start..).unwrap_or_default();
                Text::Pieces { bytes, pieces: pieces.get(before..).unwrap_or_default(), ids: None }
            }
            Values::Dict { ids, words } => {
                let ids = match ids {
                    Ids::Bytes => {
                        SlotIds::Bytes(column.part(self.streams)?.get(before..).unwrap_or_default())
                    }
                    Ids::Wide(ids) => SlotIds::Wide(ids.get(before..).unwrap_or_default()),
                    Ids::Packed(_) => SlotIds::Unpacked(self.printed(column, open, number, piece, scratch)?),
                };
                match words {
                    Words::Cells(cells) => Text::Cells { cells, ids },
                    Words::Pieces(text) => {
                        Text::Pieces { bytes: &text.bytes, pieces: &text.pieces, ids: Some(ids) }
                    }
                }
            }
        };
        Ok(slot)
    }

    /// Where the values of a column are that the piece takes, printed or unpacked, if it is one of which they are.
    pub(super) fn printed(
        &self,
        column: &Column,
        open: &Open,
        number: u32,
        piece: &mut Piece,
        scratch: &mut Scratch,
    ) -> Result<Printed, Fault> {
        let number = number as usize;
        if let Some(printed) = piece.printed(number) {
            return Ok(printed);
        }
        let (before, count) = (piece.before(number), piece.count_of(number));
        let part = column.part(self.streams)?;
        let printed = match &open.values {
            Values::Numbers(numbers) => {
                numbers.read(part, column.rows, before, count, &mut scratch.numbers);
                scratch.print(column.class, size_for(open.longest))?
            }
            Values::Fixed { width } => scratch.print_fixed(column.class, part, before, count, *width),
            Values::Dict { ids: Ids::Packed(width), .. } => {
                let at = scratch.ids.len();
                scratch.ids.resize(at.saturating_add(count), 0);
                let mut places = scratch.ids.get_mut(at..).unwrap_or_default().iter_mut();
                unpack_each(part, *width, before, count, |id| {
                    if let (Some(place), Ok(id)) = (places.next(), u16::try_from(id)) {
                        *place = id;
                    }
                });
                Printed { at }
            }
            _ => return Ok(Printed::default()),
        };
        if piece.is_shared(number) {
            piece.set_printed(number, printed);
        }
        Ok(printed)
    }
}

impl Slot<'_> {
    /// Which values some rows of its skeleton have; `order` are all of these.
    pub(super) fn chosen<'b>(&self, some: Range<usize>, order: &'b [u16], lists: &'b [u32]) -> Chosen<'b> {
        match self.ordinals {
            Ordinals::Own => Chosen::From(some.start),
            Ordinals::Row => Chosen::Rows(order.get(some).unwrap_or_default()),
            Ordinals::List(start) => {
                let list = lists.get(start..).unwrap_or_default();
                Chosen::List(list.get(some).unwrap_or_default())
            }
        }
    }
}

impl Scratch {
    pub(super) fn memory_bytes(&self) -> usize {
        taken!(
            self.cells,
            self.ids,
            self.numbers,
            self.starts,
            self.at,
            self.more,
            self.places,
            self.spans,
            self.before
        )
    }

    /// Prints the numbers into cells of a size.
    fn print(&mut self, class: Class, size: usize) -> Result<Printed, Fault> {
        let Self { cells, used, numbers, .. } = self;
        let printed = Printed { at: *used };
        *used = printed.at.saturating_add(numbers.len().saturating_mul(size));
        if cells.len() < *used {
            cells.resize(*used, 0);
        }
        print_cells(class, numbers, cells.get_mut(printed.at..*used).unwrap_or_default())?;
        Ok(printed)
    }

    /// Prints values that are bytes, one behind the other.
    fn print_fixed(
        &mut self,
        class: Class,
        part: &[u8],
        first: usize,
        count: usize,
        width: usize,
    ) -> Printed {
        let printed = Printed { at: self.used };
        self.cells.truncate(self.used);
        self.cells.reserve(count.saturating_mul(width).saturating_add(WIDE));
        for value in part.chunks_exact(class.fixed_bytes().unwrap_or(1)).skip(first).take(count) {
            class.print_bytes(value, &mut self.cells);
        }
        // Behind the last one there is something to be copied with it.
        self.cells.extend_from_slice(&[0; WIDE]);
        self.used = self.cells.len();
        printed
    }
}
