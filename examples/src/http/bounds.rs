//! What one query of a tenant may ask for, under Loki's names, checked before work starts where that can be known. A
//! limit of 0 is none.

use std::num::{NonZeroI64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use forebay_tenant::Limits;

use super::{Failure, Parts};
use crate::index::Span;
use crate::query::Split;

/// Lines in an answer where the request does not say.
const DEFAULT_ENTRIES: usize = 100;

/// The bounds of one query.
pub(super) struct Bounds(Arc<Limits>);

impl Bounds {
    /// Those of `tenant`, as they are now.
    pub(super) fn of(parts: &Parts, tenant: &str) -> Self {
        Self(Arc::clone(parts.overrides.load().limits(tenant)))
    }

    /// The range from `start_ns` to `end_ns`, shortened to what may be looked at. All that is read is asked for here:
    /// windows and offsets reach further back than the points that they are for.
    ///
    /// # Errors
    /// A range that is longer than `max_query_length`, or one that lies before all that may be looked at.
    pub(super) fn span(&self, now_ns: i64, start_ns: i64, end_ns: i64) -> Result<(i64, i64), Failure> {
        let lookback = self.0.max_query_lookback;
        let first_ns =
            if lookback.is_zero() { i64::MIN } else { now_ns.saturating_sub(nanoseconds(lookback)) };
        if end_ns < first_ns {
            return Err(Failure::bad_request(format_args!(
                "the query ends before the oldest time that may be asked for (limit: max_query_lookback {})",
                hours(lookback),
            )));
        }
        let start_ns = start_ns.max(first_ns);
        let (length, limit) = (Duration::from_nanos(end_ns.abs_diff(start_ns)), self.0.max_query_length);
        if !limit.is_zero() && length > limit {
            return Err(Failure::bad_request(format_args!(
                "the query time range exceeds the limit (query length: {}, limit: {})",
                hours(length),
                hours(limit),
            )));
        }
        Ok((start_ns, end_ns))
    }

    /// As [`span`](Self::span).
    ///
    /// # Errors
    /// As there.
    pub(super) fn read(&self, now_ns: i64, span: Span) -> Result<Span, Failure> {
        let (from_ns, through_ns) = self.span(now_ns, span.from_ns, span.through_ns)?;
        Ok(Span { from_ns, through_ns })
    }

    /// How many lines are answered where `asked` are asked for.
    ///
    /// # Errors
    /// More than `max_entries_limit_per_query`.
    pub(super) fn entries(&self, asked: Option<usize>) -> Result<usize, Failure> {
        let limit = match self.0.max_entries_limit_per_query {
            0 => usize::MAX,
            limit => limit,
        };
        match asked {
            Some(asked) if asked > limit => Err(Failure::bad_request(format_args!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({asked} > {limit})"
            ))),
            Some(asked) => Ok(asked),
            None => Ok(DEFAULT_ENTRIES.min(limit)),
        }
    }

    /// Most series of an answer.
    pub(super) fn max_series(&self) -> usize {
        match self.0.max_query_series {
            0 => usize::MAX,
            series => series,
        }
    }

    /// Most bytes of chunks that are read.
    pub(super) fn max_bytes(&self) -> u64 {
        match self.0.max_query_bytes_read {
            0 => u64::MAX,
            bytes => bytes,
        }
    }

    /// In what parts it is worked on.
    pub(super) fn split(&self) -> Split {
        let interval_ns = NonZeroI64::new(nanoseconds(self.0.split_queries_by_interval));
        let parallelism = NonZeroUsize::new(self.0.max_query_parallelism).unwrap_or(NonZeroUsize::MAX);
        Split { interval_ns, parallelism }
    }

    /// Most queries that may follow lines at the same time.
    pub(super) fn max_tails(&self) -> usize {
        match self.0.max_concurrent_tail_requests {
            0 => usize::MAX,
            tails => tails,
        }
    }

    /// What `query` comes to within `query_timeout`.
    ///
    /// # Errors
    /// 504 where it does not.
    pub(super) async fn in_time<T>(&self, query: impl Future<Output = T>) -> Result<T, Failure> {
        let limit = self.0.query_timeout;
        if limit.is_zero() {
            return Ok(query.await);
        }
        tokio::time::timeout(limit, query).await.map_err(|_| {
            let message = format!(
                "the query took longer than query_timeout ({}): ask for less time or fewer streams",
                hours(limit),
            );
            Failure::new(StatusCode::GATEWAY_TIMEOUT, message)
        })
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A duration as Go writes it, to the second: `721h0m0s`.
fn hours(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m) {
        (0, 0) => format!("{}s", duration.as_secs_f64()),
        (0, _) => format!("{m}m{s}s"),
        _ => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn bounds(change: impl FnOnce(&mut Limits)) -> Bounds {
        let mut limits = Limits::default();
        change(&mut limits);
        Bounds(Arc::new(limits))
    }

    #[test]
    fn a_range_is_refused_where_it_is_long_and_shortened_where_it_looks_far_back() {
        let bounds = bounds(|l| l.max_query_lookback = Duration::from_hours(1000));
        let now = 2000 * HOUR;
        assert_eq!(bounds.span(now, now - 721 * HOUR, now).unwrap(), (now - 721 * HOUR, now));
        let failure = bounds.span(now, now - 721 * HOUR - 1_000_000_000, now).unwrap_err();
        assert_eq!(
            failure.message,
            "the query time range exceeds the limit (query length: 721h0m1s, limit: 721h0m0s)"
        );
        assert_eq!(
            bounds.span(now, i64::MIN, now - 999 * HOUR).unwrap(),
            (now - 1000 * HOUR, now - 999 * HOUR)
        );
        assert!(bounds.span(now, i64::MIN, now - 1001 * HOUR).unwrap_err().message.contains("1000h0m0s"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_bound() {
        let bounds = bounds(|l| {
            l.max_query_length = Duration::ZERO;
            l.max_entries_limit_per_query = 0;
            l.max_query_series = 0;
            l.split_queries_by_interval = Duration::ZERO;
            l.max_query_parallelism = 0;
            l.query_timeout = Duration::ZERO;
        });
        assert_eq!(bounds.span(0, i64::MIN, i64::MAX).unwrap(), (i64::MIN, i64::MAX));
        assert_eq!((bounds.entries(None).unwrap(), bounds.entries(Some(1 << 40)).unwrap()), (100, 1 << 40));
        assert_eq!((bounds.max_bytes(), bounds.max_series()), (u64::MAX, usize::MAX));
        assert_eq!(bounds.split(), Split { interval_ns: None, parallelism: NonZeroUsize::MAX });
        assert_eq!(bounds.in_time(tokio::task::yield_now()).await.unwrap(), ());
    }

    #[test]
    fn a_query_is_split_as_loki_splits_it_where_nothing_else_is_said() {
        assert_eq!(bounds(|_| ()).split(), Split::default());
    }

    #[test]
    fn lines_beyond_the_limit_are_refused_and_the_default_stays_below_it() {
        let bounds = bounds(|l| l.max_entries_limit_per_query = 50);
        assert_eq!(bounds.entries(None).unwrap(), 50);
        let refused = bounds.entries(Some(51)).unwrap_err();
        assert!(refused.message.ends_with("(51 > 50)"), "{}", refused.message);
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_without_an_end_is_ended() {
        let bounds = bounds(|l| l.query_timeout = Duration::from_millis(1500));
        let failure = bounds.in_time(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::GATEWAY_TIMEOUT);
        assert!(failure.message.contains("query_timeout (1.5s)"), "{}", failure.message);
    }
}
