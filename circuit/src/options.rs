//! When a breaker opens, for how long, and what closes it again.
//!
//! [`Options`] is what a person writes; [`Policy`] is what it is parsed into, once: every number in range and
//! every duration in nanoseconds.

use std::time::Duration;

use crate::backoff::Backoff;

/// How a breaker behaves. The default suits a remote store that answers in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Options {
    /// Failures in a row that open a closed breaker; 5 by default. One success in between starts the count
    /// anew. Too low, and a hiccup stops all calls; too high, and every caller pays for an outage itself.
    pub failure_threshold: u32,
    /// How long the breaker stays open at first; 1 s by default. Doubles with each opening that follows.
    pub open_for: Duration,
    /// The longest it stays open, however often it failed before; 60 s by default.
    pub max_open_for: Duration,
    /// Which part of the wait is left to chance, in percent; 20 by default: a wait of 10 s becomes 8 to 10 s.
    /// Without it, all that lost the same endpoint at the same time come back at the same time.
    pub jitter_percent: u32,
    /// What jitter is drawn from, together with the instant of the opening; 0 by default. The same seed and
    /// the same instants give the same waits.
    pub seed: u64,
    /// Probes permitted at the same time while half-open; 3 by default, at most 65,536.
    pub half_open_probes: u32,
    /// Successful probes that close the breaker; 3 by default, at most 65,536. One failed probe opens it again.
    pub close_after: u32,
    /// How long a half-open breaker whose slots are all taken waits for a verdict before it takes the probes
    /// for lost and issues their slots again; 5 s by default. A probe that comes back later still counts. Too
    /// short, and the slots of slow probes are issued twice; too long, and lost probes keep a recovered endpoint
    /// shut.
    pub half_open_max_wait: Duration,
    /// How long the breaker has to stay closed before the next opening begins with `open_for` again; 30 s by
    /// default. Too short, and a flapping endpoint is called at the pace of its first failure for ever.
    pub reset_after: Duration,
}

impl Options {
    /// Most probes permitted at once, and most successes asked for.
    pub const MAX_PROBES: u32 = 1 << 16;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open_for: Duration::from_secs(1),
            max_open_for: Duration::from_secs(60),
            jitter_percent: 20,
            seed: 0,
            half_open_probes: 3,
            close_after: 3,
            half_open_max_wait: Duration::from_secs(5),
            reset_after: Duration::from_secs(30),
        }
    }
}

/// What is wrong with [`Options`]: the first thing found.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// With zero the breaker would never admit, never probe or never close.
    #[error("{option} is 0 and must be at least 1")]
    Zero {
        /// The field.
        option: &'static str,
    },
    /// More than a breaker counts.
    #[error("{option} is {value} and must be at most {most}")]
    TooLarge {
        /// The field.
        option: &'static str,
        /// What it says.
        value: u32,
        /// What it may say.
        most: u32,
    },
    /// The cap on the wait lies below the wait it caps.
    #[error("max_open_for is {max_open_for:?} and must be at least open_for, which is {open_for:?}")]
    CapBelowBase {
        /// The first wait.
        open_for: Duration,
        /// Its cap.
        max_open_for: Duration,
    },
}

/// [`Options`] that are right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) failure_threshold: u32,
    pub(crate) half_open_probes: u32,
    pub(crate) close_after: u32,
    pub(crate) half_open_max_wait_ns: u64,
    pub(crate) reset_after_ns: u64,
    pub(crate) backoff: Backoff,
}

impl TryFrom<Options> for Policy {
    type Error = OptionsError;

    fn try_from(options: Options) -> Result<Self, OptionsError> {
        let Options { failure_threshold, half_open_probes, close_after, jitter_percent, .. } = options;
        let Options { open_for, max_open_for, half_open_max_wait, reset_after, seed, .. } = options;
        let zero = [
            ("failure_threshold", failure_threshold == 0),
            ("half_open_probes", half_open_probes == 0),
            ("close_after", close_after == 0),
            ("open_for", open_for.is_zero()),
            ("half_open_max_wait", half_open_max_wait.is_zero()),
        ];
        if let Some((option, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(OptionsError::Zero { option });
        }
        let capped = [
            ("half_open_probes", half_open_probes, Options::MAX_PROBES),
            ("close_after", close_after, Options::MAX_PROBES),
            ("jitter_percent", jitter_percent, 100),
        ];
        if let Some((option, value, most)) = capped.into_iter().find(|(_, value, most)| value > most) {
            return Err(OptionsError::TooLarge { option, value, most });
        }
        if max_open_for < open_for {
            return Err(OptionsError::CapBelowBase { open_for, max_open_for });
        }
        Ok(Self {
            failure_threshold,
            half_open_probes,
            close_after,
            half_open_max_wait_ns: saturating_ns(half_open_max_wait),
            reset_after_ns: saturating_ns(reset_after),
            backoff: Backoff::new(saturating_ns(open_for), saturating_ns(max_open_for), jitter_percent, seed),
        })
    }
}

/// Whole nanoseconds; beyond 584 years, 584 years.
fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: Options) -> String {
        Policy::try_from(options).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_right() {
        assert!(Policy::try_from(Options::default()).is_ok());
    }

    #[test]
    fn each_wrong_value_is_named_with_what_it_may_be() {
        let right = Options::default();
        assert_eq!(error(Options { close_after: 0, ..right }), "close_after is 0 and must be at least 1");
        assert_eq!(
            error(Options { open_for: Duration::ZERO, ..right }),
            "open_for is 0 and must be at least 1"
        );
        assert_eq!(
            error(Options { half_open_probes: 70_000, ..right }),
            "half_open_probes is 70000 and must be at most 65536"
        );
        assert_eq!(
            error(Options { jitter_percent: 101, ..right }),
            "jitter_percent is 101 and must be at most 100"
        );
        assert_eq!(
            error(Options { max_open_for: Duration::from_millis(999), ..right }),
            "max_open_for is 999ms and must be at least open_for, which is 1s"
        );
    }

    #[test]
    fn durations_beyond_the_clock_saturate() {
        let options =
            Options { max_open_for: Duration::MAX, reset_after: Duration::MAX, ..Options::default() };
        assert_eq!(Policy::try_from(options).unwrap().reset_after_ns, u64::MAX);
    }
}
