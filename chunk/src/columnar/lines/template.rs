//! The skeletons of a group as they are read: what to write for each line, step by step.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{MAX_SKELETONS, MAX_VALUES};
use crate::columnar::column::{Column, Encoding, WIDE};
use crate::columnar::fault::Fault;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::take_uvarint;

/// Parts of one skeleton at most.
const MAX_PARTS: usize = 4096;

/// Literal text, and then the value of a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Where the text starts in [`Templates::literals`], and its bytes.
    pub(super) start: u32,
    pub(super) bytes: u32,
    /// The column of the slot, if there is one.
    column: u32,
    /// Whether a later slot repeats it.
    pub(super) repeated: bool,
}

impl Step {
    const NONE: u32 = u32::MAX;

    /// The column of the slot, if there is one.
    #[inline]
    pub(super) fn column(&self) -> Option<u32> {
        (self.column != Self::NONE).then_some(self.column)
    }
}

/// One skeleton.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Template {
    first: usize,
    end: usize,
    /// Parts that the file has for it.
    parts: usize,
    /// Bytes of all its literal text.
    pub(super) literal_bytes: usize,
    /// Whether one of its slots repeats another one.
    pub(super) repeats: bool,
    /// The most that copying in cells may write for a line, without text that is in pieces.
    pub(super) room: usize,
}

/// All skeletons of a group.
#[derive(Debug, Default)]
pub(super) struct Templates {
    list: Vec<Template>,
    steps: Vec<Step>,
    /// With as many zeros behind it as are copied at once.
    literals: Vec<u8>,
}

impl Templates {
    /// Reads all skeletons, into at most `max` bytes of memory.
    pub(super) fn read(streams: &Streams, columns: &[Column], max: usize) -> Result<Self, Fault> {
        let whole = streams.get(Kind::Skeletons)?;
        let found = Self::default();
        let slots = Vec::new();
        let mut parser = Parser { whole: whole.len(), rest: whole, columns, found, slots, max, taken: 0 };
        // Where no line has a skeleton, there may be no stream of them.
        let count = if whole.is_empty() { 0 } else { parser.size()? };
        if count > MAX_SKELETONS {
            return Err(Fault::limit("skeletons of a group", count, MAX_SKELETONS));
        }
        for _ in 0..count {
            parser.template()?;
        }
        if !parser.rest.is_empty() {
            return Err(parser.corrupt("bytes behind the last skeleton"));
        }
        let mut found = parser.found;
        found.literals.resize(found.literals.len().saturating_add(WIDE), 0);
        Ok(found)
    }

    pub(super) fn list(&self) -> &[Template] {
        &self.list
    }

    pub(super) fn steps(&self, template: &Template) -> &[Step] {
        self.steps.get(template.first..template.end).unwrap_or_default()
    }

    /// The literal text of a step, with at least [`WIDE`] bytes from its start.
    pub(super) fn literal(&self, step: &Step) -> &[u8] {
        let start = step.start as usize;
        let end = start.saturating_add(step.bytes as usize).saturating_add(WIDE);
        self.literals.get(start..end).unwrap_or_default()
    }

    pub(super) fn memory(&self) -> usize {
        let sizes = [size_of_val(&self.list[..]), size_of_val(&self.steps[..]), self.literals.len()];
        sizes.into_iter().fold(0, usize::saturating_add)
    }

    /// Adds the parts that so many rows of these skeletons have to `work`, and refuses more than a writer makes for all
    /// rows of a group: each costs time, and need not have a byte of text that could be counted instead.
    pub(super) fn check_work(&self, seen: &[u32], work: u64, rows: usize) -> Result<u64, Fault> {
        let work = self.list.iter().zip(seen).fold(work, |work, (template, &rows)| {
            work.saturating_add((template.parts as u64).saturating_mul(rows.into()))
        });
        let max = (MAX_VALUES as u64).saturating_mul(2).saturating_add(rows as u64);
        if work <= max {
            return Ok(work);
        }
        let [work, max] = [work, max].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Err(Fault::limit("parts of all lines of a group", work, max))
    }
}

/// Appends some text, which `rest` starts with. If it is short it is copied with what is behind it, which is then taken back.
#[inline]
fn extend(literals: &mut Vec<u8>, text: &[u8], rest: &[u8]) {
    match rest.first_chunk::<WIDE>().filter(|_| text.len() <= WIDE) {
        Some(chunk) => {
            let end = literals.len().saturating_add(text.len());
            literals.extend_from_slice(chunk);
            literals.truncate(end);
        }
        None => literals.extend_from_slice(text),
    }
}

struct Parser<'a> {
    whole: usize,
    rest: &'a [u8],
    columns: &'a [Column],
    found: Templates,
    /// The steps of the slots of the skeleton at hand, and whether each repeats another one.
    slots: Vec<(usize, bool)>,
    max: usize,
    /// Bytes of memory that were taken.
    taken: usize,
}

impl Parser<'_> {
    fn corrupt(&self, what: &str) -> Fault {
        Fault::corrupt(Kind::Skeletons, self.whole.saturating_sub(self.rest.len()), what)
    }

    #[inline]
    fn size(&mut self) -> Result<usize, Fault> {
        let value = take_uvarint(&mut self.rest).and_then(|value| u32::try_from(value).ok());
        value.map(|value| value as usize).ok_or_else(|| self.corrupt("no size of 32 bits"))
    }

    fn template(&mut self) -> Result<(), Fault> {
        let parts = self.size()?;
        if parts > MAX_PARTS {
            return Err(Fault::limit("parts of a skeleton", parts, MAX_PARTS));
        }
        let first = self.found.steps.len();
        let mut template = Template { first, parts, room: WIDE, ..Template::default() };
        let mut literal = None;
        self.slots.clear();
        for _ in 0..parts {
            let part = self.size()?;
            if let Some(column) = part.checked_sub(1) {
                let Some(known) = self.columns.get(column) else {
                    return Err(self.corrupt("a slot of a column that is not there"));
                };
                let mut repeats = false;
                if let Encoding::Same { slot } = known.encoding {
                    match self.slots.get(slot).copied() {
                        None => return Err(self.corrupt("a slot that repeats one behind it")),
                        Some((_, true)) => {
                            return Err(self.corrupt("a slot that repeats one that repeats another"));
                        }
                        Some((step, false)) => {
                            if let Some(step) = self.found.steps.get_mut(step) {
                                step.repeated = true;
                            }
                        }
                    }
                    (repeats, template.repeats) = (true, true);
                }
                self.slots.push((self.found.steps.len(), repeats));
                template.room = template.room.saturating_add(WIDE.max(known.class.text_bytes()));
                self.push(literal.take(), u32::try_from(column).ok())?;
                continue;
            }
            let bytes = self.size()?;
            let Some((text, after)) = self.rest.split_at_checked(bytes).filter(|_| bytes > 0) else {
                return Err(self.corrupt("literal text is cut short, or none"));
            };
            if let Some(literal) = literal.take() {
                self.push(Some(literal), None)?;
            }
            self.take(text.len())?;
            let start = u32::try_from(self.found.literals.len());
            literal = start.ok().zip(u32::try_from(bytes).ok());
            extend(&mut self.found.literals, text, self.rest);
            template.literal_bytes = template.literal_bytes.saturating_add(bytes);
            self.rest = after;
        }
        if literal.is_some() {
            self.push(literal, None)?;
        }
        template.end = self.found.steps.len();
        template.room = template.room.saturating_add(template.literal_bytes);
        self.take(size_of::<Template>())?;
        self.found.list.push(template);
        Ok(())
    }

    fn push(&mut self, literal: Option<(u32, u32)>, column: Option<u32>) -> Result<(), Fault> {
        let (start, bytes) = literal.unwrap_or_default();
        self.take(size_of::<Step>())?;
        self.found.steps.push(Step { start, bytes, column: column.unwrap_or(Step::NONE), repeated: false });
        Ok(())
    }

    /// Refuses to take more memory before it is taken.
    #[inline]
    fn take(&mut self, more: usize) -> Result<(), Fault> {
        self.taken = self.taken.saturating_add(more);
        if self.taken > self.max {
            Err(Fault::limit("max_block_bytes", self.taken, self.max))
        } else {
            Ok(())
        }
    }
}
