//! Rejection thresholds: probabilities in the form that participants of a trace compare and send.

use std::fmt;
use std::str::FromStr;

use super::RANDOM_BITS;
use crate::{hex, id};

/// Digits of 56 bits.
const DIGITS: usize = RANDOM_BITS as usize / 4;
/// How many values the randomness of a trace may have.
const VALUES: u64 = 1 << RANDOM_BITS;

/// How many of 2^56 traces are not sampled: a trace is, if its randomness is not below the threshold.
///
/// A probability of 1 is the threshold 0, and the lowest probability is 2^-56. "Never" is none. Displayed and
/// parsed as `th` of [OpenTelemetry] is written: 14 lower-case hexadecimal digits without the zeros at their
/// end, and `0` if nothing is left.
///
/// ```
/// use forebay_tracing_ctx::sampler::Threshold;
///
/// let quarter = Threshold::from_probability(0.25).expect("above 0 and at most 1");
/// assert_eq!(quarter.to_string(), "c");
/// assert_eq!(quarter.adjusted_count(), 4.0); // each span that is sampled stands for four
/// assert_eq!("c000".parse(), Ok(quarter));
/// assert!(quarter > Threshold::ALL); // the higher, the fewer
/// ```
///
/// [OpenTelemetry]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/#sampling-threshold-value-th
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Every trace.
    pub const ALL: Self = Self(0);
    /// One trace in 2^56, the fewest above none.
    pub const RAREST: Self = Self(VALUES - 1);

    /// The threshold of this number, or `None` if that has more than 56 bits.
    pub const fn new(threshold: u64) -> Option<Self> {
        if threshold < VALUES { Some(Self(threshold)) } else { None }
    }

    /// The nearest to a probability above 0 and up to 1, and `None` for everything else.
    ///
    /// What is below 2^-56 but not 0 is [`RAREST`](Self::RAREST).
    pub const fn from_probability(probability: f64) -> Option<Self> {
        if !(probability > 0.0 && probability <= 1.0) {
            return None;
        }
        // Of the sampled and not of the rejected: near 1 a floating-point number has 53 of the 56 bits, but
        // near 0 it has all of them. The multiplication is by a power of two, hence exact.
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 2^56, and rounded before")]
        let sampled = (probability * VALUES as f64).round() as u64;
        Some(Self(VALUES - if sampled == 0 { 1 } else { sampled }))
    }

    /// The probability with which a trace is sampled, above 0 and up to 1.
    pub const fn probability(self) -> f64 {
        (VALUES - self.0) as f64 / VALUES as f64
    }

    /// How many spans one that is sampled stands for: one over the probability.
    pub const fn adjusted_count(self) -> f64 {
        VALUES as f64 / (VALUES - self.0) as f64
    }

    /// Whether a trace with this randomness (its lower 56 bits) is sampled.
    pub const fn keeps(self, randomness: u64) -> bool {
        randomness & (VALUES - 1) >= self.0
    }

    /// The threshold as a number of 56 bits.
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

/// Why a text is no threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// There are 1 to 14 digits.
    #[error("threshold of {found} bytes, expected 1 to {DIGITS}")]
    Length {
        /// Length of the text in bytes.
        found: usize,
    },
    /// Only `0-9` and `a-f` are digits.
    #[error("threshold has no lower-case hexadecimal digit at byte {at}")]
    Malformed {
        /// Index of the first byte that is no digit.
        at: usize,
    },
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let found = text.len();
        if let Some(at) = text.bytes().take(DIGITS).position(|byte| !hex::is_digit(byte)) {
            return Err(ThresholdError::Malformed { at });
        }
        fraction(text).map(Self).ok_or(ThresholdError::Length { found })
    }
}

/// The 56 bits that 1 to 14 digits begin.
fn fraction(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS {
        return None;
    }
    let mut digits = [b'0'; 16];
    digits.iter_mut().zip(text.bytes()).for_each(|(digit, byte)| *digit = byte);
    let (bytes, good) = hex::decode(&digits);
    good.then(|| u64::from_be_bytes(bytes) >> (u64::BITS - RANDOM_BITS))
}

/// The value of an `rv`, which is exactly 14 digits.
pub(super) fn randomness(text: &str) -> Option<u64> {
    fraction(text).filter(|_| text.len() == DIGITS)
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aligned = self.0 << (u64::BITS - RANDOM_BITS);
        let digits: [u8; 16] = hex::encode(&aligned.to_be_bytes());
        let text = id::ascii(&digits).trim_end_matches('0');
        f.pad(if text.is_empty() { "0" } else { text })
    }
}

impl fmt::Debug for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threshold({self})")
    }
}

#[cfg(test)]
mod tests;
