//! The query routes, with Loki's parameters and answers.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use forebay_chunk::Direction;

use super::asked::Asked;
use super::bounds::Bounds;
use super::params::Params;
use super::{Failure, Parts, Shared};
use crate::excerpt::Excerpt;
use crate::index::Span;
use crate::logql::{Logs, Matcher, Metric, Query, QueryError};
use crate::query::{ExecuteError, Grid, LogQuery, MAX_POINTS, MetricQuery, Querier, Series, answer, reads};

const SECOND_NS: i64 = 1_000_000_000;

pub(super) async fn range(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(&headers)?;
    let limits = Bounds::of(&parts, tenant.as_str());
    let (start_ns, end_ns) = params.range_ns(parts.clock.wall_ns())?;
    let (start_ns, end_ns) = limits.span(parts.clock.wall_ns(), start_ns, end_ns)?;
    match parse(&params)? {
        Query::Logs(logs) => {
            // The end is not part of the range, as in Loki.
            let span = Span { from_ns: start_ns, through_ns: end_ns.saturating_sub(1).max(start_ns) };
            lines(&parts, tenant.as_str(), &limits, logs, span, &headers, &params).await
        }
        Query::Metric(metric) => {
            let step_ns = match params.duration_ns("step")? {
                Some(step_ns) => step_ns,
                None => default_step_ns(start_ns, end_ns),
            };
            let (start_ns, end_ns) = match parts.config.query_range.align_queries_with_step {
                true => (aligned(start_ns, step_ns), aligned(end_ns, step_ns)),
                false => (start_ns, end_ns),
            };
            let points = (i128::from(end_ns) - i128::from(start_ns)) / i128::from(step_ns) + 1;
            if points > i128::from(MAX_POINTS) {
                let message =
                    format!("{points} points exceed the limit of {MAX_POINTS}: ask for a larger step");
                return Err(Failure::bad_request(message));
            }
            let grid = Grid { start_ns, end_ns, step_ns };
            let series = numbers(&parts, (tenant.as_str(), params.query()?), &limits, metric, grid).await?;
            Ok(answer::json(answer::matrix(&series)))
        }
    }
}

pub(super) async fn instant(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(&headers)?;
    let limits = Bounds::of(&parts, tenant.as_str());
    let now_ns = parts.clock.wall_ns();
    let time_ns = params.time_ns("time")?.unwrap_or(now_ns);
    match parse(&params)? {
        Query::Logs(logs) => {
            let since_ns = params.duration_ns("since")?.unwrap_or(3600 * SECOND_NS);
            let (from_ns, through_ns) = limits.span(now_ns, time_ns.saturating_sub(since_ns), time_ns)?;
            let span = Span { from_ns, through_ns };
            lines(&parts, tenant.as_str(), &limits, logs, span, &headers, &params).await
        }
        Query::Metric(metric) => {
            let series =
                numbers(&parts, (tenant.as_str(), params.query()?), &limits, metric, Grid::instant(time_ns))
                    .await?;
            Ok(answer::json(answer::vector(&series)))
        }
    }
}

async fn numbers(
    parts: &Parts,
    (tenant, text): (&str, &str),
    limits: &Bounds,
    metric: Metric,
    grid: Grid,
) -> Result<Series, Failure> {
    let span = limits.read(parts.clock.wall_ns(), reads(&metric, grid))?;
    let (max_series, max_bytes) = (limits.max_series(), limits.max_bytes());
    let query = MetricQuery { metric, grid, span, max_series, max_bytes, split: limits.split() };
    let asked = Asked::new(parts, tenant, text);
    let series = asked.answer(limits.in_time(querier(parts)?.metric(tenant, &query)), |s| &s.stages).await?;
    Ok(if grid.len() == 1 { series.ranked(&query.metric) } else { series })
}

async fn lines(
    parts: &Parts,
    tenant: &str,
    limits: &Bounds,
    logs: Logs,
    span: Span,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Response, Failure> {
    let limit = limits.entries(params.count("limit")?)?;
    if params.text("interval").is_some() {
        return Err(Failure::bad_request("parameter interval is not supported: leave it out"));
    }
    let direction = match params.text("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Direction::Backward,
        Some("forward") => Direction::Forward,
        Some(other) => {
            return Err(Failure::bad_request(format_args!(
                "direction {:?} is neither forward nor backward",
                Excerpt(other)
            )));
        }
    };
    let categorize = categorizes(headers);
    let (max_bytes, split) = (limits.max_bytes(), limits.split());
    let query = LogQuery { logs, span, direction, limit, max_bytes, split };
    let asked = Asked::new(parts, tenant, params.query()?);
    let lines = asked.answer(limits.in_time(querier(parts)?.lines(tenant, query)), |l| &l.stages).await?;
    Ok(answer::json(answer::streams(&lines, categorize)))
}

/// Whether structured metadata is wanted apart from the labels.
pub(super) fn categorizes(headers: &HeaderMap) -> bool {
    let flags = headers.get("x-loki-response-encoding-flags").and_then(|v| v.to_str().ok());
    flags.unwrap_or_default().split(',').any(|flag| flag.trim() == "categorize-labels")
}

pub(super) async fn labels(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    values(&parts, &headers, &params, None).await
}

pub(super) async fn label_values(
    State(parts): Shared,
    headers: HeaderMap,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Failure> {
    values(&parts, &headers, &params, Some(&name)).await
}

async fn values(
    parts: &Parts,
    headers: &HeaderMap,
    params: &Params,
    name: Option<&str>,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(headers)?;
    let matchers = match params.text("query") {
        None => Vec::new(),
        Some(text) => Logs::parse_selector(text).map_err(Failure::bad_request)?,
    };
    let limits = Bounds::of(parts, tenant.as_str());
    let span = span(parts, &limits, params)?;
    let found = querier(parts)?.label_values(tenant.as_str(), name, &matchers, span);
    let found = limits.in_time(found).await?.map_err(failed)?;
    Ok(answer::json(answer::data(&found)))
}

pub(super) async fn series(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(&headers)?;
    let selectors: Vec<Vec<Matcher>> = params
        .all("match")
        .map(Logs::parse_selector)
        .collect::<Result<_, _>>()
        .map_err(Failure::bad_request)?;
    let limits = Bounds::of(&parts, tenant.as_str());
    let span = span(&parts, &limits, &params)?;
    let found = querier(&parts)?.series(tenant.as_str(), &selectors, span);
    let found = limits.in_time(found).await?.map_err(failed)?;
    Ok(answer::json(answer::data(&found)))
}

pub(super) async fn stats(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let tenant = parts.tenant(&headers)?;
    let matchers = Logs::parse_selector(params.query()?).map_err(Failure::bad_request)?;
    let limits = Bounds::of(&parts, tenant.as_str());
    let span = span(&parts, &limits, &params)?;
    let volume = querier(&parts)?.volume(tenant.as_str(), &matchers, span);
    Ok(answer::json(answer::bare(limits.in_time(volume).await?.map_err(failed)?)))
}

fn span(parts: &Parts, limits: &Bounds, params: &Params) -> Result<Span, Failure> {
    let since = params.text("start").is_some() || params.text("since").is_some();
    let now_ns = parts.clock.wall_ns();
    let (mut from_ns, through_ns) = params.range_ns(now_ns)?;
    if !since {
        // Loki's default for labels and series.
        from_ns = through_ns.saturating_sub(6 * 3600 * SECOND_NS);
    }
    limits.read(now_ns, Span { from_ns, through_ns })
}

pub(super) fn parse(params: &Params) -> Result<Query, Failure> {
    Query::parse(params.query()?).map_err(|e: QueryError| Failure::bad_request(e))
}

pub(super) fn querier(parts: &Parts) -> Result<&Querier, Failure> {
    parts.querier.as_ref().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no querier here"))
}

pub(super) fn failed(error: ExecuteError) -> Failure {
    let status = match &error {
        ExecuteError::Ingesters { .. } | ExecuteError::Ring(_) => StatusCode::SERVICE_UNAVAILABLE,
        ExecuteError::TooManySeries { .. }
        | ExecuteError::TooManyValues { .. }
        | ExecuteError::TooManyBytes { .. } => return Failure::bad_request(error),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let error = anyhow::Error::new(error);
    tracing::warn!(error = %format_args!("{error:#}"), "query failed");
    Failure::new(status, format!("{error:#}"))
}

/// The last multiple of a step, or the first there is, up to a time.
fn aligned(at_ns: i64, step_ns: i64) -> i64 {
    at_ns.saturating_sub(at_ns.rem_euclid(step_ns))
}

/// Loki's default: 250 points, no finer than a second.
fn default_step_ns(start_ns: i64, end_ns: i64) -> i64 {
    let seconds = (i128::from(end_ns) - i128::from(start_ns)) / 250 / i128::from(SECOND_NS);
    i64::try_from(seconds.max(1)).unwrap_or(i64::MAX / SECOND_NS).saturating_mul(SECOND_NS)
}
