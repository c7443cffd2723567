//! What an answer to a push says about its lines. Pure.
//!
//! J1: a batch is settled only by an answer that speaks of its lines: they are stored, or these are refused. An answer
//! that speaks of anything else, of the address, the tenant or a proxy in between, settles nothing: a mistake in a
//! configuration must not empty a file into nothing.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::Offset;

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on: everything is stored.
    Stored,
    /// Go on: these lines are refused for good, all of them where nobody counted, and the others are stored.
    Refused {
        /// How many, where the server says so.
        lines: Option<u64>,
    },
    /// Send less at a time; a line that is too large alone is refused.
    TooLarge,
    /// Send it again, and not before the time that was asked for.
    Busy {
        /// What `Retry-After` asks for.
        asked: Option<Duration>,
    },
    /// Send it again after a long time, and tell somebody: no line is at fault, and trying alone does not help.
    Held,
}

/// No server is waited for longer than this at its word.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Judges an answer that came at `wall_ns` since 1970.
pub fn judge(status: StatusCode, headers: &HeaderMap, body: &str, wall_ns: i64) -> Verdict {
    match status.as_u16() {
        // A page for people is not what a server of pushes answers.
        200..300 if is_page(headers) => Verdict::Held,
        200..300 => Verdict::Stored,
        400 | 422 => match refused(body) {
            Some(lines) => Verdict::Refused { lines },
            None => Verdict::Held,
        },
        413 => Verdict::TooLarge,
        408 | 429 | 500..600 => Verdict::Busy { asked: retry_after(headers, wall_ns) },
        _ => Verdict::Held,
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("text/html"))
}

/// Whether a refusal speaks of lines, and of how many if it counts them: `2 of 1000 lines were refused, 998 are
/// stored` here, `total ignored: 2 out of 1000` or the stream's name in Loki.
fn refused(body: &str) -> Option<Option<u64>> {
    if let Some((before, after)) = body.split_once(" of ")
        && let Some((_, after)) = after.split_once(' ')
        && after.starts_with("lines were refused")
        && let Ok(lines) = before.parse()
    {
        return Some(Some(lines));
    }
    if let Some((_, after)) = body.split_once("total ignored: ") {
        return Some(after.split(' ').next().and_then(|lines| lines.parse().ok()));
    }
    ["for stream", "error parsing labels", "error at least one label pair"]
        .iter()
        .any(|words| body.contains(words))
        .then_some(None)
}

/// The wait that the server asks for: seconds, or a date in any of the three notations that RFC 9110 has.
fn retry_after(headers: &HeaderMap, wall_ns: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let nanos = date(text)?.as_nanosecond() - i128::from(wall_ns);
            Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
        }
    };
    Some(asked.min(LONGEST_ASKED))
}

fn date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(date);
    }
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let read = |format| strtime::parse(format, text).and_then(|read| read.to_datetime());
    let date: DateTime = obsolete.into_iter().find_map(|format| read(format).ok())?;
    Offset::UTC.to_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 784_111_770_000_000_000; // 1994-11-06 08:49:30 UTC

    fn told(status: u16, body: &str) -> Verdict {
        judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body, NOW_NS)
    }

    #[test]
    fn only_answers_about_lines_settle_them() {
        let ours = "12 of 1000 lines were refused, 988 are stored\ntoo_old: 12 lines";
        let loki = "entry with timestamp 2020 ignored, reason: 'too old' for stream: {a=\"b\"},\ntotal ignored: 3 out of 9";
        let one = "max entry size '262144' bytes exceeded for stream '{a=\"b\"}'";
        for (status, body, verdict) in [
            (200, "", Verdict::Stored),
            (204, "", Verdict::Stored),
            (400, ours, Verdict::Refused { lines: Some(12) }),
            (422, ours, Verdict::Refused { lines: Some(12) }),
            (400, loki, Verdict::Refused { lines: Some(3) }),
            (400, one, Verdict::Refused { lines: None }),
            (400, "<html>Bad Request</html>", Verdict::Held),
            (400, "x of 2 lines were refused", Verdict::Held),
            (400, "1 of 2 streams were refused", Verdict::Held),
            (413, "", Verdict::TooLarge),
            (408, "", Verdict::Busy { asked: None }),
            (429, ours, Verdict::Busy { asked: None }),
            (500, "", Verdict::Busy { asked: None }),
            (599, "", Verdict::Busy { asked: None }),
        ] {
            assert_eq!(told(status, body), verdict, "{status} {body}");
        }
        for status in [301, 302, 307, 401, 403, 404, 405, 407, 410, 415, 418, 426, 451] {
            assert_eq!(told(status, ours), Verdict::Held, "{status}");
        }
    }

    #[test]
    fn a_page_settles_nothing_whatever_its_status() {
        for (kind, verdict) in [
            ("text/html", Verdict::Held),
            ("Text/HTML; charset=utf-8", Verdict::Held),
            ("text/plain", Verdict::Stored),
            ("application/json", Verdict::Stored),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(judge(StatusCode::OK, &headers, "", NOW_NS), verdict, "{kind}");
        }
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_in_three_kinds_of_date_and_has_an_end() {
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(7)),
            ("Sun Nov  6 08:49:37 1994", Some(7)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Tue, 06 Nov 2094 08:49:37 GMT", None),
            ("999999999999", Some(3600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let read = retry_after(&headers, NOW_NS);
            let wanted = seconds.map(Duration::from_secs);
            if text.contains("2094") {
                assert!(read.is_none_or(|wait| wait == LONGEST_ASKED), "{text}: {read:?}");
            } else {
                assert_eq!(read, wanted, "{text}");
            }
        }
    }
}
