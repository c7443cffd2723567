//! Puts the lines of a piece together: for each skeleton, and some of its rows at a time, each step for all of these
//! rows. Lines have room for their longest values, so that nothing has to be measured first but text in pieces.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::decode::{MAX_ROOM, Open};
use super::piece::{Made, Ordinals, Piece};
use super::put::{Chosen, Direct, InCells, InPieces, InRow, Lookup, Target, put, put_literal, put_same};
use super::template::{Step, Template, Templates};
use crate::Limits;
use crate::columnar::class::Class;
use crate::columnar::column::{
    Cells, Column, Ids, NARROW, Values, WIDE, Words, print_cells, size_for, unpack_from,
};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::{Kind, Streams};

/// Bytes of lines that are worked on at once: they stay in the nearest cache.
const NEAR: usize = 16 << 10;

/// What to read a piece from.
pub(super) struct Sources<'a> {
    pub(super) templates: &'a Templates,
    pub(super) columns: &'a [Column],
    pub(super) open: &'a [Option<Open>],
    pub(super) raw: Option<&'a RawLines>,
    pub(super) streams: &'a Streams,
    /// Of the rows of the piece.
    pub(super) times: &'a [i64],
    pub(super) limits: &'a Limits,
}

/// Values that were printed for a piece, and the like; kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    cells: Vec<u8>,
    ids: Vec<u16>,
    numbers: Vec<u64>,
    starts: Vec<usize>,
    at: Vec<usize>,
    /// Where the text ends so far.
    end: usize,
    more: Vec<u32>,
    /// Where slots start and end, of the rows that are worked on.
    places: Vec<Vec<(usize, usize)>>,
}

/// Where something of a column is in the scratch: in the cells, or in the numbers of values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Printed {
    at: usize,
}

/// Where the text of a slot is.
#[derive(Clone, Copy)]
enum Text<'a> {
    Printed { printed: Printed, size: usize },
    Cells { cells: &'a Cells, ids: SlotIds<'a> },
    Pieces { bytes: &'a [u8], pieces: &'a [(u32, u32)], ids: Option<SlotIds<'a>> },
    Fixed { printed: Printed, width: usize },
    Const(&'a [u8]),
    Same(usize),
}

/// The numbers of values in a dictionary.
#[derive(Clone, Copy)]
enum SlotIds<'a> {
    Bytes(&'a [u8]),
    Wide(&'a [u16]),
    Unpacked(Printed),
}

struct Slot<'a> {
    text: Text<'a>,
    ordinals: Ordinals,
    longest: usize,
}

impl<'a> Sources<'a> {
    /// Makes all lines of a piece.
    pub(super) fn fill(
        &self,
        piece: &mut Piece,
        scratch: &mut Scratch,
        made: &mut Made,
    ) -> Result<(), Fault> {
        scratch.cells.clear();
        scratch.ids.clear();
        made.lines.clear();
        made.lines.resize(piece.order.len(), (0, 0));
        scratch.end = 0;
        let mut raw = 0usize;
        let mut slots = Vec::new();
        for kind in 0..piece.kinds().len() {
            let skeleton = piece.kinds().get(kind).copied().unwrap_or(0);
            match usize::from(skeleton).checked_sub(1) {
                None => {
                    raw = piece.rows_of(kind).len();
                    self.raw_lines(piece, kind, &mut scratch.end, made)?;
                }
                Some(at) => {
                    let template = self.templates.list().get(at).copied().unwrap_or_default();
                    self.template(&template, kind, piece, scratch, &mut slots, made)?;
                }
            }
        }
        let bytes = made.bytes();
        if bytes > self.limits.block_bytes() {
            return Err(Fault::limit("max_block_bytes", bytes, self.limits.block_bytes()));
        }
        piece.advance(raw);
        Ok(())
    }

    fn raw_lines(&self, piece: &Piece, kind: usize, end: &mut usize, made: &mut Made) -> Result<(), Fault> {
        let Some(lines) = self.raw else { return Ok(()) };
        let first = piece.before(self.columns.len());
        let rows = piece.order.get(piece.rows_of(kind)).unwrap_or_default();
        for (number, &row) in (first..).zip(rows) {
            let line = lines.line(self.streams, number)?;
            let start = *end;
            *end = end.saturating_add(line.len());
            self.check_block(*end, MAX_ROOM)?;
            grow(&mut made.text, *end);
            if let Some(place) = made.text.get_mut(start..*end) {
                place.copy_from_slice(line);
            }
            let place = made.lines.get_mut(usize::from(row));
            if let (Some(place), Ok(start), Ok(bytes)) =
                (place, u32::try_from(start), u32::try_from(line.len()))
            {
                *place = (start, bytes);
            }
        }
        Ok(())
    }

    /// Refuses more text than a block may have, but for the room that is left between lines.
    fn check_block(&self, bytes: usize, room: usize) -> Result<(), Fault> {
        let max = self.limits.block_bytes().saturating_add(room).min(u32::MAX as usize);
        if bytes > max { Err(Fault::limit("max_block_bytes", bytes, max)) } else { Ok(()) }
    }

    fn template(
        &self,
        template: &Template,
        kind: usize,
        piece: &mut Piece,
        scratch: &mut Scratch,
        slots: &mut Vec<Slot<'a>>,
        made: &mut Made,
    ) -> Result<(), Fault> {
        let steps = self.templates.steps(template);
        let rows = piece.rows_of(kind);
        // What other skeletons need too is printed first, and stays.
        for (column, ordinals) in columns_of(steps).zip(0..) {
            if !matches!(piece.ordinals_of(kind).get(ordinals), None | Some(Ordinals::Own)) {
                let (known, open) = self.open(column)?;
                self.printed(known, open, column, piece, scratch)?;
            }
        }
        let kept = (scratch.cells.len(), scratch.ids.len());
        slots.clear();
        for (number, column) in columns_of(steps).enumerate() {
            let ordinals = piece.ordinals_of(kind).get(number).copied().unwrap_or(Ordinals::Own);
            slots.push(self.slot(column, ordinals, rows.clone(), piece, scratch)?);
        }
        let room = self.make_room(template, slots, rows.clone(), piece, scratch)?;
        grow(&mut made.text, scratch.end);
        let near = NEAR.checked_div(room).unwrap_or(0).clamp(16, 512);
        let mut first = 0usize;
        while first < rows.len() {
            let some = first..rows.len().min(first.saturating_add(near));
            self.put(template, slots, rows.start, some.clone(), piece, scratch, &mut made.text);
            first = some.end;
        }
        let order = piece.order.get(rows).unwrap_or_default();
        for ((&row, &start), &end) in order.iter().zip(&scratch.starts).zip(&scratch.at) {
            let bytes = end.saturating_sub(start);
            if bytes > self.limits.max_line_bytes {
                return Err(Fault::limit("max_line_bytes", bytes, self.limits.max_line_bytes));
            }
            let place = made.lines.get_mut(usize::from(row));
            if let (Some(place), Ok(start), Ok(bytes)) = (place, u32::try_from(start), u32::try_from(bytes)) {
                *place = (start, bytes);
            }
        }
        scratch.cells.truncate(kept.0);
        scratch.ids.truncate(kept.1);
        Ok(())
    }

    fn open(&self, column: u32) -> Result<(&'a Column, &'a Open), Fault> {
        let number = column as usize;
        let open = self.open.get(number).and_then(Option::as_ref);
        let column = self.columns.get(number).zip(open);
        column.ok_or_else(|| Fault::corrupt(Kind::Columns, 0, format!("no column {number}")))
    }

    /// Where the text of a slot is; what has to be printed for it is.
    fn slot(
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
    fn printed(
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
                let ids = unpack_from(part, *width, before, count);
                scratch.ids.extend(ids.map(|id| u16::try_from(id).unwrap_or(u16::MAX)));
                Printed { at }
            }
            _ => return Ok(Printed::default()),
        };
        if piece.is_shared(number) {
            piece.set_printed(number, printed);
        }
        Ok(printed)
    }

    /// Gives each row of a skeleton its place in the text; and what is the room of one, but for text in pieces.
    fn make_room(
        &self,
        template: &Template,
        slots: &[Slot<'_>],
        rows: Range<usize>,
        piece: &Piece,
        scratch: &mut Scratch,
    ) -> Result<usize, Fault> {
        let Scratch { more, starts, at, end, ids: unpacked, .. } = scratch;
        more.clear();
        // What a line has for sure, and the room for what it may have.
        let (mut sure, mut room) = (template.literal_bytes, template.literal_bytes.saturating_add(WIDE));
        let order = piece.order.get(rows.clone()).unwrap_or_default();
        for number in 0..slots.len() {
            let mut of = number;
            let slot = loop {
                match slots.get(of) {
                    // Each repeats one before it.
                    Some(Slot { text: Text::Same(other), .. }) if *other < of => of = *other,
                    Some(slot) => break slot,
                    None => return Err(Fault::corrupt(Kind::Skeletons, 0, "a slot that repeats none")),
                }
            };
            match slot.text {
                Text::Pieces { pieces, ids, .. } => {
                    more.resize(rows.len(), 0);
                    let chosen = slot.chosen(0..rows.len(), order, &piece.lists);
                    match ids {
                        None => add_lengths(pieces, chosen, Direct, more),
                        Some(SlotIds::Bytes(ids)) => add_lengths(pieces, chosen, ids, more),
                        Some(SlotIds::Wide(ids)) => add_lengths(pieces, chosen, ids, more),
                        Some(SlotIds::Unpacked(printed)) => {
                            add_lengths(pieces, chosen, unpacked.get(printed.at..).unwrap_or_default(), more);
                        }
                    }
                }
                Text::Const(_) | Text::Fixed { .. } => {
                    sure = sure.saturating_add(slot.longest);
                    room = room.saturating_add(slot.longest);
                }
                _ => room = room.saturating_add(slot.longest),
            }
        }
        starts.clear();
        let (mut sum, max) = (0usize, self.limits.max_line_bytes);
        for row in 0..rows.len() {
            let more = more.get(row).map_or(0, |more| *more as usize);
            let bytes = sure.saturating_add(more);
            if bytes > max {
                return Err(Fault::limit("max_line_bytes", bytes, max));
            }
            sum = sum.saturating_add(bytes);
            starts.push(*end);
            *end = end.saturating_add(room).saturating_add(more);
        }
        self.check_block(sum, 0)?;
        self.check_block(*end, MAX_ROOM.saturating_mul(2))?;
        at.clear();
        at.extend_from_slice(starts);
        Ok(room)
    }

    /// Writes some rows of a skeleton, whose rows start at `start` in the order of the piece.
    #[expect(clippy::too_many_arguments, reason = "what is read, what is written, and which part of it")]
    fn put(
        &self,
        template: &Template,
        slots: &[Slot<'_>],
        start: usize,
        some: Range<usize>,
        piece: &Piece,
        scratch: &mut Scratch,
        text: &mut [u8],
    ) {
        let Scratch { cells, ids: unpacked, at, places, .. } = scratch;
        let order = piece.order.get(start..).unwrap_or_default();
        let mut target = Target { text, at: at.get_mut(some.clone()).unwrap_or_default() };
        let mut slots = slots.iter();
        places.clear();
        for step in self.templates.steps(template) {
            let (mut literal, mut bytes) = (self.templates.literal(step), step.bytes as usize);
            if bytes > WIDE || step.column.is_none() {
                put_literal(&mut target, literal, bytes);
                (literal, bytes) = (&[], 0);
            }
            let Some(slot) = step.column.and_then(|_| slots.next()) else { continue };
            let before: Vec<usize> = if template.repeats { target.at.to_vec() } else { Vec::new() };
            let chosen = slot.chosen(some.clone(), order, &piece.lists);
            let literal = (literal, bytes);
            match slot.text {
                Text::Printed { printed, size } => {
                    let cells = cells.get(printed.at..).unwrap_or_default();
                    put_cells(&mut target, literal, chosen, Direct, (cells, size));
                }
                Text::Cells { cells, ids } => {
                    let cells = (cells.bytes(), cells.size());
                    match ids {
                        SlotIds::Bytes(ids) => put_cells(&mut target, literal, chosen, ids, cells),
                        SlotIds::Wide(ids) => put_cells(&mut target, literal, chosen, ids, cells),
                        SlotIds::Unpacked(printed) => {
                            let ids = unpacked.get(printed.at..).unwrap_or_default();
                            put_cells(&mut target, literal, chosen, ids, cells);
                        }
                    }
                }
                Text::Pieces { bytes, pieces, ids } => {
                    let source = InPieces { bytes, pieces };
                    match ids {
                        None => put(&mut target, literal, chosen, Direct, source),
                        Some(SlotIds::Bytes(ids)) => put(&mut target, literal, chosen, ids, source),
                        Some(SlotIds::Wide(ids)) => put(&mut target, literal, chosen, ids, source),
                        Some(SlotIds::Unpacked(printed)) => {
                            let ids = unpacked.get(printed.at..).unwrap_or_default();
                            put(&mut target, literal, chosen, ids, source);
                        }
                    }
                }
                Text::Fixed { printed, width } => {
                    let source = InRow { bytes: cells.get(printed.at..).unwrap_or_default(), width };
                    put(&mut target, literal, chosen, Direct, source);
                }
                Text::Const(text) => {
                    let piece = [(0, u32::try_from(text.len()).unwrap_or(0))];
                    let ids: &[u8] = &[0; 512];
                    put(&mut target, literal, Chosen::From(0), ids, InPieces { bytes: text, pieces: &piece });
                }
                Text::Same(other) => {
                    put_literal(&mut target, literal.0, literal.1);
                    put_same(&mut target, places.get(other).map_or(&[], Vec::as_slice));
                }
            }
            if template.repeats {
                let starts = before.iter().map(|at| at.saturating_add(bytes));
                places.push(starts.zip(target.at.iter().copied()).collect());
            }
        }
    }
}

impl Slot<'_> {
    /// Which values some rows of its skeleton have; `order` are all of these.
    fn chosen<'b>(&self, some: Range<usize>, order: &'b [u16], lists: &'b [u32]) -> Chosen<'b> {
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
    /// Prints the numbers into cells of a size.
    fn print(&mut self, class: Class, size: usize) -> Result<Printed, Fault> {
        let Self { cells, numbers, .. } = self;
        let printed = Printed { at: cells.len() };
        cells.resize(printed.at.saturating_add(numbers.len().saturating_mul(size)), 0);
        print_cells(class, numbers, cells.get_mut(printed.at..).unwrap_or_default())?;
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
        let printed = Printed { at: self.cells.len() };
        self.cells.reserve(count.saturating_mul(width).saturating_add(WIDE));
        for value in part.chunks_exact(class.fixed_bytes().unwrap_or(1)).skip(first).take(count) {
            class.print_bytes(value, &mut self.cells);
        }
        // Behind the last one there is something to be copied with it.
        self.cells.extend_from_slice(&[0; WIDE]);
        printed
    }
}

fn columns_of(steps: &[Step]) -> impl Iterator<Item = u32> {
    steps.iter().filter_map(|step| step.column)
}

fn grow(text: &mut Vec<u8>, end: usize) {
    if text.len() < end {
        text.resize(end, 0);
    }
}

/// Adds the lengths of the pieces that rows have.
fn add_lengths(pieces: &[(u32, u32)], chosen: Chosen<'_>, lookup: impl Lookup, more: &mut [u32]) {
    let add = |(more, value): (&mut u32, usize)| {
        let bytes = pieces.get(lookup.id(value)).map_or(0, |&(_, bytes)| bytes);
        *more = more.saturating_add(bytes);
    };
    match chosen {
        Chosen::From(first) => more.iter_mut().zip(first..).for_each(add),
        Chosen::Rows(rows) => more.iter_mut().zip(rows.iter().map(|&row| usize::from(row))).for_each(add),
        Chosen::List(list) => more.iter_mut().zip(list.iter().map(|&value| value as usize)).for_each(add),
    }
}

/// [`put`] of text in cells of that size.
fn put_cells(
    target: &mut Target<'_>,
    literal: (&[u8], usize),
    chosen: Chosen<'_>,
    lookup: impl Lookup,
    (cells, size): (&[u8], usize),
) {
    if size == WIDE {
        put(target, literal, chosen, lookup, InCells::<WIDE> { cells: cells.as_chunks().0 });
    } else {
        put(target, literal, chosen, lookup, InCells::<NARROW> { cells: cells.as_chunks().0 });
    }
}
