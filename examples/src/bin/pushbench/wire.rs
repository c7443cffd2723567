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

/// One kept-alive connection, with one push under way at a time. Where the server has closed it behind an answer, as some
/// do behind a refusal and all to who is silent for long, it is opened again.
pub(crate) struct Wire {
    address: Address,
    open: Open,
    /// Whether a push was answered on it.
    is_used: bool,
}

struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Works only while a push waits for its answer; gone when the server has closed it.
    connection: Option<Pin<Box<Connection>>>,
}

type Connection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

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
        let open = Open::to(&address).await?;
        Ok(Self { address, open, is_used: false })
    }

    /// Pushes `body`; what the server answers.
    pub(crate) async fn push(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let pushed = timeout(TIMEOUT, self.push_or_reopen(body));
        pushed.await.with_context(|| format!("no answer within {TIMEOUT:?}"))?
    }

    async fn push_or_reopen(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let pushed = self.open.push(&self.address, body.clone()).await;
        if pushed.is_ok() || !self.is_used {
            self.is_used |= pushed.is_ok();
            return pushed;
        }
        // It may have reached the server all the same: then the lines are repeats, which are stored once.
        self.open = Open::to(&self.address).await?;
        let pushed = self.open.push(&self.address, body).await;
        self.is_used = pushed.is_ok();
        pushed
    }
}

impl Open {
    async fn to(address: &Address) -> anyhow::Result<Self> {
        let connected = timeout(TIMEOUT, TcpStream::connect(&address.host)).await?;
        let stream = connected.with_context(|| format!("no connection to {}", address.host))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, connection: Some(Box::pin(connection)) })
    }

    async fn push(&mut self, address: &Address, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let connection = self.connection.as_mut().context("the server has closed the connection")?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&address.uri);
        request.headers_mut().clone_from(&address.headers);
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("answer could not be read: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            ended = connection => ended?,
        }
        // Whoever still waits for it would do so for ever. The answer may have come with its end.
        self.connection = None;
        exchange.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

    /// The next push failed, and with it the run and all that was to come behind it.
    #[tokio::test]
    async fn a_connection_that_was_closed_behind_an_answer_is_opened_again_and_one_that_gave_none_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::new(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let server = tokio::spawn(async move {
            for answer in ["HTTP/1.1 204 No Content\r\n\r\n"; 3].into_iter().chain([""; 2]) {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\nx") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut wire = Wire::open(address.clone()).await.unwrap();
        for _ in 0..3 {
            let answer = wire.push(Bytes::from_static(b"x")).await.unwrap();
            assert_eq!(answer, (StatusCode::NO_CONTENT, Bytes::new()));
        }
        wire.push(Bytes::from_static(b"x")).await.unwrap_err();
        let mut never = Wire::open(address).await.unwrap();
        never.push(Bytes::from_static(b"x")).await.unwrap_err();
        server.await.unwrap();
    }
}
