//! What the other parts ask of ingesters, whether these live in the same process or behind gRPC: the same calls with
//! the same bytes, so that moving a part out of the process changes no logic.

use async_trait::async_trait;
use forebay_wal::fs::Fs;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::index::Span;
use crate::ingester::{Ingester, PushError, ReadError};
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::record::Record;
use crate::wire::{Health, Pushed, Select, Selected, StreamVolume, Tail, Tailed};

/// Why an ingester could not be read.
#[non_exhaustive]
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailed(pub String);

/// An answer that is made as it is read, and no further.
pub type Parts = BoxStream<'static, Result<Selected, ReadFailed>>;

/// Lines as they come, until the ingester stops or this is dropped.
pub type Tailing = BoxStream<'static, Result<Tailed, ReadFailed>>;

/// One ingester, wherever it is.
#[async_trait]
pub trait IngesterClient: Send + Sync + 'static {
    /// Keeps a record: see [`Ingester::push`].
    async fn push(&self, record: Record) -> Result<Pushed, PushError>;

    /// Reads entries from memory: see [`Ingester::select`].
    async fn select(&self, select: Select) -> Result<Parts, ReadFailed>;

    /// Sends on what comes from now on: see [`Ingester::tail`].
    async fn tail(&self, tail: Tail) -> Result<Tailing, ReadFailed>;

    /// The labels of streams in memory.
    async fn series(&self, tenant: &str, matchers: &[Matcher], span: Span)
    -> Result<Vec<Labels>, ReadFailed>;

    /// How much there is in memory of streams.
    async fn volume(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<StreamVolume>, ReadFailed>;

    /// Writes every chunk and waits until all are stored.
    async fn flush(&self) -> Result<(), ReadFailed>;

    /// How it is.
    async fn health(&self) -> Result<Health, ReadFailed>;
}

#[async_trait]
impl<F: Fs> IngesterClient for Ingester<F> {
    async fn push(&self, record: Record) -> Result<Pushed, PushError> {
        Self::push(self, record).await
    }

    async fn select(&self, select: Select) -> Result<Parts, ReadFailed> {
        let parts = Self::select(self, select).await.map_err(failed)?;
        Ok(parts.map_err(failed).boxed())
    }

    async fn tail(&self, tail: Tail) -> Result<Tailing, ReadFailed> {
        Ok(Self::tail(self, &tail).map_err(failed)?.map(Ok).boxed())
    }

    async fn series(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, ReadFailed> {
        Ok(Self::series(self, tenant, matchers, span))
    }

    async fn volume(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<StreamVolume>, ReadFailed> {
        Ok(Self::volume(self, tenant, matchers, span))
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        Self::flush(self).await;
        Ok(())
    }

    async fn health(&self) -> Result<Health, ReadFailed> {
        Ok(Self::health(self))
    }
}

fn failed(error: ReadError) -> ReadFailed {
    ReadFailed(format!("{:#}", anyhow::Error::new(error)))
}
