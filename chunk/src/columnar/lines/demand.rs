//! Which values of a column have some text where it is demanded, found out for all of them at once.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::place::Spot;
use crate::columnar::column::{
    Column, Ids, Values, Words, print_cells, size_for, unpack_from, width_of_class,
};
use crate::columnar::fault::Fault;
use crate::columnar::stream::Streams;
use crate::filter::{Case, Needle};

/// Numbers that are printed at once.
const PRINTED: usize = 1024;

/// What is demanded of a value.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) spot: Spot,
    /// All of the text if it is to be inside, and a part of it otherwise.
    pub(super) text: &'a [u8],
    pub(super) needle: &'a Needle,
}

impl Wanted<'_> {
    /// Whether texts that lie one behind the other may be looked through at once.
    fn is_anywhere(&self) -> bool {
        self.spot == Spot::Inside && self.needle.case() == Case::Exact
    }

    #[inline]
    fn is_met(&self, value: &[u8]) -> bool {
        let (length, case) = (self.text.len(), self.needle.case());
        let part = match self.spot {
            Spot::Inside => return self.needle.is_in(value),
            Spot::Whole => Some(value),
            Spot::Start => value.get(..length),
            Spot::End => value.len().checked_sub(length).and_then(|start| value.get(start..)),
        };
        part.is_some_and(|part| case.same(part, self.text))
    }
}

/// Which values of a column meet a demand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Met {
    None,
    All,
    /// It depends on the row.
    Unknown,
    Some(Bits),
}

/// A set of numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn insert(&mut self, number: usize) {
        let place = number / 64;
        if self.0.len() <= place {
            self.0.resize(place.saturating_add(1), 0);
        }
        if let Some(word) = self.0.get_mut(place) {
            *word |= 1 << (number % 64);
        }
    }

    fn of(numbers: impl Iterator<Item = bool>) -> Met {
        let mut bits = Self::default();
        for (number, _) in numbers.enumerate().filter(|(_, is_in)| *is_in) {
            bits.insert(number);
        }
        bits.or_none()
    }

    fn or_none(self) -> Met {
        if self.0.is_empty() { Met::None } else { Met::Some(self) }
    }
}

/// About what it takes to ask a column, in bytes that are looked at.
pub(super) fn effort(column: &Column, streams: &Streams) -> Result<usize, Fault> {
    Ok(column.part(streams)?.len().saturating_add(column.memory()).saturating_add(column.rows))
}

/// Asks the values of a column that is open.
pub(super) fn ask(
    column: &Column,
    values: &Values,
    streams: &Streams,
    wanted: &Wanted<'_>,
) -> Result<Met, Fault> {
    let part = column.part(streams)?;
    Ok(match values {
        Values::Const(text) => {
            if wanted.is_met(text) {
                Met::All
            } else {
                Met::None
            }
        }
        Values::Dict { ids, words } => {
            let met: Vec<bool> = match words {
                Words::Cells(cells) => {
                    let (bytes, size) = (cells.bytes(), cells.size());
                    if wanted.is_anywhere() {
                        let mut met = vec![false; bytes.len().checked_div(size).unwrap_or(0)];
                        in_cells(bytes, size, wanted.needle, |number| {
                            if let Some(met) = met.get_mut(number) {
                                *met = true;
                            }
                        });
                        met
                    } else {
                        texts(bytes, size).map(|text| wanted.is_met(text)).collect()
                    }
                }
                Words::Pieces(text) => {
                    pieces(&text.bytes, &text.pieces).map(|piece| wanted.is_met(piece)).collect()
                }
            };
            if !met.contains(&true) {
                return Ok(Met::None);
            }
            if met.iter().all(|met| *met) {
                return Ok(Met::All);
            }
            let has = |id: usize| met.get(id) == Some(&true);
            match ids {
                Ids::Bytes => Bits::of(part.iter().map(|id| has(usize::from(*id)))),
                Ids::Wide(ids) => Bits::of(ids.iter().map(|id| has(usize::from(*id)))),
                Ids::Packed(width) => Bits::of(
                    unpack_from(part, *width, 0, column.rows).map(|id| usize::try_from(id).is_ok_and(has)),
                ),
            }
        }
        Values::Text { pieces: all, start } => {
            let bytes = part.get(*start..).unwrap_or_default();
            match (wanted.spot, wanted.needle.case()) {
                (Spot::Inside, Case::Exact) => inside(bytes, all, wanted.needle),
                _ => Bits::of(pieces(bytes, all).map(|piece| wanted.is_met(piece))),
            }
        }
        Values::Numbers(numbers) => {
            let size = size_for(width_of_class(column.class));
            let (mut list, mut cells) = (Vec::new(), vec![0; PRINTED.saturating_mul(size)]);
            let mut bits = Bits::default();
            let mut first = 0usize;
            while first < column.rows {
                let count = column.rows.saturating_sub(first).min(PRINTED);
                numbers.read(part, column.rows, first, count, &mut list);
                let cells = cells.get_mut(..list.len().saturating_mul(size)).unwrap_or_default();
                print_cells(column.class, &list, cells)?;
                if wanted.is_anywhere() {
                    in_cells(cells, size, wanted.needle, |number| bits.insert(first.saturating_add(number)));
                } else {
                    let met = (first..).zip(texts(cells, size)).filter(|(_, text)| wanted.is_met(text));
                    met.for_each(|(number, _)| bits.insert(number));
                }
                first = first.saturating_add(count);
            }
            bits.or_none()
        }
        Values::Fixed { .. } => {
            let mut text = Vec::new();
            let values = part.chunks_exact(column.class.fixed_bytes().unwrap_or(1)).take(column.rows);
            Bits::of(values.map(|value| {
                text.clear();
                column.class.print_bytes(value, &mut text);
                wanted.is_met(&text)
            }))
        }
        Values::RowTime { .. } | Values::Same(_) => Met::Unknown,
    })
}

/// Shows the numbers of the cells whose text has the needle in it. All of them are looked through at once; what is behind a
/// text in its cell counts for nothing.
fn in_cells(cells: &[u8], size: usize, needle: &Needle, mut show: impl FnMut(usize)) {
    let mut number = 0usize;
    loop {
        let start = number.saturating_mul(size);
        let Some(found) = cells.get(start..).and_then(|rest| needle.find(rest)) else { return };
        let at = start.saturating_add(found);
        number = at.checked_div(size).unwrap_or(usize::MAX);
        let start = number.saturating_mul(size);
        let cell = cells.get(start..start.saturating_add(size)).unwrap_or_default();
        let end = at.saturating_sub(start).saturating_add(needle.text().len());
        if cell.last().is_some_and(|length| end <= usize::from(*length)) {
            show(number);
        }
        // What starts behind it in the same cell ends behind it too.
        number = number.saturating_add(1);
    }
}

/// The text of each cell.
fn texts(cells: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    cells.chunks_exact(size).map(|cell| {
        let length = cell.last().copied().map_or(0, usize::from);
        cell.get(..length).unwrap_or_default()
    })
}

fn pieces<'a>(bytes: &'a [u8], all: &'a [(u32, u32)]) -> impl Iterator<Item = &'a [u8]> {
    all.iter().map(|&(start, length)| {
        let end = (start as usize).saturating_add(length as usize);
        bytes.get(start as usize..end).unwrap_or_default()
    })
}

/// The pieces of a text that have the needle in them, found by looking through the text of those that are long enough.
fn inside(bytes: &[u8], all: &[(u32, u32)], needle: &Needle) -> Met {
    let size = needle.text().len();
    let end_of = |&(start, length): &(u32, u32)| (start as usize).saturating_add(length as usize);
    let mut bits = Bits::default();
    let mut rest = 0usize;
    loop {
        let left = all.get(rest..).unwrap_or_default();
        let Some(skipped) = left.iter().position(|&(_, length)| length as usize >= size) else { break };
        let number = rest.saturating_add(skipped);
        let at = all.get(number).map_or(0, |&(start, _)| start as usize);
        let Some(found) = bytes.get(at..).and_then(|bytes| needle.find(bytes)) else { break };
        let start = at.saturating_add(found);
        // The piece that its first byte is in: the first that ends behind it. If it does not end in it, it is not in it,
        // nor is one behind it.
        let number = all.partition_point(|piece| end_of(piece) <= start);
        let Some(piece) = all.get(number) else { break };
        if start.saturating_add(size) <= end_of(piece) {
            bits.insert(number);
        }
        rest = number.saturating_add(1);
    }
    bits.or_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces_of(texts: &[Vec<u8>]) -> (Vec<u8>, Vec<(u32, u32)>) {
        let mut bytes = Vec::new();
        let mut all = Vec::new();
        for text in texts {
            all.push((u32::try_from(bytes.len()).unwrap(), u32::try_from(text.len()).unwrap()));
            bytes.extend_from_slice(text);
        }
        (bytes, all)
    }

    proptest! {
        #[test]
        fn text_is_found_in_those_pieces_that_have_it(
            texts in prop::collection::vec(prop::collection::vec(b'a'..b'c', 0..9), 0..30),
            needle in prop::collection::vec(b'a'..b'c', 1..6),
        ) {
            let (bytes, all) = pieces_of(&texts);
            let found = inside(&bytes, &all, &Needle::new(&needle, Case::Exact));
            let expected = texts.iter().map(|text| text.windows(needle.len()).any(|window| window == needle));
            prop_assert_eq!(found, Bits::of(expected));
        }
    }

    #[test]
    fn what_is_behind_a_text_in_its_cell_is_not_in_it() {
        let cells = [*b"abcabca\x03", *b"xxabcaa\x05", *b"bcabcbc\x07", *b"cxxxxxx\x07"].concat();
        let found = |text: &[u8]| {
            let mut found = Vec::new();
            in_cells(&cells, 8, &Needle::new(text, Case::Exact), |number| found.push(number));
            found
        };
        assert_eq!(found(b"abc"), [0, 1, 2]);
        assert_eq!(found(b"bca"), [2]);
        assert_eq!(found(b"c"), [0, 1, 2, 3]);
        assert_eq!(found(b"\x05bc"), Vec::<usize>::new());
        assert_eq!(found(b"xxxxxx"), [3]);
    }

    /// It went on a byte later each time: a thousand compares for each of these bytes, and no end to it in larger ones.
    #[test]
    fn pieces_that_are_shorter_than_the_text_are_not_looked_through() {
        let (mut bytes, all) = pieces_of(&vec![vec![b'a']; 4 << 20]);
        let needle = Needle::new(&[b'a'; 4000], Case::Exact);
        assert_eq!(inside(&bytes, &all, &needle), Met::None);
        bytes.extend([b'a'; 4000]);
        let with_long = [&all[..], &[(4 << 20, 4000)]].concat();
        let Met::Some(bits) = inside(&bytes, &with_long, &needle) else { panic!("it is in the last") };
        assert!(bits.has(4 << 20) && !bits.has(7));
    }
}
