//! The index's calls, for ingesters that live in other processes than the index.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tonic::{Code, Request, Response, Status};

use super::generated::index::index_client::IndexClient as Client;
use super::generated::index::index_server::{Index as Service, IndexServer};
use super::{MAX_MESSAGE_BYTES, Traced, connect};
use crate::index::{ChunkRef, Index, IndexError, Span};
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::wire;

/// The service of a local index.
pub fn index_server(local: Arc<dyn Index>) -> IndexServer<impl Service> {
    IndexServer::new(Local(local))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

struct Local(Arc<dyn Index>);

fn failed(error: IndexError) -> Status {
    match error {
        IndexError::Unavailable(text) => Status::unavailable(&*text),
        IndexError::Damaged(text) => Status::data_loss(&*text),
    }
}

fn invalid(error: wire::WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn chunks(tenant: String, found: &[ChunkRef]) -> Response<wire::Chunks> {
    Response::new(wire::Chunks { tenant, chunks: found.iter().map(wire::Chunk::from).collect() })
}

#[async_trait]
impl Service for Local {
    async fn append(&self, request: Request<wire::Chunks>) -> Result<Response<wire::Empty>, Status> {
        let wire::Chunks { tenant, chunks } = request.into_inner();
        let chunks =
            chunks.into_iter().map(ChunkRef::try_from).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        self.0.append(&tenant, &chunks).await.map_err(failed)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn chunks(&self, request: Request<wire::Find>) -> Result<Response<wire::Chunks>, Status> {
        let find = request.into_inner();
        let matchers = wire::matchers(&find.matchers).map_err(invalid)?;
        let found = self.0.chunks(&find.tenant, &matchers, find.span()).await.map_err(failed)?;
        Ok(chunks(find.tenant, &found))
    }

    async fn series(&self, request: Request<wire::Find>) -> Result<Response<wire::LabelSets>, Status> {
        let find = request.into_inner();
        let matchers = wire::matchers(&find.matchers).map_err(invalid)?;
        let found = self.0.series(&find.tenant, &matchers, find.span()).await.map_err(failed)?;
        Ok(Response::new(wire::LabelSets::from_iter(&found)))
    }

    async fn label_values(&self, request: Request<wire::Find>) -> Result<Response<wire::Values>, Status> {
        let find = request.into_inner();
        let found =
            self.0.label_values(&find.tenant, find.label.as_deref(), find.span()).await.map_err(failed)?;
        Ok(Response::new(wire::Values { values: found.into_iter().collect() }))
    }

    async fn scan(&self, request: Request<wire::Scan>) -> Result<Response<wire::Chunks>, Status> {
        let wire::Scan { tenant, after, limit } = request.into_inner();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.0.scan(&tenant, after.as_deref(), limit).await.map_err(failed)?;
        Ok(chunks(tenant, &found))
    }

    async fn contains(&self, request: Request<wire::Keys>) -> Result<Response<wire::Flags>, Status> {
        let wire::Keys { tenant, keys } = request.into_inner();
        let flags = self.0.contains(&tenant, &keys).await.map_err(failed)?;
        Ok(Response::new(wire::Flags { flags }))
    }

    async fn drop_refs(&self, request: Request<wire::Keys>) -> Result<Response<wire::Empty>, Status> {
        let wire::Keys { tenant, keys } = request.into_inner();
        self.0.drop_refs(&tenant, &keys).await.map_err(failed)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn tenants(&self, _: Request<wire::Empty>) -> Result<Response<wire::Values>, Status> {
        Ok(Response::new(wire::Values { values: self.0.tenants().await.map_err(failed)? }))
    }
}

/// The index in another process.
#[derive(Debug, Clone)]
pub struct RemoteIndex {
    client: Client<Traced>,
}

impl RemoteIndex {
    /// The index at `addr`; it is connected to at the first call.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(addr: &str) -> anyhow::Result<Self> {
        let client = Client::new(connect(addr)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { client })
    }
}

fn lost(status: Status) -> IndexError {
    let text = format!("{}: {}", status.code(), status.message()).into();
    if status.code() == Code::DataLoss { IndexError::Damaged(text) } else { IndexError::Unavailable(text) }
}

fn senseless(error: wire::WireError) -> IndexError {
    IndexError::Unavailable(error.to_string().into())
}

fn references(answer: Response<wire::Chunks>) -> Result<Vec<ChunkRef>, IndexError> {
    answer.into_inner().chunks.into_iter().map(|chunk| chunk.try_into().map_err(senseless)).collect()
}

#[async_trait]
impl Index for RemoteIndex {
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError> {
        let chunks = wire::Chunks {
            tenant: tenant.to_owned(),
            chunks: chunks.iter().map(wire::Chunk::from).collect(),
        };
        self.client.clone().append(chunks).await.map(drop).map_err(lost)
    }

    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        references(self.client.clone().chunks(wire::Find::new(tenant, matchers, span)).await.map_err(lost)?)
    }

    async fn series(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, IndexError> {
        let answer =
            self.client.clone().series(wire::Find::new(tenant, matchers, span)).await.map_err(lost)?;
        answer.into_inner().labels().map_err(senseless)
    }

    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError> {
        let find = wire::Find { label: name.map(str::to_owned), ..wire::Find::new(tenant, &[], span) };
        let answer = self.client.clone().label_values(find).await.map_err(lost)?;
        Ok(answer.into_inner().values.into_iter().collect())
    }

    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        let scan =
            wire::Scan { tenant: tenant.to_owned(), after: after.map(str::to_owned), limit: limit as u64 };
        references(self.client.clone().scan(scan).await.map_err(lost)?)
    }

    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError> {
        let asked = wire::Keys { tenant: tenant.to_owned(), keys: keys.to_vec() };
        let flags = self.client.clone().contains(asked).await.map_err(lost)?.into_inner().flags;
        if flags.len() == keys.len() {
            Ok(flags)
        } else {
            Err(senseless(wire::WireError("too few answers".to_owned())))
        }
    }

    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError> {
        let keys = wire::Keys { tenant: tenant.to_owned(), keys: keys.to_vec() };
        self.client.clone().drop_refs(keys).await.map(drop).map_err(lost)
    }

    async fn tenants(&self) -> Result<Vec<String>, IndexError> {
        Ok(self.client.clone().tenants(wire::Empty {}).await.map_err(lost)?.into_inner().values)
    }
}
