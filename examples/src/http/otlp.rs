//! `POST /otlp/v1/logs`, answered as OTLP has it: a response that may name a partial success, or a `google.rpc.Status`,
//! in the content type of the request.

use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde_json::json;

use super::push::{Received, receive, refused, stored};
use super::{Failure, Parts, Shared};
use crate::distributor::{Outcome, Report};
use crate::push::ContentType;
use crate::push::otlp::Export;
use crate::push::otlp::messages::{ExportLogsPartialSuccess, ExportLogsServiceResponse, Status};

pub(super) async fn logs(State(parts): Shared, headers: HeaderMap, body: HttpBody) -> Response {
    // Whoever sends a type that is not known can at least read text.
    let header = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content = ContentType::parse(header).unwrap_or(ContentType::Json);
    match take(&parts, &headers, body).await {
        Ok(partial_success) => success(content, partial_success),
        Err(failure) => status(content, failure),
    }
}

async fn take(
    parts: &Parts,
    headers: &HeaderMap,
    body: HttpBody,
) -> Result<Option<ExportLogsPartialSuccess>, Failure> {
    let mut received = receive(parts, headers, body).await?;
    let body = received.unpack(|packed, _, encoding, room| encoding.unpack(packed, room))?;
    let Received { distributor, tenant, content, mut room, .. } = received;
    let (now_ns, bytes) = (parts.clock.wall_ns(), body.len());
    let pushed = distributor.push(tenant.as_str(), bytes, &mut room, move |room, take| {
        let export = Export::read(&body, content, room)?;
        export.streams(now_ns, room)?.iter().for_each(take);
        Ok(())
    });
    match pushed.await.map_err(refused)? {
        // Whoever is told of a failure sends all of it again, and what has no time of its own is kept once more then.
        Outcome::Invalid(report) | Outcome::StreamLimited(report) if report.discarded() < report.lines() => {
            Ok(Some(partial(&report)))
        }
        outcome => stored(outcome).map(|()| None),
    }
}

fn partial(report: &Report) -> ExportLogsPartialSuccess {
    ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(report.discarded()).unwrap_or(i64::MAX),
        error_message: report.to_string(),
    }
}

fn success(content: ContentType, partial_success: Option<ExportLogsPartialSuccess>) -> Response {
    match content {
        ContentType::Protobuf => {
            let message = ExportLogsServiceResponse { partial_success };
            body(StatusCode::OK, content, message.encode_to_vec())
        }
        ContentType::Json => {
            let message = partial_success.map_or_else(
                || json!({}),
                |partial| {
                    json!({"partialSuccess": {
                        "rejectedLogRecords": partial.rejected_log_records.to_string(),
                        "errorMessage": partial.error_message,
                    }})
                },
            );
            body(StatusCode::OK, content, message.to_string().into_bytes())
        }
    }
}

/// The status and its headers as for any other push, with another body.
fn status(content: ContentType, failure: Failure) -> Response {
    let status = Status { code: code(failure.status), message: failure.message.clone() };
    let message = match content {
        ContentType::Protobuf => status.encode_to_vec(),
        ContentType::Json => json!({"code": status.code, "message": status.message}).to_string().into_bytes(),
    };
    let mut answer = body(failure.status, content, message);
    if let Some(wait) = failure.into_response().headers_mut().remove(header::RETRY_AFTER) {
        answer.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    answer
}

fn body(status: StatusCode, content: ContentType, message: Vec<u8>) -> Response {
    let content = match content {
        ContentType::Protobuf => "application/x-protobuf",
        ContentType::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, content)], message).into_response()
}

/// The `google.rpc.Code` of a status.
fn code(status: StatusCode) -> i32 {
    match status {
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::NOT_FOUND => 5,
        StatusCode::REQUEST_TIMEOUT => 4,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => 8,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        _ => 3,
    }
}
