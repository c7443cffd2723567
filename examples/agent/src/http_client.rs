//! A small HTTP/1.1 client for the pipeline's own programs and tests: kept-alive connections to one server, a time
//! limit on every exchange, answers read whole and no further than a limit. A request is part of the current trace, of
//! the one that its own headers name, or starts one.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_tracing_ctx::TraceClientLayer;
use forebay_tracing_ctx::layer::TraceClient;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use tower::{Layer, ServiceExt};

/// What [`HttpClient::new`] allows for one exchange.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that nobody used for this long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers of more bytes are refused.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Names the trace of a request to whoever sent it.
pub const TRACE_ID_HEADER: HeaderName = HeaderName::from_static("x-trace-id");

/// Says whose a request is, where the server has several tenants.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Connections that tell the server which trace a request belongs to.
type Connections = TraceClient<Client<HttpConnector, Full<Bytes>>>;

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Connections,
    base: Arc<str>,
    timeout: Duration,
    tenant: Option<HeaderValue>,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer, or, from [`Response::success`], not the one hoped for.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Correct the address: nothing was sent.
    #[error("{url:?} is not an address of this client: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Correct the tenant: nothing was sent.
    #[error("tenant {0:?} cannot be sent in a header")]
    Tenant(String),
    /// Try again: the connection was not made, or broke. The server may have acted on the request.
    #[error("no connection to {url}")]
    Connection {
        /// What was asked.
        url: String,
        /// What happened.
        source: hyper_util::client::legacy::Error,
    },
    /// Try again: no complete answer came in time. The server may have acted on the request.
    #[error("no answer from {url} within {timeout:?}")]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The answer broke off, or was larger than the client takes.
    #[error("answer of {url} could not be read")]
    Answer {
        /// What was asked.
        url: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server answered that it did not do what was asked.
    #[error("server answered {status}: {body}")]
    Status {
        /// The status, not 2xx.
        status: StatusCode,
        /// What the server said.
        body: String,
    },
}

impl HttpClient {
    /// A client of the server at `base`, such as `http://127.0.0.1:3100`, that waits a minute for an answer.
    ///
    /// # Errors
    /// [`HttpError::Url`] where `base` is no plain `http` address.
    pub fn new(base: &str) -> Result<Self, HttpError> {
        Self::with_timeout(base, TIMEOUT)
    }

    /// Same as [`new`](Self::new), where one exchange takes no longer than `timeout`.
    ///
    /// # Errors
    /// [`HttpError::Url`] where `base` is no plain `http` address.
    pub fn with_timeout(base: &str, timeout: Duration) -> Result<Self, HttpError> {
        let refuse = |why: &str| HttpError::Url { url: base.to_owned(), why: why.to_owned() };
        let base = base.trim_end_matches('/');
        let uri: Uri = base.parse().map_err(|e| refuse(&format!("{e}")))?;
        if uri.scheme_str() != Some("http") {
            return Err(refuse("it does not start with http://"));
        }
        if uri.query().is_some() {
            return Err(refuse("it has a query"));
        }
        Ok(Self { client: connections(timeout), base: base.into(), timeout, tenant: None })
    }

    /// The same with connections of its own: a client that has one request under way at a time has one connection.
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self { client: connections(self.timeout), ..self.clone() }
    }

    /// Sends every request from now on for `tenant`, in the header `X-Scope-OrgID`.
    ///
    /// # Errors
    /// [`HttpError::Tenant`] where `tenant` cannot be the value of a header.
    pub fn for_tenant(mut self, tenant: &str) -> Result<Self, HttpError> {
        self.tenant = Some(HeaderValue::from_str(tenant).map_err(|_| HttpError::Tenant(tenant.to_owned()))?);
        Ok(self)
    }

    /// The server's address, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for `path`, which starts with a slash and may have a [query](query_string).
    ///
    /// # Errors
    /// [`HttpError`] where no answer came; one of any status is `Ok`.
    pub async fn get(&self, path: &str) -> Result<Response, HttpError> {
        self.send(Method::GET, path, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// [`HttpError`] where no answer came; one of any status is `Ok`.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, HttpError> {
        let mut headers = headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.send(Method::POST, path, headers, body).await
    }

    /// Sends a request with any method and `headers`.
    ///
    /// # Errors
    /// [`HttpError`] where no answer came; one of any status is `Ok`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, HttpError> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = match url.parse() {
            Ok(uri) => uri,
            Err(error) => return Err(HttpError::Url { url, why: format!("{error}") }),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        if let Some(tenant) = &self.tenant {
            request.headers_mut().insert(TENANT, tenant.clone());
        }
        match tokio::time::timeout(self.timeout, self.exchange(&url, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::TimedOut { url, timeout: self.timeout }),
        }
    }

    async fn exchange(&self, url: &str, request: Request<Full<Bytes>>) -> Result<Response, HttpError> {
        let answer = self.client.clone().oneshot(request).await;
        let answer = answer.map_err(|source| HttpError::Connection { url: url.to_owned(), source })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|source| HttpError::Answer { url: url.to_owned(), source })?;
        Ok(Response { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

fn connections(timeout: Duration) -> Connections {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT.min(timeout)));
    let mut builder = Client::builder(TokioExecutor::new());
    let client = builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector);
    TraceClientLayer::new().layer(client)
}

impl Response {
    /// Itself where the status is 2xx.
    ///
    /// # Errors
    /// [`HttpError::Status`] with status and body.
    pub fn success(self) -> Result<Self, HttpError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(HttpError::Status { status: self.status, body: self.text().trim_end().to_owned() })
    }

    /// The body as text; bytes that are none are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// What the parser says.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

/// `parameters` as the query of a URL: `a=1&b=%7Bc%7D`.
pub fn query_string(parameters: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in parameters {
        if !out.is_empty() {
            out.push('&');
        }
        escape(&mut out, name);
        out.push('=');
        escape(&mut out, value);
    }
    out
}

fn escape(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_strings_escape_all_that_has_a_meaning() {
        let query = query_string(&[("query", r#"{app="x"} |= "a b""#), ("limit", "5")]);
        assert_eq!(query, "query=%7Bapp%3D%22x%22%7D%20%7C%3D%20%22a%20b%22&limit=5");
        assert_eq!(query_string(&[]), "");
    }

    #[test]
    fn addresses_that_cannot_be_reached_in_plain_http_are_refused() {
        for base in ["localhost:3100", "https://localhost", "", "http://a b", "http://x/?a=b"] {
            let error = HttpClient::new(base).unwrap_err();
            assert!(matches!(error, HttpError::Url { .. }), "{base}: {error}");
        }
        let client = HttpClient::new("http://localhost:3100/").unwrap();
        assert_eq!(client.base(), "http://localhost:3100");
        assert!(matches!(client.for_tenant("a\nb"), Err(HttpError::Tenant(_))));
    }

    #[tokio::test]
    async fn nobody_listening_is_a_connection_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = HttpClient::new(&format!("http://{free}")).unwrap();
        let error = client.get("/ready").await.unwrap_err();
        assert!(matches!(error, HttpError::Connection { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", silent.local_addr().unwrap());
        let client = HttpClient::with_timeout(&base, Duration::from_millis(1)).unwrap();
        let error = client.get("/ready").await.unwrap_err();
        assert!(matches!(error, HttpError::TimedOut { .. }), "{error}");
    }
}
