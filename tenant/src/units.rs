//! Sizes and durations in the notations of Loki's configuration, read and printed.
//! Invariant: what is printed reads back as the same value, or as the value cut to whole milliseconds.

use std::fmt;
use std::time::Duration;

/// Why a text is no size or no duration.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UnitError {
    /// Write it as the documentation of the function that refused it says.
    #[error("malformed")]
    Malformed,
    /// Write `3MB` or `3mb` for bytes: a capital prefix before a small `b` means bits.
    #[error("a unit of bits, not bytes")]
    Bits,
    /// Write less: sizes end at 2⁶⁴ − 1 bytes, durations at 2⁶³ − 1 nanoseconds (292 years).
    #[error("out of range")]
    OutOfRange,
}

/// Reads a size in bytes: `3145728`, `3MB`, `3 mb`, `3m`, `3MiB`, `3megabytes`.
///
/// Units are powers of 1024 whatever their spelling, from bytes to exabytes; there are no fractions.
///
/// # Errors
/// [`UnitError`], also for `3Mb`, which means bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Malformed);
    }
    let unit = unit.trim();
    if matches!(unit, "Kb" | "Mb" | "Gb" | "Tb" | "Pb" | "Eb") {
        return Err(UnitError::Bits);
    }
    let shift = size_shift(&unit.to_ascii_lowercase()).ok_or(UnitError::Malformed)?;
    let number: u64 = number.parse().map_err(|_| UnitError::OutOfRange)?;
    number.checked_mul(1 << shift).ok_or(UnitError::OutOfRange)
}

fn size_shift(unit: &str) -> Option<u32> {
    const PREFIXES: [(&str, &str); 6] =
        [("k", "kilo"), ("m", "mega"), ("g", "giga"), ("t", "tera"), ("p", "peta"), ("e", "exa")];
    if matches!(unit, "" | "b" | "byte") {
        return Some(0);
    }
    PREFIXES.iter().zip(1..).find_map(|((short, long), power)| {
        let rest = unit.strip_prefix(long).or_else(|| unit.strip_prefix(short))?;
        let known = match unit.starts_with(long) {
            true => matches!(rest, "" | "byte" | "bytes"),
            false => matches!(rest, "" | "b" | "ib"),
        };
        known.then_some(power * 10)
    })
}

/// Prints a size in bytes in the largest unit that holds it whole: `256KB`, `1000B`, `0B`.
pub fn display_size(bytes: u64) -> impl fmt::Display {
    struct Size(u64);
    impl fmt::Display for Size {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];
            let power = if self.0 == 0 { 0 } else { self.0.trailing_zeros() / 10 };
            let unit = UNITS.get(power as usize).copied().unwrap_or("EB");
            write!(f, "{}{unit}", self.0 >> (power * 10))
        }
    }
    Size(bytes)
}

/// The units of a Prometheus duration, largest first, in milliseconds.
///
/// The flag says whether the printer uses the unit only where nothing would remain, so that 36 hours are
/// `36h` and not `1d12h`.
const PROMETHEUS: [(&str, u64, bool); 7] = [
    ("y", 365 * 24 * 3_600_000, true),
    ("w", 7 * 24 * 3_600_000, true),
    ("d", 24 * 3_600_000, true),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1_000, false),
    ("ms", 1, false),
];

/// The most that Go's durations and ours can hold, in milliseconds.
const MAX_MS: u64 = i64::MAX as u64 / 1_000_000;

/// Reads a Prometheus duration: `7d`, `1w2d`, `1h30m`, `250ms`, `0`.
///
/// Units run from years to milliseconds, each at most once and the larger first. A bare number other than 0,
/// a fraction and a sign are refused.
///
/// # Errors
/// [`UnitError`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(UnitError::Malformed);
    }
    let (mut rest, mut units, mut total_ms) = (text, PROMETHEUS.as_slice(), 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (name, tail) = tail.split_at_checked(letters).ok_or(UnitError::Malformed)?;
        let at = units.iter().position(|unit| unit.0 == name).ok_or(UnitError::Malformed)?;
        let (unit, smaller) =
            units.get(at..).and_then(|left| left.split_first()).ok_or(UnitError::Malformed)?;
        if number.is_empty() {
            return Err(UnitError::Malformed);
        }
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit.1))
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|&ms| ms <= MAX_MS)
            .ok_or(UnitError::OutOfRange)?;
        (rest, units) = (tail, smaller);
    }
    Ok(Duration::from_millis(total_ms))
}

/// Prints a Prometheus duration, `1w` or `1h30m`, cut to whole milliseconds.
pub fn display_duration(duration: Duration) -> impl fmt::Display {
    struct Prometheus(Duration);
    impl fmt::Display for Prometheus {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
            if left == 0 {
                return f.write_str("0s");
            }
            for (name, unit_ms, only_whole) in PROMETHEUS {
                if left >= unit_ms && (!only_whole || left.is_multiple_of(unit_ms)) {
                    write!(f, "{}{name}", left / unit_ms)?;
                    left %= unit_ms;
                }
            }
            Ok(())
        }
    }
    Prometheus(duration)
}

/// Reads a Go duration: `40m`, `1.5h`, `1m30s`, `100us`, `0`.
///
/// Units run from hours to nanoseconds, in any order, with fractions; there are no days. Go has negative
/// durations, this crate has none.
///
/// # Errors
/// [`UnitError`].
pub fn parse_go_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(UnitError::Malformed);
    }
    let mut total_ns = 0u128;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(number);
        let letters = tail.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or(UnitError::Malformed)?;
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(UnitError::Malformed),
        };
        total_ns += scaled(number, unit_ns)?;
        if total_ns > i64::MAX as u128 {
            return Err(UnitError::OutOfRange);
        }
        rest = tail;
    }
    u64::try_from(total_ns).map(Duration::from_nanos).map_err(|_| UnitError::OutOfRange)
}

/// `12.34` times a unit, cut to whole nanoseconds.
fn scaled(number: &str, unit_ns: u128) -> Result<u128, UnitError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(UnitError::Malformed);
    }
    let whole = match whole {
        "" => 0,
        digits => digits.parse::<u64>().map_err(|_| UnitError::OutOfRange)?,
    };
    // Digits past the eighteenth are below a nanosecond even of an hour.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let numerator = match fraction {
        "" => 0,
        digits => digits.parse::<u64>().map_err(|_| UnitError::Malformed)?,
    };
    let denominator = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| UnitError::Malformed)?);
    Ok(u128::from(whole) * unit_ns + u128::from(numerator) * unit_ns / denominator)
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(crate) fn serialize_size<S: serde::Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&display_size(*bytes))
}

#[cfg(feature = "serde")]
pub(crate) fn serialize_duration<S: serde::Serializer>(
    duration: &Duration,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(&display_duration(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024_in_every_spelling() {
        for text in
            ["3145728", "3MB", "3mb", "3 MB", "3m", "3M", "3megabytes", "3MiB", "3mB", "3072kilobytes"]
        {
            assert_eq!(parse_size(text), Ok(3 << 20), "{text}");
        }
        assert_eq!(parse_size("010"), Ok(10), "a size has no octal notation of its own");
        assert_eq!(parse_size("15EB"), Ok(15 << 60));
        assert_eq!(parse_size("16EB"), Err(UnitError::OutOfRange));
        assert_eq!(parse_size("18446744073709551616"), Err(UnitError::OutOfRange));
        assert_eq!(parse_size("3Mb"), Err(UnitError::Bits));
        for text in ["", "MB", "1.5MB", "-1", "1 000", "3mbs", "3kibi", "3megab", "1_000", "0x10"] {
            assert_eq!(parse_size(text), Err(UnitError::Malformed), "{text}");
        }
    }

    #[test]
    fn prometheus_durations_run_from_years_to_milliseconds_in_order() {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        for (text, expected) in
            [("7d", hours(168)), ("1w2d", hours(216)), ("1y", hours(8760)), ("0", hours(0)), ("0s", hours(0))]
        {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1s250ms"), Ok(Duration::from_millis(1250)));
        assert_eq!(parse_duration("1000000y"), Err(UnitError::OutOfRange));
        for text in ["", "60", "00", "1.5h", "-1h", "1m1h", "1h1h", "h", "1h ", "1us", "1é"] {
            assert_eq!(parse_duration(text), Err(UnitError::Malformed), "{text}");
        }
    }

    #[test]
    fn go_durations_have_fractions_but_no_days() {
        assert_eq!(parse_go_duration("40m"), Ok(Duration::from_secs(2400)));
        assert_eq!(parse_go_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_go_duration(".5s"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_go_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_go_duration("100µs"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_go_duration("0.3333333333333333333h"), Ok(Duration::from_nanos(1_199_999_999_999)));
        assert_eq!(parse_go_duration("9223372036854775807ns"), Ok(Duration::from_nanos(i64::MAX as u64)));
        assert_eq!(parse_go_duration("9223372036854775808ns"), Err(UnitError::OutOfRange));
        for text in ["", "+", "60", "1d", "-1h", ".s", "1.2.3s", "s", "1 s"] {
            assert_eq!(parse_go_duration(text), Err(UnitError::Malformed), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_as_prometheus_prints_them() {
        for (ms, expected) in [
            (0, "0s"),
            (7 * 86_400_000, "1w"),
            (10 * 86_400_000, "10d"),
            (36 * 3_600_000, "36h"),
            (600_000, "10m"),
            (5_400_250, "1h30m250ms"),
        ] {
            assert_eq!(display_duration(Duration::from_millis(ms)).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_reads_back(bytes: u64, shift in 0u32..64) {
            let bytes = bytes >> shift << (shift / 2);
            prop_assert_eq!(parse_size(&display_size(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn a_printed_duration_reads_back(ms in 0..=MAX_MS, shift in 0u32..40) {
            let duration = Duration::from_millis(ms >> shift);
            prop_assert_eq!(parse_duration(&display_duration(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_upsets_the_readers(text in "[0-9.a-zµ+ -]{0,24}") {
            let _ = (parse_size(&text), parse_duration(&text), parse_go_duration(&text));
        }
    }
}
