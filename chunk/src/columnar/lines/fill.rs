//! Puts the lines of a piece together: for each skeleton, and some of its rows at a time, each step for all of these
//! rows. Lines have room for their longest values, so that nothing has to be measured first but text in pieces.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::decode::{MAX_ROOM, Open};
use super::piece::{Made, Ordinals, Piece};
use super::put::{Chosen, Direct, InPieces, InRow, Lookup, Target, put, put_in_cells, put_literal, put_same};
use super::slots::{Scratch, Slot, SlotIds, Text};
use super::template::{Step, Template, Templates};
use crate::Limits;
use crate::columnar::column::{Column, NARROW, Values, WIDE, size_for};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::Streams;

/// Bytes of lines that are worked on at once: they stay in the nearest cache.
const NEAR: usize = 16 << 10;

/// Bytes behind the last line that may be looked at with it.
const SLACK: usize = 2 * WIDE;

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

impl<'a> Sources<'a> {
    /// Makes all lines of a piece.
    pub(super) fn fill(
        &self,
        piece: &mut Piece,
        scratch: &mut Scratch,
        made: &mut Made,
    ) -> Result<(), Fault> {
        scratch.used = 0;
        scratch.ids.clear();
        made.lines.clear();
        made.lines.resize(piece.order.len(), (0, 0));
        scratch.end = 0;
        let room = (0..piece.kinds().len()).fold(SLACK, |room, kind| {
            let template = usize::from(piece.kinds().get(kind).copied().unwrap_or(0)).checked_sub(1);
            let of_row =
                template.and_then(|at| self.templates.list().get(at)).map_or(0, |template| template.room);
            room.saturating_add(of_row.saturating_mul(piece.rows_of(kind).len()))
        });
        if made.text.capacity() < room.min(MAX_ROOM) {
            // Nothing of it is needed any more. The next piece may take a little more.
            made.text = Vec::with_capacity(room.saturating_add(room / 4).min(MAX_ROOM));
        }
        let cells = piece.used().fold(0usize, |cells, (column, count)| {
            let size = match self.open.get(column as usize).and_then(Option::as_ref) {
                Some(Open { values: Values::Numbers(_), longest }) => size_for(*longest),
                Some(Open { values: Values::RowTime { .. }, .. }) => WIDE,
                _ => 0,
            };
            cells.saturating_add(size.saturating_mul(count))
        });
        scratch.cells.reserve(cells.min(MAX_ROOM).saturating_sub(scratch.cells.len()));
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
        let kept = (scratch.used, scratch.ids.len());
        slots.clear();
        for (number, column) in columns_of(steps).enumerate() {
            let ordinals = piece.ordinals_of(kind).get(number).copied().unwrap_or(Ordinals::Own);
            slots.push(self.slot(column, ordinals, rows.clone(), piece, scratch)?);
        }
        let room = self.make_room(template, slots, rows.clone(), piece, scratch)?;
        grow(&mut made.text, scratch.end.saturating_add(SLACK));
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
        scratch.used = kept.0;
        scratch.ids.truncate(kept.1);
        Ok(())
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
        for slot in slots {
            let slot = match slot.text {
                // What is repeated repeats none.
                Text::Same(other) => slots.get(other).unwrap_or(slot),
                _ => slot,
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
        let max = self.limits.max_line_bytes;
        let longest = more.iter().fold(0, |longest, more| longest.max(*more)) as usize;
        if sure.saturating_add(longest) > max {
            return Err(Fault::limit("max_line_bytes", sure.saturating_add(longest), max));
        }
        let sum =
            more.iter().fold(sure.saturating_mul(rows.len()), |sum, more| sum.saturating_add(*more as usize));
        let mut next = |more: usize| {
            let start = *end;
            *end = start.saturating_add(room).saturating_add(more);
            start
        };
        if more.is_empty() {
            starts.extend((0..rows.len()).map(|_| next(0)));
        } else {
            starts.extend(more.iter().map(|more| next(*more as usize)));
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
        let Scratch { cells, ids: unpacked, at, places, spans, before, .. } = scratch;
        let order = piece.order.get(start..).unwrap_or_default();
        let mut target = Target { text, at: at.get_mut(some.clone()).unwrap_or_default() };
        let mut slots = slots.iter();
        places.clear();
        spans.clear();
        for step in self.templates.steps(template) {
            let (mut literal, mut bytes) = (self.templates.literal(step), step.bytes as usize);
            if bytes > WIDE || step.column().is_none() {
                put_literal(&mut target, literal, bytes);
                (literal, bytes) = (&[], 0);
            }
            let Some(slot) = step.column().and_then(|_| slots.next()) else { continue };
            places.push(spans.len());
            if step.repeated {
                before.clear();
                before.extend(target.at.iter().map(|at| at.saturating_add(bytes)));
            }
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
                    let spans = places.get(other).and_then(|&start| spans.get(start..)).unwrap_or_default();
                    put_same(&mut target, spans);
                }
            }
            if step.repeated {
                spans.extend(before.iter().copied().zip(target.at.iter().copied()));
            }
        }
    }
}

fn columns_of(steps: &[Step]) -> impl Iterator<Item = u32> {
    steps.iter().filter_map(Step::column)
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
    let narrow = literal.1 <= NARROW;
    match (narrow, size) {
        (true, WIDE) => {
            put_in_cells::<NARROW, WIDE, { NARROW + WIDE }>(target, literal, chosen, lookup, cells)
        }
        (true, _) => {
            put_in_cells::<NARROW, NARROW, { NARROW + NARROW }>(target, literal, chosen, lookup, cells)
        }
        (false, WIDE) => put_in_cells::<WIDE, WIDE, { WIDE + WIDE }>(target, literal, chosen, lookup, cells),
        (false, _) => put_in_cells::<WIDE, NARROW, { WIDE + NARROW }>(target, literal, chosen, lookup, cells),
    }
}
