//! A rule that says how long matching chunks are kept. `Forever` is a value of its own and a period is never
//! zero, so that neither can be mistaken for the other.

use std::fmt;
use std::time::Duration;

use crate::selector::Selector;

/// How long data is kept; ordered by length, with [`Retention::Forever`] the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Retention {
    /// Until its newest entry is older than this.
    For(Period),
    /// Never expires.
    Forever,
}

impl Retention {
    /// Keeps data for `period`.
    ///
    /// # Errors
    /// [`ZeroPeriod`] for a period of zero: it would mean "at once" to one reader and "never" to another.
    pub fn period(period: Duration) -> Result<Self, ZeroPeriod> {
        Period::new(period).map(Self::For)
    }

    /// Loki's spelling, in which a period of zero means [`Retention::Forever`].
    pub fn from_loki(period: Duration) -> Self {
        Self::period(period).unwrap_or(Self::Forever)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(period) => write!(f, "{:?}", period.get()),
            Self::Forever => f.write_str("forever"),
        }
    }
}

/// A length of time that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Duration", into = "Duration"))]
pub struct Period(Duration);

/// A retention period of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("retention period is 0: say forever, or give a period")]
pub struct ZeroPeriod;

impl Period {
    /// A period that is not zero.
    ///
    /// # Errors
    /// [`ZeroPeriod`].
    pub const fn new(period: Duration) -> Result<Self, ZeroPeriod> {
        if period.is_zero() { Err(ZeroPeriod) } else { Ok(Self(period)) }
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The length in nanoseconds; what does not fit outlives any timestamp.
    pub(crate) fn nanos(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl TryFrom<Duration> for Period {
    type Error = ZeroPeriod;

    fn try_from(period: Duration) -> Result<Self, ZeroPeriod> {
        Self::new(period)
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

/// Whose chunks a policy or a hold concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Scope {
    /// One tenant's.
    Tenant(String),
    /// Everyone's.
    All,
}

impl Scope {
    /// Whether chunks of `tenant` are concerned.
    pub fn includes(&self, tenant: &str) -> bool {
        match self {
            Self::Tenant(own) => own == tenant,
            Self::All => true,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::All => f.write_str("all tenants"),
        }
    }
}

/// One rule. Which of several matching rules wins is decided by [`PolicySet`](crate::PolicySet).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Policy {
    /// Unique within a set; the last tie-breaker, so that the order of loading never matters.
    pub id: String,
    /// Whose chunks. A tenant's own rules win over rules for all tenants.
    pub scope: Scope,
    /// Which streams.
    pub selector: Selector,
    /// The higher one wins among matching rules of one scope. Default 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub priority: i32,
    /// How long.
    pub retention: Retention,
    /// Considered only when no ordinary rule of the tenant or for all tenants matches. Default `false`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fallback: bool,
}

impl Policy {
    /// An ordinary rule of priority 0.
    pub fn new(id: impl Into<String>, scope: Scope, selector: Selector, retention: Retention) -> Self {
        Self { id: id.into(), scope, selector, priority: 0, retention, fallback: false }
    }

    /// With another priority.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// As the tenant's, or everyone's, default: below all ordinary rules.
    #[must_use]
    pub fn as_fallback(mut self) -> Self {
        self.fallback = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_of_zero_does_not_construct_and_means_forever_to_loki() {
        assert_eq!(Retention::period(Duration::ZERO), Err(ZeroPeriod));
        assert_eq!(Retention::from_loki(Duration::ZERO), Retention::Forever);
    }

    #[test]
    fn forever_is_longer_than_the_longest_period() {
        assert!(Retention::period(Duration::MAX).unwrap() < Retention::Forever);
        assert!(Retention::from_loki(Duration::from_secs(1)) < Retention::from_loki(Duration::from_secs(2)));
    }
}
