//! Asking the ingesters: all that may hold lines, and as many answers as it takes that no line is missed that was
//! acknowledged. An ingester that does not answer in time has failed.

use std::sync::Arc;
use std::time::Duration;

use forebay_ring::quorum::{Cancel, Cause, ReadError, ReadOptions, do_until_quorum};
use forebay_ring::{Instance, Require};
use forebay_tracing_ctx::TraceFutureExt;
use futures_util::future::join_all;
use tracing::Instrument;

use super::{ExecuteError, Querier};
use crate::client::{IngesterClient, ReadFailed};
use crate::index::Span;
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::members::Reading;

/// How long an ingester may take to answer, or to begin an answer that comes in parts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many ingesters may fail, and which have.
#[derive(Debug)]
pub(super) struct Patience {
    reading: Reading,
    require: Require,
    asked: usize,
    failed: Vec<(Arc<str>, String)>,
}

impl Patience {
    /// Notes that an ingester failed.
    ///
    /// # Errors
    /// A line that was acknowledged may be missing without those that failed.
    pub(super) fn fail(&mut self, id: &Arc<str>, why: String) -> Result<(), ExecuteError> {
        self.failed.push((Arc::clone(id), why));
        self.check()
    }

    fn check(&self) -> Result<(), ExecuteError> {
        let set = self.reading.set(self.require)?;
        let has_failed = |id: &str| self.failed.iter().any(|(failed, _)| **failed == *id);
        if set.without(|instance| has_failed(&instance.id)).is_ok() {
            return Ok(());
        }
        let (failed, asked, tolerated) = (self.failed.len(), self.asked, set.max_unavailable());
        let first = self.failed.first().map(|(_, why)| why.clone()).unwrap_or_default();
        Err(ExecuteError::Ingesters { failed, asked, tolerated, first })
    }
}

impl Querier {
    /// Asks for answers that come at once, until there are enough of them; the others are not waited for.
    pub(super) async fn ask<T, Fut>(
        &self,
        tenant: &str,
        call: impl Fn(Arc<dyn IngesterClient>) -> Fut,
    ) -> Result<Vec<T>, ExecuteError>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, ReadFailed>> + Send + 'static,
    {
        let reading = self.members.reading();
        let set = reading.set(self.requirements.of(tenant))?;
        let options = ReadOptions { deadline: PATIENCE, ..ReadOptions::default() };
        let asked = |instance: &Arc<Instance>, _: Cancel| {
            let call = self.members.client(instance).map(&call);
            let answer = async move { call.map_err(|error| ReadFailed(error.to_string()))?.await };
            answer.in_current_trace().in_current_span()
        };
        match do_until_quorum(&set, &options, asked, |_, _| {}).await {
            Ok(answers) => Ok(answers.into_iter().map(|(_, answer)| answer).collect()),
            Err(ReadError::TooManyFailed { max, errors }) => {
                let first = errors.first().map(|error| match &error.cause {
                    Cause::Replied(ReadFailed(why)) => why.clone(),
                    cause => cause.to_string(),
                });
                let (failed, asked, first) = (errors.len(), set.len(), first.unwrap_or_default());
                Err(ExecuteError::Ingesters { failed, asked, tolerated: max, first })
            }
            Err(error) => {
                let (failed, asked, tolerated) = (1, set.len(), set.max_unavailable());
                Err(ExecuteError::Ingesters { failed, asked, tolerated, first: error.to_string() })
            }
        }
    }

    /// Asks for answers that come in parts. All that begin are kept: if one breaks off, another may make up for it.
    pub(super) async fn begin<T, Fut>(
        &self,
        tenant: &str,
        call: impl Fn(Arc<dyn IngesterClient>) -> Fut,
    ) -> Result<(Vec<(Arc<str>, T)>, Patience), ExecuteError>
    where
        Fut: Future<Output = Result<T, ReadFailed>>,
    {
        let (reading, require) = (self.members.reading(), self.requirements.of(tenant));
        let set = reading.set(require)?;
        let asked = set.iter().map(|instance| {
            let begun = self.members.client(instance).map(&call);
            async move {
                let begun = begun.map_err(|error| error.to_string());
                let begun = async { begun?.await.map_err(|ReadFailed(why)| why) };
                let silent = |_| Err(format!("no answer within {PATIENCE:?}"));
                (Arc::clone(&instance.id), tokio::time::timeout(PATIENCE, begun).await.unwrap_or_else(silent))
            }
        });
        let answers = join_all(asked).await;
        let (asked, mut begun, mut failed) = (answers.len(), Vec::with_capacity(answers.len()), Vec::new());
        for (id, answer) in answers {
            match answer {
                Ok(answer) => begun.push((id, answer)),
                Err(why) => failed.push((id, why)),
            }
        }
        drop(set);
        let patience = Patience { reading, require, asked, failed };
        patience.check()?;
        Ok((begun, patience))
    }

    /// The labels of streams in memory.
    pub(super) async fn held(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, ExecuteError> {
        let (whose, which) = (tenant.to_owned(), matchers.to_vec());
        let ask = |client: Arc<dyn IngesterClient>| {
            let (whose, which) = (whose.clone(), which.clone());
            async move { client.series(&whose, &which, span).await }
        };
        Ok(self.ask(tenant, ask).await?.into_iter().flatten().collect())
    }
}
