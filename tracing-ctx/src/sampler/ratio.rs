//! A share of all traces, by the line that OpenTelemetry for Rust draws.

use super::{Decision, SampleInput, Sampler};
use crate::TraceId;

/// A share of all traces, from 0 (none) to 1 (all), whoever is asked.
///
/// Takes a trace if the right-most 8 bytes of its id, as a number without its lowest bit, are below the ratio
/// of their range. The `TraceIdRatioBased` sampler of OpenTelemetry for Rust draws the same line. What a
/// ratio takes, every higher ratio takes as well.
///
/// Others draw other lines, and so nothing is published about the probability. Where services in several
/// languages take shares of the same traces, [`Consistent`](super::Consistent) is the sampler to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    below: u64,
}

impl Ratio {
    /// # Errors
    ///
    /// If `ratio` is below 0, above 1 or not a number.
    pub const fn new(ratio: f64) -> Result<Self, RatioError> {
        if !(ratio >= 0.0 && ratio <= 1.0) {
            return Err(RatioError { found: ratio });
        }
        #[expect(clippy::cast_possible_truncation, reason = "between 0 and 2^63, and meant to be rounded")]
        let below = (ratio * (1_u64 << 63) as f64) as u64;
        Ok(Self { below })
    }

    /// Whether a trace is in the share.
    pub const fn takes(self, trace_id: TraceId) -> bool {
        trace_id.low_u64() >> 1 < self.below
    }
}

impl Sampler for Ratio {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        if self.takes(input.trace_id) { Decision::SAMPLED } else { Decision::DROPPED }
    }
}

/// A ratio that is not between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("ratio of {found} is not between 0 and 1")]
pub struct RatioError {
    /// What was given.
    pub found: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64) -> TraceId {
        TraceId::from_int((1 << 64) | u128::from(low)).unwrap()
    }

    fn ratio(ratio: f64) -> Ratio {
        Ratio::new(ratio).unwrap()
    }

    #[test]
    fn none_and_all_are_exact() {
        for low in [0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            assert!(ratio(1.0).takes(id(low)));
            assert!(!ratio(0.0).takes(id(low)));
        }
    }

    #[test]
    fn the_border_lies_at_the_ratio_of_the_id_space() {
        assert!(ratio(0.25).takes(id((1 << 62) - 1)));
        assert!(!ratio(0.25).takes(id(1 << 62)));
        assert!(ratio(0.5).takes(id((1 << 63) - 1)));
        assert!(!ratio(0.5).takes(id(1 << 63)));
    }

    #[test]
    fn what_is_no_ratio_is_refused() {
        for found in [-0.1, 1.1, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Ratio::new(found), Err(RatioError { found }));
        }
        assert!(Ratio::new(f64::NAN).is_err());
        assert_eq!(Ratio::new(1.5).unwrap_err().to_string(), "ratio of 1.5 is not between 0 and 1");
    }
}
