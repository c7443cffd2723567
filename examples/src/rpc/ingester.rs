//! The ingesters' calls. Each names the ingester that it is for, and no other takes it: where several are said to be at
//! one address, or one has moved and another came there, copies that are to be apart would be with one of them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tonic::metadata::{Binary, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status};

use super::generated::ingester::ingester_client::IngesterClient as Client;
use super::generated::ingester::ingester_server::{Ingester as Service, IngesterServer};
use super::{MAX_MESSAGE_BYTES, Traced, connect};
use crate::client::{IngesterClient, Parts, ReadFailed, Tailing};
use crate::excerpt::Excerpt;
use crate::index::Span;
use crate::ingester::PushError;
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::offload::in_place;
use crate::record::Record;
use crate::wire;

/// The ingester that a call is for.
const FOR: &str = "forebay-ingester-bin";

/// The service of the local ingester `id`, which takes the calls that are for it.
pub fn ingester_server(
    id: &str,
    local: Arc<dyn IngesterClient>,
) -> InterceptedService<IngesterServer<impl Service + use<>>, impl Interceptor + Clone + Send + Sync + use<>>
{
    let server = IngesterServer::new(Local(local))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    InterceptedService::new(server, For(id.into()))
}

/// Takes what is for an ingester.
#[derive(Debug, Clone)]
struct For(Arc<str>);

impl Interceptor for For {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let named = request.metadata().get_bin(FOR).and_then(|named| named.to_bytes().ok());
        match named {
            Some(named) if named == self.0.as_bytes() => Ok(request),
            Some(named) => {
                let named = String::from_utf8_lossy(&named);
                let (named, own) = (Excerpt(&named), &self.0);
                Err(Status::unavailable(format!("the call is for ingester {named:?}, and {own:?} is here")))
            }
            None => Err(Status::unavailable("the call does not say which ingester it is for")),
        }
    }
}

/// Says whom calls are for.
#[derive(Debug, Clone)]
struct Names(MetadataValue<Binary>);

impl Interceptor for Names {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert_bin(FOR, self.0.clone());
        Ok(request)
    }
}

struct Local(Arc<dyn IngesterClient>);

/// In how many milliseconds a call may be made again, 0 for at once: gRPC's own name for it ("gRPC Retry Design", A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The status for `error`, from which [`refused`] makes it again.
fn refusal(error: PushError) -> Status {
    match error {
        PushError::Malformed { reason } => Status::invalid_argument(reason),
        // As gRPC itself says of a message above its limit.
        PushError::TooLarge { reason } => Status::out_of_range(reason),
        PushError::Busy { reason, retry_after } => {
            let mut metadata = MetadataMap::new();
            if let Some(wait) = retry_after {
                // Rounded up: 0 would say that no wait is wanted.
                let ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                metadata.insert(PUSHBACK, MetadataValue::from(ms));
            }
            Status::with_metadata(Code::ResourceExhausted, reason, metadata)
        }
        PushError::Unavailable { reason } => Status::unavailable(reason),
        PushError::Indeterminate { reason } => Status::aborted(reason),
    }
}

fn refused(status: &Status) -> PushError {
    let reason = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument => PushError::Malformed { reason },
        Code::OutOfRange => PushError::TooLarge { reason },
        Code::ResourceExhausted => PushError::Busy { reason, retry_after: pushback(status.metadata()) },
        Code::Unavailable => PushError::Unavailable { reason },
        Code::Aborted => PushError::Indeterminate { reason },
        code => PushError::Indeterminate { reason: format!("{code}: {reason}") },
    }
}

fn pushback(metadata: &MetadataMap) -> Option<Duration> {
    metadata.get(PUSHBACK)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

fn failed(error: ReadFailed) -> Status {
    Status::internal(error.0)
}

fn invalid(error: wire::WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[async_trait]
impl Service for Local {
    async fn push(&self, request: Request<wire::Push>) -> Result<Response<wire::Pushed>, Status> {
        let bytes = request.into_inner().record;
        let parsed = in_place(bytes.len(), || Record::parse(bytes)).map_err(PushError::from);
        let record = parsed.map_err(|error| {
            tracing::warn!(%error, "record not kept");
            refusal(error)
        })?;
        self.0.push(record).await.map(Response::new).map_err(refusal)
    }

    type SelectStream = Pin<Box<dyn Stream<Item = Result<wire::Selected, Status>> + Send>>;

    async fn select(&self, request: Request<wire::Select>) -> Result<Response<Self::SelectStream>, Status> {
        let parts = self.0.select(request.into_inner()).await.map_err(failed)?;
        Ok(Response::new(Box::pin(parts.map_err(failed))))
    }

    type TailStream = Pin<Box<dyn Stream<Item = Result<wire::Tailed, Status>> + Send>>;

    async fn tail(&self, request: Request<wire::Tail>) -> Result<Response<Self::TailStream>, Status> {
        let tailing = self.0.tail(request.into_inner()).await.map_err(failed)?;
        Ok(Response::new(Box::pin(tailing.map_err(failed))))
    }

    async fn series(&self, request: Request<wire::Find>) -> Result<Response<wire::LabelSets>, Status> {
        let find = request.into_inner();
        let matchers = wire::matchers(&find.matchers).map_err(invalid)?;
        let found = self.0.series(&find.tenant, &matchers, find.span()).await.map_err(failed)?;
        Ok(Response::new(wire::LabelSets::from_iter(&found)))
    }

    async fn volume(&self, request: Request<wire::Find>) -> Result<Response<wire::Volume>, Status> {
        let find = request.into_inner();
        let matchers = wire::matchers(&find.matchers).map_err(invalid)?;
        let streams = self.0.volume(&find.tenant, &matchers, find.span()).await.map_err(failed)?;
        Ok(Response::new(wire::Volume { streams }))
    }

    async fn flush(&self, _: Request<wire::Empty>) -> Result<Response<wire::Empty>, Status> {
        self.0.flush().await.map_err(failed)?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn health(&self, _: Request<wire::Empty>) -> Result<Response<wire::Health>, Status> {
        Ok(Response::new(self.0.health().await.map_err(failed)?))
    }
}

/// An ingester in another process. Calls that read may last, and what they send may wait to be read: they have connections
/// of their own, so that no push waits for one of them.
#[derive(Debug, Clone)]
pub struct RemoteIngester {
    client: Connection,
    reads: Connection,
    tails: Connection,
}

type Connection = Client<InterceptedService<Traced, Names>>;

impl RemoteIngester {
    /// The ingester `id` at `addr`; it is connected to at the first call.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(id: &str, addr: &str) -> anyhow::Result<Self> {
        let names = Names(MetadataValue::from_bytes(id.as_bytes()));
        let client = || client(addr, names.clone());
        Ok(Self { client: client()?, reads: client()?, tails: client()? })
    }
}

fn client(addr: &str, names: Names) -> anyhow::Result<Connection> {
    let client = Client::new(InterceptedService::new(connect(addr)?, names));
    Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
}

fn unread(status: Status) -> ReadFailed {
    ReadFailed(format!("{}: {}", status.code(), status.message()))
}

#[async_trait]
impl IngesterClient for RemoteIngester {
    async fn push(&self, record: Record) -> Result<wire::Pushed, PushError> {
        let record = record.bytes().clone();
        let answer = self.client.clone().push(wire::Push { record }).await;
        answer.map(Response::into_inner).map_err(|status| refused(&status))
    }

    async fn select(&self, select: wire::Select) -> Result<Parts, ReadFailed> {
        let answer = self.reads.clone().select(select).await.map_err(unread)?;
        Ok(answer.into_inner().map_err(unread).boxed())
    }

    async fn tail(&self, tail: wire::Tail) -> Result<Tailing, ReadFailed> {
        let answer = self.tails.clone().tail(tail).await.map_err(unread)?;
        Ok(answer.into_inner().map_err(unread).boxed())
    }

    async fn series(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, ReadFailed> {
        let find = wire::Find::new(tenant, matchers, span);
        let answer = self.client.clone().series(find).await.map_err(unread)?;
        answer.into_inner().labels().map_err(|e| ReadFailed(e.to_string()))
    }

    async fn volume(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<wire::StreamVolume>, ReadFailed> {
        let find = wire::Find::new(tenant, matchers, span);
        let answer = self.client.clone().volume(find).await.map_err(unread)?;
        Ok(answer.into_inner().streams)
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        self.client.clone().flush(wire::Empty {}).await.map(drop).map_err(unread)
    }

    async fn health(&self) -> Result<wire::Health, ReadFailed> {
        self.client.clone().health(wire::Empty {}).await.map(Response::into_inner).map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::stream;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;
    use crate::record::Writer;

    /// Has nothing to say to anybody who listens.
    struct Silent;

    #[async_trait]
    impl IngesterClient for Silent {
        async fn push(&self, _: Record) -> Result<wire::Pushed, PushError> {
            Ok(wire::Pushed::default())
        }

        async fn select(&self, _: wire::Select) -> Result<Parts, ReadFailed> {
            Ok(stream::pending().boxed())
        }

        async fn tail(&self, _: wire::Tail) -> Result<Tailing, ReadFailed> {
            Ok(stream::pending().boxed())
        }

        async fn series(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<Labels>, ReadFailed> {
            Ok(Vec::new())
        }

        async fn volume(
            &self,
            _: &str,
            _: &[Matcher],
            _: Span,
        ) -> Result<Vec<wire::StreamVolume>, ReadFailed> {
            Ok(Vec::new())
        }

        async fn flush(&self) -> Result<(), ReadFailed> {
            Ok(())
        }

        async fn health(&self) -> Result<wire::Health, ReadFailed> {
            Ok(wire::Health::default())
        }
    }

    /// With 200 calls a connection, as is usual, the next one waited for one of them to end.
    #[tokio::test]
    async fn any_number_of_tails_and_reads_is_begun_whoever_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let served = super::super::server()
            .add_service(ingester_server("a", Arc::new(Silent)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(served);
        let client = RemoteIngester::new("a", &addr).unwrap();
        let tails = (0..500).map(|n| client.tail(wire::Tail { tenant: n.to_string(), ..Default::default() }));
        let tails = join_all(tails).await;
        assert!(tails.iter().all(Result::is_ok));
        let reads = join_all((0..500).map(|_| client.select(wire::Select::default()))).await;
        assert!(reads.iter().all(Result::is_ok));
        let mut writer = Writer::new("t", 0);
        writer.begin(&[("app", "a")]);
        writer.entry(1, [b"line", b""], &[]);
        writer.end();
        client.push(writer.finish().record()).await.unwrap();
        server.abort();
    }

    #[test]
    fn a_push_is_refused_from_afar_as_it_is_at_home() {
        let reason = || "for a reason".to_owned();
        for error in [
            PushError::Malformed { reason: reason() },
            PushError::TooLarge { reason: reason() },
            PushError::Busy { reason: reason(), retry_after: None },
            PushError::Busy { reason: reason(), retry_after: Some(Duration::ZERO) },
            PushError::Busy { reason: reason(), retry_after: Some(Duration::from_millis(1500)) },
            PushError::Unavailable { reason: reason() },
            PushError::Indeterminate { reason: reason() },
        ] {
            assert_eq!(refused(&refusal(error.clone())), error);
        }
    }

    #[test]
    fn a_wait_is_as_long_from_afar_or_up_to_a_millisecond_longer() {
        let busy = |wait| PushError::Busy { reason: "full".to_owned(), retry_after: Some(wait) };
        let ms = Duration::from_millis;
        for (wait, heard) in [
            (Duration::from_nanos(1), ms(1)),
            (Duration::from_micros(1500), ms(2)),
            (Duration::MAX, ms(u64::MAX)),
        ] {
            assert_eq!(refused(&refusal(busy(wait))), busy(heard), "{wait:?}");
        }
    }

    #[test]
    fn a_wait_that_is_none_is_not_believed() {
        for said in ["-1", "soon", "1.5", "99999999999999999999", ""] {
            let mut status = Status::resource_exhausted("full");
            status.metadata_mut().insert(PUSHBACK, said.parse().unwrap());
            let error = PushError::Busy { reason: "full".to_owned(), retry_after: None };
            assert_eq!(refused(&status), error, "{said:?}");
        }
    }
}
