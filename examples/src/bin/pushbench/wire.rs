//! A connection to the server under load, without a pool or a task of its own: what the client costs is taken from the
//! machine that the server needs.

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use forebay_agent::ship::{CONTENT_TYPE, PUSH_PATH};
use http::header::{CONTENT_TYPE as TYPE, HOST, HeaderValue};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What one push may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Answers of more bytes are refused.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Says whose a push is.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Where pushes go.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    host: String,
    uri: Uri,
    headers: HeaderMap,
}

/// One kept-alive connection, with one push under way at a time.
pub(crate) struct Wire {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Works only while a push waits for its answer.
    connection: Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
    address: Address,
}

impl Address {
    /// The push route of the server at `base`, such as `http://127.0.0.1:3100`, for `tenant`.
    pub(crate) fn new(base: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        let whole = format!("{}{PUSH_PATH}", base.trim_end_matches('/'));
        let uri: Uri = whole.parse().with_context(|| whole.clone())?;
        let authority = uri.authority().with_context(|| format!("{base} has no host"))?.clone();
        let path = uri.path_and_query().with_context(|| format!("{base} has no path"))?.clone();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        headers.insert(TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(tenant) = tenant {
            headers.insert(TENANT, HeaderValue::from_str(tenant)?);
        }
        let host = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        Ok(Self { host, uri: path.into(), headers })
    }
}

impl Wire {
    /// Connects.
    pub(crate) async fn open(address: Address) -> anyhow::Result<Self> {
        let connected = timeout(TIMEOUT, TcpStream::connect(&address.host)).await?;
        let stream = connected.with_context(|| format!("no connection to {}", address.host))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection: Box::pin(connection), address })
    }

    /// Pushes `body`; what the server answers.
    pub(crate) async fn push(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&self.address.uri);
        request.headers_mut().clone_from(&self.address.headers);
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("answer could not be read: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let both = async {
            tokio::pin!(exchange);
            tokio::select! {
                biased;
                answer = &mut exchange => return answer,
                ended = &mut self.connection => ended?,
            }
            // The answer may have come with the end.
            exchange.await
        };
        timeout(TIMEOUT, both).await.with_context(|| format!("no answer within {TIMEOUT:?}"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::post;
    use tokio::net::TcpListener;

    #[test]
    fn an_address_may_have_a_path_and_a_tenant_but_needs_a_host() {
        let address = Address::new("http://h:1/loki/", Some("a")).unwrap();
        assert_eq!((address.host.as_str(), address.uri.path()), ("h:1", "/loki/loki/api/v1/push"));
        assert_eq!(address.headers[HOST], "h:1");
        assert_eq!(address.headers[TENANT], "a");
        assert_eq!(Address::new("http://h", None).unwrap().host, "h:80");
        Address::new("/x", None).unwrap_err();
        Address::new("http://h", Some("a\nb")).unwrap_err();
    }

    #[tokio::test]
    async fn one_connection_takes_push_after_push_and_tells_every_answer() {
        let echo = |headers: HeaderMap, body: Bytes| async move {
            match headers.contains_key(TENANT) {
                true if body.is_empty() => (StatusCode::NO_CONTENT, body),
                true => (StatusCode::OK, body),
                false => (StatusCode::UNAUTHORIZED, body),
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = axum::serve(listener, Router::new().route(PUSH_PATH, post(echo)));
        let server = tokio::spawn(server.into_future());
        let mut wire = Wire::open(Address::new(&base, Some("a")).unwrap()).await.unwrap();
        let large = Bytes::from(vec![7; 300_000]);
        for body in [Bytes::from_static(b"x"), Bytes::new(), large] {
            let expected = if body.is_empty() { StatusCode::NO_CONTENT } else { StatusCode::OK };
            assert_eq!(wire.push(body.clone()).await.unwrap(), (expected, body));
        }
        let mut nobodys = Wire::open(Address::new(&base, None).unwrap()).await.unwrap();
        let refused = nobodys.push(Bytes::from_static(b"why")).await.unwrap();
        assert_eq!(refused, (StatusCode::UNAUTHORIZED, Bytes::from_static(b"why")));
        server.abort();
    }
}
