//! Finds times in lines. What would print otherwise than it is written is none.

use super::calendar::{DAY, LEAP_YEAR, MONTHS, WEEKDAYS, days, days_before};
use super::{Format, Stamp, power};

/// Reads a time at `at`, where a run of letters of the given width starts.
pub(crate) fn after_letters(line: &[u8], at: usize, zero_padded: &mut bool) -> Option<Stamp> {
    let name = line.get(at..at + 3)?;
    if let Some(month) = position(MONTHS, name) {
        return month_first(line, at, month, zero_padded);
    }
    let weekday = position(WEEKDAYS, name)?;
    if *line.get(at + 3)? != b' ' {
        return None;
    }
    let month = position(MONTHS, line.get(at + 4..at + 7)?)?;
    let (day, zero) = padded_day(line, at + 7, zero_padded)?;
    let time = clock(line, at + 11, b':')?;
    let year = year_behind(line, at + 19)?;
    let days = days(year, month + 1, day)?;
    if days % 7 != weekday {
        return None;
    }
    let format = Format(if zero { 13 } else { 21 });
    Some(Stamp { format, value: days * DAY + time, bytes: 24 })
}

/// Reads a time of a format at `at`.
pub(crate) fn of_format(line: &[u8], at: usize, format: Format) -> Option<Stamp> {
    let digits = line.get(at..)?.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    // Two digits of a day say nothing about how it is padded: then it is as the format says.
    let mut zero_padded = matches!(format, Format(13 | 22 | 23));
    let stamp =
        if digits == 0 { after_letters(line, at, &mut zero_padded) } else { after_digits(line, at, digits) };
    stamp.filter(|stamp| stamp.format == format)
}

fn month_first(line: &[u8], at: usize, month: u64, zero_padded: &mut bool) -> Option<Stamp> {
    let (day, zero) = padded_day(line, at + 3, zero_padded)?;
    let time = clock(line, at + 7, b':')?;
    if let Some(year) = year_behind(line, at + 15)
        && let Some(days) = days(year, month + 1, day)
    {
        let format = Format(if zero { 23 } else { 2 });
        return Some(Stamp { format, value: days * DAY + time, bytes: 20 });
    }
    let days = days(LEAP_YEAR, month + 1, day)? - days_before(LEAP_YEAR);
    let format = Format(if zero { 22 } else { 1 });
    Some(Stamp { format, value: days * DAY + time, bytes: 15 })
}

/// ` dd `: the day, and whether it is padded with a zero. Two digits say nothing about it: then it is as it was
/// the last time.
fn padded_day(line: &[u8], at: usize, zero_padded: &mut bool) -> Option<(u64, bool)> {
    let &[b' ', tens, ones, b' '] = line.get(at..at + 4)? else { return None };
    let day = match tens {
        b' ' => digit(ones)?,
        _ => digit(tens)? * 10 + digit(ones)?,
    };
    if tens == b' ' || tens == b'0' {
        *zero_padded = tens == b'0';
    }
    Some((day, *zero_padded))
}

fn year_behind(line: &[u8], at: usize) -> Option<u64> {
    if *line.get(at)? != b' ' || line.get(at + 5).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    Some(two(line, at + 1)? * 100 + two(line, at + 3)?)
}

/// Reads a time at `at`, where a run of digits of the given width starts.
pub(crate) fn after_digits(line: &[u8], at: usize, width: usize) -> Option<Stamp> {
    let next = *line.get(at + width)?;
    match (width, next) {
        (4, b'-' | b'/') => iso(line, at, next),
        (2, b':') => {
            let time = clock(line, at, b':')?;
            let (digits, fraction) = match line.get(at + 8) {
                Some(b'.') => fraction(line, at + 9, &[6, 3]),
                Some(b',') => fraction(line, at + 9, &[3]),
                _ => (0, 0),
            };
            let format = match (digits, line.get(at + 8)) {
                (3, Some(b'.')) => 19,
                (3, _) => 20,
                (6, _) => 26,
                _ => 18,
            };
            Some(stamp(format, time, fraction, 8))
        }
        (2, b'/') => {
            let month = position(MONTHS, line.get(at + 3..at + 6)?)?;
            let (b'/', b':') = (*line.get(at + 6)?, *line.get(at + 11)?) else { return None };
            let days = days(two(line, at + 7)? * 100 + two(line, at + 9)?, month + 1, two(line, at)?)?;
            Some(stamp(10, days * DAY + clock(line, at + 12, b':')?, 0, 20))
        }
        (6, b' ') => {
            if line.get(at + 13).is_some_and(u8::is_ascii_alphanumeric) {
                return None;
            }
            let days = days(2000 + two(line, at)?, two(line, at + 2)?, two(line, at + 4)?)?;
            Some(stamp(11, (days - days_before(2000)) * DAY + clock(line, at + 7, 0)?, 0, 13))
        }
        _ => None,
    }
}

fn iso(line: &[u8], at: usize, between: u8) -> Option<Stamp> {
    if *line.get(at + 7)? != between {
        return None;
    }
    let year = two(line, at)? * 100 + two(line, at + 2)?;
    let days = days(year, two(line, at + 5)?, two(line, at + 8)?)?;
    let joint = *line.get(at + 10)?;
    let separator = if joint == b'-' { b'.' } else { b':' };
    let seconds = days * DAY + clock(line, at + 11, separator)?;
    let point = line.get(at + 19).copied().unwrap_or_default();
    let (digits, fraction) = match (between, joint, point) {
        (b'/', b' ', b'.') => fraction(line, at + 20, &[6, 3]),
        (b'-', b' ' | b'T', b'.') => fraction(line, at + 20, &[3, 6, 9]),
        (b'-', b' ' | b'T', b',') => fraction(line, at + 20, &[3]),
        (b'-', b'-', b'.') => fraction(line, at + 20, &[6]),
        _ => (0, 0),
    };
    let format = match (between, joint, point, digits) {
        (b'-', b' ', _, 0) => 3,
        (b'-', b' ', b',', 3) => 4,
        (b'-', b' ', _, 3) => 5,
        (b'-', b' ', _, 6) => 6,
        (b'-', b'T', _, 0) => 7,
        (b'-', b'T', b'.', 3) => 8,
        (b'-', b'T', _, 6) => 9,
        (b'-', b'-', _, 6) => 12,
        (b'-', b'T', _, 9) => 14,
        (b'-', b' ', _, 9) => 15,
        (b'/', b' ', _, 0) => 16,
        (b'/', b' ', _, 6) => 17,
        (b'-', b'T', b',', 3) => 24,
        (b'/', b' ', _, 3) => 25,
        _ => return None,
    };
    Some(stamp(format, seconds, fraction, 19))
}

/// A stamp of whole seconds and a fraction, in the unit of the format.
fn stamp(format: u8, seconds: u64, fraction: u64, whole_bytes: usize) -> Stamp {
    let format = Format(format);
    let digits = format.layout().digits;
    let bytes = whole_bytes + if digits > 0 { 1 + usize::from(digits) } else { 0 };
    Stamp { format, value: seconds * power(digits) + fraction, bytes }
}

/// The digits of a fraction at `at`, if there are as many as one of `widths`, and their value.
fn fraction(line: &[u8], at: usize, widths: &[u8]) -> (u8, u64) {
    let rest = line.get(at..).unwrap_or_default();
    let mut value = 0;
    let mut width = 0u8;
    for &byte in rest.iter().take(10) {
        let Some(digit) = digit(byte) else { break };
        value = value * 10 + digit;
        width += 1;
    }
    if widths.contains(&width) { (width, value) } else { (0, 0) }
}

/// `hh:mm:ss` as seconds of the day; with 0 for the byte between, `hhmmss`.
fn clock(line: &[u8], at: usize, between: u8) -> Option<u64> {
    let step = if between == 0 { 2 } else { 3 };
    if between != 0 && (*line.get(at + 2)? != between || *line.get(at + 5)? != between) {
        return None;
    }
    let (hour, minute, second) = (two(line, at)?, two(line, at + step)?, two(line, at + 2 * step)?);
    let end = at + 2 * step + 2;
    let goes_on = between != 0 && line.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let whole = hour < 24 && minute < 60 && second < 60 && (!goes_on || line.get(end) == Some(&b'Z'));
    whole.then_some(hour * 3600 + minute * 60 + second)
}

fn digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

fn two(line: &[u8], at: usize) -> Option<u64> {
    let &[tens, ones] = line.get(at..at + 2)? else { return None };
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// Which of the names of three letters it is.
fn position(names: &[u8], name: &[u8]) -> Option<u64> {
    let at = names.chunks_exact(3).position(|other| other == name)?;
    u64::try_from(at).ok()
}
