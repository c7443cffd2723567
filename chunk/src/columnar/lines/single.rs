//! Single lines, made one after the other: for a few rows here and there, where to make all between would take longer.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::decode::{Decoder, MAX_ROOM, open_column};
use super::piece::Made;
use super::template::Step;
use crate::columnar::column::Values;
use crate::columnar::fault::Fault;
use crate::columnar::stream::{Kind, Streams};

/// What it takes to look a value up, besides those that are passed over.
const PEEK: usize = 8;

/// How many values of each column come before a row.
#[derive(Debug, Default)]
struct Counts {
    /// Of the rows that were folded in; at last of raw lines.
    values: Vec<u32>,
    /// Of the others: how many have each skeleton, and which skeletons these are.
    seen: Vec<u32>,
    kinds: Vec<u16>,
    /// Of each column that is not open: what was passed over to look values up.
    passed: Vec<usize>,
}

impl Decoder {
    /// Makes the lines of some of these rows, which ascend, in `made`, in this order; says which: the first, or backward the
    /// last. `times` are those of all rows of the group.
    ///
    /// Linear in the bytes of the lines, in the rows from the first to the last and before it to a mark, and in the values
    /// of columns that are opened: those of which many values are passed over to look some up.
    pub(crate) fn make_single(
        &mut self,
        streams: &Streams,
        times: &[i64],
        rows: &[u32],
        made: &mut Made,
    ) -> Result<usize, Fault> {
        made.clear();
        made.text.clear();
        let mut counts = Counts::default();
        counts.seen.resize(self.templates.list().len().saturating_add(1), 0);
        counts.passed.resize(self.columns.len(), 0);
        let (mut at, mut value, mut slots) = (None, Vec::new(), Vec::new());
        for (done, &row) in rows.iter().enumerate() {
            let row = row as usize;
            let from = self.seek_single(at, row, &mut counts);
            for &skeleton in self.of_row.get(from..row).unwrap_or_default() {
                counts.pass(skeleton);
            }
            self.fold(&mut counts);
            at = Some(row.saturating_add(1));
            let start = made.text.len();
            let skeleton = self.of_row.get(row).copied().unwrap_or(0);
            match usize::from(skeleton).checked_sub(1) {
                None => {
                    self.open_raw(streams)?;
                    let number = counts.take(self.columns.len());
                    if let Some(raw) = &self.raw {
                        made.text.extend_from_slice(raw.line(streams, number)?);
                    }
                }
                Some(template) => {
                    let time = times.get(row).copied().unwrap_or_default();
                    self.put_single(template, streams, time, &mut counts, made, &mut value, &mut slots)?;
                }
            }
            let bytes = made.text.len().saturating_sub(start);
            if bytes > self.limits.max_line_bytes {
                return Err(Fault::limit("max_line_bytes", bytes, self.limits.max_line_bytes));
            }
            let [start, length] = [start, bytes].map(u32::try_from);
            made.lines.push((start.unwrap_or(u32::MAX), length.unwrap_or(u32::MAX)));
            if made.text.len() > MAX_ROOM {
                return Ok(done.saturating_add(1));
            }
        }
        Ok(rows.len())
    }

    /// Where to go on counting to be at `row`: where it is, or the last mark before the row.
    fn seek_single(&self, at: Option<usize>, row: usize, counts: &mut Counts) -> usize {
        let mark = row.checked_div(self.step).unwrap_or(0);
        let marked = mark.saturating_mul(self.step);
        if let Some(at) = at.filter(|at| *at >= marked) {
            return at;
        }
        let width = self.columns.len().saturating_add(1);
        counts.values.clear();
        counts.values.extend(self.marks.chunks_exact(width).nth(mark).unwrap_or_default());
        for kind in counts.kinds.drain(..) {
            if let Some(seen) = counts.seen.get_mut(usize::from(kind)) {
                *seen = 0;
            }
        }
        marked
    }

    /// Adds the values of the rows that were passed.
    fn fold(&self, counts: &mut Counts) {
        let Counts { values, seen, kinds, .. } = counts;
        for kind in kinds.drain(..) {
            let rows = seen.get_mut(usize::from(kind)).map_or(0, std::mem::take);
            let mut add = |column: usize| {
                if let Some(value) = values.get_mut(column) {
                    *value = value.saturating_add(rows);
                }
            };
            match usize::from(kind).checked_sub(1).and_then(|at| self.templates.list().get(at)) {
                None => add(self.columns.len()),
                Some(template) => {
                    let columns = self.templates.steps(template).iter().filter_map(Step::column);
                    columns.for_each(|column| add(column as usize));
                }
            }
        }
    }

    /// Appends the line of a row of a skeleton.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is read, where to, and room for a value and for slots"
    )]
    fn put_single(
        &mut self,
        template: usize,
        streams: &Streams,
        time: i64,
        counts: &mut Counts,
        made: &mut Made,
        value: &mut Vec<u8>,
        slots: &mut Vec<(usize, usize)>,
    ) -> Result<(), Fault> {
        let Self { templates, columns, open, memory, limits, .. } = self;
        let Some(template) = templates.list().get(template) else { return Ok(()) };
        slots.clear();
        for step in templates.steps(template) {
            let literal = templates.literal(step).get(..step.bytes as usize).unwrap_or_default();
            made.text.extend_from_slice(literal);
            let Some(number) = step.column().map(|column| column as usize) else { continue };
            let Some(column) = columns.get(number) else { continue };
            let ordinal = counts.take(number);
            let start = made.text.len();
            let is_closed = matches!(open.get(number), Some(None));
            let passed =
                counts.passed.get_mut(number).filter(|passed| is_closed && **passed < column.rows / 2);
            let peeked = match passed {
                Some(passed) => column.peek(streams, ordinal, value)?.inspect(|more| {
                    *passed = passed.saturating_add(*more).saturating_add(PEEK);
                }),
                None => None,
            };
            if peeked.is_none() {
                open_column(number, columns, open, memory, streams)?;
            }
            let unprintable =
                |value| Fault::corrupt(Kind::Columns, 0, format!("{:?} has no value {value}", column.class));
            match open.get(number).and_then(Option::as_ref).map(|open| &open.values) {
                _ if peeked.is_some() => made.text.extend_from_slice(value),
                None => {}
                Some(Values::Same(other)) => {
                    let (from, end) = slots.get(*other).copied().unwrap_or_default();
                    made.text.extend_from_within(from..end);
                }
                Some(Values::RowTime { unit_ns, delta }) => {
                    let units = time.div_euclid(*unit_ns).wrapping_add(*delta).cast_unsigned();
                    let mut room = [0; 40];
                    let width = column.class.print(units, &mut room);
                    let text = room.get(..width).filter(|text| !text.is_empty());
                    made.text.extend_from_slice(text.ok_or_else(|| unprintable(units))?);
                }
                Some(values) => {
                    if !values.text(column, streams, ordinal, value)? {
                        return Err(unprintable(ordinal as u64));
                    }
                    made.text.extend_from_slice(value);
                }
            }
            slots.push((start, made.text.len()));
            if made.text.len() > limits.block_bytes().saturating_add(MAX_ROOM) {
                return Err(Fault::limit("max_block_bytes", made.text.len(), limits.block_bytes()));
            }
        }
        Ok(())
    }
}

impl Counts {
    fn pass(&mut self, skeleton: u16) {
        let Some(seen) = self.seen.get_mut(usize::from(skeleton)) else { return };
        if *seen == 0 {
            self.kinds.push(skeleton);
        }
        *seen = seen.saturating_add(1);
    }

    /// The number of the next value of a column.
    fn take(&mut self, column: usize) -> usize {
        let Some(next) = self.values.get_mut(column) else { return 0 };
        let number = *next as usize;
        *next = next.saturating_add(1);
        number
    }
}
