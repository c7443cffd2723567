//! `GET /loki/api/v1/tail`: lines as they come, over a WebSocket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use forebay_tenant::units;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::bounds::Bounds;
use super::params::Params;
use super::query::{categorizes, failed, parse, querier};
use super::{Failure, Parts, Shared};
use crate::index::Span;
use crate::logql::Query;
use crate::query::{Tail, TailQuery, answer};

/// The longest that lines may be held back, as in Loki.
const MAX_DELAY_SECONDS: usize = 5;
/// How far ahead of the time lines may be that are there already.
const AHEAD_NS: i64 = 3_600_000_000_000;
/// How often is counted, and after how many of these is looked whether the other side is there: it is gone where nothing came of it from one time to the next but one.
const TICK: Duration = Duration::from_secs(1);
const TICKS_PER_PING: u32 = 30;
/// How long a message may take. Lines that come meanwhile wait and are dropped where they are kept, up to there.
const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a message that is received; nothing is asked for in one.
const MOST_RECEIVED: usize = 4096;

/// How many may follow lines in a process, whoever they are: what waits for each of them takes memory, here and in the
/// ingesters, and tenants are as many as somebody makes up.
const MOST_TAILS: usize = 1000;

/// How many follow lines, by tenant. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tails(Arc<Open>);

#[derive(Debug, Default)]
struct Open {
    by_tenant: Mutex<HashMap<String, usize>>,
    count: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

/// One of them, while it lives.
#[derive(Debug)]
struct Counted {
    tails: Tails,
    tenant: String,
}

impl Tails {
    fn enter(&self, tenant: &str, limit: usize) -> Result<Counted, Failure> {
        let mut tails = self.0.by_tenant.lock();
        let count = tails.get(tenant).copied().unwrap_or_default();
        if count >= limit {
            let message =
                format!("max concurrent tail requests limit exceeded ({limit}): close another first");
            return Err(Failure::new(StatusCode::TOO_MANY_REQUESTS, message));
        }
        if tails.values().sum::<usize>() >= MOST_TAILS {
            let message = format!("{MOST_TAILS} requests follow lines here already: ask another querier");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        tails.insert(tenant.to_owned(), count + 1);
        self.0.count.send_modify(|count| *count += 1);
        metrics::gauge!("forebay_tails").increment(1.0);
        Ok(Counted { tails: self.clone(), tenant: tenant.to_owned() })
    }

    /// Has all of them told that the process stops.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Returns when none is left.
    pub async fn ended(&self) {
        until(self.0.count.subscribe(), |count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("forebay_tails").decrement(1.0);
        self.tails.0.count.send_modify(|count| *count -= 1);
        let mut tails = self.tails.0.by_tenant.lock();
        if let Some(count) = tails.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                tails.remove(&self.tenant);
            }
        }
    }
}

pub(super) async fn tail(
    State(parts): Shared,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
    params: Params,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(&headers)?;
    let limits = Bounds::of(&parts, tenant.as_str());
    let Query::Logs(logs) = parse(&params)? else {
        return Err(Failure::bad_request("only log lines can be followed, not a metric query"));
    };
    let seconds = match params.text("delay_for") {
        None | Some("0") => 0,
        Some(_) => params.count("delay_for")?.unwrap_or_default(),
    };
    if seconds > MAX_DELAY_SECONDS {
        return Err(Failure::bad_request(format_args!(
            "delay_for of {seconds} seconds is more than {MAX_DELAY_SECONDS}"
        )));
    }
    let limit = limits.entries(params.count("limit")?)?;
    let now_ns = parts.clock.wall_ns();
    let (from_ns, _) = params.range_ns(now_ns)?;
    let span = limits.read(now_ns, Span { from_ns, through_ns: now_ns })?;
    let counted = parts.tails.enter(tenant.as_str(), limits.max_tails())?;
    let query = TailQuery {
        logs,
        span: Span { through_ns: span.through_ns.saturating_add(AHEAD_NS), ..span },
        limit,
        delay: Duration::from_secs(seconds as u64),
        max_bytes: limits.max_bytes(),
        split: limits.split(),
    };
    let begun = querier(&parts)?.tail(tenant.as_str(), query);
    let tail = limits.in_time(begun).await?.map_err(failed)?;
    let categorize = categorizes(&headers);
    let upgrade = upgrade.max_message_size(MOST_RECEIVED).max_frame_size(MOST_RECEIVED);
    Ok(upgrade.on_upgrade(move |socket| async move {
        send(socket, tail, &parts, categorize).await;
        drop(counted);
    }))
}

/// Sends what comes until the other side is gone, the time is over, or the process stops.
async fn send(mut socket: WebSocket, mut tail: Tail, parts: &Parts, categorize: bool) {
    let longest = parts.config.querier.tail_max_duration;
    let end = tokio::time::sleep(longest);
    tokio::pin!(end);
    let stopping = until(parts.tails.0.stopping.subscribe(), |stopping| *stopping);
    tokio::pin!(stopping);
    let (mut ticks, mut count, mut pings) = (tokio::time::interval(TICK), 0_u32, 0_u32);
    loop {
        let message = tokio::select! {
            batch = tail.next() => {
                let text = String::from_utf8(answer::tailed(&batch, categorize)).expect("JSON is text");
                Message::Text(text.into())
            }
            received = socket.recv() => match received {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => {
                    pings = 0;
                    continue;
                }
            },
            _ = ticks.tick() => {
                count = count.wrapping_add(1);
                if count.is_multiple_of(TICKS_PER_PING) {
                    if pings == 2 {
                        return;
                    }
                    pings += 1;
                    Message::Ping(bytes::Bytes::new())
                } else {
                    continue;
                }
            }
            () = &mut stopping => close(close_code::AWAY, "the server is stopping".to_owned()),
            () = &mut end => {
                let longest = units::display_duration(longest);
                close(close_code::NORMAL, format!("tail_max_duration ({longest}) is over: begin anew"))
            }
        };
        let last = matches!(message, Message::Close(_));
        match tokio::time::timeout(SEND_PATIENCE, socket.send(message)).await {
            Ok(Ok(())) if !last => {}
            _ => return,
        }
    }
}

/// Returns when the value is as wanted, or nobody can change it any more.
async fn until<T>(mut value: watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    let _ = value.wait_for(wanted).await;
}

fn close(code: u16, reason: String) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_follow_lines_and_no_more_whoever_they_are() {
        let tails = Tails::default();
        let mut open: Vec<Counted> =
            (0..MOST_TAILS).map(|n| tails.enter(&(n / 10).to_string(), 10).unwrap()).collect();
        assert_eq!(tails.enter("0", 10).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(tails.enter("another", 10).unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        open.pop();
        open.push(tails.enter("another", 10).unwrap());
        drop(open);
        assert!(tails.0.by_tenant.lock().is_empty());
    }
}
