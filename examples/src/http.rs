//! The HTTP port: routes, and what every request gets — its trace, its tenant, its line in the metrics.

mod admin;
mod asked;
mod bounds;
mod otlp;
mod params;
mod push;
mod query;
mod ring;
mod tail;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::http_client::TRACE_ID_HEADER;
use forebay_tenant::{HEADER, OrgError, Overrides, Tenancy, TenantId};
use forebay_tracing_ctx::TraceServerLayer;
use forebay_wal::fs::StdFs;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::background::Background;
use crate::client::IngesterClient;
use crate::compactor::Compactor;
use crate::config::Config;
use crate::distributor::Distributor;
use crate::federation::Children;
use crate::metrics::Requests;
use crate::query::Querier;
use crate::ring::{Cluster, Life};

pub use tail::Tails;

/// Bodies of more bytes are refused, but for pushes, which have a limit of their own.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The parts that a process serves. A part that is not there has no routes.
#[derive(Clone)]
pub struct Parts {
    /// The configuration, for `/config` and sizes.
    pub config: Arc<Config>,
    /// What each tenant may ask for.
    pub overrides: Arc<Overrides>,
    /// Who a request belongs to.
    pub tenancy: Tenancy,
    /// Wall time, for queries without one.
    pub clock: Clock,
    /// The ring, where the parts need one.
    pub cluster: Option<Cluster>,
    /// Takes pushes.
    pub distributor: Option<Distributor>,
    /// Answers queries.
    pub querier: Option<Querier>,
    /// Keeps lines, in this process.
    pub ingester: Option<Arc<dyn IngesterClient>>,
    /// Its life in the ring.
    pub life: Option<Life<StdFs>>,
    /// Deletes.
    pub compactor: Option<Compactor>,
    /// The metrics of this process.
    pub metrics: Option<PrometheusHandle>,
    /// Processes whose metrics are shown with them.
    pub children: Children,
    /// Who follows lines as they come.
    pub tails: Tails,
    /// Whether what is to work as long as the process does still works.
    pub background: Background,
    /// Whether the process takes requests.
    pub ready: Arc<std::sync::atomic::AtomicBool>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// All routes of the parts that are there.
pub fn router(parts: Parts) -> Router {
    let mut routes = Router::new()
        .route("/ready", get(admin::ready))
        .route("/metrics", get(admin::metrics))
        .route("/config", get(admin::config))
        .route("/services", get(admin::services))
        .route("/flush", post(admin::flush));
    if parts.cluster.is_some() {
        routes = routes.route("/ring", get(ring::page).post(ring::forget));
        routes = routes.route("/ring/forget", post(ring::forget));
    }
    if parts.distributor.is_some() {
        routes = routes.route("/loki/api/v1/push", post(push::push));
        routes = routes.route("/api/prom/push", post(push::push));
        routes = routes.route("/otlp/v1/logs", post(otlp::logs));
    }
    if parts.querier.is_some() {
        routes = routes
            .route("/loki/api/v1/query_range", get(query::range).post(query::range))
            .route("/loki/api/v1/query", get(query::instant).post(query::instant))
            .route("/loki/api/v1/labels", get(query::labels).post(query::labels))
            .route("/loki/api/v1/label", get(query::labels).post(query::labels))
            .route("/loki/api/v1/label/{name}/values", get(query::label_values).post(query::label_values))
            .route("/loki/api/v1/series", get(query::series).post(query::series))
            .route("/loki/api/v1/index/stats", get(query::stats).post(query::stats))
            .route("/loki/api/v1/tail", get(tail::tail));
    }
    if parts.compactor.is_some() {
        routes = routes
            .route("/api/v1/legal-holds", get(admin::holds).post(admin::place_hold))
            .route("/api/v1/legal-holds/{id}", delete(admin::release_hold))
            .route("/api/v1/retention/plan", get(admin::retention_plan));
    }
    routes
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no such route in this process") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::<Requests>::default(), measure))
        .layer(TraceServerLayer::new().response_header(TRACE_ID_HEADER))
        .with_state(Arc::new(parts))
}

/// Counts and times a request by its route, never by its path.
async fn measure(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("other", MatchedPath::as_str);
    // Any word may stand where the method does, and each would be kept.
    let known = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"].into_iter();
    let method = { known }.find(|known| request.method() == known).unwrap_or("other");
    let started = monotonic_ns();
    let response = next.run(request).await;
    let seconds = monotonic_ns().saturating_sub(started) as f64 / 1e9;
    let status = response.status();
    requests.record(route, method, status.as_u16(), seconds);
    if status.is_server_error() {
        tracing::warn!(route, method, status = status.as_u16(), seconds, "request failed");
    } else {
        tracing::debug!(route, method, status = status.as_u16(), seconds, "request");
    }
    response
}

/// An answer that is not what was asked for: a status and a text that says what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
    retry_after_seconds: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after_seconds: None }
    }

    fn bad_request(message: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message.to_string())
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message + "\n").into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl Parts {
    /// The one tenant of a request.
    fn tenant(&self, headers: &http::HeaderMap) -> Result<TenantId, Failure> {
        let header = headers.get(HEADER).map(http::HeaderValue::as_bytes);
        let org = self.tenancy.resolve(header).map_err(|e| refused(&e))?;
        org.single().cloned().map_err(|e| refused(&e))
    }
}

fn refused(error: &OrgError) -> Failure {
    match error {
        OrgError::Missing => Failure::new(StatusCode::UNAUTHORIZED, error.to_string()),
        _ => Failure::bad_request(error),
    }
}

/// A handler's state.
type Shared = State<Arc<Parts>>;
