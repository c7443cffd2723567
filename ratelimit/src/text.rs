//! Rates and quotas as an operator writes them: what `Display` prints is read back, but for the burst and the
//! oversize of an unlimited quota, which it does not print.

use std::str::FromStr;
use std::time::Duration;

use crate::quota::{Oversize, Quota};
use crate::rate::Rate;

/// Text that is no rate, or no quota.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// As in `100/s`, `1/20s`, `3/1.5ms`, `unlimited`: whole tokens below 2^64, and a period from 1 ns to 2^64 ns
    /// in `s`, `ms`, `us` (or `µs`) or `ns`.
    #[error(
        "{0:?} is no rate: whole tokens below 2^64 and a time of 1 ns to 2^64 ns, as 100/s or 1/20s, or unlimited"
    )]
    Rate(String),
    /// As in `100/s, burst 500` and `100/s, burst 500, oversize when full` (or `split`), or `unlimited`.
    #[error("{0:?} is no quota: a rate and whole tokens below 2^64, as 100/s, burst 500, or unlimited")]
    Quota(String),
}

impl FromStr for Rate {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let rate = text.split_once('/').and_then(|(tokens, period)| {
            let period_ns = nanoseconds(period).filter(|&period_ns| period_ns > 0)?;
            Some(Self::per(digits(tokens)?, Duration::from_nanos(period_ns)))
        });
        rate.ok_or_else(|| ParseError::Rate(text.to_owned()))
    }
}

impl FromStr for Quota {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let parts = text.split_once(", burst ").and_then(|(rate, rest)| {
            let (burst, oversize) = match rest.split_once(", oversize ") {
                None => (rest, Oversize::Reject),
                Some((burst, "when full")) => (burst, Oversize::WhenFull),
                Some((burst, "split")) => (burst, Oversize::Split),
                Some(_) => return None,
            };
            Some((rate, digits(burst)?, oversize))
        });
        let (rate, burst, oversize) = parts.ok_or_else(|| ParseError::Quota(text.to_owned()))?;
        Ok(Self { rate: rate.parse()?, burst, oversize })
    }
}

/// Without the sign that `u64` would read.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `s`, `20s`, `1.5ms`.
fn nanoseconds(text: &str) -> Option<u64> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let places: u32 = match unit {
        "s" => 9,
        "ms" => 6,
        "us" | "µs" => 3,
        "ns" => 0,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        None => (if number.is_empty() { "1" } else { number }, ""),
        Some((_, "")) => return None,
        Some(parts) => parts,
    };
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { digits(fraction)? };
    let whole = digits(whole)?.checked_mul(10_u64.pow(places))?;
    whole.checked_add(fraction.checked_mul(10_u64.checked_pow(missing)?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_read_as_an_operator_writes_it() {
        for (text, rate) in [
            ("100/s", Rate::per_second(100)),
            ("1/20s", Rate::per(1, Duration::from_secs(20))),
            ("3/1.5ms", Rate::per_second(2_000)),
            ("7/us", Rate::per_second(7_000_000)),
            ("0/s", Rate::ZERO),
            ("unlimited", Rate::UNLIMITED),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_or_quota_is_refused_with_its_text_and_what_is_allowed() {
        for text in [
            "",
            "/",
            "1",
            "1/",
            "/s",
            "-1/s",
            "+1/s",
            "1/0s",
            "1/0.0s",
            "1/1.s",
            "1/.s",
            "1/2m",
            "1/s ",
            "1.5/s",
            "18446744073709551616/s",
            "1/18446744074s",
            "1/1.0000000001s",
            "1/0.5ns",
            "1/µ",
            "∞/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(ParseError::Rate(text.to_owned())));
        }
        for text in
            ["7/s", "7/s, burst", "7/s, burst -1", "7/s, burst 5, oversize", "7/s,burst 5", ", burst 5x"]
        {
            assert_eq!(text.parse::<Quota>(), Err(ParseError::Quota(text.to_owned())));
        }
        assert_eq!("x, burst 5".parse::<Quota>(), Err(ParseError::Rate("x".to_owned())));
        let message = "1/0s".parse::<Rate>().unwrap_err().to_string();
        assert!(
            message.starts_with("\"1/0s\" is no rate: whole tokens below 2^64 and a time of 1 ns to 2^64 ns")
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            tokens in any::<u64>(),
            period_ns in prop_oneof![1..5_000_000_000_u64, 1..=u64::MAX],
            burst in any::<u64>(),
            oversize in prop_oneof![Just(Oversize::Reject), Just(Oversize::WhenFull), Just(Oversize::Split)],
        ) {
            let rate = Rate::per(tokens, Duration::from_nanos(period_ns));
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let quota = Quota::new(rate, burst).oversize(oversize);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }

        #[test]
        fn no_text_panics(text in "[0-9./, a-zµ]{0,30}") {
            text.parse::<Rate>().ok();
            text.parse::<Quota>().ok();
        }
    }
}
