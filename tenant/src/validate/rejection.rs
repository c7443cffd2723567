//! Why something was refused: a reason to count it under, and a sentence that names both sides.
//! Invariant: the reasons' names are those of Loki's `discarded_samples_total`, so its dashboards work.

use std::fmt;

/// The `reason` label of metrics about what was discarded.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The body of the request is too large.
    RequestBodyTooLarge,
    /// The labels are no labels.
    InvalidLabels,
    /// There are no labels.
    MissingLabels,
    /// The tenant's rate is exceeded.
    RateLimited,
    /// The line is longer than `max_line_size`.
    LineTooLong,
    /// The tenant has as many streams as it may.
    StreamLimit,
    /// The stream's rate is exceeded.
    PerStreamRateLimit,
    /// The entry is too far behind the newest of its stream.
    TooFarBehind,
    /// The entry is older than `reject_old_samples_max_age`.
    GreaterThanMaxSampleAge,
    /// The entry is newer than `creation_grace_period` allows.
    TooFarInFuture,
    /// There are more labels than `max_label_names_per_series`.
    MaxLabelNamesPerSeries,
    /// A label name is longer than `max_label_name_length`.
    LabelNameTooLong,
    /// A label value is longer than `max_label_value_length`.
    LabelValueTooLong,
    /// A label is there twice.
    DuplicateLabelNames,
    /// The tenant may not send structured metadata.
    DisallowedStructuredMetadata,
    /// The metadata is larger than `max_structured_metadata_size`.
    StructuredMetadataTooLarge,
    /// The metadata has more pairs than `max_structured_metadata_entries_count`.
    StructuredMetadataTooMany,
    /// The tenant is blocked for a time.
    BlockedIngestion,
    /// A policy's streams are blocked for a time.
    BlockedIngestionPolicy,
    /// A label that every stream of the tenant must have is missing.
    MissingEnforcedLabels,
}

impl Reason {
    /// All reasons, for counters that are made beforehand.
    pub const ALL: [Self; 20] = [
        Self::RequestBodyTooLarge,
        Self::InvalidLabels,
        Self::MissingLabels,
        Self::RateLimited,
        Self::LineTooLong,
        Self::StreamLimit,
        Self::PerStreamRateLimit,
        Self::TooFarBehind,
        Self::GreaterThanMaxSampleAge,
        Self::TooFarInFuture,
        Self::MaxLabelNamesPerSeries,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::DuplicateLabelNames,
        Self::DisallowedStructuredMetadata,
        Self::StructuredMetadataTooLarge,
        Self::StructuredMetadataTooMany,
        Self::BlockedIngestion,
        Self::BlockedIngestionPolicy,
        Self::MissingEnforcedLabels,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestBodyTooLarge => "request_body_too_large",
            Self::InvalidLabels => "invalid_labels",
            Self::MissingLabels => "missing_labels",
            Self::RateLimited => "rate_limited",
            Self::LineTooLong => "line_too_long",
            Self::StreamLimit => "stream_limit",
            Self::PerStreamRateLimit => "per_stream_rate_limit",
            Self::TooFarBehind => "too_far_behind",
            Self::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Self::TooFarInFuture => "too_far_in_future",
            Self::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::DuplicateLabelNames => "duplicate_label_names",
            Self::DisallowedStructuredMetadata => "disallowed_structured_metadata",
            Self::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Self::StructuredMetadataTooMany => "structured_metadata_too_many",
            Self::BlockedIngestion => "blocked_ingestion",
            Self::BlockedIngestionPolicy => "blocked_ingestion_policy",
            Self::MissingEnforcedLabels => "missing_enforced_labels",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// A refusal with both sides of the disagreement. It borrows names from what was refused, is copied freely,
/// and says what is wrong when it is printed; long names are cut then. Bytes are counted, not characters.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection<'a> {
    /// A stream has no labels.
    #[error("a stream needs at least one label")]
    MissingLabels,
    /// A label name is not `[a-zA-Z_][a-zA-Z0-9_]*`.
    #[error("label name `{}` is not of letters, digits and underscores", Excerpt(name))]
    InvalidLabelName {
        /// The name.
        name: &'a str,
    },
    /// Labels are not sorted by name, so that duplicates could not be seen.
    #[error("label `{}` comes after `{}`: labels must be sorted by name", Excerpt(name), Excerpt(previous))]
    UnsortedLabels {
        /// The label that comes too late.
        name: &'a str,
        /// The label before it.
        previous: &'a str,
    },
    /// A stream has too many labels.
    #[error("{found} label names exceed the limit of {limit}")]
    TooManyLabels {
        /// Its labels, `service_name` not counted.
        found: usize,
        /// Labels allowed.
        limit: usize,
    },
    /// A label name is too long.
    #[error("label name `{}` of {} bytes exceeds the limit of {limit}", Excerpt(name), name.len())]
    LabelNameTooLong {
        /// The name.
        name: &'a str,
        /// Bytes allowed.
        limit: usize,
    },
    /// A label value is too long.
    #[error("value of label `{}` of {found} bytes exceeds the limit of {limit}", Excerpt(name))]
    LabelValueTooLong {
        /// The label's name.
        name: &'a str,
        /// Bytes of its value.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A label is there twice.
    #[error("label `{}` is there twice", Excerpt(name))]
    DuplicateLabel {
        /// The label's name.
        name: &'a str,
    },
    /// An entry is too old.
    #[error("timestamp {} is too old, the oldest accepted is {}", Time(*timestamp_ns), Time(*oldest_ns))]
    TooOld {
        /// Its time, nanoseconds since 1970.
        timestamp_ns: i64,
        /// The oldest time accepted.
        oldest_ns: i64,
    },
    /// An entry is too new.
    #[error("timestamp {} is too new, the newest accepted is {}", Time(*timestamp_ns), Time(*newest_ns))]
    TooNew {
        /// Its time, nanoseconds since 1970.
        timestamp_ns: i64,
        /// The newest time accepted.
        newest_ns: i64,
    },
    /// A line is too long.
    #[error("line of {found} bytes exceeds the limit of {limit}")]
    LineTooLong {
        /// Its bytes.
        found: usize,
        /// Bytes allowed.
        limit: u64,
    },
    /// The tenant may not send structured metadata.
    #[error("structured metadata of {found} pairs, but none is allowed")]
    MetadataDisallowed {
        /// Pairs sent.
        found: usize,
    },
    /// Structured metadata is too large.
    #[error("structured metadata of {found} bytes exceeds the limit of {limit}")]
    MetadataTooLarge {
        /// Bytes of names and values.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Structured metadata has too many pairs.
    #[error("structured metadata of {found} pairs exceeds the limit of {limit}")]
    MetadataTooMany {
        /// Pairs sent.
        found: usize,
        /// Pairs allowed.
        limit: usize,
    },
}

impl Rejection<'_> {
    /// The reason to count it under.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::MissingLabels => Reason::MissingLabels,
            Self::InvalidLabelName { .. } | Self::UnsortedLabels { .. } => Reason::InvalidLabels,
            Self::TooManyLabels { .. } => Reason::MaxLabelNamesPerSeries,
            Self::LabelNameTooLong { .. } => Reason::LabelNameTooLong,
            Self::LabelValueTooLong { .. } => Reason::LabelValueTooLong,
            Self::DuplicateLabel { .. } => Reason::DuplicateLabelNames,
            Self::TooOld { .. } => Reason::GreaterThanMaxSampleAge,
            Self::TooNew { .. } => Reason::TooFarInFuture,
            Self::LineTooLong { .. } => Reason::LineTooLong,
            Self::MetadataDisallowed { .. } => Reason::DisallowedStructuredMetadata,
            Self::MetadataTooLarge { .. } => Reason::StructuredMetadataTooLarge,
            Self::MetadataTooMany { .. } => Reason::StructuredMetadataTooMany,
        }
    }
}

/// At most 64 characters of a name that may be a megabyte, with what a terminal would obey escaped.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = match self.0.char_indices().nth(64) {
            Some((end, _)) => (&self.0[..end], "…"),
            None => (self.0, ""),
        };
        write!(f, "{}{more}", shown.escape_debug())
    }
}

/// Nanoseconds since 1970 as RFC 3339, `2026-01-02T00:00:00.000000001Z`; years 1677 to 2262.
struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if nanos != 0 {
            write!(f, ".{nanos:09}")?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of a number of days since 1970 in the proleptic Gregorian calendar, counted in eras of
/// 400 years that begin in March, so that a leap day is the last of its year (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let since_era_0 = days + 719_468; // from 0000-03-01
    let (era, day) = (since_era_0.div_euclid(146_097), since_era_0.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_rfc_3339() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_767_316_245_000_000_006, "2026-01-02T01:10:45.000000006Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(Time(ns).to_string(), text);
        }
    }

    #[test]
    fn reasons_have_distinct_names() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_rejection_is_a_few_words() {
        assert!(size_of::<Rejection<'_>>() <= 5 * size_of::<usize>());
    }

    #[test]
    fn long_and_unprintable_names_are_cut_and_escaped() {
        let name = format!("\x1b[31m{}", "é".repeat(1000));
        let printed = Rejection::InvalidLabelName { name: &name }.to_string();
        assert!(printed.starts_with(r"label name `\u{1b}[31mé"), "{printed}");
        assert!(printed.contains("é…`") && printed.len() < 250, "{printed}");
    }
}
