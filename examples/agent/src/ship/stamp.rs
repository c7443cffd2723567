//! The time that a line says it was written at: found at the column where the last line had it, or else wherever it is
//! within the line's first bytes.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// No time is looked for behind so many bytes of a line.
const SEARCHED_BYTES: usize = 256;
/// Years in which a bare number is taken for a time: 1990 to 2100.
const PLAUSIBLE_SECONDS: std::ops::Range<i64> = 631_152_000..4_102_444_800;
/// A time without a year is not taken for one further ahead than this.
const AHEAD_NS: i64 = 86_400_000_000_000;

/// Reads times off lines.
#[derive(Debug, Clone)]
pub struct Stamp {
    format: Format,
    zone: TimeZone,
    column: usize,
}

#[derive(Debug, Clone)]
enum Format {
    Rfc3339,
    /// Digits before the decimal point that make a second.
    Unix {
        per_second: i64,
    },
    Strptime(String),
}

/// Correct the format: no line can be read with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{format:?} is no format of times: expected rfc3339, unix, unix-ms, unix-ns or something like %Y-%m-%d %H:%M:%S"
)]
pub struct StampError {
    format: String,
    source: Option<jiff::Error>,
}

impl Stamp {
    /// Reads times of `format`: `rfc3339`, `unix`, `unix-ms`, `unix-ns`, or a format of strptime, whose times are in
    /// `zone` unless they say themselves where they are.
    ///
    /// # Errors
    /// [`StampError`] where it is none of these.
    pub fn parse(format: &str, zone: TimeZone) -> Result<Self, StampError> {
        let parsed = match format {
            "rfc3339" => Format::Rfc3339,
            "unix" => Format::Unix { per_second: 1 },
            "unix-ms" => Format::Unix { per_second: 1_000 },
            "unix-ns" => Format::Unix { per_second: 1_000_000_000 },
            _ => {
                let refuse = |source| StampError { format: format.to_owned(), source };
                if !format.contains('%') {
                    return Err(refuse(None));
                }
                let example = Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
                let written = jiff::fmt::strtime::format(format, &example);
                let read = written.and_then(|text| BrokenDownTime::parse(format, text)).map_err(Some);
                let read = read.map_err(refuse)?;
                if read.timestamp().is_none() && (read.day().is_none() || read.hour().is_none()) {
                    return Err(refuse(None));
                }
                Format::Strptime(format.to_owned())
            }
        };
        Ok(Self { format: parsed, zone, column: 0 })
    }

    /// Looks for the next time from the start of its line again.
    pub fn forget(&mut self) {
        self.column = 0;
    }

    /// The time of `line` in nanoseconds since 1970, of which `now_ns` tells the year where the line does not.
    pub fn of(&mut self, line: &[u8], now_ns: i64) -> Option<i64> {
        let searched = &line[..line.len().min(SEARCHED_BYTES)];
        if let Some(found) = self.at(line, self.column, now_ns) {
            return Some(found);
        }
        for column in 0..searched.len() {
            let starts = column == 0 || !searched[column - 1].is_ascii_alphanumeric();
            if starts
                && !searched[column].is_ascii_whitespace()
                && let Some(found) = self.at(line, column, now_ns)
            {
                self.column = column;
                return Some(found);
            }
        }
        None
    }

    fn at(&self, line: &[u8], column: usize, now_ns: i64) -> Option<i64> {
        let text = line.get(column..).filter(|text| !text.is_empty())?;
        let text = &text[..text.len().min(SEARCHED_BYTES)];
        match &self.format {
            Format::Rfc3339 => rfc3339(text),
            Format::Unix { per_second } => unix(text, *per_second),
            Format::Strptime(format) => self.strptime(format, text, now_ns),
        }
    }

    fn strptime(&self, format: &str, text: &[u8], now_ns: i64) -> Option<i64> {
        let (mut read, _) = BrokenDownTime::parse_prefix(format, text).ok()?;
        if read.timestamp().is_some() {
            return nanos(read.to_timestamp().ok()?);
        }
        if read.year().is_some() {
            return self.civil(&read);
        }
        let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?.to_zoned(self.zone.clone());
        // The next year too, for clocks that are ahead at its turn; and eight back, for the 29th of February.
        (-1..=8).find_map(|back| {
            read.set_year(Some(now.year().saturating_sub(back))).ok()?;
            self.civil(&read).filter(|&ns| ns <= now_ns.saturating_add(AHEAD_NS))
        })
    }

    fn civil(&self, read: &BrokenDownTime) -> Option<i64> {
        let time = read.to_datetime().ok()?;
        nanos(match read.offset() {
            Some(offset) => offset.to_timestamp(time).ok()?,
            None => self.zone.to_timestamp(time).ok()?,
        })
    }
}

fn nanos(time: Timestamp) -> Option<i64> {
    time.as_nanosecond().try_into().ok()
}

/// `2026-03-07T12:00:00.125Z` at the start of `text`.
fn rfc3339(text: &[u8]) -> Option<i64> {
    let of_time = |byte: &&u8| byte.is_ascii_digit() || b"-:.+TtZz".contains(byte);
    let len = text.iter().take_while(of_time).count();
    let token = std::str::from_utf8(&text[..len]).ok()?.trim_end_matches(['.', ':', '-', '+']);
    nanos(token.parse().ok()?)
}

/// A number at the start of `text`, of which `per_second` make a second, perhaps with decimals.
fn unix(text: &[u8], per_second: i64) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole: i64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    if !PLAUSIBLE_SECONDS.contains(&(whole / per_second)) {
        return None;
    }
    let unit_ns = 1_000_000_000 / per_second;
    let mut ns = whole.checked_mul(unit_ns)?;
    if text.get(digits) == Some(&b'.') {
        let mut place = unit_ns / 10;
        for digit in text[digits + 1..].iter().take_while(|byte| byte.is_ascii_digit()) {
            ns += i64::from(digit - b'0') * place;
            place /= 10;
        }
    }
    Some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;

    const NOON_NS: i64 = 1_772_884_800_000_000_000; // 2026-03-07 12:00:00 UTC
    const SECOND_NS: i64 = 1_000_000_000;

    fn read(format: &str, line: &str) -> Option<i64> {
        Stamp::parse(format, TimeZone::UTC).unwrap().of(line.as_bytes(), NOON_NS)
    }

    #[test]
    fn times_of_common_logs_are_read_wherever_they_stand() {
        let milli = NOON_NS + 125_000_000;
        for (format, line, expected) in [
            ("rfc3339", "2026-03-07T12:00:00.125Z level=info", milli),
            ("rfc3339", "ts=2026-03-07T13:00:00.125+01:00 level=info", milli),
            ("rfc3339", "{\"time\":\"2026-03-07T12:00:00.125Z\",\"a\":1}", milli),
            ("rfc3339", "at 2026-03-07T12:00:00Z. Next", NOON_NS),
            ("unix", "1772884800 x", NOON_NS),
            ("unix", "pid=4711 t=1772884800.125 x", milli),
            ("unix-ms", "[1772884800125] x", milli),
            ("unix-ns", "1772884800125000000", milli),
            ("%Y-%m-%d %H:%M:%S", "2026-03-07 12:00:00,125 ERROR x", NOON_NS),
            ("%Y-%m-%d %H:%M:%S,%f", "2026-03-07 12:00:00,125 ERROR x", milli),
            ("%d/%b/%Y:%H:%M:%S %z", "10.0.0.1 - - [07/Mar/2026:14:00:00 +0200] \"GET /\"", NOON_NS),
            ("%b %e %H:%M:%S", "Mar  7 12:00:00 node-01 kubelet[1]: x", NOON_NS),
            ("%b %d %H:%M:%S", "<13>Mar 07 12:00:00 node-01 x", NOON_NS),
            ("%s", "1772884800 x", NOON_NS),
        ] {
            assert_eq!(read(format, line), Some(expected), "{format} in {line}");
        }
    }

    #[test]
    fn lines_without_a_time_have_none() {
        for (format, line) in [
            ("rfc3339", ""),
            ("rfc3339", "  at a.b.C(D.java:7)"),
            ("rfc3339", "2026-03-07 12:00:00"),
            ("rfc3339", "9999-99-99T99:99:99Z"),
            ("unix", "user 12345 came"),
            ("unix", "99999999999999999999999999"),
            ("unix-ns", "9223372036854775808"),
            ("%Y-%m-%d %H:%M:%S", "07.03.2026 12:00"),
        ] {
            assert_eq!(read(format, line), None, "{format} in {line}");
        }
        let mut stamp = Stamp::parse("rfc3339", TimeZone::UTC).unwrap();
        assert_eq!(stamp.of(&[0xff; 1000], NOON_NS), None);
        assert_eq!(stamp.of(&[b'-'; 100_000], NOON_NS), None);
    }

    #[test]
    fn the_year_that_a_line_does_not_say_is_the_last_that_fits() {
        let new_year_ns = 1_767_225_600 * SECOND_NS; // 2026-01-01
        let mut stamp = Stamp::parse("%b %e %H:%M:%S", TimeZone::UTC).unwrap();
        assert_eq!(stamp.of(b"Dec 31 23:59:59", new_year_ns), Some(new_year_ns - SECOND_NS));
        assert_eq!(stamp.of(b"Jan  1 00:00:00", new_year_ns - SECOND_NS), Some(new_year_ns), "a clock ahead");
        let leap_ns = 1_709_164_800 * SECOND_NS; // 2024-02-29
        assert_eq!(stamp.of(b"Feb 29 00:00:00", NOON_NS), Some(leap_ns));
    }

    #[test]
    fn a_time_without_a_zone_is_in_the_zone_that_was_given() {
        let zone = TimeZone::fixed(Offset::constant(2));
        let mut stamp = Stamp::parse("%Y-%m-%d %H:%M:%S", zone).unwrap();
        assert_eq!(stamp.of(b"2026-03-07 14:00:00", 0), Some(NOON_NS));
    }

    #[test]
    fn what_is_no_format_is_refused() {
        for format in ["", "iso", "%Q", "%H:%M", "%Y", "now %"] {
            let error = Stamp::parse(format, TimeZone::UTC).unwrap_err();
            assert!(error.to_string().contains("is no format of times"), "{format}");
        }
    }
}
