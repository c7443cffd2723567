//! Days and dates of the Gregorian calendar from 1970 on.

/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;
pub(super) const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
pub(super) const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
/// Times without a year are seconds of this one: it has a 29 February.
pub(super) const LEAP_YEAR: u64 = 1972;
/// The last year whose nanoseconds since 1970 fit an `i64` to its end.
pub(super) const LAST_YEAR: u64 = 2261;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1 January 1970 to 1 January of a year.
pub(super) const fn days_before(year: u64) -> u64 {
    let last = year - 1;
    year * 365 + last / 4 - last / 100 + last / 400 - (1970 * 365 + 1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// Days before the first of each month in a year that is none of 366 days.
const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Days since 1970 of a date that exists.
pub(super) fn days(year: u64, month: u64, day: u64) -> Option<u64> {
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
pub(super) fn civil(days: u64) -> (u64, u64, u64) {
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
