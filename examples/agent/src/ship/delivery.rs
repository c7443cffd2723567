//! Sends pushes until they are settled: tries again while the server cannot be reached or asks for patience, holds what
//! is refused for no fault of the lines, takes a refusal of lines as the answer that it is. Each push is a trace, and
//! each try a span of it.
//!
//! D1: nothing is given up, unless [`Retry::tries`] says so. D2: an endpoint that fails is left alone while its breaker
//! is open, and the next that is not gets the push.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use forebay_circuit::{Breaker, OwnedPermit, Verdict as Probe};
use forebay_tracing_ctx::sampler::Always;
use forebay_tracing_ctx::{TraceContext, TraceFutureExt, TraceId, random_u64};
use http::{HeaderMap, StatusCode};

use super::judge::{Verdict, judge};
use super::pace::{Pace, SystemPace};
use super::parcel::{Packing, Parcel};
use super::status::Board;
use crate::http_client::{HttpClient, HttpError, Response, TRACE_ID_HEADER};
use crate::log::chain;
use crate::random::Random;

/// Where pushes go.
pub const PUSH_PATH: &str = "/loki/api/v1/push";

/// How long and how often to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Times a push is sent before it is given up. Default as often as it takes.
    pub tries: Option<u32>,
    /// Upper bound of the first wait; it doubles with each try. Default 250 ms.
    pub first: Duration,
    /// Upper bound of all waits but those that the server asks for. Default one minute.
    pub longest: Duration,
}

type Now = Box<dyn Fn() -> u64 + Send + Sync>;

/// Sends pushes, one after the other, to the first of its servers that is up.
pub struct Courier<P = SystemPace> {
    endpoints: Vec<(HttpClient, Breaker<Now>)>,
    retry: Retry,
    pace: P,
    random: Random,
    retries: u64,
    board: Board,
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
    /// It is too large: fewer lines may be taken.
    TooLarge {
        /// What the server said.
        message: String,
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

/// What became of a parcel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Lines that are not stored.
    pub refused_lines: u64,
    /// What the server said of the first of them.
    pub first_refusal: Option<String>,
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
        Self { tries: None, first: Duration::from_millis(250), longest: Duration::from_secs(60) }
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
        asked.unwrap_or_default().saturating_add(bound.mul_f64(fraction))
    }
}

impl Courier {
    /// Sends to one server, by the machine's clock; `seed` chooses the jitter.
    pub fn new(client: HttpClient, retry: Retry, seed: u64) -> Self {
        Self::with_pace(vec![client], retry, seed, SystemPace, Board::default())
    }
}

impl<P: Pace> Courier<P> {
    /// Sends to the first of `endpoints`, of which there is at least one, that is up. Writes to `board` why a push is
    /// not taken, as long as it is not.
    pub fn with_pace(endpoints: Vec<HttpClient>, retry: Retry, seed: u64, pace: P, board: Board) -> Self {
        let options = forebay_circuit::Options {
            max_open_for: retry.longest.max(Duration::from_secs(1)),
            half_open_probes: 1,
            verdict: Probe::Successes(1),
            half_open_max_wait: Duration::from_secs(70),
            ..forebay_circuit::Options::default()
        };
        let guarded = |(client, number): (HttpClient, u64)| {
            let clock = pace.clone();
            let now: Now = Box::new(move || clock.now_ns());
            let options = forebay_circuit::Options { seed: seed.wrapping_add(number), ..options.clone() };
            let breaker = Breaker::with_clock(options, now);
            (client, breaker.expect("its options are the default but for some that are in range"))
        };
        let endpoints = endpoints.into_iter().zip(0..).map(guarded).collect();
        Self { endpoints, retry, pace, random: Random::new(seed), retries: 0, board }
    }

    /// Times anything was sent again.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Sends all lines of a parcel, in halves where the server takes no more at a time.
    ///
    /// # Errors
    /// [`GivenUp`] after the last try of any push; those before it are delivered.
    pub async fn deliver(&mut self, parcel: &Parcel, packing: Packing) -> Result<Settled, GivenUp> {
        let mut settled = Settled::default();
        // What is still to be sent, the first part last.
        let all: Range<usize> = 0..parcel.len();
        let mut parts = vec![all];
        while let Some(part) = parts.pop() {
            let receipt = self.send_packed(parcel.encode(part.clone(), packing), packing).await?;
            log(&receipt, part.len(), parcel.streams());
            let (refused, message) = match receipt.delivery {
                Delivery::Stored => continue,
                Delivery::TooLarge { .. } if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                    continue;
                }
                Delivery::TooLarge { message } => (None, format!("too large: {message}")),
                Delivery::Refused { status, message, lines } => (lines, format!("{status}: {message}")),
            };
            let all = part.len() as u64;
            settled.refused_lines += refused.unwrap_or(all).min(all);
            settled.first_refusal.get_or_insert(message);
        }
        Ok(settled)
    }

    /// Sends an [encoded](super::Batch::encode) push, waiting and trying again where that can help.
    ///
    /// # Errors
    /// [`GivenUp`] after the last try.
    pub async fn send(&mut self, body: Bytes) -> Result<Receipt, GivenUp> {
        self.send_packed(body, Packing::Snappy).await
    }

    async fn send_packed(&mut self, body: Bytes, packing: Packing) -> Result<Receipt, GivenUp> {
        let trace = TraceContext::root(random_u64, &Always);
        let trace_id = trace.trace_id();
        let outcome = self.try_until_settled(body, packing, trace_id).with_trace(trace).await;
        self.board.write(|progress| progress.trouble = None);
        outcome
    }

    async fn try_until_settled(
        &mut self,
        body: Bytes,
        packing: Packing,
        trace_id: TraceId,
    ) -> Result<Receipt, GivenUp> {
        let headers = packing.headers();
        let mut tries = 0;
        loop {
            let (client, permit) = self.admitted().await;
            let answer = client.post(PUSH_PATH, packing.content_type(), &headers, body.clone()).await;
            tries += 1;
            let (wait, source) = match answer {
                Err(error) => {
                    permit.failure();
                    (self.retry.wait(tries, None, self.random.fraction()), error)
                }
                Ok(answer) => {
                    let message = answer.text().trim_end().to_owned();
                    let verdict = judge(answer.status, &answer.headers, &message, self.pace.wall_ns());
                    match verdict {
                        Verdict::Busy { .. } if answer.status.is_server_error() => permit.failure(),
                        Verdict::Busy { .. } => permit.ignored(),
                        _ => permit.success(),
                    }
                    match settle(verdict, answer, message) {
                        Ok((delivery, answered_trace_id)) => {
                            return Ok(Receipt { delivery, trace_id, answered_trace_id, tries });
                        }
                        Err(refusal) => {
                            let wait = match verdict {
                                Verdict::Busy { asked } => {
                                    self.retry.wait(tries, asked, self.random.fraction())
                                }
                                _ => self.retry.longest,
                            };
                            (wait, refusal)
                        }
                    }
                }
            };
            if self.retry.tries.is_some_and(|most| tries >= most) {
                return Err(GivenUp { tries, trace_id, source });
            }
            self.retries += 1;
            let error = chain(&source);
            tracing::warn!(%trace_id, tries, error, ?wait, "batch not taken, trying again");
            let retries = self.retries;
            self.board.write(|progress| {
                progress.trouble = Some(error);
                progress.shipped.retries = retries;
            });
            self.pace.wait(wait).await;
        }
    }

    /// The first endpoint whose breaker admits a call, waited for while there is none.
    async fn admitted(&mut self) -> (HttpClient, OwnedPermit<Now>) {
        loop {
            let mut soonest = self.retry.longest;
            for (client, breaker) in &self.endpoints {
                match breaker.try_acquire_owned() {
                    Ok(permit) => return (client.clone(), permit),
                    Err(rejected) => soonest = soonest.min(rejected.retry_after.unwrap_or(soonest)),
                }
            }
            self.pace.wait(soonest.max(Duration::from_millis(1))).await;
        }
    }
}

impl<P> fmt::Debug for Courier<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.endpoints.iter().map(|(client, _)| client.base()).collect::<Vec<_>>();
        f.debug_struct("Courier")
            .field("endpoints", &endpoints)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// What a settling answer says, or why this one settles nothing.
fn settle(
    verdict: Verdict,
    answer: Response,
    message: String,
) -> Result<(Delivery, Option<String>), HttpError> {
    let status = answer.status;
    let delivery = match verdict {
        Verdict::Stored => Delivery::Stored,
        Verdict::Refused { lines } => Delivery::Refused { status, message, lines },
        Verdict::TooLarge => Delivery::TooLarge { message },
        Verdict::Busy { .. } | Verdict::Held => return Err(HttpError::Status { status, body: message }),
    };
    Ok((delivery, answered_trace_id(&answer.headers)))
}

fn answered_trace_id(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(TRACE_ID_HEADER)?.to_str().ok()?.to_owned())
}

/// What became of a push, in one line under its trace.
fn log(receipt: &Receipt, lines: usize, streams: usize) {
    let Receipt { delivery, trace_id, answered_trace_id, tries } = receipt;
    match delivery {
        Delivery::Stored => {
            tracing::debug!(%trace_id, answered_trace_id, streams, lines, tries, "batch delivered");
        }
        Delivery::Refused { status, message, .. } => {
            let status = status.as_u16();
            tracing::warn!(%trace_id, answered_trace_id, streams, lines, tries, status, message, "batch refused");
        }
        Delivery::TooLarge { message } => {
            tracing::warn!(%trace_id, answered_trace_id, streams, lines, tries, message, "batch too large");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry =
        Retry { tries: None, first: Duration::from_secs(1), longest: Duration::from_secs(10) };

    #[test]
    fn waits_double_up_to_the_longest_and_are_jittered_down_to_nothing() {
        let longest = (1..=6).map(|n| RETRY.wait(n, None, 0.999).as_secs_f64().round()).collect::<Vec<_>>();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(RETRY.wait(6, None, 0.0), Duration::ZERO);
        assert_eq!(RETRY.wait(u32::MAX, None, 0.5), Duration::from_secs(5));
    }

    #[test]
    fn the_server_is_never_asked_earlier_than_it_wants() {
        for seconds in [0, 3, 600] {
            let asked = Duration::from_secs(seconds);
            assert_eq!(RETRY.wait(1, Some(asked), 0.0), asked);
            assert_eq!(RETRY.wait(1, Some(asked), 0.5), asked + Duration::from_millis(500));
        }
    }
}
