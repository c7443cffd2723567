//! `/ring`: who is in the ring, where a key goes and why, and forgetting those who will not come back.

mod page;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use forebay_ring::{Explanation, GetOptions, Operation, Token, token_for};
use forebay_tenant::labels;
use serde::Serialize;

use super::params::Params;
use super::{Failure, Parts, Shared};
use crate::config::Store;
use crate::excerpt::Excerpt;
use crate::labels::Labels;
use crate::ring::{Cluster, ForgetError, MemberView};

/// Tells a browser's own forms from those of other sites.
const FETCH_SITE: &str = "sec-fetch-site";

#[derive(Serialize)]
struct View {
    store: Option<Store>,
    replication_factor: u8,
    /// Of the copies of a key, how many may be missing while all ingesters are well.
    tolerated_failures: usize,
    heartbeat_timeout_seconds: f64,
    /// Ingesters that get writes.
    healthy: usize,
    members: Vec<MemberView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explained>,
}

/// Where a key goes, and why.
#[derive(Serialize)]
struct Explained {
    key: u32,
    /// The stream whose key it is, if a stream was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    operation: &'static str,
    selected: usize,
    healthy: usize,
    needed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_fail: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    steps: Vec<StepView>,
    unlisted: usize,
}

#[derive(Serialize)]
struct StepView {
    token: u32,
    instance: String,
    zone: String,
    verdict: String,
    extends: bool,
}

impl Explained {
    fn new(of: Explanation<'_>, stream: Option<String>, operation: &'static str) -> Self {
        let step = |step: &forebay_ring::Step<'_>| StepView {
            token: step.token.0,
            instance: step.instance.id.to_string(),
            zone: step.instance.zone.to_string(),
            verdict: step.verdict.to_string(),
            extends: step.extends,
        };
        Self {
            key: of.key.0,
            stream,
            operation,
            selected: of.selected,
            healthy: of.healthy,
            needed: of.needed,
            may_fail: of.outcome.as_ref().ok().copied(),
            error: of.outcome.as_ref().err().map(ToString::to_string),
            steps: of.steps.iter().map(step).collect(),
            unlisted: of.unlisted,
        }
    }
}

/// The ring as a page, or as JSON for those who ask for that.
pub(super) async fn page(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let cluster = cluster(&parts)?;
    let ring = cluster.members().ring();
    let explain = match params.text("key") {
        None => None,
        Some(text) => {
            let (key, stream) = key(&parts, &headers, &params, text)?;
            let (name, operation) = operation(&params)?;
            let explanation = ring.explain(key, operation, GetOptions::default());
            Some(Explained::new(explanation, stream, name))
        }
    };
    let common = &parts.config.common;
    let lifecycler = &parts.config.ingester.lifecycler;
    let view = View {
        store: lifecycler.ring.kvstore.store,
        replication_factor: common.replication_factor,
        tolerated_failures: ring.tolerated_failures(),
        heartbeat_timeout_seconds: lifecycler.ring.heartbeat_timeout.as_secs_f64(),
        healthy: cluster.members().healthy(),
        members: cluster.view().await,
        explain,
    };
    Ok(if wants_json(&headers) {
        Json(view).into_response()
    } else {
        Html(page::html(&view)).into_response()
    })
}

/// Forgets the ingester that the form names, as `forget` or `id`.
pub(super) async fn forget(
    State(parts): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    if !is_from_here(&headers) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "a page of another site asked for this"));
    }
    let id = params.text("forget").or_else(|| params.text("id"));
    let id =
        id.ok_or_else(|| Failure::bad_request("parameter forget is missing: the name of an ingester"))?;
    cluster(&parts)?.forget(id).await.map_err(|error| {
        let status = match &error {
            ForgetError::Unknown(_) => StatusCode::NOT_FOUND,
            ForgetError::Alive { .. } | ForgetError::Answers(_) | ForgetError::Heard(_) => {
                StatusCode::CONFLICT
            }
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Failure::new(status, format!("{:#}", anyhow::Error::new(error)))
    })?;
    Ok(match wants_json(&headers) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Redirect::to("/ring").into_response(),
    })
}

/// Whether no page of another site made a browser send this. Over plain HTTP browsers do not say of which site a page is,
/// but where it came from.
fn is_from_here(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin.zip(host).is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
}

fn cluster(parts: &Parts) -> Result<&Cluster, Failure> {
    parts.cluster.as_ref().ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "no ring here"))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("application/json"))
}

fn operation(params: &Params) -> Result<(&'static str, Operation), Failure> {
    match params.text("operation") {
        None | Some("write") => Ok(("write", Operation::WRITE)),
        // Reads ask all that may hold a key, whatever their states.
        Some("read") => Ok(("read", Operation::REPORTING)),
        Some(other) => Err(Failure::bad_request(format_args!(
            "parameter operation is {:?}, neither write nor read",
            Excerpt(other)
        ))),
    }
}

/// The key that `text` is, or the one of the stream that it names, of a tenant.
fn key(
    parts: &Parts,
    headers: &HeaderMap,
    params: &Params,
    text: &str,
) -> Result<(Token, Option<String>), Failure> {
    if !text.trim_start().starts_with('{') {
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => text.parse(),
        };
        let wrong = |_| {
            let expected = "a number of 32 bits, as 7 or 0xff, or a stream, as {app=\"x\"}";
            Failure::bad_request(format_args!("parameter key is {:?}, not {expected}", Excerpt(text)))
        };
        return Ok((Token(parsed.map_err(wrong)?), None));
    }
    let mut unescaped = String::new();
    let pairs = labels::parse(text, &mut unescaped).map_err(Failure::bad_request)?;
    let stream = Labels::from_canonical(Labels::from_sorted(&pairs).as_bytes())
        .ok_or_else(|| Failure::bad_request("parameter key names a label twice"))?;
    let tenant = match params.text("tenant").filter(|tenant| !tenant.is_empty()) {
        Some(tenant) => tenant.to_owned(),
        None => parts.tenant(headers)?.as_str().to_owned(),
    };
    Ok((token_for(&tenant, stream.as_bytes()), Some(format!("{stream} of {tenant}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_another_site_is_told_by_what_browsers_say() {
        let is_ours = |fields: &[(&'static str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            is_from_here(&fields.collect())
        };
        let host = ("host", "10.0.0.5:3100");
        assert!(is_ours(&[host]), "no browser");
        assert!(is_ours(&[host, ("origin", "http://10.0.0.5:3100")]));
        assert!(
            is_ours(&[host, ("origin", "https://logs.example"), (FETCH_SITE, "same-origin")]),
            "behind a proxy"
        );
        assert!(!is_ours(&[host, ("origin", "http://10.0.0.5:3100"), (FETCH_SITE, "cross-site")]));
        for origin in ["http://elsewhere", "http://10.0.0.5", "http://10.0.0.5:31000", "null", ""] {
            assert!(!is_ours(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!is_ours(&[("origin", "http://10.0.0.5:3100")]));
    }
}
