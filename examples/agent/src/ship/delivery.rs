//! Sends pushes until the server has answered for good: tries again while it cannot be reached or asks for patience,
//! takes a refusal as the answer that it is. Each push is a trace, and each try a span of it.

use std::time::Duration;

use bytes::Bytes;
use forebay_tracing_ctx::sampler::Always;
use forebay_tracing_ctx::{TraceContext, TraceFutureExt, TraceId, random_u64};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use super::batch::CONTENT_TYPE;
use crate::http_client::{HttpClient, HttpError, Response, TRACE_ID_HEADER};
use crate::log::chain;
use crate::random::Random;

/// Where pushes go.
pub const PUSH_PATH: &str = "/loki/api/v1/push";

/// How long and how often to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Times a push is sent before it is given up. Default 12, which takes about two minutes.
    pub tries: u32,
    /// Upper bound of the first wait; it doubles with each try. Default 250 ms.
    pub first: Duration,
    /// No wait is longer, whatever the server asks for. Default one minute.
    pub longest: Duration,
}

/// Sends pushes to one server, one after the other.
#[derive(Debug)]
pub struct Courier {
    client: HttpClient,
    retry: Retry,
    random: Random,
    retries: u64,
}

/// The server's last word on a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It is stored.
    Stored,
    /// It is refused, the whole of it or some lines.
    Refused {
        /// The status.
        status: StatusCode,
        /// What the server said.
        message: String,
        /// Lines that are not stored, where the server counted them; otherwise it is all of them.
        lines: Option<u64>,
    },
}

/// How a push was delivered, and where to look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What the server said.
    pub delivery: Delivery,
    /// The trace of the push: in the log lines of all who had to do with it, unless the server did not believe it.
    pub trace_id: TraceId,
    /// The trace that the server says the push has: its `X-Trace-ID`.
    pub answered_trace_id: Option<String>,
    /// How often it was sent.
    pub tries: u32,
}

/// The push was not delivered. Send it again when the server is back: it is not known to be stored.
#[derive(Debug, thiserror::Error)]
#[error("given up after {tries} tries")]
pub struct GivenUp {
    /// How often it was sent.
    pub tries: u32,
    /// Its trace.
    pub trace_id: TraceId,
    /// Why the last time did not do.
    pub source: HttpError,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 12, first: Duration::from_millis(250), longest: Duration::from_secs(60) }
    }
}

impl Retry {
    /// How long to wait before try number `try_`, the first of which is 1: full jitter, of which `fraction` below 1
    /// is taken, on top of what the server asked for.
    ///
    /// Full jitter is uniform between nothing and the exponential bound, which spreads clients that failed together
    /// best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    pub fn wait(&self, try_: u32, asked: Option<Duration>, fraction: f64) -> Duration {
        let bound = self.first.saturating_mul(2_u32.saturating_pow(try_.saturating_sub(1))).min(self.longest);
        asked.unwrap_or_default().saturating_add(bound.mul_f64(fraction)).min(self.longest)
    }
}

impl Courier {
    /// Sends with `client`; `seed` chooses the jitter.
    pub fn new(client: HttpClient, retry: Retry, seed: u64) -> Self {
        Self { client, retry, random: Random::new(seed), retries: 0 }
    }

    /// Times anything was sent again.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Sends an [encoded](super::batch::Batch::encode) push, waiting and trying again where that can help.
    ///
    /// # Errors
    /// [`GivenUp`] after the last try.
    pub async fn send(&mut self, body: Bytes) -> Result<Receipt, GivenUp> {
        let trace = TraceContext::root(random_u64, &Always);
        let trace_id = trace.trace_id();
        self.deliver(body, trace_id).with_trace(trace).await
    }

    async fn deliver(&mut self, body: Bytes, trace_id: TraceId) -> Result<Receipt, GivenUp> {
        let mut tries = 0;
        loop {
            let answer = self.client.post(PUSH_PATH, CONTENT_TYPE, &HeaderMap::new(), body.clone()).await;
            tries += 1;
            let (asked, source) = match answer {
                Err(error) => (None, error),
                Ok(answer) if !is_transient(answer.status) => {
                    let answered_trace_id = answered_trace_id(&answer.headers);
                    return Ok(Receipt { delivery: settle(answer), trace_id, answered_trace_id, tries });
                }
                Ok(answer) => (retry_after(&answer.headers), transient(answer)),
            };
            if tries >= self.retry.tries {
                return Err(GivenUp { tries, trace_id, source });
            }
            self.retries += 1;
            let wait = self.retry.wait(tries, asked, self.random.fraction());
            tracing::warn!(%trace_id, tries, error = %chain(&source), ?wait, "batch not taken, trying again");
            tokio::time::sleep(wait).await;
        }
    }
}

fn answered_trace_id(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(TRACE_ID_HEADER)?.to_str().ok()?.to_owned())
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn transient(answer: Response) -> HttpError {
    HttpError::Status { status: answer.status, body: answer.text().trim_end().to_owned() }
}

fn settle(answer: Response) -> Delivery {
    if answer.status.is_success() {
        return Delivery::Stored;
    }
    let message = answer.text().trim_end().to_owned();
    Delivery::Refused { status: answer.status, lines: refused_lines(&message), message }
}

/// Seconds, the form that servers of logs use; the other form, a date, is answered with the usual wait.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The first number of `2 of 1000 lines were refused, 998 are stored`.
fn refused_lines(message: &str) -> Option<u64> {
    let (refused, rest) = message.split_once(" of ")?;
    let (_, rest) = rest.split_once(' ')?;
    rest.starts_with("lines were refused").then(|| refused.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { tries: 3, first: Duration::from_secs(1), longest: Duration::from_secs(10) };

    #[test]
    fn waits_double_up_to_the_longest_and_are_jittered_down_to_nothing() {
        let longest = (1..=6).map(|n| RETRY.wait(n, None, 0.999).as_secs_f64().round()).collect::<Vec<_>>();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(RETRY.wait(6, None, 0.0), Duration::ZERO);
        assert_eq!(RETRY.wait(u32::MAX, None, 0.5), Duration::from_secs(5));
    }

    #[test]
    fn the_server_is_never_asked_earlier_than_it_wants_unless_it_wants_too_much() {
        assert_eq!(RETRY.wait(1, Some(Duration::from_secs(3)), 0.0), Duration::from_secs(3));
        assert_eq!(RETRY.wait(1, Some(Duration::from_secs(3)), 0.5), Duration::from_millis(3500));
        assert_eq!(RETRY.wait(1, Some(Duration::from_secs(86_400)), 0.0), RETRY.longest);
    }

    #[test]
    fn the_count_of_refused_lines_is_read_where_it_stands() {
        assert_eq!(
            refused_lines("12 of 1000 lines were refused, 988 are stored\ntoo old: 12 lines"),
            Some(12)
        );
        for other in ["", "no org id", "1 of 2", "x of 2 lines were refused", "1 of 2 streams were refused"] {
            assert_eq!(refused_lines(other), None, "{other}");
        }
    }
}
