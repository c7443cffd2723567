//! What a tenant is allowed, under the names, units and defaults of Loki's `limits_config`.
//! Invariant: a limit that is set never turns into no limit, however small a share of it is taken.

mod table;
mod yaml;

use std::num::NonZeroUsize;
use std::time::Duration;

/// The limits of one tenant, resolved. [`Default`] is Loki's.
///
/// With the feature `serde` it is written under the same names, in the notations it is read in.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Limits {
    /// Whether the rate is for the whole cluster or for each instance. Default global; not per tenant.
    pub ingestion_rate_strategy: Strategy,
    /// Bytes of lines and structured metadata a second, in MiB. Default 4.
    pub ingestion_rate_mb: f64,
    /// Bytes at once, in MiB, in each instance. Default 6. Less than the largest push refuses that push.
    pub ingestion_burst_size_mb: f64,

    /// Longest label name in bytes. Default 1024.
    pub max_label_name_length: usize,
    /// Longest label value in bytes. Default 2048.
    pub max_label_value_length: usize,
    /// Most labels of a stream, `service_name` not counted. Default 15.
    pub max_label_names_per_series: usize,

    /// Whether entries older than [`reject_old_samples_max_age`](Self::reject_old_samples_max_age) are
    /// refused. Default yes.
    pub reject_old_samples: bool,
    /// Age up to which entries are accepted. Default 7 days.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub reject_old_samples_max_age: Duration,
    /// Time into the future up to which entries are accepted. Default 10 minutes.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub creation_grace_period: Duration,

    /// Longest line in bytes; 0 is no limit. Default 256 KiB.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_size"))]
    pub max_line_size: u64,
    /// Whether longer lines are cut instead of refused. Default no.
    pub max_line_size_truncate: bool,
    /// What is appended to a line that was cut; it fits inside the limit with it. Default nothing.
    pub max_line_size_truncate_identifier: String,

    /// Whether entries may have structured metadata. Default yes.
    pub allow_structured_metadata: bool,
    /// Most bytes of names and values of one entry's metadata; 0 is no limit. Default 64 KiB.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_size"))]
    pub max_structured_metadata_size: u64,
    /// Most pairs of one entry's metadata; 0 is no limit. Default 128.
    pub max_structured_metadata_entries_count: usize,

    /// Most active streams in one ingester; 0 is no limit. Default 0.
    pub max_streams_per_user: usize,
    /// Most active streams in the cluster; 0 is no limit. Default 5000.
    pub max_global_streams_per_user: usize,

    /// Most lines that one query may ask for; 0 is no limit. Default 5000.
    pub max_entries_limit_per_query: usize,
    /// Longest time range of a query; 0 is no limit. Default 721 hours.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub max_query_length: Duration,
    /// How far back a query may look; 0 is no limit. Default 0.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub max_query_lookback: Duration,
    /// Most series in the answer to a metric query; 0 is no limit. Default 500.
    pub max_query_series: usize,
    /// Longest time that a query may take; 0 is no limit. Default 1 minute.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub query_timeout: Duration,
    /// Most bytes that a query may read; 0 is no limit. Default 0.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_size"))]
    pub max_query_bytes_read: u64,
    /// Length of time that a part of a query is of at the most; 0 is no limit. Default 1 hour.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub split_queries_by_interval: Duration,
    /// Most parts of a query that are worked on at the same time; 0 is no limit. Default 32.
    pub max_query_parallelism: usize,
    /// Most queries that may follow lines as they come at the same time; 0 is no limit. Default 10.
    pub max_concurrent_tail_requests: usize,

    /// How long lines are kept; 0 is forever. Default 0.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub retention_period: Duration,
    /// How long the lines of selected streams are kept instead. Default none.
    pub retention_stream: Vec<StreamRetention>,
}

/// Where a tenant's rate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Strategy {
    /// In the cluster: each instance takes its share.
    Global,
    /// In each instance.
    Local,
}

/// How long the lines of the streams that a selector matches are kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StreamRetention {
    /// The selector's text, `{namespace="dev"}`. It is not parsed here.
    pub selector: String,
    /// How long; at least 24 hours where it was read from a file.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::units::serialize_duration"))]
    pub period: Duration,
    /// Of several rules that match, the one with the highest priority applies.
    pub priority: i32,
}

/// Bytes in what Loki's `_mb` limits call a megabyte.
const MEBIBYTE: f64 = 1_048_576.0;

impl Default for Limits {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            ingestion_rate_strategy: Strategy::Global,
            ingestion_rate_mb: 4.0,
            ingestion_burst_size_mb: 6.0,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            max_label_names_per_series: 15,
            reject_old_samples: true,
            reject_old_samples_max_age: 7 * DAY,
            creation_grace_period: Duration::from_mins(10),
            max_line_size: 256 << 10,
            max_line_size_truncate: false,
            max_line_size_truncate_identifier: String::new(),
            allow_structured_metadata: true,
            max_structured_metadata_size: 64 << 10,
            max_structured_metadata_entries_count: 128,
            max_streams_per_user: 0,
            max_global_streams_per_user: 5000,
            max_entries_limit_per_query: 5000,
            max_query_length: Duration::from_hours(721),
            max_query_lookback: Duration::ZERO,
            max_query_series: 500,
            query_timeout: Duration::from_mins(1),
            max_query_bytes_read: 0,
            split_queries_by_interval: Duration::from_hours(1),
            max_query_parallelism: 32,
            max_concurrent_tail_requests: 10,
            retention_period: Duration::ZERO,
            retention_stream: Vec::new(),
        }
    }
}

impl Limits {
    /// The rate in bytes a second.
    #[must_use]
    pub fn ingestion_rate_bytes(&self) -> f64 {
        self.ingestion_rate_mb * MEBIBYTE
    }

    /// The burst in whole bytes; saturates.
    #[must_use]
    pub fn ingestion_burst_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts from floats saturate, and a fraction of a byte is none"
        )]
        let bytes = (self.ingestion_burst_size_mb * MEBIBYTE) as u64;
        bytes
    }

    /// The streams that one ingester may have active for this tenant; see [`stream_limit`].
    #[must_use]
    pub fn stream_limit(&self, replication_factor: usize, healthy: usize) -> Option<NonZeroUsize> {
        stream_limit(self.max_streams_per_user, self.max_global_streams_per_user, replication_factor, healthy)
    }
}

/// The streams that one of `healthy` ingesters may have active, if there is a limit.
///
/// Each stream is in `replication_factor` ingesters (or in all, if there are fewer), so an ingester's share of
/// `global` is `global · replication_factor / healthy`, and the limit is the smaller of that and `local`.
/// A limit of 0 is none. A share is at least 1 stream: rounded down to 0 it would read as no limit, and the
/// tenants with the smallest limits would have none. If no ingester is known to be healthy, only `local`
/// holds.
#[must_use]
pub fn stream_limit(
    local: usize,
    global: usize,
    replication_factor: usize,
    healthy: usize,
) -> Option<NonZeroUsize> {
    let share = NonZeroUsize::new(healthy).zip(NonZeroUsize::new(global)).map(|(healthy, global)| {
        let copies = replication_factor.clamp(1, healthy.get());
        let share = global.get() as u128 * copies as u128 / healthy.get() as u128;
        let share = usize::try_from(share).expect("a share is no more than the whole");
        NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN)
    });
    match (NonZeroUsize::new(local), share) {
        (Some(local), Some(share)) => Some(local.min(share)),
        (local, share) => local.or(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(local: usize, global: usize, replication_factor: usize, healthy: usize) -> usize {
        stream_limit(local, global, replication_factor, healthy).map_or(0, NonZeroUsize::get)
    }

    #[test]
    fn a_stream_limit_is_the_smaller_of_the_local_one_and_the_share_of_the_global() {
        assert_eq!(limit(0, 0, 3, 10), 0);
        assert_eq!(limit(100, 0, 3, 10), 100);
        assert_eq!(limit(0, 5000, 3, 10), 1500);
        assert_eq!(limit(100, 5000, 3, 10), 100);
        assert_eq!(limit(2000, 5000, 3, 10), 1500);
        assert_eq!(limit(0, 5000, 3, 0), 0, "nobody is known: the share cannot be");
        assert_eq!(limit(7, 5000, 3, 0), 7);
        assert_eq!(limit(0, 5000, 3, 1), 5000, "one ingester has each stream once");
        assert_eq!(limit(0, usize::MAX, usize::MAX, usize::MAX), usize::MAX);
    }

    #[test]
    fn rates_are_in_mebibytes() {
        let limits = Limits { ingestion_rate_mb: 0.5, ingestion_burst_size_mb: 1.5, ..Limits::default() };
        assert!((limits.ingestion_rate_bytes() - 524_288.0).abs() < f64::EPSILON);
        assert_eq!(limits.ingestion_burst_bytes(), 1_572_864);
        assert_eq!(Limits { ingestion_burst_size_mb: 1e300, ..limits }.ingestion_burst_bytes(), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_limit_that_is_set_is_never_lifted_nor_exceeded(
            local: usize, global: usize, replication_factor in 0usize..10, healthy in 1usize..1000,
        ) {
            let found = limit(local, global, replication_factor, healthy);
            prop_assert_eq!(found == 0, local == 0 && global == 0);
            prop_assert!(local == 0 || found <= local);
            prop_assert!(global == 0 || found <= global);
        }
    }
}
