//! Times as programs print them in their lines: each format has one width, so that a time is a number, and the
//! number prints as exactly the bytes it was read from. What would print otherwise is no time.

mod calendar;
mod print;
mod scan;

use super::class::PAIRS;

use calendar::{DAY, LAST_YEAR, LEAP_YEAR, civil, days_before};
use print::Printer;
pub(crate) use scan::{after_digits, after_letters, of_format};

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
#[cfg(test)]
const MAX_BYTES: usize = 29;

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

    /// Digits of the fraction.
    pub(crate) fn fraction_digits(self) -> usize {
        self.layout().digits.into()
    }

    /// Nanoseconds of one unit.
    pub(crate) fn unit_ns(self) -> u64 {
        1_000_000_000 / power(self.layout().digits)
    }

    /// Where the time of the day is in what it prints.
    pub(crate) fn clock(self) -> Clock {
        let layout = self.layout();
        let fraction = if layout.digits == 0 { 0 } else { usize::from(layout.digits) + 1 };
        let year = if layout.year { 5 } else { 0 };
        let clock = if layout.clock == 0 { 6 } else { 8 };
        Clock { from_end: clock + fraction + year, between: layout.clock }
    }

    /// Units of a day.
    pub(crate) fn units_of_day(self) -> u64 {
        DAY * power(self.layout().digits)
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

/// Hours, minutes and seconds in a time that is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    from_end: usize,
    between: u8,
}

impl Clock {
    /// Prints the second of a day over that of a time of `width` bytes.
    #[inline]
    pub(crate) fn print(self, second: u64, width: usize, out: &mut [u8; 40]) {
        let two = |value: u64| {
            let pair = usize::try_from(value).ok().and_then(|value| PAIRS.get(value));
            u64::from(u16::from_le_bytes(pair.copied().unwrap_or_default()))
        };
        let (minute, second) = (second / 60, second % 60);
        let (hour, minute) = (two(minute / 60), two(minute % 60));
        let at = width.saturating_sub(self.from_end);
        let between = u64::from(self.between);
        if self.between == 0 {
            let text = hour | minute << 16 | two(second) << 32;
            if let Some(place) = out.get_mut(at..at + 6) {
                place.copy_from_slice(&text.to_le_bytes()[..6]);
            }
        } else {
            let text = hour | between << 16 | minute << 24 | between << 40 | two(second) << 48;
            if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
                *place = text.to_le_bytes();
            }
        }
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

fn power(digits: u8) -> u64 {
    match digits {
        3 => 1_000,
        6 => 1_000_000,
        9 => 1_000_000_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
