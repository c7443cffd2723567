//! `POST /loki/api/v1/push`, its elder `/api/prom/push`, and how the body of any push is received.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use forebay_agent::clock::monotonic_ns;
use forebay_tenant::TenantId;
use http_body_util::BodyExt;

use super::{Failure, Parts, Shared};
use crate::distributor::{Distributor, Outcome};
use crate::offload::in_place;
use crate::push::{Body, ContentType, Encoding, PushError, Room};

/// What a client that was refused for its stream limit should wait: streams end by being idle.
const STREAM_LIMIT_RETRY_SECONDS: u64 = 60;

/// The most memory that is taken for a body before it comes.
const MAX_RESERVED: u64 = 1 << 20;

/// What a slow link brings in a millisecond.
const SLOWEST_BYTES_PER_MS: usize = 64;

/// How many times its size a packed body is likely to unpack to.
const LIKELY_RATIO: usize = 8;

/// How long the rest of a refused body is waited for.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A body that has come, and what its headers say of it.
pub(super) struct Received<'p> {
    pub(super) distributor: &'p Distributor,
    pub(super) tenant: TenantId,
    pub(super) content: ContentType,
    encoding: Encoding,
    packed: Bytes,
    pub(super) room: Room,
}

pub(super) async fn push(State(parts): Shared, headers: HeaderMap, body: HttpBody) -> Response {
    match take(&parts, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn take(parts: &Parts, headers: &HeaderMap, body: HttpBody) -> Result<(), Failure> {
    let mut received = receive(parts, headers, body).await?;
    let body = received.unpack(Body::unpack)?;
    let Received { distributor, tenant, mut room, .. } = received;
    stored(distributor.push_body(tenant.as_str(), body, &mut room).await.map_err(refused)?)
}

/// The whole body of a push. Of one that is refused the rest is read, too: see [`discard`].
pub(super) async fn receive<'p>(
    parts: &'p Parts,
    headers: &HeaderMap,
    mut body: HttpBody,
) -> Result<Received<'p>, Failure> {
    let received = begin(parts, headers, &mut body).await;
    // Who stalls has nothing more to send.
    if received.as_ref().is_err_and(|failure| failure.status != StatusCode::REQUEST_TIMEOUT) {
        discard(body, parts.config.distributor.max_recv_msg_size).await;
    }
    received
}

impl Received<'_> {
    /// Unpacks the body.
    pub(super) fn unpack<T>(
        &mut self,
        unpack: impl FnOnce(Bytes, ContentType, Encoding, &mut Room) -> Result<T, PushError>,
    ) -> Result<T, Failure> {
        let packed = std::mem::take(&mut self.packed);
        let likely = packed.len().saturating_mul(LIKELY_RATIO);
        in_place(likely, || unpack(packed, self.content, self.encoding, &mut self.room)).map_err(refused)
    }
}

async fn begin<'p>(
    parts: &'p Parts,
    headers: &HeaderMap,
    body: &mut HttpBody,
) -> Result<Received<'p>, Failure> {
    let tenant = parts.tenant(headers)?;
    let distributor = parts
        .distributor
        .as_ref()
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no distributor here"))?;
    let text = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("not text"));
    let content = ContentType::parse(text(header::CONTENT_TYPE)).map_err(refused)?;
    let encoding = Encoding::parse(text(header::CONTENT_ENCODING)).map_err(refused)?;
    let sizes = &parts.config.distributor;
    let mut room = distributor.intake().enter(sizes.max_decompressed_size);
    let patience = parts.config.server.http_server_read_timeout;
    let packed = read(headers, body, (sizes.max_recv_msg_size, patience), &mut room).await?;
    Ok(Received { distributor, tenant, content, encoding, packed, room })
}

/// The body, at most `limit` bytes; of one that says it is longer nothing is kept. There is room for what has come,
/// not for what is announced: a client may never send it. One that stalls is waited for as long as `patience`, and
/// what has come earns it more time, so that nobody holds room for ever.
async fn read(
    headers: &HeaderMap,
    body: &mut HttpBody,
    (limit, patience): (u64, Duration),
    room: &mut Room,
) -> Result<Bytes, Failure> {
    let too_large = |size: u64| refused(PushError::TooLarge { what: "body", size, limit });
    let claimed = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if let Some(size) = claimed.filter(|size| *size > limit) {
        return Err(too_large(size));
    }
    let started = monotonic_ns();
    let (mut first, mut whole) = (Bytes::new(), Vec::new());
    loop {
        let come = first.len() + whole.len();
        let allowed = patience + Duration::from_millis((come / SLOWEST_BYTES_PER_MS) as u64);
        let gone = Duration::from_nanos(monotonic_ns().saturating_sub(started));
        let frame = tokio::time::timeout(allowed.saturating_sub(gone), body.frame()).await.map_err(|_| {
            let message = format!("{come} bytes came and the rest did not within {patience:?}");
            Failure::new(StatusCode::REQUEST_TIMEOUT, message)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| Failure::bad_request(format_args!("body cannot be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = (come + data.len()) as u64;
        if size > limit {
            return Err(too_large(size));
        }
        room.grow(data.len() as u64).map_err(refused)?;
        if first.is_empty() && whole.is_empty() {
            // Most bodies come in one piece, and need no copy.
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(usize::try_from(claimed.unwrap_or_default().min(MAX_RESERVED)).unwrap_or_default());
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

/// Reads on for up to `limit` bytes: a server that closes while its client still sends resets the connection, and the
/// client never sees why it was refused.
async fn discard(mut body: HttpBody, limit: u64) {
    let mut rest = limit;
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            match rest.checked_sub(bytes) {
                Some(left) => rest = left,
                None => return,
            }
        }
    };
    // The client gets its answer either way; one that stalls may lose its connection.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, drained).await;
}

pub(super) fn refused(error: PushError) -> Failure {
    let status = match &error {
        PushError::Malformed { .. } => StatusCode::BAD_REQUEST,
        PushError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        PushError::ContentType(_) | PushError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        PushError::NoStreams => StatusCode::UNPROCESSABLE_ENTITY,
        PushError::Busy { .. } => {
            return Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(1);
        }
    };
    Failure::new(status, error.to_string())
}

/// What a client is told where not all of its push is stored.
pub(super) fn stored(outcome: Outcome) -> Result<(), Failure> {
    Err(match outcome {
        Outcome::Stored => return Ok(()),
        Outcome::Invalid(report) => Failure::bad_request(report),
        Outcome::RateLimited { message, retry_after } => Failure::new(StatusCode::TOO_MANY_REQUESTS, message)
            .retry_after(retry_after.map_or(STREAM_LIMIT_RETRY_SECONDS, whole_seconds)),
        Outcome::StreamLimited(report) => Failure::new(StatusCode::TOO_MANY_REQUESTS, report.to_string())
            .retry_after(STREAM_LIMIT_RETRY_SECONDS),
        Outcome::TooLarge { message } => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message),
        Outcome::Unavailable { message } => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(1)
        }
    })
}

/// Rounded up: a client that comes back a moment early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    (wait + Duration::from_nanos(999_999_999)).as_secs().max(1)
}
