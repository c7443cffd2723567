//! Parameters of a query, from the URL or a form, in every notation that Loki's API takes.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use http_body_util::{BodyExt, Limited};

use super::Failure;
use crate::excerpt::Excerpt;
use crate::logql::duration_ns;

/// Most bytes of a form.
const MAX_FORM_BYTES: usize = 1 << 20;

/// Names and values, in order, repeats included.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let mut pairs = parse(request.uri().query().unwrap_or_default().as_bytes());
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|v| v.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if request.method() == Method::POST && is_form {
            let body: Body = request.into_body();
            let body = Limited::new(body, MAX_FORM_BYTES).collect().await.map_err(Failure::bad_request)?;
            pairs.extend(parse(&body.to_bytes()));
        }
        Ok(Self(pairs))
    }
}

fn parse(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

impl Params {
    /// The first value of `name`; an empty one is none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of `name` and of `name[]`.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n.strip_suffix("[]").unwrap_or(n) == name).map(|(_, v)| v.as_str())
    }

    /// The query text.
    pub(super) fn query(&self) -> Result<&str, Failure> {
        self.text("query").ok_or_else(|| Failure::bad_request("parameter query is missing"))
    }

    /// A time in nanoseconds since 1970.
    pub(super) fn time_ns(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let expected = "nanoseconds or seconds since 1970, or an RFC 3339 time";
        time_ns(text).map(Some).ok_or_else(|| wrong(name, text, expected))
    }

    /// A duration in nanoseconds: a LogQL duration or seconds.
    pub(super) fn duration_ns(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = duration_ns(text).or_else(|| seconds_ns(text)).filter(|ns| *ns > 0);
        parsed.map(Some).ok_or_else(|| wrong(name, text, "a duration such as 5m, or seconds, above 0"))
    }

    /// A count above 0.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().ok().filter(|n| *n > 0).map(Some).ok_or_else(|| wrong(name, text, "a number above 0"))
    }

    /// Start and end; by default the hour, or `since`, before the end, which is now.
    pub(super) fn range_ns(&self, now_ns: i64) -> Result<(i64, i64), Failure> {
        let end_ns = self.time_ns("end")?.unwrap_or(now_ns);
        let since_ns = self.duration_ns("since")?.unwrap_or(3_600_000_000_000);
        let start_ns = self.time_ns("start")?.unwrap_or_else(|| end_ns.min(now_ns).saturating_sub(since_ns));
        if end_ns < start_ns {
            return Err(Failure::bad_request(format_args!("end {end_ns} is before start {start_ns}")));
        }
        Ok((start_ns, end_ns))
    }
}

fn wrong(name: &str, found: &str, expected: &str) -> Failure {
    Failure::bad_request(format_args!("parameter {name} is {:?}, expected {expected}", Excerpt(found)))
}

/// Loki's rule: up to ten digits are seconds, more are nanoseconds, with a point they are seconds.
fn time_ns(text: &str) -> Option<i64> {
    if let Ok(integer) = text.parse::<i64>() {
        return if text.len() <= 10 { integer.checked_mul(1_000_000_000) } else { Some(integer) };
    }
    seconds_ns(text).or_else(|| text.parse::<jiff::Timestamp>().ok()?.as_nanosecond().try_into().ok())
}

/// Decimal seconds, to the nanosecond; what is finer is cut off. Exponents and the like go through a float.
fn seconds_ns(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) && !whole.is_empty() {
        let ns: i64 = format!("{fraction:0<9.9}").parse().ok()?;
        return whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(ns);
    }
    let ns = text.parse::<f64>().ok().filter(|s| s.is_finite())? * 1e9;
    #[expect(clippy::cast_possible_truncation, reason = "bounded on this line")]
    (ns.abs() < 9.2e18).then_some(ns.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_all_notations_of_loki() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000000000001", Some(1_700_000_000_000_000_001)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1700000000.123", Some(1_700_000_000_123_000_000)),
            ("1700000000.1234567899", Some(1_700_000_000_123_456_789)),
            ("1700000000.", Some(1_700_000_000_000_000_000)),
            ("1.7e9", Some(1_700_000_000_000_000_000)),
            ("9999999999999.5", None),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500_000_000)),
            ("yesterday", None),
            ("1e300", None),
            ("nan", None),
        ] {
            assert_eq!(time_ns(text), expected, "{text}");
        }
    }

    #[test]
    fn repeated_and_bracketed_names_are_the_same_list() {
        let params = Params(parse(b"match=%7Ba%3D%22b%22%7D&match%5B%5D=%7B%7D&limit=7&empty="));
        assert_eq!(params.all("match").collect::<Vec<_>>(), [r#"{a="b"}"#, "{}"]);
        assert_eq!(params.count("limit").unwrap(), Some(7));
        assert_eq!(params.text("empty"), None);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_expected() {
        let params = Params(parse(b"limit=0&start=x&step=-1"));
        for (failure, expected) in [
            (params.count("limit").unwrap_err(), "limit is \"0\""),
            (params.time_ns("start").unwrap_err(), "RFC 3339"),
            (params.duration_ns("step").unwrap_err(), "duration such as 5m"),
        ] {
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
    }
}
