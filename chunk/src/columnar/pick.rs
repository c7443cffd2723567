//! A group of which only the rows are wanted whose lines pass a filter. The filter of letters, skeletons and columns are asked
//! first, and the times are read only if there is hope; lines are made where nothing else can tell.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::fault::Fault;
use super::filter::{Filter, threes};
use super::group::Group;
use super::lines::{Answer, Decoder, Made, Search};
use super::rows::{Lines, Rows};
use super::stream::{Kind, Streams};
use crate::Error;
use crate::filter::{LineFilter, Needle};
use crate::range::{Direction, TimeRange};

/// Rows that are made at once at most.
const PIECE: usize = 512;
/// One in so many rows has to be wanted for all between to be made.
const SPARSE: usize = 4;

/// Whether a line may be wanted.
enum Hope {
    None,
    /// All lines are stored as they are.
    Whole,
    Split(Search),
}

impl Rows {
    /// Leaves only those rows that are in a range of time and have lines that a filter wants; times are read if there is
    /// one. What it takes is in [`cost`](Rows::cost), whether it ends well or not.
    pub(crate) fn pick(&mut self, group: &Group, filter: &LineFilter, range: TimeRange) -> Result<(), Error> {
        self.picked = Some(Vec::new());
        if rules_out(&self.streams, filter) {
            return Ok(());
        }
        let fault = |fault: Fault| fault.into_error(group.number);
        let is_whole = range.contains(group.meta.min_ns) && range.contains(group.meta.max_ns);
        // Pages that hold other rows too are not worth to be looked through.
        let has_hope =
            if is_whole { may_be_raw(&self.streams, filter).map_err(fault)? } else { self.has_raw() };
        let search = match self.search(filter, has_hope) {
            Ok(Hope::None) => return Ok(()),
            Ok(Hope::Whole) => None,
            Ok(Hope::Split(search)) => Some(search),
            Err(failed) => {
                // Of rows, at least, it had begun to know which skeletons they have.
                self.vain = self.vain.saturating_add(self.times_bytes());
                return Err(fault(failed));
            }
        };
        self.read_times(group)?;
        let wanted = range_of(&self.times, range);
        let picked = match (&mut self.lines, search) {
            (Some(Lines::Split(lines)), Some(search)) => {
                let mut found = Vec::new();
                let mut show = |row: usize, answer| {
                    if let (Answer::Yes | Answer::Maybe, Ok(row)) = (answer, u32::try_from(row)) {
                        found.push((row, answer));
                    }
                };
                self.tested =
                    lines.answer(&search, &self.streams, wanted, filter, &mut show).map_err(fault)?;
                self.test(found, filter)
            }
            _ => self.test_whole(wanted, filter),
        };
        self.picked = Some(picked.map_err(fault)?);
        Ok(())
    }

    fn has_raw(&self) -> bool {
        self.streams.len(Kind::RawLengths) > 0
    }

    /// Asks skeletons and columns, if there are some. `has_hope` says whether a line without a skeleton may be wanted.
    fn search(&mut self, filter: &LineFilter, has_hope: bool) -> Result<Hope, Fault> {
        if !self.are_split() {
            if !has_hope {
                return Ok(Hope::None);
            }
            self.open_lines()?;
            return Ok(Hope::Whole);
        }
        let lines = Decoder::outline(&self.streams, &self.limits)?;
        let Lines::Split(lines) = self.lines.insert(Lines::Split(Box::new(lines))) else {
            return Ok(Hope::None);
        };
        let places = lines.places(&self.streams, filter)?;
        if !has_hope && !lines.is_hopeful_at_all(&places) {
            return Ok(Hope::None);
        }
        lines.count(&self.streams, self.count)?;
        let search = lines.search(&self.streams, filter, places, has_hope)?;
        Ok(if lines.is_hopeful(&search) { Hope::Split(search) } else { Hope::None })
    }

    /// Those of these rows, in order, whose lines the filter wants; where it is not known, they are made and looked at.
    fn test(&mut self, found: Vec<(u32, Answer)>, filter: &LineFilter) -> Result<Vec<u32>, Fault> {
        let unknown = found.iter().filter(|(_, answer)| *answer == Answer::Maybe).map(|(row, _)| *row);
        let unknown: Vec<u32> = unknown.collect();
        let asked = size_of_val(&found[..]).saturating_add(size_of_val(&unknown[..]));
        self.vain = self.vain.saturating_add(asked);
        let mut wanted = Vec::with_capacity(unknown.len());
        let mut rest = &unknown[..];
        while !rest.is_empty() {
            let some = rest.get(..rest.len().min(PIECE)).unwrap_or_default();
            let Some(Lines::Split(lines)) = self.lines.as_mut() else { break };
            let Self { streams, times, work, .. } = self;
            // Which rows are made, by their numbers in the group if all between them are, and how many are asked.
            let made = if are_dense(some) {
                let made = lines.make(streams, times, span(some), Direction::Forward, work);
                made.map(|made| (Some(made.start), some.partition_point(|row| (*row as usize) < made.end)))
            } else {
                lines.make_single(streams, times, some, &mut work.made).map(|done| (None, done))
            };
            // What was made in vain has cost the same.
            self.made = self.made.saturating_add(self.work.made.bytes());
            let (first, done) = made?;
            let made = &self.work.made;
            wanted.extend((0..).zip(some).take(done).map(|(number, row)| {
                let number = first.map_or(Some(number), |first| (*row as usize).checked_sub(first));
                number.and_then(|number| made.line(number)).is_some_and(|line| filter.matches(line))
            }));
            rest = rest.get(done..).unwrap_or_default();
            self.tested = self.tested.saturating_add(done);
            let taken = self.cost().memory;
            if taken > self.budget {
                return Err(Fault::limit("max_decoded_bytes", taken, self.budget));
            }
        }
        let mut wanted = wanted.into_iter();
        let is_wanted = |(_, answer): &(u32, Answer)| *answer == Answer::Yes || wanted.next() == Some(true);
        Ok(found.into_iter().filter(is_wanted).map(|(row, _)| row).collect())
    }

    /// The same of lines that are stored as they are.
    fn test_whole(&mut self, rows: Range<usize>, filter: &LineFilter) -> Result<Vec<u32>, Fault> {
        let Some(Lines::Raw(lines)) = &self.lines else { return Ok(Vec::new()) };
        self.tested = self.tested.saturating_add(rows.len());
        let wanted = lines.wanted(&self.streams, rows, filter)?;
        Ok(wanted.into_iter().filter_map(|row| u32::try_from(row).ok()).collect())
    }
}

/// Whether a line without a skeleton may be wanted, by the pages that they are in.
fn may_be_raw(streams: &Streams, filter: &LineFilter) -> Result<bool, Fault> {
    for page in 0..streams.lens(Kind::RawLines).len() {
        let page = streams.nth(Kind::RawLines, page)?;
        let mut conditions = filter.conditions().iter().filter(|condition| !condition.is_negated);
        if conditions.all(|condition| condition.needles.iter().any(|needle| needle.is_in(page))) {
            return Ok(true);
        }
    }
    // Empty lines are in no page.
    Ok(streams.len(Kind::RawLengths) > 0 && filter.matches(&[]))
}

/// The rows of a range of time.
fn range_of(times: &[i64], range: TimeRange) -> Range<usize> {
    let (Some(first), Some(last)) = (range.first(), range.last()) else { return 0..0 };
    let start = times.partition_point(|time| *time < first);
    start..times.partition_point(|time| *time <= last).max(start)
}

/// Whether the letters of a group say that no line is wanted. A filter of them that cannot be read says nothing: that costs
/// time, and no lines.
fn rules_out(streams: &Streams, filter: &LineFilter) -> bool {
    let conditions = || filter.conditions().iter().filter(|condition| !condition.is_negated);
    let is_known = |needle: &Needle| threes(needle.text()).next().is_some();
    if !conditions().any(|condition| condition.needles.iter().all(is_known)) {
        return false;
    }
    let Ok(Some(known)) = Filter::open(streams) else { return false };
    conditions().any(|condition| condition.needles.iter().all(|needle| !known.may_hold(needle.text())))
}

/// The first of some rows, or backward the last.
pub(super) fn some(rows: Range<usize>, direction: Direction) -> Range<usize> {
    match direction {
        Direction::Forward => rows.start..rows.end.min(rows.start.saturating_add(PIECE)),
        Direction::Backward => rows.start.max(rows.end.saturating_sub(PIECE))..rows.end,
    }
}

/// From the first of these rows to the last.
pub(super) fn span(rows: &[u32]) -> Range<usize> {
    match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => *first as usize..(*last as usize).saturating_add(1),
        _ => 0..0,
    }
}

/// Whether to make all rows from the first of these to the last takes less than to make these alone.
pub(super) fn are_dense(rows: &[u32]) -> bool {
    span(rows).len() <= rows.len().saturating_mul(SPARSE)
}

/// Makes the first of some rows alone, or backward the last; says which.
pub(super) fn make_single(
    lines: &mut Decoder,
    streams: &Streams,
    times: &[i64],
    rows: &[u32],
    direction: Direction,
    made: &mut Made,
) -> Result<Range<usize>, Fault> {
    let mut start = 0usize;
    loop {
        let rest = rows.get(start..).unwrap_or_default();
        let done = lines.make_single(streams, times, rest, made)?;
        let end = start.saturating_add(done);
        if direction == Direction::Forward || end >= rows.len() {
            return Ok(start..end);
        }
        // Their lines are long: half of them may be few enough.
        start = start.saturating_add(rest.len().div_ceil(2));
    }
}
