//! Prints the parts of times.

use super::super::class::PAIRS;
use super::super::digits::put_padded;
use super::Date;
use super::calendar::{MONTHS, WEEKDAYS};

/// Writes the parts of a time, one behind the other.
pub(super) struct Printer<'a> {
    pub(super) out: &'a mut [u8; 40],
    /// How far it is.
    pub(super) at: usize,
}

impl Printer<'_> {
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = byte;
            self.at += 1;
        }
    }

    /// A number below 100.
    #[inline]
    fn two(&mut self, value: u64) {
        let pair =
            usize::try_from(value).ok().and_then(|value| PAIRS.get(value)).copied().unwrap_or_default();
        if let Some(place) = self.out.get_mut(self.at..self.at + 2) {
            place.copy_from_slice(&pair);
            self.at += 2;
        }
    }

    pub(super) fn year(&mut self, year: u64) {
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

    pub(super) fn date(&mut self, how: Date, (year, month, day): (u64, u64, u64), days: u64) {
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
    pub(super) fn clock(&mut self, time: u64, between: u8) {
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

    /// A number of so many digits, at most nine.
    #[inline]
    pub(super) fn fraction(&mut self, value: u64, digits: u8) {
        let digits = usize::from(digits);
        if let Some(place) = self.out.get_mut(self.at..self.at + 16) {
            put_padded(value, digits, place);
            self.at += digits;
        }
    }
}
