//! Whether a trace that starts here is sampled. A trace that came in keeps the decision it came with.
//!
//! The decision is a pure function of the trace id, so whoever asks about the same trace gets the same answer.

use crate::TraceId;

/// Decides about new traces; the default is to sample all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Sampler {
    /// Every trace.
    #[default]
    Always,
    /// No trace.
    Never,
    /// A share of all traces.
    Ratio(Ratio),
}

impl Sampler {
    /// Whether the trace is sampled.
    pub const fn sample(self, trace_id: TraceId) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Ratio(ratio) => trace_id.low_u64() >> 1 < ratio.below,
        }
    }
}

/// A share of all traces, from 0 (none) to 1 (all).
///
/// Takes a trace if the right-most 8 bytes of its id, as a number without its lowest bit, are below the ratio
/// of their range. The `TraceIdRatioBased` sampler of OpenTelemetry for Rust draws the same line. What a
/// ratio takes, every higher ratio takes as well.
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
    use std::string::ToString;

    use super::*;

    fn id(low: u64) -> TraceId {
        TraceId::from_int((1 << 64) | u128::from(low)).unwrap()
    }

    fn ratio(ratio: f64) -> Sampler {
        Sampler::Ratio(Ratio::new(ratio).unwrap())
    }

    #[test]
    fn none_and_all_are_exact() {
        for low in [0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            assert!(Sampler::Always.sample(id(low)) && ratio(1.0).sample(id(low)));
            assert!(!Sampler::Never.sample(id(low)) && !ratio(0.0).sample(id(low)));
        }
    }

    #[test]
    fn the_border_lies_at_the_ratio_of_the_id_space() {
        assert!(ratio(0.25).sample(id((1 << 62) - 1)));
        assert!(!ratio(0.25).sample(id(1 << 62)));
        assert!(ratio(0.5).sample(id((1 << 63) - 1)));
        assert!(!ratio(0.5).sample(id(1 << 63)));
    }

    #[test]
    fn what_a_ratio_takes_every_higher_ratio_takes() {
        for step in 0..1000_u64 {
            let id = id(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let taken = [0.0, 0.1, 0.2, 0.5, 0.9, 1.0].map(|share| ratio(share).sample(id));
            assert!(taken.is_sorted());
        }
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
