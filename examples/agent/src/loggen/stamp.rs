//! The time of a line in the notations that logs use, worked out once per second.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::text::Text;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time, in UTC.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    second: i64,
    nanos: u32,
    date: String,
    time: String,
    access: String,
    syslog: String,
}

impl Stamp {
    /// The time `now_ns` after 1970.
    pub(super) fn new(now_ns: i64) -> Self {
        let text = String::new;
        let mut stamp =
            Self { second: i64::MIN, nanos: 0, date: text(), time: text(), access: text(), syslog: text() };
        stamp.advance(now_ns);
        stamp
    }

    /// Becomes `now_ns` after 1970, which is cheap within the same second.
    pub(super) fn advance(&mut self, now_ns: i64) {
        self.nanos = now_ns.rem_euclid(1_000_000_000).try_into().expect("below 10^9");
        let second = now_ns.div_euclid(1_000_000_000);
        if second == self.second {
            return;
        }
        self.second = second;
        let at = Timestamp::from_second(second).expect("64 bits of nanoseconds end in 2262");
        let at = Offset::UTC.to_datetime(at);
        let (year, month, day) = (at.year(), at.month(), at.day());
        let name = MONTHS[usize::from(month.cast_unsigned()) - 1];
        self.date = format!("{year:04}-{month:02}-{day:02}");
        self.time = format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second());
        self.access = format!("[{day:02}/{name}/{year:04}:{} +0000]", self.time);
        self.syslog = format!("{name} {day:>2} {}", self.time);
    }

    /// `2026-03-07T12:00:00.125Z`
    pub(super) fn rfc3339(&self, out: &mut Text<'_>) {
        out.put(&self.date).put("T").put(&self.time).put(".").padded(self.nanos / 1_000_000, 3).put("Z");
    }

    /// `2026-03-07 12:00:00,125`
    pub(super) fn comma(&self, out: &mut Text<'_>) {
        out.put(&self.date).put(" ").put(&self.time).put(",").padded(self.nanos / 1_000_000, 3);
    }

    /// `[07/Mar/2026:12:00:00 +0000]`
    pub(super) fn access(&self) -> &str {
        &self.access
    }

    /// `Mar  7 12:00:00`
    pub(super) fn syslog(&self) -> &str {
        &self.syslog
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_four_notations() {
        let mut stamp = Stamp::new(0);
        stamp.advance(1_772_884_800_125_999_999);
        let mut line = Vec::new();
        stamp.rfc3339(&mut Text(&mut line));
        stamp.comma(Text(&mut line).put(" "));
        assert_eq!(line, b"2026-03-07T12:00:00.125Z 2026-03-07 12:00:00,125");
        assert_eq!(stamp.access(), "[07/Mar/2026:12:00:00 +0000]");
        assert_eq!(stamp.syslog(), "Mar  7 12:00:00");
        stamp.advance(-1);
        assert_eq!(stamp.syslog(), "Dec 31 23:59:59");
        stamp.advance(i64::MIN);
        stamp.advance(i64::MAX);
    }
}
