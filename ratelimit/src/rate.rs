//! An exact rate: tokens per nanoseconds, as a fraction in lowest terms, so that equal rates are equal however
//! they were written. Parsed once; what is out of range saturates.

use std::fmt;
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// Tokens minted per time, as an exact fraction. A token is whatever the caller counts: a byte, a line, a call.
///
/// ```
/// use forebay_ratelimit::Rate;
/// use std::time::Duration;
///
/// assert_eq!(Rate::per_second(60), Rate::per(3_600, Duration::from_secs(60)));
/// assert_eq!(Rate::per(1, Duration::from_secs(86_400)).to_string(), "1/86400s");
/// assert_ne!(Rate::UNLIMITED, Rate::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Written", into = "Written"))]
pub struct Rate {
    tokens: u64,
    /// Zero says unlimited; otherwise coprime to `tokens`.
    per_ns: u64,
}

/// Numbers that are no rate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RateError {
    /// Write [`Rate::UNLIMITED`] for "without limit"; a NaN comes from a computation that went wrong before.
    #[error("rate of {0} tokens per second is not finite: it has to be within 0 to 2^64, or unlimited")]
    NotFinite(f64),
    /// There is no such rate; [`Rate::ZERO`] lets nothing in.
    #[error("rate of {0} tokens per second is negative: it has to be within 0 to 2^64")]
    Negative(f64),
    /// In a document, so many tokens in no time: most likely a unit that was lost, and no reason to let everything
    /// pass.
    #[error("rate of {0} tokens per 0 ns: the time has to be within 1 to 2^64-1 ns, or the rate unlimited")]
    ZeroPeriod(u64),
}

impl Rate {
    /// Everything passes, at once; the burst has no meaning.
    pub const UNLIMITED: Self = Self { tokens: 1, per_ns: 0 };

    /// Nothing is ever minted: the burst drains once, then nothing passes.
    pub const ZERO: Self = Self { tokens: 0, per_ns: 1 };

    /// `tokens` each second.
    pub const fn per_second(tokens: u64) -> Self {
        Self::lowest(tokens, SECOND_NS)
    }

    /// `tokens` each `period`. A period beyond 584 years (2^64 ns) counts as that long; a period of zero is
    /// [`UNLIMITED`](Self::UNLIMITED), unless `tokens` is zero too.
    pub fn per(tokens: u64, period: Duration) -> Self {
        let per_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        if per_ns == 0 && tokens > 0 { Self::UNLIMITED } else { Self::lowest(tokens, per_ns) }
    }

    /// `tokens` each second, from the kind of number that stands in a configuration file.
    ///
    /// The result is the simplest fraction that a person can have meant: `0.1` becomes 1 per 10 s and
    /// `1.0 / 86_400.0` becomes 1 a day, exactly. Values above 2^64 saturate; a value above zero never
    /// becomes [`ZERO`](Self::ZERO), but at least one token per 584 years.
    ///
    /// # Errors
    /// [`RateError`] for NaN, infinite and negative values.
    pub fn from_f64_per_second(tokens: f64) -> Result<Self, RateError> {
        if !tokens.is_finite() {
            return Err(RateError::NotFinite(tokens));
        }
        if tokens < 0.0 {
            return Err(RateError::Negative(tokens));
        }
        if tokens == 0.0 {
            return Ok(Self::ZERO);
        }
        let (numerator, denominator) = simplest_fraction(tokens);
        Ok(match denominator.checked_mul(SECOND_NS) {
            Some(per_ns) if numerator > 0 => Self::lowest(numerator, per_ns),
            _ => Self::lowest(1, u64::MAX),
        })
    }

    /// Whether everything passes.
    pub const fn is_unlimited(self) -> bool {
        self.per_ns == 0
    }

    /// Whether nothing is ever minted.
    pub const fn is_zero(self) -> bool {
        self.tokens == 0
    }

    /// The rate as a plain number of tokens a second, for gauges: infinite when unlimited, otherwise rounded
    /// to 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "documented: a gauge, not the arithmetic")]
    pub fn as_f64_per_second(self) -> f64 {
        if self.is_unlimited() {
            return f64::INFINITY;
        }
        self.tokens as f64 * SECOND_NS as f64 / self.per_ns as f64
    }

    /// `(tokens, nanoseconds)` in lowest terms; the latter is zero when unlimited.
    pub(crate) const fn parts(self) -> (u64, u64) {
        (self.tokens, self.per_ns)
    }

    /// The inverse of [`parts`](Self::parts), for values that came from there.
    pub(crate) const fn from_parts((tokens, per_ns): (u64, u64)) -> Self {
        Self { tokens, per_ns }
    }

    /// `per_ns` is zero only if `tokens` is, too.
    const fn lowest(tokens: u64, per_ns: u64) -> Self {
        if tokens == 0 {
            return Self::ZERO;
        }
        let divisor = gcd(tokens, per_ns);
        Self { tokens: tokens / divisor, per_ns: per_ns / divisor }
    }
}

/// `4194304/s`, `1/86400s`, `unlimited`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, per_ns } = *self;
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        let whole =
            SECOND_NS.is_multiple_of(per_ns).then(|| tokens.checked_mul(SECOND_NS / per_ns)).flatten();
        match whole {
            Some(per_second) => write!(f, "{per_second}/s"),
            None => write!(f, "{tokens}/{:?}", Duration::from_nanos(per_ns)),
        }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

/// A rate as it stands in a document: in no particular terms.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Unlimited,
    Limited { tokens: u64, per_ns: u64 },
}

#[cfg(feature = "serde")]
impl TryFrom<Written> for Rate {
    type Error = RateError;

    fn try_from(written: Written) -> Result<Self, RateError> {
        match written {
            Written::Unlimited => Ok(Self::UNLIMITED),
            Written::Limited { tokens, per_ns: 0 } => Err(RateError::ZeroPeriod(tokens)),
            Written::Limited { tokens, per_ns } => Ok(Self::lowest(tokens, per_ns)),
        }
    }
}

#[cfg(feature = "serde")]
impl From<Rate> for Written {
    fn from(rate: Rate) -> Self {
        let Rate { tokens, per_ns } = rate;
        if rate.is_unlimited() { Self::Unlimited } else { Self::Limited { tokens, per_ns } }
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The first convergent of the continued fraction of `value` that reads back as `value`, or the last whose
/// denominator in nanoseconds fits 64 bits. `value` is finite and above zero.
#[expect(clippy::cast_precision_loss, reason = "asks whether the fraction reads back as the same number")]
fn simplest_fraction(value: f64) -> (u64, u64) {
    const LARGEST: u128 = u64::MAX as u128;
    const LARGEST_DENOMINATOR: u128 = (u64::MAX / SECOND_NS) as u128;
    let (mut numerator, mut denominator) = exact_fraction(value);
    let (mut p, mut q, mut p_before, mut q_before) = (1_u128, 0_u128, 0_u128, 1_u128);
    while denominator != 0 {
        let term = numerator / denominator;
        let (p_next, q_next) = (
            term.saturating_mul(p).saturating_add(p_before),
            term.saturating_mul(q).saturating_add(q_before),
        );
        if q_next > LARGEST_DENOMINATOR || p_next > LARGEST {
            break;
        }
        (p_before, q_before, p, q) = (p, q, p_next, q_next);
        if p as f64 / q as f64 == value {
            break;
        }
        (numerator, denominator) = (denominator, numerator % denominator);
    }
    if q == 0 {
        return (u64::MAX, 1);
    }
    (u64::try_from(p).unwrap_or(u64::MAX), u64::try_from(q).unwrap_or(u64::MAX))
}

/// `value` as the fraction it is, if it lies in 2^-64 ..= 2^64, and otherwise the nearer of the two.
fn exact_fraction(value: f64) -> (u128, u128) {
    const MANTISSA_BITS: u32 = 52;
    if value >= 2_f64.powi(64) {
        return (1 << 64, 1);
    }
    if value <= 2_f64.powi(-64) {
        return (1, 1 << 64);
    }
    let bits = value.to_bits();
    let mantissa = u128::from(bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS);
    // Normal and positive, so the field lies in 959..=1086 and the shift in -116..=11.
    let exponent = i64::try_from(bits >> MANTISSA_BITS).expect("twelve bits fit") - 1_075;
    let shift = exponent.unsigned_abs();
    if exponent >= 0 { (mantissa << shift, 1) } else { (mantissa, 1 << shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_written_in_two_ways_is_one_rate() {
        assert_eq!(Rate::per_second(5), Rate::per(300, Duration::from_secs(60)));
        assert_eq!(Rate::per(0, Duration::from_secs(7)), Rate::ZERO);
        assert_eq!(Rate::per(0, Duration::ZERO), Rate::ZERO);
        assert_eq!(Rate::per(9, Duration::ZERO), Rate::UNLIMITED);
        assert_eq!(Rate::per(1, Duration::MAX), Rate::per(1, Duration::from_nanos(u64::MAX)));
    }

    #[test]
    fn a_number_becomes_the_fraction_that_was_meant() {
        let day = Duration::from_secs(86_400);
        for (number, rate) in [
            (0.0, Rate::ZERO),
            (-0.0, Rate::ZERO),
            (0.1, Rate::per(1, Duration::from_secs(10))),
            (2.5, Rate::per(5, Duration::from_secs(2))),
            (1.0 / 86_400.0, Rate::per(1, day)),
            (7.0 / 86_400.0, Rate::per(7, day)),
            (4_194_304.0, Rate::per_second(4 << 20)),
            (1e11, Rate::per_second(100_000_000_000)),
            (1e300, Rate::per_second(u64::MAX)),
            (1e-300, Rate::per(1, Duration::from_nanos(u64::MAX))),
            (f64::MIN_POSITIVE / 8.0, Rate::per(1, Duration::from_nanos(u64::MAX))),
        ] {
            assert_eq!(Rate::from_f64_per_second(number), Ok(rate), "{number}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_its_value() {
        for (number, message) in [
            (
                f64::NAN,
                "rate of NaN tokens per second is not finite: it has to be within 0 to 2^64, or unlimited",
            ),
            (
                f64::INFINITY,
                "rate of inf tokens per second is not finite: it has to be within 0 to 2^64, or unlimited",
            ),
            (-1.5, "rate of -1.5 tokens per second is negative: it has to be within 0 to 2^64"),
        ] {
            assert_eq!(Rate::from_f64_per_second(number).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn rates_print_as_an_operator_writes_them() {
        assert_eq!(Rate::per_second(4 << 20).to_string(), "4194304/s");
        assert_eq!(Rate::per(3, Duration::from_secs(60)).to_string(), "1/20s");
        assert_eq!(Rate::ZERO.to_string(), "0/s");
    }

    proptest::proptest! {
        #[test]
        fn a_number_survives_the_way_through_a_rate(number in 1e-8..1e18_f64) {
            let rate = Rate::from_f64_per_second(number).unwrap();
            let error = (rate.as_f64_per_second() - number).abs() / number;
            // A convergent p/q is within 1/(q·next q) of the number, and the next q was beyond 1.8e10.
            proptest::prop_assert!(error < 1e-15 + 1e-10 / number.max(1.0), "{} is off by {}", rate, error);
        }
    }
}
