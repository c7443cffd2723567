//! Where in the lines of a skeleton some text may lie: in literal text, in a slot, or across several parts, of which the
//! slots have to have certain values then. By literals and classes alone, so nothing of a column is read for it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr, memchr2};

use super::template::{Template, Templates};
use crate::columnar::class::{Class, UUID_BYTES};
use crate::columnar::column::{Column, Encoding};
use crate::columnar::timestamp::Format;
use crate::filter::{Case, Needle};

/// Where the bytes lie in the value of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Spot {
    Inside,
    Start,
    End,
    Whole,
}

/// What the value of a slot has to have: these bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    /// The slot, counted over those of its skeleton.
    pub(super) slot: usize,
    /// The column that its values are of; of a slot that repeats another one, the column of that.
    pub(super) column: u32,
    pub(super) spot: Spot,
    pub(super) bytes: Range<usize>,
}

/// Where text may lie in the lines of a skeleton.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Places {
    Nowhere,
    /// It is in each of them.
    Everywhere,
    /// It is in those lines of which the slots meet all demands of one of these lists, and in no other.
    Slots(Vec<Vec<Demand>>),
    /// There are too many ways to lie in them.
    Unknown,
}

/// Lists of demands that are of use, and demands of one of them.
const MAX_WAYS: usize = 64;
const MAX_DEMANDS: usize = 16;

/// A part of a line.
#[derive(Clone, Copy)]
enum Part<'a> {
    Literal(&'a [u8]),
    /// Its class, and its column.
    Slot(Class, u32),
}

/// What text is looked for, and where it may lie as a whole: for each column, whether in one of its values, and whether in
/// a literal.
pub(super) struct Sought<'a> {
    pub(super) needle: &'a Needle,
    pub(super) in_columns: Vec<bool>,
    pub(super) in_literals: bool,
}

/// Looks for text in skeletons.
pub(super) struct Placing<'a> {
    templates: &'a Templates,
    columns: &'a [Column],
    sought: Sought<'a>,
    parts: Vec<Part<'a>>,
    /// Classes and columns of the slots.
    slots: Vec<(Class, u32)>,
    /// Places that may still be tried, in all skeletons.
    patience: usize,
    text: &'a [u8],
    case: Case,
    /// By the bytes of a class, whether its values may have the first byte of the text.
    starts: Vec<Option<bool>>,
    demands: Vec<Demand>,
    ways: Vec<Vec<Demand>>,
}

/// There are too many.
struct TooMany;

impl<'a> Placing<'a> {
    pub(super) fn new(templates: &'a Templates, columns: &'a [Column], sought: Sought<'a>) -> Self {
        Self {
            templates,
            columns,
            parts: Vec::new(),
            slots: Vec::new(),
            patience: 1 << 18,
            text: sought.needle.text(),
            case: sought.needle.case(),
            sought,
            starts: vec![None; 16 << 8],
            demands: Vec::new(),
            ways: Vec::new(),
        }
    }

    /// Where the text may lie in lines of a skeleton.
    pub(super) fn of(&mut self, template: &Template) -> Places {
        if self.text.is_empty() {
            return Places::Everywhere;
        }
        self.parts.clear();
        self.slots.clear();
        for step in self.templates.steps(template) {
            let literal = self.templates.literal(step).get(..step.bytes as usize).unwrap_or_default();
            if !literal.is_empty() {
                self.parts.push(Part::Literal(literal));
            }
            let Some(number) = step.column() else { continue };
            let Some(column) = self.columns.get(number as usize) else { continue };
            let (class, number) = match column.encoding {
                Encoding::Same { slot } => self.slots.get(slot).copied().unwrap_or((Class::Text, number)),
                _ => (class_of(column), number),
            };
            self.slots.push((class, number));
            self.parts.push(Part::Slot(class, number));
        }
        self.ways.clear();
        self.demands.clear();
        let mut slot = 0usize;
        for at in 0..self.parts.len() {
            let found = match self.parts.get(at) {
                Some(&Part::Literal(literal)) => match self.in_literal(literal, at, slot) {
                    Ok(true) => return Places::Everywhere,
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                },
                Some(&Part::Slot(class, column)) => {
                    let found = self.in_slot(class, column, at, slot);
                    slot = slot.saturating_add(1);
                    found
                }
                None => Ok(()),
            };
            if found.is_err() {
                return Places::Unknown;
            }
        }
        match std::mem::take(&mut self.ways) {
            ways if ways.is_empty() => Places::Nowhere,
            ways => Places::Slots(ways),
        }
    }

    /// The text starts in a literal. Whether it ends there too.
    fn in_literal(&mut self, literal: &'a [u8], at: usize, slot: usize) -> Result<bool, TooMany> {
        let Some(&first) = self.text.first() else { return Ok(true) };
        // If it is in no literal as a whole it may only start in the last bytes of one.
        let most = if self.sought.in_literals { literal.len() } else { self.text.len().saturating_sub(1) };
        let mut rest = literal.get(literal.len().saturating_sub(most)..).unwrap_or_default();
        loop {
            let found = match self.case {
                Case::Exact => memchr(first, rest),
                Case::Any => memchr2(first, first.to_ascii_uppercase(), rest),
            };
            let Some(starts) = found.and_then(|found| rest.get(found..)) else { return Ok(false) };
            let length = starts.len().min(self.text.len());
            self.spend()?;
            if self.same(starts.get(..length), 0..length) {
                // Without a slot on the way it is in every line.
                if length == self.text.len() || self.walk(at.saturating_add(1), slot, length)? {
                    return Ok(true);
                }
            }
            rest = starts.get(1..).unwrap_or_default();
        }
    }

    /// It starts in a slot.
    fn in_slot(&mut self, class: Class, column: u32, at: usize, slot: usize) -> Result<(), TooMany> {
        if self.sought.in_columns.get(column as usize) == Some(&true) {
            let bytes = 0..self.text.len();
            self.ways.push(vec![Demand { slot, column, spot: Spot::Inside, bytes }]);
        }
        // Whatever is behind the slot goes on with the text.
        let next = match self.parts.get(at.saturating_add(1)) {
            None => return Ok(()),
            Some(Part::Literal(literal)) => literal.first().copied(),
            Some(Part::Slot(..)) => None,
        };
        if !self.may_start(class) {
            return Ok(());
        }
        let (text, case) = (self.text, self.case);
        let mut end = 1usize;
        while let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) {
            if let Some(next) = next {
                let next = if case == Case::Any { next.to_ascii_lowercase() } else { next };
                let Some(skipped) = memchr(next, rest) else { break };
                end = end.saturating_add(skipped);
            }
            self.spend()?;
            let bytes = 0..end;
            if may_hold(class, Spot::End, text.get(bytes.clone()).unwrap_or_default(), case) {
                self.demands.push(Demand { slot, column, spot: Spot::End, bytes });
                self.walk(at.saturating_add(1), slot.saturating_add(1), end)?;
                self.demands.pop();
            }
            end = end.saturating_add(1);
        }
        Ok(())
    }

    /// Whether values of a class may have the first byte of the text.
    fn may_start(&mut self, class: Class) -> bool {
        let (text, case) = (self.text.get(..1).unwrap_or_default(), self.case);
        let [kind, width] = class.to_bytes();
        let Some(known) = self.starts.get_mut(usize::from(kind) << 8 | usize::from(width)) else {
            return true;
        };
        *known.get_or_insert_with(|| may_hold(class, Spot::Inside, text, case))
    }

    /// The bytes from `from` on have to come from the start of part `at` on, which is, or is behind, the slot of that
    /// number. Whether they do whatever the values.
    fn walk(&mut self, at: usize, slot: usize, from: usize) -> Result<bool, TooMany> {
        let (mut at, mut from) = (at, from);
        loop {
            self.spend()?;
            let left = self.text.len().saturating_sub(from);
            match self.parts.get(at).copied() {
                None => return Ok(false),
                Some(Part::Slot(class, column)) => {
                    return self.through((class, column), at, slot, from).map(|()| false);
                }
                Some(Part::Literal(literal)) => {
                    let length = literal.len().min(left);
                    let end = from.saturating_add(length);
                    if !self.same(literal.get(..length), from..end) {
                        return Ok(false);
                    }
                    if length == left {
                        return if self.demands.is_empty() { Ok(true) } else { self.found().map(|()| false) };
                    }
                    (at, from) = (at.saturating_add(1), end);
                }
            }
        }
    }

    /// The bytes from `from` on have to come from the start of a slot on.
    fn through(
        &mut self,
        (class, column): (Class, u32),
        at: usize,
        slot: usize,
        from: usize,
    ) -> Result<(), TooMany> {
        if self.demands.len() >= MAX_DEMANDS {
            return Err(TooMany);
        }
        let (text, case) = (self.text, self.case);
        for end in from..text.len() {
            self.spend()?;
            if may_hold(class, Spot::Whole, text.get(from..end).unwrap_or_default(), case) {
                self.demands.push(Demand { slot, column, spot: Spot::Whole, bytes: from..end });
                self.walk(at.saturating_add(1), slot.saturating_add(1), end)?;
                self.demands.pop();
            }
        }
        if may_hold(class, Spot::Start, text.get(from..).unwrap_or_default(), case) {
            self.demands.push(Demand { slot, column, spot: Spot::Start, bytes: from..text.len() });
            self.found()?;
            self.demands.pop();
        }
        Ok(())
    }

    fn found(&mut self) -> Result<(), TooMany> {
        if self.ways.len() >= MAX_WAYS {
            return Err(TooMany);
        }
        self.ways.push(self.demands.clone());
        Ok(())
    }

    fn same(&self, literal: Option<&[u8]>, bytes: Range<usize>) -> bool {
        let pair = literal.zip(self.text.get(bytes));
        pair.is_some_and(|(literal, text)| {
            // Most differ in the first byte.
            let firsts = literal.first().zip(text.first());
            firsts.is_none_or(|(a, b)| a.eq_ignore_ascii_case(b)) && self.case.same(literal, text)
        })
    }

    fn spend(&mut self) -> Result<(), TooMany> {
        self.patience = self.patience.checked_sub(1).ok_or(TooMany)?;
        Ok(())
    }
}

/// The class that the values of a column are believed to be of. Texts that are written as they are may be any.
pub(super) fn class_of(column: &Column) -> Class {
    match column.encoding {
        Encoding::Const { .. } | Encoding::Dict { .. } => Class::Text,
        _ => column.class,
    }
}

/// Whether a value of a class may have this text there. False only if none has.
pub(super) fn may_hold(class: Class, spot: Spot, text: &[u8], case: Case) -> bool {
    let digits = |max: usize| text.len() <= max && text.iter().all(u8::is_ascii_digit);
    let of_width = |width: usize| match spot {
        Spot::Whole => text.len() == width,
        _ => text.len() <= width,
    };
    let is_hex = |is_upper: bool, byte: &u8| match (case, is_upper) {
        (Case::Any, _) => byte.is_ascii_hexdigit(),
        (_, true) => byte.is_ascii_hexdigit() && !byte.is_ascii_lowercase(),
        (_, false) => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
    };
    let hex = |width: u8, is_upper| of_width(width.into()) && text.iter().all(|byte| is_hex(is_upper, byte));
    match class {
        Class::Text => true,
        // No value of the others is empty.
        _ if text.is_empty() => spot != Spot::Whole,
        Class::Number | Class::Digits => digits(20),
        Class::Padded(width) => of_width(width.into()) && digits(20),
        Class::Hex(width) | Class::HexBytes(width) => hex(width, false),
        Class::HexUpper(width) => hex(width, true),
        Class::Ip4 => text.len() <= 15 && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'),
        Class::Uuid => at_some_place(spot, text.len(), UUID_BYTES, |at, byte| {
            let is_dash = matches!(at, 8 | 13 | 18 | 23);
            text.get(byte).is_some_and(|byte| if is_dash { *byte == b'-' } else { is_hex(false, byte) })
        }),
        Class::Time(format) => {
            let (sample, width) = sample(format);
            at_some_place(spot, text.len(), *width, |at, byte| {
                let pair = sample.get(at).zip(text.get(byte));
                pair.is_some_and(|(like, byte)| match like {
                    // A day may be padded with a blank.
                    b' ' | b'0'..=b'9' => *byte == b' ' || byte.is_ascii_digit(),
                    b'A'..=b'Z' | b'a'..=b'z' => byte.is_ascii_alphabetic(),
                    _ => like == byte,
                })
            })
        }
    }
}

/// A time of a format, and its width.
fn sample(format: Format) -> &'static ([u8; 40], usize) {
    static ALL: LazyLock<Vec<([u8; 40], usize)>> = LazyLock::new(|| {
        let print = |format: Format| {
            let mut text = [0; 40];
            let width = format.print(0, &mut text);
            (text, width)
        };
        (1..=u8::MAX).map_while(Format::from_number).map(print).collect()
    });
    const NONE: &([u8; 40], usize) = &([0; 40], 0);
    ALL.get(usize::from(format.number()).wrapping_sub(1)).unwrap_or(NONE)
}

/// Whether so many bytes fit somewhere into `width` bytes, by what `fits` says of a place and a byte.
fn at_some_place(spot: Spot, length: usize, width: usize, fits: impl Fn(usize, usize) -> bool) -> bool {
    let Some(last) = width.checked_sub(length) else { return false };
    let mut starts = match spot {
        Spot::Inside => 0..=last,
        Spot::Start => 0..=0,
        Spot::End => last..=last,
        Spot::Whole if last == 0 => 0..=0,
        Spot::Whole => return false,
    };
    starts.any(|start| (0..length).all(|byte| fits(start.saturating_add(byte), byte)))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Every value of every class, and whatever is in it.
    #[test]
    fn what_is_in_a_value_may_be_in_its_class() {
        let times = (1..=26).filter_map(Format::from_number).map(Class::Time);
        let numbers =
            [Class::Number, Class::Padded(5), Class::Digits, Class::Hex(8), Class::HexUpper(8), Class::Ip4];
        let mut seen = 0;
        for class in times.chain(numbers) {
            for value in [0, 7, 99, 2600, 65_535, 999_999, 86_399, 1_772_884_800, 1_772_884_800_123_456] {
                let mut room = [0; 40];
                let width = class.print(value, &mut room);
                let text = &room[..width];
                seen += usize::from(width > 0);
                for start in 0..width {
                    for end in start + 1..=width {
                        let part = &text[start..end];
                        let is_in = |spot, case| may_hold(class, spot, part, case);
                        for case in [Case::Exact, Case::Any] {
                            let context = (class, String::from_utf8_lossy(part).into_owned());
                            assert!(is_in(Spot::Inside, case), "{context:?}");
                            assert!(start > 0 || is_in(Spot::Start, case), "{context:?}");
                            assert!(end < width || is_in(Spot::End, case), "{context:?}");
                            assert!(end - start < width || is_in(Spot::Whole, case), "{context:?}");
                        }
                    }
                }
            }
        }
        assert!(seen > 150, "{seen}");
    }

    #[test]
    fn text_that_no_value_of_a_class_has_is_known() {
        let iso = Class::Time(Format::from_number(4).unwrap());
        for (class, text) in [
            (Class::Number, &b"12a"[..]),
            (Class::Hex(8), b"DEAD"),
            (Class::Hex(4), b"12345"),
            (Class::Uuid, b"1234567890abc"),
            (Class::Uuid, b"1-23-4"),
            (Class::Ip4, b"1:2"),
            (iso, b"error"),
            (iso, b"12.5"),
        ] {
            assert!(!may_hold(class, Spot::Inside, text, Case::Exact), "{class:?}");
        }
        assert!(may_hold(Class::Hex(8), Spot::Inside, b"dead", Case::Any));
        assert!(!may_hold(Class::Number, Spot::Whole, b"", Case::Exact));
        assert!(may_hold(Class::Text, Spot::Whole, b"", Case::Exact));
    }
}
