//! What operators ask: readiness, metrics, configuration, ring, flush, legal holds, the retention plan.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forebay_retention::hold::Placed;
use forebay_retention::{Error as RetentionError, Hold, Plan, Scope, Selector, TimeRange};
use forebay_ring::Require;
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::params::Params;
use super::{Failure, Parts, Shared};
use crate::compactor::Compactor;
use crate::members::Members;
use crate::ring::{Cluster, Life};

/// How long a flush is waited for.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(50);

pub(super) async fn ready(State(parts): Shared) -> Result<&'static str, Failure> {
    if !parts.ready.load(Ordering::Acquire) {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping"));
    }
    if let Some(failure) = parts.background.failure() {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, failure));
    }
    if let Some(own) = &parts.ingester {
        let failure = own.health().await.map_or_else(|error| error.0, |health| health.failure);
        if !failure.is_empty() {
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, failure));
        }
    }
    if let Some(status) = parts.life.as_ref().map(Life::status).filter(|status| !status.ready) {
        let why = format!("the ingester is {:?} in the ring and not ready yet", status.phase);
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    if parts.querier.is_some() && parts.cluster.as_ref().is_some_and(|cluster| !cluster.members().is_heard())
    {
        let why = "no other process of the ring has been heard yet: see memberlist.join_members";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let members = parts.cluster.as_ref().map(Cluster::members);
    if parts.distributor.is_some() && members.is_none_or(|members| members.healthy() == 0) {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no ingester is healthy"));
    }
    // Those that take no writes answer.
    let is_empty = |members: &Members| members.reading().set(Require::Quorum).is_err();
    if parts.querier.is_some() && members.is_none_or(is_empty) {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "there are no ingesters to be asked"));
    }
    Ok("ready\n")
}

pub(super) async fn metrics(State(parts): Shared) -> Result<Response, Failure> {
    let handle = parts
        .metrics
        .as_ref()
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no metrics are recorded"))?;
    if let Some(distributor) = &parts.distributor {
        distributor.show_breakers();
    }
    let text = parts.children.with_metrics(&crate::metrics::text(handle)).await;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

pub(super) async fn config(State(parts): Shared) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], parts.config.to_yaml()).into_response()
}

/// The parts of this process and how they are, one a line, as Loki tells it.
pub(super) async fn services(State(parts): Shared) -> String {
    let state = if parts.ready.load(Ordering::Acquire) { "Running" } else { "Stopping" };
    let mut services = format!("server => {state}\n");
    let mut add = |name: &str, state: &str| services.push_str(&format!("{name} => {state}\n"));
    if parts.cluster.is_some() {
        add("ring", state);
    }
    if parts.distributor.is_some() {
        add("distributor", state);
    }
    if parts.querier.is_some() {
        add("querier", state);
    }
    if let Some(own) = &parts.ingester {
        let failed = own.health().await.map_or(true, |health| !health.failure.is_empty());
        add("ingester", if failed { "Failed" } else { state });
    }
    if parts.compactor.is_some() {
        add("compactor", state);
    }
    services
}

pub(super) async fn flush(State(parts): Shared) -> Result<StatusCode, Failure> {
    let clients = match &parts.ingester {
        Some(own) if parts.distributor.is_none() && parts.querier.is_none() => {
            vec![Ok(std::sync::Arc::clone(own))]
        }
        _ => parts.cluster.as_ref().map(|cluster| cluster.members().clients()).unwrap_or_default(),
    };
    let unavailable = |why: String| Failure::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let clients: Result<Vec<_>, _> = clients.into_iter().collect();
    let clients = clients.map_err(|error| unavailable(format!("an ingester cannot be called: {error:#}")))?;
    let flushed = try_join_all(clients.iter().map(|client| client.flush()));
    match tokio::time::timeout(FLUSH_TIMEOUT, flushed).await {
        Ok(Ok(_)) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(unavailable(format!(
            "not stored after {FLUSH_TIMEOUT:?}, and tried on; until it is, the log keeps it"
        ))),
    }
}

/// What a client says of a hold; the rest is ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHold {
    /// Made up where it is missing.
    id: Option<String>,
    /// By default the tenant of the request.
    tenant: Option<String>,
    /// A stream selector; by default all streams.
    selector: Option<String>,
    /// RFC 3339; by default all time.
    start: Option<jiff::Timestamp>,
    end: Option<jiff::Timestamp>,
    case: String,
    reason: String,
}

pub(super) async fn holds(
    State(parts): Shared,
    headers: HeaderMap,
) -> Result<Json<BTreeMap<&'static str, Vec<Hold>>>, Failure> {
    let tenant = parts.tenant(&headers)?;
    let all = compactor(&parts)?.holds().await.map_err(failed)?;
    let own = all.into_iter().filter(|hold| hold.scope.includes(tenant.as_str())).collect();
    Ok(Json(BTreeMap::from([("holds", own)])))
}

pub(super) async fn place_hold(
    State(parts): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Placed>), Failure> {
    let tenant = parts.tenant(&headers)?;
    let new: NewHold = serde_json::from_slice(&body)
        .map_err(|e| Failure::bad_request(format_args!("malformed hold: {e}")))?;
    if new.tenant.as_deref().is_some_and(|named| named != tenant.as_str()) {
        return Err(Failure::bad_request("a hold is placed by the tenant it belongs to"));
    }
    let selector = match &new.selector {
        None => Selector::everything(),
        Some(text) => Selector::parse_loki(text).map_err(Failure::bad_request)?,
    };
    let compactor = compactor(&parts)?;
    let id = new.id.unwrap_or_else(|| format!("hold-{:016x}", forebay_tracing_ctx::random_u64()));
    let scope = Scope::Tenant(tenant.as_str().to_owned());
    let mut hold = Hold::new(id, scope, selector, new.case, new.reason, compactor.wall_ns());
    if new.start.is_some() || new.end.is_some() {
        let ns = |time: Option<jiff::Timestamp>, open: i64| {
            time.map_or(open, |t| t.as_nanosecond().try_into().unwrap_or(open))
        };
        let (min_ns, max_ns) = (ns(new.start, i64::MIN), ns(new.end, i64::MAX));
        hold = hold.within(TimeRange::new(min_ns, max_ns).map_err(Failure::bad_request)?);
    }
    let placed = compactor.place(hold).await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(placed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRelease {
    reason: String,
}

pub(super) async fn release_hold(
    State(parts): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    let tenant = parts.tenant(&headers)?;
    let release: NewRelease = serde_json::from_slice(&body)
        .map_err(|e| Failure::bad_request(format_args!("a release needs {{\"reason\": \"…\"}}: {e}")))?;
    let compactor = compactor(&parts)?;
    let known = compactor.holds().await.map_err(failed)?;
    if !known.iter().any(|hold| hold.id == id && hold.scope.includes(tenant.as_str())) {
        return Err(failed(RetentionError::HoldUnknown { id }));
    }
    compactor.release(&id, release.reason).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn retention_plan(
    State(parts): Shared,
    headers: HeaderMap,
    _: Params,
) -> Result<Json<Plan>, Failure> {
    let tenant = parts.tenant(&headers)?;
    Ok(Json(compactor(&parts)?.plan(tenant.as_str()).await.map_err(failed)?))
}

fn compactor(parts: &Parts) -> Result<&Compactor, Failure> {
    parts.compactor.as_ref().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no compactor here"))
}

fn failed(error: RetentionError) -> Failure {
    let status = match &error {
        RetentionError::HoldExists { .. } | RetentionError::HoldReleased { .. } => StatusCode::CONFLICT,
        RetentionError::HoldUnknown { .. } => StatusCode::NOT_FOUND,
        RetentionError::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Failure::new(status, format!("{:#}", anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use forebay_agent::clock::Clock;
    use forebay_tenant::{Limits, Overrides, Tenancy};

    use super::*;
    use crate::background::Background;

    #[tokio::test]
    async fn a_process_of_which_a_background_task_is_gone_is_not_ready() {
        let parts = Arc::new(Parts {
            config: Arc::default(),
            overrides: Arc::new(Overrides::new(Limits::default())),
            tenancy: Tenancy::default(),
            clock: Clock::simulated(1),
            cluster: None,
            distributor: None,
            querier: None,
            ingester: None,
            life: None,
            compactor: None,
            metrics: None,
            children: crate::federation::Children::default(),
            tails: super::super::Tails::default(),
            background: Background::default(),
            ready: Arc::new(AtomicBool::new(true)),
        });
        assert_eq!(ready(State(parts.clone())).await.unwrap(), "ready\n");
        parts.background.spawn("compactor", async { panic!("nothing to compact") }).await.unwrap();
        let failure = ready(State(parts)).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failure.message, "background task compactor panicked: nothing to compact");
    }
}
