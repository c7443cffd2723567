//! Labels and entries against a tenant's limits: what is accepted, cut or refused, and for which reason.
//! Invariant: accepting allocates nothing, and a refusal allocates nothing until it is printed.

mod rejection;

use std::time::Duration;

pub use rejection::{Reason, Rejection};

use crate::labels::is_name;
use crate::limits::Limits;

/// The label that streams get when they lack it, and that is not counted against their limit.
const SERVICE_NAME: &str = "service_name";

/// The checks of one tenant at one moment. Made once per request, used for all it carries.
///
/// ```
/// use forebay_tenant::{Limits, Validator, Verdict};
///
/// let limits = Limits { max_line_size: 5, ..Limits::default() };
/// let now_ns = 1_767_312_000_000_000_000;
/// let validator = Validator::new(&limits, now_ns);
///
/// validator.labels(&[("app", "api"), ("env", "prod")])?;
/// assert_eq!(validator.entry(now_ns, b"hello", &[]), Verdict::Accept);
///
/// let Verdict::Discard(rejection) = validator.entry(now_ns, b"hello!", &[]) else { panic!() };
/// assert_eq!(rejection.reason().as_str(), "line_too_long");
/// assert_eq!(rejection.to_string(), "line of 6 bytes exceeds the limit of 5");
/// # Ok::<(), forebay_tenant::Rejection<'_>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Validator<'l> {
    limits: &'l Limits,
    oldest_ns: i64,
    newest_ns: i64,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored as it is.
    Accept,
    /// It is stored with the first `keep` bytes of its line, followed by the tenant's
    /// [`max_line_size_truncate_identifier`](Limits::max_line_size_truncate_identifier). Together they are no
    /// longer than the limit.
    Truncate {
        /// Bytes to keep; a boundary between characters.
        keep: usize,
    },
    /// It is not stored.
    Discard(Rejection<'static>),
}

impl<'l> Validator<'l> {
    /// The checks of a tenant with `limits` at `now_ns`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(limits: &'l Limits, now_ns: i64) -> Self {
        let Limits { reject_old_samples, reject_old_samples_max_age, creation_grace_period, .. } = limits;
        let oldest_ns = match reject_old_samples {
            true => clamp(i128::from(now_ns) - nanoseconds(*reject_old_samples_max_age)),
            false => i64::MIN,
        };
        let newest_ns = clamp(i128::from(now_ns) + nanoseconds(*creation_grace_period));
        Self { limits, oldest_ns, newest_ns }
    }

    /// Checks the labels of a stream, sorted by name.
    ///
    /// In this order, which decides what is reported: some label at all; names and their order; their number;
    /// and for each label the length of its name, of its value, and that it is there once. O(bytes of names).
    ///
    /// # Errors
    /// The [`Rejection`] of the whole stream.
    pub fn labels<'a>(&self, labels: &[(&'a str, &'a str)]) -> Result<(), Rejection<'a>> {
        if labels.is_empty() {
            return Err(Rejection::MissingLabels);
        }
        let mut counted = 0;
        let mut previous = "";
        for (name, _) in labels {
            if !is_name(name) {
                return Err(Rejection::InvalidLabelName { name });
            }
            if *name < previous {
                return Err(Rejection::UnsortedLabels { name, previous });
            }
            counted += usize::from(*name != SERVICE_NAME);
            previous = name;
        }
        let limit = self.limits.max_label_names_per_series;
        if counted > limit {
            return Err(Rejection::TooManyLabels { found: counted, limit });
        }
        self.label_lengths(labels)
    }

    fn label_lengths<'a>(&self, labels: &[(&'a str, &'a str)]) -> Result<(), Rejection<'a>> {
        let Limits { max_label_name_length, max_label_value_length, .. } = *self.limits;
        let mut previous = "";
        for (name, value) in labels {
            if name.len() > max_label_name_length {
                return Err(Rejection::LabelNameTooLong { name, limit: max_label_name_length });
            }
            if value.len() > max_label_value_length {
                let (found, limit) = (value.len(), max_label_value_length);
                return Err(Rejection::LabelValueTooLong { name, found, limit });
            }
            if *name == previous {
                return Err(Rejection::DuplicateLabel { name });
            }
            previous = name;
        }
        Ok(())
    }

    /// Checks an entry: its time in nanoseconds since 1970, its line, its structured metadata.
    ///
    /// In this order, which decides what is reported: too old, too new, line too long, metadata not allowed,
    /// too large, too many. A time at either end of the window is inside. O(pairs of metadata).
    #[must_use]
    pub fn entry(&self, timestamp_ns: i64, line: &[u8], metadata: &[(&str, &str)]) -> Verdict {
        if timestamp_ns < self.oldest_ns {
            return Verdict::Discard(Rejection::TooOld { timestamp_ns, oldest_ns: self.oldest_ns });
        }
        if timestamp_ns > self.newest_ns {
            return Verdict::Discard(Rejection::TooNew { timestamp_ns, newest_ns: self.newest_ns });
        }
        let verdict = self.line(line);
        match verdict {
            Verdict::Discard(_) => verdict,
            _ if metadata.is_empty() => verdict,
            _ => self.metadata(metadata).map_or_else(Verdict::Discard, |()| verdict),
        }
    }

    fn line(&self, line: &[u8]) -> Verdict {
        let limit = self.limits.max_line_size;
        if limit == 0 || line.len() as u64 <= limit {
            return Verdict::Accept;
        }
        let room = usize::try_from(limit)
            .ok()
            .and_then(|limit| limit.checked_sub(self.limits.max_line_size_truncate_identifier.len()))
            .filter(|room| *room > 0);
        match room {
            Some(room) if self.limits.max_line_size_truncate => {
                Verdict::Truncate { keep: boundary(line, room) }
            }
            _ => Verdict::Discard(Rejection::LineTooLong { found: line.len(), limit }),
        }
    }

    fn metadata(&self, pairs: &[(&str, &str)]) -> Result<(), Rejection<'static>> {
        if !self.limits.allow_structured_metadata {
            return Err(Rejection::MetadataDisallowed { found: pairs.len() });
        }
        let size: u64 = pairs.iter().map(|(name, value)| name.len() as u64 + value.len() as u64).sum();
        let limit = self.limits.max_structured_metadata_size;
        if limit != 0 && size > limit {
            return Err(Rejection::MetadataTooLarge { found: size, limit });
        }
        let limit = self.limits.max_structured_metadata_entries_count;
        if limit != 0 && pairs.len() > limit {
            return Err(Rejection::MetadataTooMany { found: pairs.len(), limit });
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).expect("the longest duration has 95 bits of nanoseconds")
}

/// A bound beyond the ends of time is at the end, with nothing outside of it.
fn clamp(time_ns: i128) -> i64 {
    i64::try_from(time_ns).unwrap_or(if time_ns < 0 { i64::MIN } else { i64::MAX })
}

/// The last boundary between characters at or before `at`. In a line that is not UTF-8 there may be none
/// within a character's length; then the line is cut where it is.
fn boundary(line: &[u8], at: usize) -> usize {
    let is_boundary = |at: &usize| line.get(*at).is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000);
    (at.saturating_sub(3)..=at).rev().find(is_boundary).unwrap_or(at)
}
