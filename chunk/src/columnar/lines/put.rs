//! The inner loops: one step, for some rows of one skeleton. Text is moved in pieces of a fixed size; what is beyond a
//! value is overwritten by what follows it in its line.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::columnar::column::WIDE;

/// Where lines are written, and how far each is.
pub(super) struct Target<'a> {
    pub(super) text: &'a mut [u8],
    pub(super) at: &'a mut [usize],
}

/// Which values some rows have.
#[derive(Clone, Copy)]
pub(super) enum Chosen<'a> {
    /// Those from a number on.
    From(usize),
    Rows(&'a [u16]),
    List(&'a [u32]),
}

/// From the number of a value to that of its text.
pub(super) trait Lookup: Copy {
    fn id(self, value: usize) -> usize;

    /// Those of the values from one on.
    fn ids_from(self, first: usize) -> impl Iterator<Item = usize>;
}

/// Each value has its own text.
#[derive(Clone, Copy)]
pub(super) struct Direct;

impl Lookup for Direct {
    #[inline]
    fn id(self, value: usize) -> usize {
        value
    }

    #[inline]
    fn ids_from(self, first: usize) -> impl Iterator<Item = usize> {
        first..usize::MAX
    }
}

impl<T: Copy + Into<usize>> Lookup for &[T] {
    #[inline]
    fn id(self, value: usize) -> usize {
        self.get(value).map_or(usize::MAX, |&id| id.into())
    }

    #[inline]
    fn ids_from(self, first: usize) -> impl Iterator<Item = usize> {
        self.get(first..).unwrap_or_default().iter().map(|&id| id.into())
    }
}

/// Where texts are.
pub(super) trait Source: Copy {
    /// Writes a text, and gives its length.
    fn put(self, id: usize, text: &mut [u8], at: usize) -> usize;
}

/// In pieces of any length.
#[derive(Clone, Copy)]
pub(super) struct InPieces<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pieces: &'a [(u32, u32)],
}

impl Source for InPieces<'_> {
    #[inline]
    fn put(self, id: usize, text: &mut [u8], at: usize) -> usize {
        let Some(&(start, length)) = self.pieces.get(id) else { return 0 };
        let from = self.bytes.get(start as usize..).unwrap_or_default();
        put_text(text, at, from, length as usize)
    }
}

/// One behind the other, all of one width.
#[derive(Clone, Copy)]
pub(super) struct InRow<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) width: usize,
}

impl Source for InRow<'_> {
    #[inline]
    fn put(self, id: usize, text: &mut [u8], at: usize) -> usize {
        let from = self.bytes.get(id.saturating_mul(self.width)..).unwrap_or_default();
        put_text(text, at, from, self.width)
    }
}

#[inline]
fn put_chunk<const N: usize>(text: &mut [u8], at: usize, chunk: &[u8; N]) {
    if let Some(place) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<N>) {
        *place = *chunk;
    }
}

/// Writes so many bytes of some text, and gives their number.
#[inline]
pub(super) fn put_text(text: &mut [u8], at: usize, from: &[u8], bytes: usize) -> usize {
    if let Some(chunk) = from.first_chunk::<WIDE>().filter(|_| bytes <= WIDE) {
        put_chunk(text, at, chunk);
        return bytes;
    }
    let from = from.get(..bytes).unwrap_or_default();
    if let Some(place) = text.get_mut(at..at.saturating_add(from.len())) {
        place.copy_from_slice(from);
    }
    from.len()
}

/// Writes `literal`, of which `bytes` count, and a value, for each row. It is none, or has [`WIDE`] bytes at least.
pub(super) fn put(
    target: &mut Target<'_>,
    (literal, bytes): (&[u8], usize),
    chosen: Chosen<'_>,
    lookup: impl Lookup,
    source: impl Source,
) {
    let wide = literal.first_chunk::<WIDE>().unwrap_or(&[0; WIDE]);
    match wide.first_chunk::<16>().filter(|_| bytes <= 16) {
        Some(narrow) => put_chosen(target, narrow, bytes, chosen, lookup, source),
        None => put_chosen(target, wide, bytes, chosen, lookup, source),
    }
}

fn put_chosen<const P: usize>(
    target: &mut Target<'_>,
    literal: &[u8; P],
    bytes: usize,
    chosen: Chosen<'_>,
    lookup: impl Lookup,
    source: impl Source,
) {
    let ids = |value: usize| lookup.id(value);
    match chosen {
        Chosen::From(first) => put_each(target, literal, bytes, lookup.ids_from(first), source),
        Chosen::Rows(rows) => {
            put_each(target, literal, bytes, rows.iter().map(|&row| ids(usize::from(row))), source);
        }
        Chosen::List(list) => {
            put_each(target, literal, bytes, list.iter().map(|&number| ids(number as usize)), source);
        }
    }
}

#[inline]
fn put_each<const P: usize>(
    target: &mut Target<'_>,
    literal: &[u8; P],
    bytes: usize,
    ids: impl Iterator<Item = usize>,
    source: impl Source,
) {
    let text = &mut *target.text;
    for (place, id) in target.at.iter_mut().zip(ids) {
        let start = *place;
        put_chunk(text, start, literal);
        let at = start.wrapping_add(bytes);
        *place = at.wrapping_add(source.put(id, text, at));
    }
}

/// The same of text in cells of `N` bytes, the last of them the length; the literal has at most `P`, and both together `W`.
/// Where a line is there are as many bytes left.
pub(super) fn put_in_cells<const P: usize, const N: usize, const W: usize>(
    target: &mut Target<'_>,
    (literal, bytes): (&[u8], usize),
    chosen: Chosen<'_>,
    lookup: impl Lookup,
    cells: &[u8],
) {
    let literal = literal.first_chunk::<P>().unwrap_or(&[0; P]);
    let cells = cells.as_chunks::<N>().0;
    let ids = |value: usize| lookup.id(value);
    match chosen {
        Chosen::From(first) => {
            put_each_cell::<P, N, W>(target, literal, bytes, lookup.ids_from(first), cells)
        }
        Chosen::Rows(rows) => {
            let ids = rows.iter().map(|&row| ids(usize::from(row)));
            put_each_cell::<P, N, W>(target, literal, bytes, ids, cells);
        }
        Chosen::List(list) => {
            let ids = list.iter().map(|&number| ids(number as usize));
            put_each_cell::<P, N, W>(target, literal, bytes, ids, cells);
        }
    }
}

#[inline]
fn put_each_cell<const P: usize, const N: usize, const W: usize>(
    target: &mut Target<'_>,
    literal: &[u8; P],
    bytes: usize,
    ids: impl Iterator<Item = usize>,
    cells: &[[u8; N]],
) {
    let text = &mut *target.text;
    for (place, id) in target.at.iter_mut().zip(ids) {
        let window = text.get_mut(*place..).and_then(<[u8]>::first_chunk_mut::<W>);
        let (Some(window), Some(cell)) = (window, cells.get(id)) else { continue };
        if let Some(place) = window.first_chunk_mut::<P>() {
            *place = *literal;
        }
        if let Some(place) = window.get_mut(bytes..).and_then(<[u8]>::first_chunk_mut::<N>) {
            *place = *cell;
        }
        *place = place.wrapping_add(bytes).wrapping_add(cell.last().copied().map_or(0, usize::from));
    }
}

/// Writes a literal for each row; behind it are as many bytes as a chunk has.
pub(super) fn put_literal(target: &mut Target<'_>, literal: &[u8], bytes: usize) {
    let text = &mut *target.text;
    for place in target.at.iter_mut() {
        let start = *place;
        let (mut from, mut at) = (literal, start);
        let end = start.saturating_add(bytes);
        while at < end
            && let Some((chunk, rest)) = from.split_first_chunk::<WIDE>()
        {
            put_chunk(text, at, chunk);
            from = rest;
            at = at.saturating_add(WIDE);
        }
        // What is less than a chunk at the end.
        if at < end
            && let Some(place) = text.get_mut(at..end)
        {
            let _ = from.get(..place.len()).map(|from| place.copy_from_slice(from));
        }
        *place = end;
    }
}

/// Writes what an earlier slot of each line has: from where to where.
pub(super) fn put_same(target: &mut Target<'_>, slots: &[(usize, usize)]) {
    let text = &mut *target.text;
    for (place, &(start, end)) in target.at.iter_mut().zip(slots) {
        let at = *place;
        let bytes = end.saturating_sub(start);
        match text.get(start..).and_then(<[u8]>::first_chunk::<WIDE>).filter(|_| bytes <= WIDE).copied() {
            Some(chunk) => put_chunk(text, at, &chunk),
            None if at.saturating_add(bytes) <= text.len() && end <= text.len() => {
                text.copy_within(start..end, at)
            }
            None => {}
        }
        *place = at.saturating_add(bytes);
    }
}
