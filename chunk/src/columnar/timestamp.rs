//! Times as programs print them in their lines: each format has one width, so that a time is a number, and the
//! number prints as exactly the bytes it was read from. What would print otherwise is no time.

/// Seconds of a day.
const DAY: u64 = 86_400;
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
/// Times without a year are seconds of this one: it has a 29 February.
const LEAP_YEAR: u64 = 1972;
/// The last year whose nanoseconds since 1970 fit an `i64` to its end.
const LAST_YEAR: u64 = 2261;

/// How the day is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Date {
    None,
    /// `Mmm dd`, the day padded with the byte.
    Month(u8),
    /// `Www Mmm dd`, and the year behind the time.
    Weekday(u8),
    /// `yyyy-mm-dd`, with the byte between.
    Iso(u8),
    /// `dd/Mmm/yyyy`.
    Slashed,
    /// `yymmdd`.
    Short,
}

/// One layout: date, the byte behind it, the byte between hours, minutes and seconds (0: none), and the
/// fraction's first byte and digits. `year`: ` yyyy` ends it.
#[derive(Clone, Copy)]
struct Layout {
    date: Date,
    joint: u8,
    clock: u8,
    point: u8,
    digits: u8,
    year: bool,
}

const fn layout(date: Date, joint: u8, clock: u8, point: u8, digits: u8) -> Layout {
    let year = matches!(date, Date::Weekday(_));
    Layout { date, joint, clock, point, digits, year }
}

/// Number and layout of every format. Numbers are what files hold.
const LAYOUTS: [Layout; 26] = [
    layout(Date::Month(b' '), b' ', b':', 0, 0),
    Layout { year: true, ..layout(Date::Month(b' '), b' ', b':', 0, 0) },
    layout(Date::Iso(b'-'), b' ', b':', 0, 0),
    layout(Date::Iso(b'-'), b' ', b':', b',', 3),
    layout(Date::Iso(b'-'), b' ', b':', b'.', 3),
    layout(Date::Iso(b'-'), b' ', b':', b'.', 6),
    layout(Date::Iso(b'-'), b'T', b':', 0, 0),
    layout(Date::Iso(b'-'), b'T', b':', b'.', 3),
    layout(Date::Iso(b'-'), b'T', b':', b'.', 6),
    layout(Date::Slashed, b':', b':', 0, 0),
    layout(Date::Short, b' ', 0, 0, 0),
    layout(Date::Iso(b'-'), b'-', b'.', b'.', 6),
    layout(Date::Weekday(b'0'), b' ', b':', 0, 0),
    layout(Date::Iso(b'-'), b'T', b':', b'.', 9),
    layout(Date::Iso(b'-'), b' ', b':', b'.', 9),
    layout(Date::Iso(b'/'), b' ', b':', 0, 0),
    layout(Date::Iso(b'/'), b' ', b':', b'.', 6),
    layout(Date::None, 0, b':', 0, 0),
    layout(Date::None, 0, b':', b'.', 3),
    layout(Date::None, 0, b':', b',', 3),
    layout(Date::Weekday(b' '), b' ', b':', 0, 0),
    layout(Date::Month(b'0'), b' ', b':', 0, 0),
    Layout { year: true, ..layout(Date::Month(b'0'), b' ', b':', 0, 0) },
    layout(Date::Iso(b'-'), b'T', b':', b',', 3),
    layout(Date::Iso(b'/'), b' ', b':', b'.', 3),
    layout(Date::None, 0, b':', b'.', 6),
];
/// The longest of them.
pub(crate) const MAX_BYTES: usize = 29;

/// A format by its number, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(crate) struct Format(u8);

/// A time that was found: how it is written, its value in units of the format, its width in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) format: Format,
    pub(crate) value: u64,
    pub(crate) bytes: usize,
}

impl Format {
    /// The format of a number, if there is one.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        (1..=LAYOUTS.len()).contains(&usize::from(number)).then_some(Self(number))
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    fn layout(self) -> Layout {
        LAYOUTS.get(usize::from(self.0).wrapping_sub(1)).copied().unwrap_or(layout(Date::None, 0, b':', 0, 0))
    }

    /// Bytes of every time in it.
    pub(crate) fn width(self) -> usize {
        self.print(0, &mut [0; 40])
    }

    /// Nanoseconds of one unit.
    pub(crate) fn unit_ns(self) -> u64 {
        1_000_000_000 / power(self.layout().digits)
    }

    /// [`print`](Self::print), where `out` has the `width` bytes that `before` prints as: of times within one
    /// second only the fraction is written, within a day only what is behind the date.
    #[inline]
    pub(crate) fn print_after(self, value: u64, before: u64, width: usize, out: &mut [u8; 40]) -> usize {
        let layout = self.layout();
        let scale = power(layout.digits);
        if width > 0 && scale > 1 && value / scale == before / scale {
            let at = width.saturating_sub(usize::from(layout.digits));
            Printer { out, at }.fraction(value % scale, layout.digits);
            return width;
        }
        let (seconds, day) = (value / scale, value / scale / DAY);
        if width > 0 && day == before / scale / DAY {
            // Between the date and the fraction, or the year.
            let clock = if layout.clock == 0 { 6 } else { 8 };
            let fraction = if layout.digits == 0 { 0 } else { usize::from(layout.digits) + 1 };
            let year = if layout.year { 5 } else { 0 };
            let mut line = Printer { out, at: width.saturating_sub(clock + fraction + year) };
            line.clock(seconds % DAY, layout.clock);
            if layout.digits > 0 {
                line.byte(layout.point);
                line.fraction(value % scale, layout.digits);
            }
            return width;
        }
        self.print(value, out)
    }

    /// Prints a value and gives the width, or 0 where no time has that value.
    #[inline]
    pub(crate) fn print(self, value: u64, out: &mut [u8; 40]) -> usize {
        let layout = self.layout();
        let scale = power(layout.digits);
        let (seconds, fraction) = if scale == 1 { (value, 0) } else { (value / scale, value % scale) };
        let (days, time) = (seconds / DAY, seconds % DAY);
        let Some(last) = last_day(layout) else { return 0 };
        if days > last {
            return 0;
        }
        let mut line = Printer { out, at: 0 };
        let mut year = 0;
        if layout.date != Date::None {
            let yearless = matches!(layout.date, Date::Month(_)) && !layout.year;
            let first = if layout.date == Date::Short { days_before(2000) } else { 0 };
            let date = civil(days + if yearless { days_before(LEAP_YEAR) } else { first });
            year = date.0;
            line.date(layout.date, date, days);
            line.byte(layout.joint);
        }
        line.clock(time, layout.clock);
        if layout.digits > 0 {
            line.byte(layout.point);
            line.fraction(fraction, layout.digits);
        }
        if layout.year {
            line.byte(b' ');
            line.year(year);
        }
        line.at
    }
}

/// The greatest number of days that a layout can print.
fn last_day(layout: Layout) -> Option<u64> {
    Some(match layout.date {
        Date::None => 0,
        Date::Month(_) if !layout.year => 365,
        Date::Short => days_before(2100).checked_sub(days_before(2000))?.checked_sub(1)?,
        _ => days_before(LAST_YEAR + 1).checked_sub(1)?,
    })
}

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

fn power(digits: u8) -> u64 {
    match digits {
        3 => 1_000,
        6 => 1_000_000,
        9 => 1_000_000_000,
        _ => 1,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1 January 1970 to 1 January of a year.
const fn days_before(year: u64) -> u64 {
    let last = year - 1;
    year * 365 + last / 4 - last / 100 + last / 400 - (1970 * 365 + 1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// Days before the first of each month in a year that is none of 366 days.
const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Days since 1970 of a date that exists.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=LAST_YEAR).contains(&year) {
        return None;
    }
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let leap = u64::from(is_leap(year));
    let before = *BEFORE_MONTH.get(index)?;
    let after = BEFORE_MONTH.get(index + 1).copied().unwrap_or(365);
    let length = after - before + if month == 2 { leap } else { 0 };
    if !(1..=length).contains(&day) {
        return None;
    }
    Some(days_before(year) + before + if month > 2 { leap } else { 0 } + day - 1)
}

/// Year, month from 1 and day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // Days since 1 March of the year 0: there the odd day ends the year, the century and the 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day - first + 1)
}

struct Printer<'a> {
    out: &'a mut [u8; 40],
    at: usize,
}

impl Printer<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = byte;
            self.at += 1;
        }
    }

    #[inline]
    fn two(&mut self, value: u64) {
        self.byte(b'0' + (value / 10 % 10).to_le_bytes()[0]);
        self.byte(b'0' + (value % 10).to_le_bytes()[0]);
    }

    fn year(&mut self, year: u64) {
        self.two(year / 100);
        self.two(year % 100);
    }

    fn name(&mut self, names: &[u8], index: u64) {
        let at = usize::try_from(index).unwrap_or(0) * 3;
        for &byte in names.get(at..at + 3).unwrap_or_default() {
            self.byte(byte);
        }
    }

    fn day(&mut self, day: u64, pad: u8) {
        if day < 10 {
            self.byte(pad);
            self.byte(b'0' + day.to_le_bytes()[0]);
        } else {
            self.two(day);
        }
    }

    fn date(&mut self, how: Date, (year, month, day): (u64, u64, u64), days: u64) {
        match how {
            Date::None => {}
            Date::Month(pad) | Date::Weekday(pad) => {
                if let Date::Weekday(_) = how {
                    self.name(WEEKDAYS, days % 7);
                    self.byte(b' ');
                }
                self.name(MONTHS, month - 1);
                self.byte(b' ');
                self.day(day, pad);
            }
            Date::Iso(between) => {
                self.year(year);
                self.byte(between);
                self.two(month);
                self.byte(between);
                self.two(day);
            }
            Date::Slashed => {
                self.two(day);
                self.byte(b'/');
                self.name(MONTHS, month - 1);
                self.byte(b'/');
                self.year(year);
            }
            Date::Short => {
                self.two(year % 100);
                self.two(month);
                self.two(day);
            }
        }
    }

    #[inline]
    fn clock(&mut self, time: u64, between: u8) {
        self.two(time / 3600);
        if between != 0 {
            self.byte(between);
        }
        self.two(time / 60 % 60);
        if between != 0 {
            self.byte(between);
        }
        self.two(time % 60);
    }

    fn fraction(&mut self, value: u64, digits: u8) {
        if digits > 6 {
            self.fraction(value / 1_000_000, digits - 6);
            return self.fraction(value % 1_000_000, 6);
        }
        if digits > 3 {
            self.fraction(value / 1_000, digits - 3);
            return self.fraction(value % 1_000, 3);
        }
        self.byte(b'0' + (value / 100 % 10).to_le_bytes()[0]);
        self.two(value % 100);
    }
}

#[cfg(test)]
mod tests;
