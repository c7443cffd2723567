//! A query under way: what is told of it when it ends, and of one that nobody waits for any more.

use std::time::Duration;

use forebay_agent::clock::monotonic_ns;

use super::query::failed;
use super::{Failure, Parts};
use crate::query::ExecuteError;
use crate::query::stages::Stages;

/// Bytes of a query's text that are logged.
const SHOWN: usize = 1024;

/// A query under way. Where it is dropped, whoever asked has gone, and the work ends.
pub(super) struct Asked<'a> {
    tenant: &'a str,
    text: &'a str,
    started_ns: u64,
    slow: Option<Duration>,
    ended: bool,
}

impl<'a> Asked<'a> {
    /// The query `text` of `tenant`.
    pub(super) fn new(parts: &Parts, tenant: &'a str, text: &'a str) -> Self {
        let slow = parts.config.frontend.log_queries_longer_than;
        let end =
            (0..=SHOWN.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        Self { tenant, text: &text[..end], started_ns: monotonic_ns(), slow, ended: false }
    }

    /// What `work` comes to; tells the metrics what it cost, and the log where it took long.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) async fn answer<T>(
        mut self,
        work: impl Future<Output = Result<Result<T, ExecuteError>, Failure>>,
        stages: impl FnOnce(&T) -> &Stages,
    ) -> Result<T, Failure> {
        let answer = work.await.and_then(|answer| answer.map_err(failed));
        self.ended = true;
        let stages = answer.as_ref().ok().map(stages);
        if let Some(stages) = stages {
            stages.record();
        }
        let Self { tenant, text, .. } = self;
        if self.slow.is_some_and(|slow| self.elapsed() >= slow) {
            let seconds = self.elapsed().as_secs_f64();
            match stages {
                Some(stages) => {
                    let cost = serde_json::to_string(stages).unwrap_or_default();
                    tracing::warn!(tenant, query = text, seconds, bytes = stages.bytes, cost, "slow query");
                }
                None => tracing::warn!(tenant, query = text, seconds, "slow query without an answer"),
            }
        }
        answer
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_ns().saturating_sub(self.started_ns))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.ended {
            metrics::counter!("forebay_queries_cancelled_total").increment(1);
            let (tenant, seconds) = (self.tenant, self.elapsed().as_secs_f64());
            tracing::info!(tenant, query = self.text, seconds, "query that nobody waits for ended");
        }
    }
}
