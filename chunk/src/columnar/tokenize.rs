//! Cuts a line into the text that lines of its kind have in common and the values that differ. One pass over
//! a table of byte classes; nothing is allocated for a line.
//!
//! The *key* of a line is its text with three bytes for each value: 0, and those of the value's class. Lines
//! of one key have one skeleton. A line with a zero byte has none.

mod words;

use std::ops::Range;

use memchr::memchr;

use super::class::{Class, MAX_DIGITS, UUID_BYTES, digits_code, hex_value, scan_ip4, starts_with_uuid};
use super::timestamp::{self, Stamp};

use words::Field;
pub(crate) use words::Words;

/// Values of one line at most: a line of more is no line to tabulate.
pub(crate) const MAX_SLOTS: usize = 255;

/// Longer lines are not cut.
pub(crate) const LONGEST: usize = 1 << 20;

const DIGIT: u8 = 1;
const HEX_LOWER: u8 = 2;
const HEX_UPPER: u8 = 4;
/// A letter that is no hex digit, or a byte beyond ASCII.
const LETTER: u8 = 8;
/// What runs are made of.
const RUN: u8 = DIGIT | HEX_LOWER | HEX_UPPER | LETTER;
/// What ends a field: blanks, quotes, brackets, and what stands between names and values.
const FIELD_END: u8 = 16;

const KINDS: [u8; 256] = {
    let mut all = [0; 256];
    let mut byte = 0u8;
    loop {
        all[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => HEX_LOWER,
            b'A'..=b'F' => HEX_UPPER,
            b'g'..=b'z' | b'G'..=b'Z' | 0x80.. => LETTER,
            b' ' | b'\t' | b'"' | b'=' | b',' | b';' | b':' | b'[' | b']' | b'(' | b')' | b'{' | b'}'
            | b'<' | b'>' | b'|' => FIELD_END,
            _ => 0,
        };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    all
};

#[inline]
fn kind(byte: u8) -> u8 {
    KINDS[usize::from(byte)]
}

/// Bytes of the run that some text starts with.
pub(crate) fn run_end(text: &[u8]) -> usize {
    text.iter().position(|&byte| kind(byte) & RUN == 0).unwrap_or(text.len())
}

/// Whether a run that some text starts with ends there.
pub(crate) fn ends_run(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|&byte| kind(byte) & RUN == 0)
}

/// Bytes of the field that some text starts with.
pub(crate) fn field_end(text: &[u8]) -> usize {
    text.iter().position(|&byte| kind(byte) & FIELD_END != 0).unwrap_or(text.len())
}

/// How far the text of a slot reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// As far as letters and digits.
    Run,
    /// To the end of its field.
    Field,
    /// To the next quotation mark.
    Quoted,
    /// As far as the lexer had its reasons for.
    Other,
}

/// How much of a line counts as values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// What has digits.
    Digits,
    /// Also fields with words that few lines have, and quoted text of several words.
    Fields,
}

/// Cuts lines, one after the other.
#[derive(Default)]
pub(crate) struct Lexer {
    /// The key of the line.
    pub(crate) key: Vec<u8>,
    /// Its values: numbers as they are, bytes as [`span`]s of the line.
    pub(crate) values: Vec<u64>,
    /// How far each of them reaches that is text.
    pub(crate) extents: Vec<Extent>,
    written: usize,
    /// Not 0, if a zero byte was seen.
    zeros: u64,
    zero_padded: bool,
}

/// A part of a line as one number.
pub(crate) fn span(start: usize, end: usize) -> u64 {
    (start as u64) << 32 | end as u64
}

/// The bytes that a [`span`] names.
pub(crate) fn spanned(line: &[u8], span: u64) -> &[u8] {
    let end = usize::try_from(span & 0xFFFF_FFFF).unwrap_or(usize::MAX);
    let start = usize::try_from(span >> 32).unwrap_or(usize::MAX);
    line.get(start..end).unwrap_or_default()
}

impl Lexer {
    /// Cuts a line. `false`: it has no skeleton, and `key` and `values` mean nothing.
    pub(crate) fn cut(&mut self, line: &[u8], level: Level, words: &Words) -> bool {
        self.key.clear();
        self.values.clear();
        self.extents.clear();
        self.written = 0;
        self.zeros = 0;
        if line.len() > LONGEST {
            return false;
        }
        match level {
            Level::Digits => {
                self.digits(line, 0, line.len());
            }
            Level::Fields if line.contains(&0) => return false,
            Level::Fields => self.fields(line, words),
        }
        self.literal(line, line.len());
        self.values.len() <= MAX_SLOTS && self.zeros == 0
    }

    /// Appends what was not written yet, up to `end`.
    #[inline]
    fn literal(&mut self, line: &[u8], end: usize) {
        let rest = line.get(self.written..).unwrap_or_default();
        let bytes = end - self.written;
        // Short text is copied with what follows, which is then taken back.
        if let Some(chunk) = rest.first_chunk::<32>().filter(|_| bytes <= 32) {
            let end = self.key.len() + bytes;
            self.key.extend_from_slice(chunk);
            self.key.truncate(end);
        } else {
            self.key.extend_from_slice(rest.get(..bytes).unwrap_or_default());
        }
    }

    fn slot(&mut self, line: &[u8], class: Class, value: u64, start: usize, end: usize) {
        self.literal(line, start);
        let [class, width] = class.to_bytes();
        self.key.extend_from_slice(&[0, class, width]);
        self.values.push(value);
        self.written = end;
    }

    fn text(&mut self, line: &[u8], start: usize, end: usize, extent: Extent) {
        self.extents.push(extent);
        self.slot(line, Class::Text, span(start, end), start, end);
    }

    fn stamp(&mut self, line: &[u8], stamp: Stamp, start: usize) -> usize {
        let end = start + stamp.bytes;
        self.slot(line, Class::Time(stamp.format), stamp.value, start, end);
        end
    }

    /// Cuts `line[at..until]`; gives where it came to, which is behind a value that goes on beyond.
    fn digits(&mut self, line: &[u8], mut at: usize, until: usize) -> usize {
        while let Some(digit) = self.next_digit(line, at, until) {
            let before = line.get(at..digit).unwrap_or_default();
            let start = digit - before.iter().rev().take_while(|&&byte| kind(byte) & RUN != 0).count();
            let (mut end, mut value) = (digit, 0u64);
            let next = loop {
                let next = line.get(end).copied().unwrap_or_default();
                let digit = next.wrapping_sub(b'0');
                if digit > 9 {
                    break next;
                }
                value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
                end += 1;
            };
            at = match (start == digit, kind(next) & RUN == 0) {
                (true, true) => self.decimal(line, at, start..end, value, next),
                // Letters and then digits are no hex number, unless there are eight of both.
                (false, true) if end - start < 8 => {
                    self.slot(line, Class::Digits, digits_code(value, end - digit), digit, end);
                    end
                }
                (true, false) => match self.unit(line, start, end) {
                    Some(behind) => {
                        self.slot(line, Class::Digits, digits_code(value, end - start), start, end);
                        behind
                    }
                    None => self.run(line, start),
                },
                _ => self.run(line, start),
            };
        }
        at.max(until)
    }

    /// Where the letters end that follow digits, if there is nothing else in their run and all of it is no hex number.
    #[inline]
    fn unit(&self, line: &[u8], start: usize, digits_end: usize) -> Option<usize> {
        let mut end = digits_end;
        let mut seen = 0;
        while let Some(kind) = line.get(end).map(|&byte| kind(byte)).filter(|kind| kind & RUN != 0) {
            seen |= kind;
            end += 1;
        }
        let hex = end - start >= 8 && seen & LETTER == 0 || line.get(digits_end) == Some(&b'x');
        (seen & DIGIT == 0 && !hex && digits_end - start <= MAX_DIGITS).then_some(end)
    }

    /// Where the next digit is. Eight bytes at a time; notes zero bytes on the way.
    #[inline]
    fn next_digit(&mut self, line: &[u8], mut at: usize, until: usize) -> Option<usize> {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = ONES << 7;
        while at < until {
            let rest = line.get(at..)?;
            let chunk = rest.first_chunk::<8>().copied().unwrap_or_else(|| {
                let mut padded = [b' '; 8];
                padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                padded
            });
            let bytes = u64::from_le_bytes(chunk);
            self.zeros |= bytes.wrapping_sub(ONES) & !bytes & HIGHS;
            // A digit is 0 to 9 now, and stays below 128 with 118 added.
            let from_zero = bytes ^ (ONES * 0x30);
            let others = ((from_zero & !HIGHS) + ONES * 118) | from_zero;
            let digits = !others & HIGHS;
            if digits != 0 {
                at += digits.trailing_zeros() as usize / 8;
                return (at < until).then_some(at);
            }
            at += 8;
        }
        None
    }

    /// A run with a digit in it; gives where it ends.
    fn run(&mut self, line: &[u8], start: usize) -> usize {
        let from = line.get(start..).unwrap_or_default();
        let (mut seen, mut switches, mut before, mut width) = (0, 0, 0, 0);
        for kind in from.iter().map(|&byte| kind(byte)).take_while(|kind| kind & RUN != 0) {
            seen |= kind;
            switches += usize::from((kind ^ before) & DIGIT != 0);
            before = kind;
            width += 1;
        }
        // The first byte is no switch, even if it is a digit.
        switches -= usize::from(from.first().is_some_and(u8::is_ascii_digit)).min(switches);
        let end = start + width;
        let run = from.get(..width).unwrap_or_default();
        let next = line.get(end).copied().unwrap_or_default();
        let rest = line.get(start..).unwrap_or_default();
        if seen & (HEX_UPPER | LETTER) == 0 && width == 8 && next == b'-' && starts_with_uuid(rest) {
            let end = start + UUID_BYTES;
            self.slot(line, Class::Uuid, span(start, end), start, end);
            return end;
        }
        if seen & LETTER == 0 && seen != DIGIT | HEX_LOWER | HEX_UPPER && width >= 8 {
            self.hex(line, run, start, end);
        } else if width > 2
            && run.starts_with(b"0x")
            && run.iter().skip(2).all(|&byte| hex_value(byte).is_some())
        {
            self.hex(line, run.get(2..).unwrap_or_default(), start + 2, end);
        } else if switches > 2 {
            self.text(line, start, end, Extent::Run);
        } else {
            self.mixed(line, start, end);
        }
        end
    }

    /// A run of nothing but digits. Text from `from` on is in no value yet.
    fn decimal(&mut self, line: &[u8], from: usize, digits: Range<usize>, value: u64, next: u8) -> usize {
        let (start, end) = (digits.start, digits.end);
        let width = digits.len();
        match (width, next) {
            (1 | 2, b' ') => {
                if let Some((start, stamp)) = self.time_around(line, from, start) {
                    return self.stamp(line, stamp, start);
                }
            }
            (4, b'-' | b'/') | (2, b'/' | b':') | (6, b' ') => {
                if let Some(stamp) = timestamp::after_digits(line, start, width) {
                    return self.stamp(line, stamp, start);
                }
            }
            (1..=3, b'.') => {
                let inside = start.checked_sub(1).and_then(|before| line.get(before)) == Some(&b'.');
                if !inside && let Some((address, width)) = scan_ip4(line.get(start..).unwrap_or_default()) {
                    self.slot(line, Class::Ip4, address, start, start + width);
                    return start + width;
                }
            }
            (8, b'-') if starts_with_uuid(line.get(start..).unwrap_or_default()) => {
                let end = start + UUID_BYTES;
                self.slot(line, Class::Uuid, span(start, end), start, end);
                return end;
            }
            _ => {}
        }
        if width > MAX_DIGITS {
            self.text(line, start, end, Extent::Run);
        } else {
            self.slot(line, Class::Digits, digits_code(value, width), start, end);
        }
        end
    }

    /// A time whose day is at `day`, with the names of the month and perhaps the weekday before it.
    fn time_around(&mut self, line: &[u8], from: usize, day: usize) -> Option<(usize, Stamp)> {
        let is_blank = |at: usize| line.get(at) == Some(&b' ');
        let gap = if is_blank(day.checked_sub(2)?) { 2 } else { 1 };
        let month = day.checked_sub(3 + gap).filter(|&month| month >= from && is_blank(day - 1))?;
        if !line.get(month).is_some_and(u8::is_ascii_uppercase) {
            return None;
        }
        let starts_a_run = |at: usize| {
            at == from
                || at
                    .checked_sub(1)
                    .and_then(|before| line.get(before))
                    .is_none_or(|&byte| kind(byte) & RUN == 0)
        };
        let weekday = month.checked_sub(4).filter(|&weekday| weekday >= from && starts_a_run(weekday));
        if let Some(weekday) = weekday
            && let Some(stamp) = timestamp::after_letters(line, weekday, &mut self.zero_padded)
        {
            return Some((weekday, stamp));
        }
        if !starts_a_run(month) {
            return None;
        }
        timestamp::after_letters(line, month, &mut self.zero_padded).map(|stamp| (month, stamp))
    }

    /// Digits inside of a longer run.
    fn number(&mut self, line: &[u8], start: usize, end: usize) {
        let width = end - start;
        if width > MAX_DIGITS {
            return self.text(line, start, end, Extent::Other);
        }
        let digits = line.get(start..end).unwrap_or_default();
        let value = digits.iter().fold(0u64, |value, byte| value * 10 + u64::from(byte & 15));
        self.slot(line, Class::Digits, digits_code(value, width), start, end);
    }

    fn hex(&mut self, line: &[u8], run: &[u8], start: usize, end: usize) {
        let lower = !run.iter().any(u8::is_ascii_uppercase);
        let upper = !run.iter().any(u8::is_ascii_lowercase);
        let width = u8::try_from(run.len()).unwrap_or(u8::MAX);
        match width {
            1..=16 if lower || upper => {
                let value = run.iter().filter_map(|&byte| hex_value(byte));
                let value = value.fold(0u64, |value, digit| value << 4 | u64::from(digit));
                let class = if lower { Class::Hex(width) } else { Class::HexUpper(width) };
                self.slot(line, class, value, start, end);
            }
            18..=254 if lower && width % 2 == 0 => {
                self.slot(line, Class::HexBytes(width), span(start, end), start, end);
            }
            _ => self.text(line, start, end, Extent::Run),
        }
    }

    /// Letters stay, digits are values.
    fn mixed(&mut self, line: &[u8], start: usize, end: usize) {
        let run = line.get(start..end).unwrap_or_default();
        let mut first = None;
        for (at, byte) in (start..).zip(run) {
            match first {
                None if byte.is_ascii_digit() => first = Some(at),
                Some(digits) if !byte.is_ascii_digit() => {
                    self.number(line, digits, at);
                    first = None;
                }
                _ => {}
            }
        }
        if let Some(digits) = first {
            self.number(line, digits, end);
        }
    }

    fn fields(&mut self, line: &[u8], words: &Words) {
        let mut at = 0;
        // The second quotation mark of what was not one value: it must not be taken for a first one.
        let mut closing = None;
        while let Some(&first) = line.get(at) {
            let kind_of_first = kind(first);
            if kind_of_first & FIELD_END != 0 {
                if first == b'"' && closing != Some(at) {
                    let end =
                        memchr(b'"', line.get(at + 1..).unwrap_or_default()).map(|bytes| at + 1 + bytes);
                    at = self.quoted(line, at + 1, end);
                    closing = end;
                } else {
                    at += 1;
                }
                continue;
            }
            if kind_of_first & RUN != 0
                && let Some(stamp) = self.time_at(line, at)
            {
                at = self.stamp(line, stamp, at);
                continue;
            }
            let rest = line.get(at..).unwrap_or_default();
            let Field { bytes, seen, is_frequent } = words.field(rest);
            let end = at + bytes;
            if is_frequent || self.is_value(rest.get(..bytes).unwrap_or_default(), seen) {
                at = if seen & DIGIT == 0 { end } else { self.digits(line, at, end) };
            } else {
                self.text(line, at, end, Extent::Field);
                at = end;
            }
        }
    }

    /// Behind a quotation mark: where to go on, which is the second one, at `end`, if the quoted text is one value.
    fn quoted(&mut self, line: &[u8], at: usize, end: Option<usize>) -> usize {
        let Some((text, end)) = end.and_then(|end| Some((line.get(at..end)?, end))) else { return at };
        if memchr(b' ', text).is_none() || self.time_at(line, at).is_some() {
            return at;
        }
        self.text(line, at, end, Extent::Quoted);
        end
    }

    fn time_at(&mut self, line: &[u8], at: usize) -> Option<Stamp> {
        let rest = line.get(at..)?;
        match rest.first()? {
            b'0'..=b'9' => {
                let digits = rest.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
                matches!(digits, 2 | 4 | 6).then(|| timestamp::after_digits(line, at, digits))?
            }
            b'A'..=b'Z' if rest.get(3) == Some(&b' ') => {
                timestamp::after_letters(line, at, &mut self.zero_padded)
            }
            _ => None,
        }
    }

    /// Whether a field has no letters, or is one value that has a class of its own.
    fn is_value(&self, field: &[u8], seen: u8) -> bool {
        seen & (HEX_LOWER | HEX_UPPER | LETTER) == 0
            || starts_with_uuid(field)
            || seen & LETTER == 0
                && seen & DIGIT != 0
                && field.len() >= 8
                && field.iter().all(|&byte| kind(byte) & RUN != 0)
    }
}

#[cfg(test)]
mod tests;
